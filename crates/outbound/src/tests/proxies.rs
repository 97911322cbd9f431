//! Proxies: asked as HTTP has it, over real sockets.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::{Authority, Names, Server, named, ok, server_config};
use crate::{Error, Outbound, Proxies, Reason, Request, Settings, Tls, TlsSettings, Trust};

/// A proxy that leads `CONNECT` to a port of this machine, whatever the name; answers what it was asked.
async fn tunnelling(to: u16, tls: Option<rustls::ServerConfig>) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let seen = asked.clone();
    let acceptor = tls.map(|tls| tokio_rustls::TlsAcceptor::from(Arc::new(tls)));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            match &acceptor {
                None => tokio::spawn(lead(stream, to, seen.clone())),
                Some(acceptor) => {
                    let Ok(stream) = acceptor.accept(stream).await else { continue };
                    tokio::spawn(lead(stream, to, seen.clone()))
                }
            };
        }
    });
    (port, asked)
}

async fn lead(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    to: u16,
    seen: Arc<Mutex<Vec<String>>>,
) {
    let Some(request) = super::read(&mut stream, 0).await else { return };
    seen.lock().unwrap().push(request.head);
    let mut onward = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
    stream.write_all(b"HTTP/1.1 200 Connection established\r\nX-Proxy: 1\r\n\r\n").await.unwrap();
    let _ = copy_bidirectional(&mut stream, &mut onward).await;
}

fn trusting(authority: &Authority) -> Tls {
    Tls::new(TlsSettings { trust: Trust::Only(vec![authority.cert.clone()]), ..TlsSettings::default() })
        .unwrap()
}

#[tokio::test]
async fn https_goes_through_a_tunnel_and_the_proxy_sees_none_of_it() {
    let authority = Authority::new();
    let server = Server::over(Some(server_config(&authority.sign(&["far.example"]), None)), ok).await;
    let (port, asked) = tunnelling(server.port, None).await;
    let proxies = Proxies::by_scheme(None, Some(&format!("http://me:p%40ss@127.0.0.1:{port}")), None);
    let outbound = Outbound::new(Settings { proxies, tls: trusting(&authority), ..named(&Names::default()) });
    for _ in 0..2 {
        let request = Request::get("https://far.example/x").header("X-Key", "hush");
        assert_eq!(outbound.http(request).await.unwrap().body, "yes");
    }
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 1, "the tunnel is used again");
    assert!(
        asked[0].starts_with("CONNECT far.example:443 HTTP/1.1\r\nHost: far.example:443\r\n"),
        "{asked:?}"
    );
    assert!(asked[0].contains("Proxy-Authorization: Basic bWU6cEBzcw==\r\n") && !asked[0].contains("hush"));
    assert!(
        server.arrived().iter().all(|arrived| arrived.has("host: far.example") && arrived.has("x-key: hush"))
    );
    assert!(!server.arrived()[0].head.to_lowercase().contains("proxy-"), "the login is the proxy's alone");
}

#[tokio::test]
async fn http_names_the_whole_url() {
    let proxy = Server::start(ok).await;
    let url = format!("http://me:pw@127.0.0.1:{}", proxy.port);
    let proxies = Proxies::by_scheme(Some(&url), None, Some("direct.example"));
    let names = Names::default();
    names.lead("direct.example", &["127.0.0.1"]);
    let outbound = Outbound::new(Settings { proxies, ..named(&names) });
    outbound.http(Request::get("http://far.example:8080/x?y=z")).await.unwrap();
    let arrived = proxy.arrived().remove(0);
    assert_eq!(arrived.line(), "GET http://far.example:8080/x?y=z HTTP/1.1");
    assert!(arrived.has("host: far.example:8080") && arrived.has("proxy-authorization: Basic bWU6cHc="));
    // Directly, where the rules say so.
    let server = Server::start(ok).await;
    outbound.http(Request::get(format!("http://direct.example:{}/", server.port))).await.unwrap();
    outbound.http(Request::get(server.url("/"))).await.unwrap();
    assert_eq!(server.lines(), ["GET / HTTP/1.1", "GET / HTTP/1.1"]);
    assert!(!server.arrived()[0].head.to_lowercase().contains("proxy-authorization"));
    assert_eq!(proxy.arrived().len(), 1);
}

#[tokio::test]
async fn a_proxy_may_be_spoken_to_over_tls() {
    let authority = Authority::new();
    let server = Server::over(Some(server_config(&authority.sign(&["far.example"]), None)), ok).await;
    let secured = server_config(&authority.sign(&["127.0.0.1"]), None);
    let (port, asked) = tunnelling(server.port, Some(secured)).await;
    let proxies = Proxies::by_scheme(None, Some(&format!("https://127.0.0.1:{port}")), None);
    let outbound = Outbound::new(Settings { proxies, tls: trusting(&authority), ..named(&Names::default()) });
    outbound.http(Request::get("https://far.example/")).await.unwrap();
    assert_eq!(asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_proxy_that_does_not_lead_there_has_sent_nothing() {
    let refusing = Server::start(|_| Some("407 Proxy Authentication Required\n\nhush".to_owned())).await;
    let proxies = Proxies::all(&format!("http://u:hush@127.0.0.1:{}", refusing.port));
    let outbound = Outbound::new(Settings { proxies, ..named(&Names::default()) });
    let error = outbound.http(Request::get("https://far.example/hush")).await.unwrap_err();
    let wanted = "https://far.example:443: proxyconnect: HTTP/1.1 407 Proxy Authentication Required";
    assert_eq!(error.to_string(), wanted);
    assert!(error.is_not_sent());
    let wrong = Outbound::new(Settings { proxies: Proxies::all("socks5://u:hush@h"), ..Settings::default() });
    let error = wrong.http(Request::get("https://far.example/")).await.unwrap_err();
    assert!(matches!(&error, Error::NotSent { reason: Reason::Proxy(_), .. }), "{error:?}");
    assert!(!error.to_string().contains("hush"), "{error}");
    let endless = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxies = Proxies::all(&format!("{}", endless.local_addr().unwrap()));
    tokio::spawn(async move {
        let (mut stream, _) = endless.accept().await.unwrap();
        while stream.write_all(&[b'a'; 1024]).await.is_ok() {}
    });
    let outbound = Outbound::new(Settings { proxies, ..named(&Names::default()) });
    let error = outbound.http(Request::get("https://far.example/")).await.unwrap_err();
    assert!(error.to_string().ends_with("answer too long"), "{error}");
}
