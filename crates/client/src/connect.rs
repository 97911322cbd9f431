//! Opens connections: TCP or a Unix socket, through a proxy or not, with TLS or without.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::address::Target;
use crate::config::{Config, Proxy, Tls};
use crate::error::ConfigError;
use crate::{Address, srv, tls};

/// Longest answer of a proxy to `CONNECT` that is read.
const PROXY_REPLY_MAX: usize = 8 * 1024;

/// Opens the connections of one client. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Connector(Arc<Settings>);

struct Settings {
    unix: Option<PathBuf>,
    /// How TLS servers are verified; the name to verify is the host's unless this says otherwise.
    verify: Tls,
    /// Made when first needed: reading what the system trusts takes longer than a plain request.
    tls: OnceLock<TlsConnector>,
    proxy: Option<Matcher>,
    srv_lookup: bool,
}

impl Settings {
    fn tls(&self) -> Result<TlsConnector, ConfigError> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls.clone());
        }
        let made = TlsConnector::from(Arc::new(tls::client_config(&self.verify)?));
        Ok(self.tls.get_or_init(|| made).clone())
    }
}

impl Connector {
    pub(crate) fn new(config: &Config, address: &Address) -> Result<Self, ConfigError> {
        let unix = match &address.target {
            Target::Unix(path) => Some(path.clone()),
            Target::Tcp { host, .. } => {
                // A name that cannot be verified is better told now than at the first request.
                tls::server_name(&config.tls, host)?;
                None
            }
        };
        let connector = Self(Arc::new(Settings {
            unix,
            verify: config.tls.clone(),
            tls: OnceLock::new(),
            proxy: matcher(&config.proxy),
            srv_lookup: config.srv_lookup,
        }));
        // Files that cannot be read are better told now as well.
        let tls = &config.tls;
        let files = [&tls.ca_cert, &tls.ca_path, &tls.client_cert, &tls.client_key];
        if address.https || tls.ca_bytes.is_some() || files.iter().any(|file| file.is_some()) {
            connector.0.tls()?;
        }
        Ok(connector)
    }

    /// Connects to whatever host a request names.
    pub(crate) fn to_any(tls: Tls, proxy: &Proxy) -> Self {
        Self(Arc::new(Settings {
            unix: None,
            verify: tls,
            tls: OnceLock::new(),
            proxy: matcher(proxy),
            srv_lookup: false,
        }))
    }

    async fn connect(self, uri: Uri) -> io::Result<Link> {
        let settings = &self.0;
        if let Some(path) = &settings.unix {
            let stream = UnixStream::connect(path)
                .await
                .map_err(|error| dial("unix", &path.to_string_lossy(), &error))?;
            return Ok(Link::new(Box::new(stream)));
        }
        let https = uri.scheme_str() == Some("https");
        let named = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let (host, port) = match uri.port_u16() {
            Some(port) => (named.to_owned(), port),
            None if settings.srv_lookup => srv::lookup(named).await?,
            None => (named.to_owned(), if https { 443 } else { 80 }),
        };
        let intercept = settings.proxy.as_ref().and_then(|matcher| matcher.intercept(&uri));
        let stream = match &intercept {
            None => tcp(&host, port).await?,
            Some(via) => {
                let proxy_host = via.uri().host().unwrap_or_default();
                let proxy_port = via.uri().port_u16().unwrap_or(80);
                let mut stream = tcp(proxy_host, proxy_port).await?;
                if https {
                    tunnel(&mut stream, &host, port, via.basic_auth().map(http::HeaderValue::as_bytes))
                        .await?;
                }
                stream
            }
        };
        stream.set_nodelay(true)?;
        if !https {
            return Ok(Link { proxied: intercept.is_some(), ..Link::new(Box::new(stream)) });
        }
        let name = tls::server_name(&settings.verify, named).map_err(io::Error::other)?;
        let connector = settings.tls().map_err(io::Error::other)?;
        let stream = connector
            .connect(name, stream)
            .await
            .map_err(|error| io::Error::other(format!("tls: {error}")))?;
        let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Link { h2, ..Link::new(Box::new(stream)) })
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = Link;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Link>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

fn matcher(proxy: &Proxy) -> Option<Matcher> {
    if let Some(all) = &proxy.all {
        return Some(Matcher::builder().all(all.clone()).build());
    }
    if proxy.http.is_none() && proxy.https.is_none() {
        return None;
    }
    let or_empty = |value: &Option<String>| value.clone().unwrap_or_default();
    Some(
        Matcher::builder()
            .http(or_empty(&proxy.http))
            .https(or_empty(&proxy.https))
            .no(or_empty(&proxy.no_proxy))
            .build(),
    )
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let shown = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    TcpStream::connect((host, port)).await.map_err(|error| dial("tcp", &shown, &error))
}

/// Words a failed connection attempt as Go's `net.Dial` does; scripts look for these words.
fn dial(network: &str, to: &str, error: &io::Error) -> io::Error {
    let reason = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::NotFound => "connect: no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "connect: permission denied".to_owned(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => error.to_string(),
    };
    io::Error::new(error.kind(), format!("dial {network} {to}: {reason}"))
}

/// Asks an HTTP proxy for a tunnel (RFC 9110, section 9.3.6).
async fn tunnel(stream: &mut TcpStream, host: &str, port: u16, auth: Option<&[u8]>) -> io::Result<()> {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n").into_bytes();
    if let Some(auth) = auth {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(auth);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).await?;
    let mut reply = Vec::new();
    // Byte by byte: what follows the head belongs to the tunnel.
    while !reply.ends_with(b"\r\n\r\n") {
        if reply.len() >= PROXY_REPLY_MAX {
            return Err(io::Error::other("proxyconnect: answer too long"));
        }
        reply.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&reply);
    let line = head.lines().next().unwrap_or_default();
    let status = line.split(' ').nth(1).unwrap_or_default();
    if line.starts_with("HTTP/1.") && status.len() == 3 && status.starts_with('2') {
        return Ok(());
    }
    Err(io::Error::other(format!("proxyconnect: {line}")))
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An open connection.
pub(crate) struct Link {
    io: TokioIo<Box<dyn Stream>>,
    /// The server agreed to HTTP/2.
    h2: bool,
    /// Plain HTTP through a proxy: requests then name the full URL.
    proxied: bool,
}

impl Link {
    fn new(stream: Box<dyn Stream>) -> Self {
        Self { io: TokioIo::new(stream), h2: false, proxied: false }
    }
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        let connected = Connected::new().proxy(self.proxied);
        if self.h2 { connected.negotiated_h2() } else { connected }
    }
}

impl Read for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Link {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
