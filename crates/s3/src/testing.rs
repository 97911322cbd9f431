//! A server that gives prepared answers, and remembers its requests.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use strongroom_backup::{Bucket, Credentials, Encryption};
use strongroom_outbound::{Outbound, Settings};
use strongroom_stdx::{Clock, Entropy, Moment, Secret};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::S3;

pub(crate) fn bucket(endpoint: &str) -> Bucket {
    Bucket {
        name: "b".into(),
        region: "us-east-1".into(),
        endpoint: endpoint.into(),
        disable_tls: true,
        force_path_style: false,
        encryption: Encryption::Default,
        credentials: Some(Credentials {
            access_key_id: "AKID".into(),
            secret_access_key: Secret::new("hunter2".into()),
            session_token: None,
        }),
    }
}

pub(crate) fn outbound() -> Outbound {
    Outbound::new(Settings::default())
}

pub(crate) fn s3() -> S3 {
    let clock = Clock::system();
    S3 { pause: Duration::from_millis(1), ..S3::new(outbound(), |_| None, clock, Entropy::system()) }
}

/// One whose requests are of a moment.
pub(crate) fn s3_at(moment: Moment) -> S3 {
    S3::new(outbound(), |_| None, Clock::stepped(moment), Entropy::system())
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    /// Method and target.
    pub(crate) line: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Arrived {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
    }
}

/// The answers.
pub(crate) enum Told {
    /// A status with headers, and a body.
    Answer(&'static str, String),
    /// The connection is closed.
    Nothing,
}

pub(crate) struct Server {
    pub(crate) endpoint: String,
    arrived: Arc<Mutex<Vec<Arrived>>>,
}

impl Server {
    pub(crate) async fn start(answer: impl Fn(usize, &Arrived) -> Told + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        let arrived = Arc::<Mutex<Vec<Arrived>>>::default();
        let (kept, answer) = (arrived.clone(), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, kept.clone(), answer.clone()));
            }
        });
        Self { endpoint, arrived }
    }

    pub(crate) fn arrived(&self) -> Vec<Arrived> {
        self.arrived.lock().unwrap().clone()
    }

    /// Method and target of each request.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.arrived().into_iter().map(|request| request.line).collect()
    }
}

async fn serve(
    mut stream: TcpStream,
    kept: Arc<Mutex<Vec<Arrived>>>,
    answer: Arc<impl Fn(usize, &Arrived) -> Told>,
) {
    while let Some(request) = read(&mut stream).await {
        let number = {
            let mut kept = kept.lock().unwrap();
            kept.push(request.clone());
            kept.len()
        };
        let Told::Answer(head, body) = answer(number, &request) else { return };
        let text = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Arrived> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let line = lines.next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
    let headers = lines.map(|line| line.split_once(": ").unwrap());
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    let mut request = Arrived { line, headers, body: Vec::new() };
    request.body = vec![0; request.header("content-length").parse().unwrap_or(0)];
    stream.read_exact(&mut request.body).await.ok()?;
    Some(request)
}
