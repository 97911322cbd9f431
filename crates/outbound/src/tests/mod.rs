//! The way out against servers in this process: real sockets, real certificates, real proxies.

mod addresses;
mod doubled;
mod proxies;
mod requests;
mod security;

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::{Outbound, Resolver, Settings};

/// A request as it arrived: its head, and the number of its connection.
#[derive(Clone, Debug)]
struct Arrived {
    connection: usize,
    head: String,
    body: Vec<u8>,
}

impl Arrived {
    fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    fn has(&self, header: &str) -> bool {
        self.head.to_lowercase().contains(&format!("\r\n{}\r\n", header.to_lowercase()))
    }
}

/// Answers each request with what `answer` makes of it: a head without length, an empty line, a body. An empty answer closes
/// the connection, `None` keeps silent.
#[derive(Clone)]
struct Server {
    port: u16,
    arrived: Arc<Mutex<Vec<Arrived>>>,
}

type Answer = dyn Fn(&Arrived) -> Option<String> + Send + Sync;

impl Server {
    async fn start(answer: impl Fn(&Arrived) -> Option<String> + Send + Sync + 'static) -> Self {
        Self::over(None, answer).await
    }

    async fn over(
        tls: Option<rustls::ServerConfig>,
        answer: impl Fn(&Arrived) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self { port: listener.local_addr().unwrap().port(), arrived: Arc::default() };
        let (arrived, answer): (_, Arc<Answer>) = (server.arrived.clone(), Arc::new(answer));
        let acceptor = tls.map(|tls| tokio_rustls::TlsAcceptor::from(Arc::new(tls)));
        tokio::spawn(async move {
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let (arrived, answer, acceptor) = (arrived.clone(), answer.clone(), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(stream, connection, &arrived, &*answer).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, connection, &arrived, &*answer).await;
                            }
                        }
                    }
                });
            }
        });
        server
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn arrived(&self) -> Vec<Arrived> {
        self.arrived.lock().unwrap().clone()
    }

    fn lines(&self) -> Vec<String> {
        self.arrived().iter().map(|arrived| arrived.line().to_owned()).collect()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    connection: usize,
    arrived: &Mutex<Vec<Arrived>>,
    answer: &Answer,
) {
    while let Some(request) = read(&mut stream, connection).await {
        let reply = answer(&request);
        arrived.lock().unwrap().push(request);
        let Some(reply) = reply else { return std::future::pending().await };
        let Some((head, body)) = reply.split_once("\n\n") else { return };
        let head = head.replace('\n', "\r\n");
        let text = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin), connection: usize) -> Option<Arrived> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let length =
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    Some(Arrived { connection, head, body })
}

/// Names as a test has them; each lookup takes the next answer, and the last one stays.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<HashMap<String, Vec<Vec<IpAddr>>>>>);

impl Names {
    fn lead(&self, name: &str, addresses: &[&str]) -> &Self {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        self.0.lock().unwrap().entry(name.to_owned()).or_default().push(addresses);
        self
    }
}

#[async_trait]
impl Resolver for Names {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let mut names = self.0.lock().unwrap();
        let answers = names.get_mut(name).ok_or_else(|| io::Error::other("no such host"))?;
        Ok(if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() })
    }
}

fn named(names: &Names) -> Settings {
    Settings { resolver: Arc::new(names.clone()), ..Settings::default() }
}

fn outbound() -> Outbound {
    Outbound::new(Settings::default())
}

/// A certificate and its key.
struct Made {
    cert: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

/// An authority that signs what it is given.
struct Authority {
    cert: CertificateDer<'static>,
    params: rcgen::CertificateParams,
    key: rcgen::KeyPair,
}

impl Authority {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        // Each has a name of its own.
        let name = strongroom_stdx::to_hex(key.public_key_raw().get(..16).unwrap());
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let cert = params.self_signed(&key).unwrap().der().clone();
        Self { cert, params, key }
    }

    fn sign(&self, names: &[&str]) -> Made {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = rcgen::KeyPair::generate().unwrap();
        let issuer = rcgen::Issuer::from_params(&self.params, &self.key);
        let cert =
            rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap().der().clone();
        Made { cert, key: PrivateKeyDer::try_from(key.serialize_der()).unwrap() }
    }
}

/// The certificate that a server presents, and the authority of the client certificates that it requires.
fn server_config(made: &Made, clients: Option<&Authority>) -> rustls::ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(authority.cert.clone()).unwrap();
            let verifier =
                rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build();
            builder.with_client_cert_verifier(verifier.unwrap())
        }
    };
    builder.with_single_cert(vec![made.cert.clone()], made.key.clone_key()).unwrap()
}

#[allow(clippy::unnecessary_wraps, reason = "an answer as servers take it")]
fn ok(_request: &Arrived) -> Option<String> {
    Some("200 OK\n\nyes".to_owned())
}
