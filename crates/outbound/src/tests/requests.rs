//! Requests, answers, connections used again, time-outs, redirects, and errors that tell nothing.

use std::time::Duration;

use serde_json::json;
use strongroom_stdx::{Clock, Moment, Secret};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::{Arrived, Server, ok, outbound};
use crate::{Error, Outbound, Phase, Reason, Request, Settings, Timeouts};

#[tokio::test]
async fn a_request_carries_what_it_is_given_and_its_answer_is_read_whole() {
    let server = Server::start(|_| Some("201 Created\nX-Thing: 1\n\n{\"a\":[1,2]}".to_owned())).await;
    let request = Request::post(server.url("/x?y=1"))
        .bearer(&Secret::new("hush".to_owned()))
        .header("Accept", "application/json")
        .json(&json!({"k": "v"}));
    assert!(!format!("{request:?}").contains("hush") && !format!("{request:?}").contains("/x"));
    let response = outbound().http(request).await.unwrap();
    assert_eq!((response.status.as_u16(), &response.headers["x-thing"]), (201, &"1".parse().unwrap()));
    assert_eq!(response.json::<serde_json::Value>().unwrap(), json!({"a": [1, 2]}));
    assert!(response.json::<Vec<u8>>().unwrap_err().contains("line 1"));
    let arrived = server.arrived().remove(0);
    assert_eq!(arrived.line(), "POST /x?y=1 HTTP/1.1");
    assert_eq!(arrived.body, b"{\"k\":\"v\"}");
    for header in [
        "authorization: Bearer hush".to_owned(),
        "content-type: application/json".to_owned(),
        format!("host: 127.0.0.1:{}", server.port),
    ] {
        assert!(arrived.has(&header), "{header} in {arrived:?}");
    }
}

#[tokio::test]
async fn forms_and_logins_are_written_as_their_standards_have_them() {
    let server = Server::start(ok).await;
    let request = Request::post(server.url("/"))
        .basic("me", &Secret::new("p:w".to_owned()))
        .form(&[("grant_type", "client_credentials"), ("scope", "a b&c=é")]);
    outbound().http(request).await.unwrap();
    let arrived = server.arrived().remove(0);
    assert_eq!(arrived.body, b"grant_type=client_credentials&scope=a+b%26c%3D%C3%A9");
    assert!(arrived.has("authorization: Basic bWU6cDp3"));
}

#[tokio::test]
async fn connections_are_used_again_until_the_server_or_time_ends_them() {
    let close_second = |request: &Arrived| {
        let close = if request.head.contains("/close") { "\nConnection: close" } else { "" };
        Some(format!("200 OK{close}\n\nyes"))
    };
    let server = Server::start(close_second).await;
    let clock = Clock::stepped(Moment::from_secs(1000));
    let timeouts = Timeouts::NONE;
    let outbound = Outbound::new(Settings { clock: clock.clone(), timeouts, ..Settings::default() });
    for path in ["/a", "/close", "/b", "/c"] {
        outbound.http(Request::get(server.url(path))).await.unwrap();
    }
    let connections = |server: &Server| server.arrived().iter().map(|a| a.connection).collect::<Vec<_>>();
    assert_eq!(connections(&server), [0, 0, 1, 1]);
    assert_eq!(outbound.network.pool.len(), 1);
    clock.advance(Duration::from_secs(91));
    outbound.http(Request::get(server.url("/d"))).await.unwrap();
    assert_eq!(connections(&server), [0, 0, 1, 1, 2]);
    outbound.close_idle();
    outbound.http(Request::get(server.url("/e"))).await.unwrap();
    assert_eq!(connections(&server)[5], 3);
}

#[tokio::test]
async fn what_nobody_uses_is_closed_by_itself() {
    let server = Server::start(ok).await;
    let clock = Clock::stepped(Moment::from_secs(1000));
    let outbound = Outbound::new(Settings { clock: clock.clone(), ..Settings::default() });
    outbound.http(Request::get(server.url("/"))).await.unwrap();
    assert_eq!(outbound.network.pool.len(), 1);
    while outbound.network.pool.len() > 0 {
        clock.advance(Duration::from_secs(30));
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_answer_is_taken_up_to_its_limit() {
    let server = Server::start(ok).await;
    let outbound = outbound();
    outbound.http(Request::get(server.url("/")).max_answer(3)).await.unwrap();
    let error = outbound.http(Request::get(server.url("/")).max_answer(2)).await.unwrap_err();
    assert_eq!(error.reason(), &Reason::TooLong(2));
    assert!(!error.is_not_sent());
    // One that does not say how long it is.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head).await.unwrap();
        while stream.write_all(b"5\r\nhello\r\n").await.is_ok() {}
    });
    let error = outbound.http(Request::get(url).max_answer(100_000)).await.unwrap_err();
    assert_eq!(error.reason(), &Reason::TooLong(100_000));
}

#[tokio::test]
async fn an_answer_that_comes_before_all_was_sent_is_not_held_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        std::future::pending::<()>().await;
    });
    let timeouts = Timeouts::NONE;
    let request = Request::post(url).body("text/plain", vec![b'a'; 32 << 20]);
    let patient = outbound().with_timeouts(timeouts);
    let answer = tokio::time::timeout(Duration::from_secs(20), patient.http(request));
    assert_eq!(answer.await.unwrap().unwrap().status.as_u16(), 413);
    serving.abort();
}

#[tokio::test]
async fn failures_tell_whether_the_request_may_have_arrived() {
    let outbound = outbound();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = outbound.http(Request::get(&nobody)).await.unwrap_err();
    assert!(matches!(&error, Error::NotSent { reason: Reason::Connect(_), .. }), "{error:?}");
    assert!(error.to_string().ends_with("connect: connection refused"), "{error}");
    let closing = Server::start(|_| Some(String::new())).await;
    let error = outbound.http(Request::post(closing.url("/"))).await.unwrap_err();
    assert!(
        matches!(&error, Error::MayHaveArrived { reason: Reason::Broken(text), .. } if text == "EOF"),
        "{error:?}"
    );
    assert_eq!(closing.arrived().len(), 1, "it is not sent again");
}

#[tokio::test]
async fn a_connection_that_the_server_closed_meanwhile_is_not_one_that_took_the_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let mut bodies = Vec::new();
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let request = super::read(&mut stream, 0).await.unwrap();
            bodies.push(request.body);
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            // Closed although it said nothing of that.
        }
        bodies
    });
    let outbound = outbound();
    for body in ["one", "two"] {
        outbound.http(Request::post(&url).body("text/plain", body)).await.unwrap();
    }
    assert_eq!(serving.await.unwrap(), [b"one", b"two"]);
}

async fn stepping<T: Send + 'static>(
    clock: &Clock,
    task: impl Future<Output = T> + Send + 'static,
) -> (T, Duration) {
    let started = clock.now();
    let task = tokio::spawn(task);
    while !task.is_finished() {
        // Real sockets need real time to be read; the clock is what decides.
        tokio::time::sleep(Duration::from_millis(1)).await;
        clock.advance(Duration::from_millis(100));
    }
    (task.await.unwrap(), clock.now().since(started))
}

fn stepped() -> (Clock, Outbound) {
    let clock = Clock::stepped(Moment::from_secs(1000));
    let timeouts = Timeouts {
        connect: Some(Duration::from_secs(2)),
        handshake: Some(Duration::from_secs(3)),
        whole: Some(Duration::from_secs(20)),
    };
    let outbound = Outbound::new(Settings { clock: clock.clone(), timeouts, ..Settings::default() });
    (clock, outbound)
}

#[tokio::test]
async fn each_step_has_its_time() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let (clock, outbound) = stepped();
    let request = Request::get(format!("https://127.0.0.1:{port}/"));
    let (outcome, took) = stepping(&clock, async move { outbound.http(request).await }).await;
    let error = outcome.unwrap_err();
    assert!(matches!(&error, Error::NotSent { reason: Reason::TimedOut(Phase::Handshake), .. }), "{error:?}");
    assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(6), "{took:?}");

    let (clock, outbound) = stepped();
    let request = Request::get(format!("http://127.0.0.1:{port}/"));
    let (outcome, took) = stepping(&clock, async move { outbound.http(request).await }).await;
    let error = outcome.unwrap_err();
    assert!(
        matches!(&error, Error::MayHaveArrived { reason: Reason::TimedOut(Phase::Whole), .. }),
        "{error:?}"
    );
    assert!(took >= Duration::from_secs(20) && took < Duration::from_secs(25), "{took:?}");
}

/// A listener whose queue is full, so that no connection is accepted.
async fn full() -> (socket::Full, u16) {
    let full = socket::Full::new().await;
    let port = full.port;
    (full, port)
}

mod socket {
    use tokio::net::{TcpListener, TcpSocket, TcpStream};

    pub(super) struct Full {
        pub(super) port: u16,
        _listener: TcpListener,
        _waiting: Vec<TcpStream>,
    }

    impl Full {
        pub(super) async fn new() -> Self {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let listener = socket.listen(1).unwrap();
            let address = listener.local_addr().unwrap();
            let mut waiting = Vec::new();
            for _ in 0..4 {
                let connecting = TcpStream::connect(address);
                let limit = std::time::Duration::from_millis(200);
                match tokio::time::timeout(limit, connecting).await {
                    Ok(stream) => waiting.push(stream.unwrap()),
                    Err(_full) => break,
                }
            }
            Self { port: address.port(), _listener: listener, _waiting: waiting }
        }
    }
}

#[tokio::test]
async fn connecting_has_its_time_and_shares_it_between_addresses() {
    let (_full, port) = full().await;
    let (clock, outbound) = stepped();
    let request = Request::get(format!("http://127.0.0.1:{port}/"));
    let (outcome, took) = stepping(&clock, async move { outbound.http(request).await }).await;
    let error = outcome.unwrap_err();
    assert!(matches!(&error, Error::NotSent { reason: Reason::TimedOut(Phase::Connect), .. }), "{error:?}");
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(4), "{took:?}");
    // A server at the second address of a name is found although the first is silent.
    let good = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
    let (clock, _) = stepped();
    let names = super::Names::default();
    names.lead("two.example", &["127.0.0.1", "127.0.0.2"]);
    let timeouts = Timeouts { connect: Some(Duration::from_secs(4)), ..Timeouts::NONE };
    let outbound = Outbound::new(Settings { clock: clock.clone(), timeouts, ..super::named(&names) });
    let (outcome, took) = stepping(&clock, async move { outbound.tcp("two.example", port).await }).await;
    assert_eq!(outcome.unwrap().peer(), Some(good.local_addr().unwrap()));
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(4), "{took:?}");
}

#[tokio::test]
async fn no_redirect_is_followed_unless_asked_for() {
    let server = Server::start(|request| {
        Some(
            if request.line().contains("/a") { "307 x\nLocation: /b\n\n" } else { "200 OK\n\nyes" }
                .to_owned(),
        )
    })
    .await;
    let outbound = outbound();
    assert_eq!(outbound.http(Request::get(server.url("/a"))).await.unwrap().status.as_u16(), 307);
    let request = Request::post(server.url("/a")).follow(1).body("text/plain", "b").header("X-Key", "k");
    let followed = outbound.http(request).await.unwrap();
    assert_eq!(followed.status.as_u16(), 200);
    let last = server.arrived().pop().unwrap();
    assert_eq!(last.line(), "POST /b HTTP/1.1");
    assert!(last.body == b"b" && last.has("x-key: k"), "to the same host, all of it goes");
}

#[tokio::test]
async fn redirects_end_and_turn_into_get_where_http_says_so() {
    let looping = Server::start(|_| Some("302 x\nLocation: /again\n\n".to_owned())).await;
    let outbound = outbound();
    let error =
        outbound.http(Request::post(looping.url("/")).body("text/plain", "b").follow(3)).await.unwrap_err();
    assert!(matches!(&error, Error::MayHaveArrived { reason: Reason::Redirect(_), .. }), "{error:?}");
    let lines = looping.lines();
    assert_eq!(
        (lines.len(), lines[0].as_str(), lines[1].as_str()),
        (4, "POST / HTTP/1.1", "GET /again HTTP/1.1")
    );
    assert!(looping.arrived()[1].body.is_empty() && !looping.arrived()[1].head.contains("content-type"));
}

#[tokio::test]
async fn credentials_never_follow_to_another_host() {
    let other = Server::start(ok).await;
    let to = other.url("/taken");
    let leading = Server::start(move |request| {
        let status = if request.line().starts_with("POST") { 307 } else { 302 };
        Some(format!("{status} x\nLocation: {to}\n\n"))
    })
    .await;
    let outbound = outbound();
    let request = Request::get(leading.url("/"))
        .bearer(&Secret::new("hush".to_owned()))
        .header("Cookie", "hush")
        .header("X-Api-Key", "hush")
        .header("Accept", "text/plain")
        .follow(2);
    outbound.http(request).await.unwrap();
    let taken = other.arrived().remove(0);
    assert!(!taken.head.contains("hush") && taken.has("accept: text/plain"), "{taken:?}");
    let carrying = Request::post(leading.url("/")).form(&[("client_secret", "hush")]).follow(2);
    let error = outbound.http(carrying).await.unwrap_err();
    assert!(error.to_string().contains("another host") && !error.to_string().contains("hush"), "{error}");
    assert_eq!(other.arrived().len(), 1);
}

#[tokio::test]
async fn redirects_lead_nowhere_that_is_not_http() {
    for location in
        ["file:///etc/passwd", "gopher://h/", "http://user:hush@h/", "http://", "//", "https://h:99999/"]
    {
        let server = Server::start(move |_| Some(format!("302 x\nLocation: {location}\n\n"))).await;
        let error = outbound().http(Request::get(server.url("/")).follow(1)).await.unwrap_err();
        assert!(matches!(error, Error::MayHaveArrived { .. }), "{location}: {error:?}");
        assert!(!error.to_string().contains("hush"), "{error}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told_without_repeating_it() {
    let outbound = outbound();
    for request in [
        Request::get("http://user:hush@127.0.0.1/"),
        Request::get("hush"),
        Request::get("ftp://h/hush"),
        Request::get("http:///hush"),
        Request::get("http://127.0.0.1:70000/hush"),
        Request::get("http://127.0.0.1/a b?hush"),
        Request::get("http://127.0.0.1/").header("X", "hu\nsh"),
        Request::get("http://127.0.0.1/").header("Host", "hush"),
        Request::get("http://127.0.0.1/").header("Content-Length", "4"),
        Request::get("http://127.0.0.1/").bearer(&Secret::new("hush\r\nX: y".to_owned())),
    ] {
        assert!(!format!("{request:?}").contains("hush"), "{request:?}");
        let error = outbound.http(request).await.unwrap_err();
        assert!(matches!(&error, Error::NotSent { reason: Reason::Unusable(_), .. }), "{error:?}");
        assert!(!error.to_string().contains("hush") && !format!("{error:?}").contains("hush"), "{error:?}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hush?token=hush", listener.local_addr().unwrap());
    drop(listener);
    let error = outbound.http(Request::get(url).body("text/plain", "hush")).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
}

#[tokio::test]
async fn a_unix_socket_is_a_way_out_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        super::read(&mut stream, 0).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nunix").await.unwrap();
    });
    let settings =
        |path: &std::path::Path| Settings { unix_socket: Some(path.to_owned()), ..Settings::default() };
    let response = Outbound::new(settings(&path)).http(Request::get("http://localhost/")).await.unwrap();
    assert_eq!(response.body, "unix");
    let missing = Outbound::new(settings(&folder.path().join("none")));
    let error = missing.http(Request::get("http://localhost/")).await.unwrap_err();
    assert!(error.to_string().ends_with("connect: no such file or directory"), "{error}");
}
