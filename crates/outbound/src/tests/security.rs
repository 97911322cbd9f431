//! TLS: whom to trust, what to show, which versions.

use std::path::Path;
use std::process::Command;

use super::{Authority, Made, Server, ok, outbound, server_config};
use crate::tls::pem;
use crate::{Error, Identity, Outbound, Reason, Request, Tls, TlsSettings, TlsVersion, Trust};

fn trusting(certs: &[&rustls_pki_types::CertificateDer<'static>]) -> TlsSettings {
    let certs = certs.iter().map(|cert| (*cert).clone()).collect();
    TlsSettings { trust: Trust::Only(certs), ..TlsSettings::default() }
}

fn with(settings: TlsSettings) -> Outbound {
    outbound().with_tls(Tls::new(settings).unwrap())
}

async fn get(outbound: &Outbound, host: &str, server: &Server) -> Result<(), String> {
    let request = Request::get(format!("https://{host}:{}/", server.port));
    match outbound.http(request).await {
        Ok(_) => Ok(()),
        // With TLS 1.3 a server's refusal comes after the handshake.
        Err(
            Error::NotSent { reason: Reason::Tls(text), .. }
            | Error::MayHaveArrived { reason: Reason::Broken(text), .. },
        ) => Err(text),
        Err(error) => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn a_server_is_verified_by_authority_and_name() {
    let authority = Authority::new();
    let server =
        Server::over(Some(server_config(&authority.sign(&["127.0.0.1", "a.example"]), None)), ok).await;
    let trusted = || trusting(&[&authority.cert]);
    get(&with(trusted()), "127.0.0.1", &server).await.unwrap();
    assert!(get(&with(trusted()), "localhost", &server).await.unwrap_err().contains("not valid for name"));
    let named = TlsSettings { server_name: Some("a.example".to_owned()), ..trusted() };
    get(&with(named), "localhost", &server).await.unwrap();
    let lenient = TlsSettings { verify_name: false, ..trusted() };
    get(&with(lenient), "localhost", &server).await.unwrap();
    let stranger = Authority::new();
    for settings in [
        trusting(&[&stranger.cert]),
        trusting(&[]),
        TlsSettings::default(),
        TlsSettings { verify_name: false, ..trusting(&[&stranger.cert]) },
    ] {
        assert!(get(&with(settings), "127.0.0.1", &server).await.unwrap_err().contains("UnknownIssuer"));
    }
    let anyone = TlsSettings { trust: Trust::Anyone, ..TlsSettings::default() };
    get(&with(anyone), "localhost", &server).await.unwrap();
    let also =
        TlsSettings { trust: Trust::AlsoSystem(vec![authority.cert.clone()]), ..TlsSettings::default() };
    get(&with(also), "127.0.0.1", &server).await.unwrap();
}

#[tokio::test]
async fn a_client_shows_its_certificate_where_it_has_one() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let made = authority.sign(&["127.0.0.1"]);
    let server = Server::over(Some(server_config(&made, Some(&clients))), ok).await;
    let Made { cert, key } = clients.sign(&["client.example"]);
    let identity = Some(Identity { chain: vec![cert], key });
    assert!(!format!("{identity:?}").contains("key"));
    get(&with(TlsSettings { identity, ..trusting(&[&authority.cert]) }), "127.0.0.1", &server).await.unwrap();
    get(&with(trusting(&[&authority.cert])), "127.0.0.1", &server).await.unwrap_err();
    let Made { cert, key } = authority.sign(&["client.example"]);
    let wrong = Some(Identity { chain: vec![cert], key });
    get(&with(TlsSettings { identity: wrong, ..trusting(&[&authority.cert]) }), "127.0.0.1", &server)
        .await
        .unwrap_err();
}

#[tokio::test]
async fn a_connection_of_one_identity_is_not_used_by_another() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let server = Server::over(Some(server_config(&authority.sign(&["127.0.0.1"]), Some(&clients))), ok).await;
    let Made { cert, key } = clients.sign(&["client.example"]);
    let identity = Some(Identity { chain: vec![cert], key });
    let known = with(TlsSettings { identity, ..trusting(&[&authority.cert]) });
    get(&known, "127.0.0.1", &server).await.unwrap();
    let unknown = known.with_tls(Tls::new(trusting(&[&authority.cert])).unwrap());
    get(&unknown, "127.0.0.1", &server).await.unwrap_err();
}

#[tokio::test]
async fn a_client_certificate_is_not_shown_to_where_a_redirect_leads() {
    let authority = Authority::new();
    let other = Server::over(Some(server_config(&authority.sign(&["127.0.0.1"]), None)), ok).await;
    let to = format!("https://127.0.0.1:{}/", other.port);
    let leading = move |_: &super::Arrived| Some(format!("302 x\nLocation: {to}\n\n"));
    let leading = Server::over(Some(server_config(&authority.sign(&["127.0.0.1"]), None)), leading).await;
    let Made { cert, key } = authority.sign(&["client.example"]);
    let identity = Some(Identity { chain: vec![cert], key });
    let url = format!("https://127.0.0.1:{}/", leading.port);
    let showing = with(TlsSettings { identity, ..trusting(&[&authority.cert]) });
    let error = showing.http(Request::get(&url).follow(1)).await.unwrap_err();
    assert!(matches!(&error, Error::MayHaveArrived { reason: Reason::Redirect(_), .. }), "{error:?}");
    assert!(other.arrived().is_empty());
    // Nor is the name of one server taken for the other's.
    let made = authority.sign(&["a.example"]);
    let to = format!("https://127.0.0.1:{}/", other.port);
    let leading =
        Server::over(Some(server_config(&made, None)), move |_| Some(format!("302 x\nLocation: {to}\n\n")))
            .await;
    let named = TlsSettings { server_name: Some("a.example".to_owned()), ..trusting(&[&authority.cert]) };
    let url = format!("https://127.0.0.1:{}/", leading.port);
    with(named).http(Request::get(&url).follow(1)).await.unwrap();
    // And from HTTPS to HTTP nothing goes.
    let plain = Server::start(ok).await;
    let to = plain.url("/");
    let made = authority.sign(&["127.0.0.1"]);
    let leading =
        Server::over(Some(server_config(&made, None)), move |_| Some(format!("302 x\nLocation: {to}\n\n")))
            .await;
    let url = format!("https://127.0.0.1:{}/", leading.port);
    let error = with(trusting(&[&authority.cert])).http(Request::get(&url).follow(1)).await.unwrap_err();
    assert!(error.to_string().contains("from HTTPS to HTTP"), "{error}");
    assert!(plain.arrived().is_empty());
}

#[tokio::test]
async fn versions_are_kept_to() {
    let authority = Authority::new();
    let made = authority.sign(&["127.0.0.1"]);
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let old = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.clone()], made.key.clone_key())
        .unwrap();
    let server = Server::over(Some(old), ok).await;
    let trusted = || trusting(&[&authority.cert]);
    get(&with(trusted()), "127.0.0.1", &server).await.unwrap();
    let strict = TlsSettings { min_version: TlsVersion::Tls13, ..trusted() };
    get(&with(strict), "127.0.0.1", &server).await.unwrap_err();
    let none = TlsSettings { min_version: TlsVersion::Tls13, max_version: TlsVersion::Tls12, ..trusted() };
    assert!(Tls::new(none).is_err());
    let modern = Server::over(Some(server_config(&made, None)), ok).await;
    let held = TlsSettings { max_version: TlsVersion::Tls12, ..trusted() };
    get(&with(held), "127.0.0.1", &modern).await.unwrap();
}

#[tokio::test]
async fn http_2_is_spoken_where_the_server_can() {
    let authority = Authority::new();
    let mut config = server_config(&authority.sign(&["127.0.0.1"]), None);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = connections.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let stream = hyper_util::rt::TokioIo::new(acceptor.accept(stream).await.unwrap());
            let answer = |request: http::Request<hyper::body::Incoming>| async move {
                let seen = format!("{:?} {}", request.version(), request.uri());
                Ok::<_, std::convert::Infallible>(http::Response::new(seen))
            };
            let service = hyper::service::service_fn(answer);
            let executor = hyper_util::rt::TokioExecutor::new();
            tokio::spawn(
                hyper::server::conn::http2::Builder::new(executor).serve_connection(stream, service),
            );
        }
    });
    let outbound = with(trusting(&[&authority.cert]));
    let url = format!("https://127.0.0.1:{port}/x");
    for _ in 0..2 {
        let (one, two) = tokio::join!(outbound.http(Request::get(&url)), outbound.http(Request::get(&url)));
        for response in [one.unwrap(), two.unwrap()] {
            assert_eq!(String::from_utf8_lossy(&response.body), format!("HTTP/2.0 {url}"));
        }
    }
    assert!(connections.load(std::sync::atomic::Ordering::SeqCst) <= 2);
}

/// The certificate that `openssl req -x509` makes: self-signed, and an authority by its constraints.
fn openssl(folder: &Path, days: &str, more: &[&str]) -> Option<Made> {
    let path = |name: &str| folder.join(name).display().to_string();
    let output = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", days, "-subj", "/CN=vault"])
        .args(["-keyout", &path("key.pem"), "-out", &path("cert.pem")])
        .args(["-addext", "subjectAltName=IP:127.0.0.1,DNS:vault.example"])
        .args(more)
        .output();
    let output = output.ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let cert = pem::certificates_in_file(&folder.join("cert.pem")).unwrap().remove(0);
    Some(Made { cert, key: pem::private_key_in_file(&folder.join("key.pem")).unwrap() })
}

#[tokio::test]
async fn a_certificate_of_openssls_that_is_trusted_itself_is_believed() {
    let folder = tempfile::tempdir().unwrap();
    let Some(made) = openssl(folder.path(), "30", &[]) else {
        eprintln!("skipped: there is no openssl");
        return;
    };
    let server = Server::over(Some(server_config(&made, None)), ok).await;
    get(&with(trusting(&[&made.cert])), "127.0.0.1", &server).await.unwrap();
    // For its names alone, and only for clients that trust exactly it.
    let error = get(&with(trusting(&[&made.cert])), "localhost", &server).await.unwrap_err();
    assert!(error.contains("not valid for name"), "{error}");
    let other = tempfile::tempdir().unwrap();
    let same_name = openssl(other.path(), "30", &[]).unwrap();
    get(&with(trusting(&[&same_name.cert])), "127.0.0.1", &server).await.unwrap_err();
    get(&with(TlsSettings::default()), "127.0.0.1", &server).await.unwrap_err();
    // In TLS 1.2, too.
    let old = TlsSettings { max_version: TlsVersion::Tls12, ..trusting(&[&made.cert]) };
    get(&with(old), "127.0.0.1", &server).await.unwrap();
}

#[tokio::test]
async fn a_trusted_certificate_is_held_to_its_time_and_purpose() {
    let folder = tempfile::tempdir().unwrap();
    for (days, more, wanted) in [
        ("-1", &[][..], "expired"),
        ("30", &["-addext", "extendedKeyUsage=clientAuth"][..], "InvalidPurpose"),
    ] {
        let Some(made) = openssl_or_skip(folder.path(), days, more) else { return };
        let server = Server::over(Some(server_config(&made, None)), ok).await;
        let error = get(&with(trusting(&[&made.cert])), "127.0.0.1", &server).await.unwrap_err();
        assert!(error.contains(wanted), "{more:?}: {error}");
    }
    let fine = [
        "-addext",
        "extendedKeyUsage=critical,serverAuth,clientAuth",
        "-addext",
        "keyUsage=critical,keyCertSign",
    ];
    let Some(made) = openssl_or_skip(folder.path(), "30", &fine) else { return };
    let server = Server::over(Some(server_config(&made, None)), ok).await;
    get(&with(trusting(&[&made.cert])), "127.0.0.1", &server).await.unwrap();
}

/// Certificates that openssl of this version does not write are made here.
fn openssl_or_skip(folder: &Path, days: &str, more: &[&str]) -> Option<Made> {
    if days != "-1" {
        return openssl(folder, days, more);
    }
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = params.self_signed(&key).unwrap().der().clone();
    Some(Made { cert, key: rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap() })
}

#[tokio::test]
async fn a_leaf_that_is_trusted_itself_needs_no_authority() {
    let authority = Authority::new();
    let made = authority.sign(&["127.0.0.1"]);
    let server = Server::over(Some(server_config(&made, None)), ok).await;
    get(&with(trusting(&[&made.cert])), "127.0.0.1", &server).await.unwrap();
    let sibling = authority.sign(&["127.0.0.1"]);
    get(&with(trusting(&[&sibling.cert])), "127.0.0.1", &server).await.unwrap_err();
}

#[tokio::test]
async fn a_stream_is_secured_from_the_start_or_later() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let authority = Authority::new();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(server_config(
        &authority.sign(&["127.0.0.1"]),
        None,
    )));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for clear in [false, true] {
            let (mut stream, _) = listener.accept().await.unwrap();
            if clear {
                assert_eq!(stream.read_u8().await.unwrap(), b'S');
                stream.write_u8(b'!').await.unwrap();
            }
            let mut stream = acceptor.accept(stream).await.unwrap();
            let sent = stream.read_u8().await.unwrap();
            stream.write_all(&[sent]).await.unwrap();
        }
    });
    let outbound = with(trusting(&[&authority.cert]));
    let mut stream = outbound.tls("127.0.0.1", port, &[]).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'x');
    let mut stream = outbound.tcp("127.0.0.1", port).await.unwrap();
    stream.write_all(b"S").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'!');
    let mut stream = outbound.start_tls(stream, "127.0.0.1", &[]).await.unwrap();
    stream.write_all(b"y").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'y');
    assert_eq!(stream.peer().unwrap().port(), port);
}
