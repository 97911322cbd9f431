//! The double behaves as the outside does.

use std::time::Duration;

use serde_json::json;
use strongroom_stdx::{Clock, Moment};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{Double, Error, Phase, Reason, Reply, Request};

#[tokio::test]
async fn it_answers_as_told_and_remembers() {
    let double = Double::new(Clock::system());
    double
        .next(Reply::json(200, &json!({"id": 1})))
        .next_for("DELETE https://iam.example/", Reply::answer(204, ""))
        .always("GET https://keys.example/", Reply::answer(200, "keys").header("etag", "7"));
    let outbound = double.outbound();
    outbound.http(Request::delete("https://iam.example/users/a")).await.unwrap();
    let made =
        outbound.http(Request::post("https://iam.example/users").json(&json!({"n": 1}))).await.unwrap();
    assert_eq!(made.json::<serde_json::Value>().unwrap(), json!({"id": 1}));
    for _ in 0..2 {
        let keys = outbound.http(Request::get("https://keys.example/jwks")).await.unwrap();
        assert_eq!((&keys.body[..], &keys.headers["etag"]), (&b"keys"[..], &"7".parse().unwrap()));
    }
    let untold = outbound.http(Request::get("https://other.example/")).await.unwrap_err();
    assert!(untold.is_not_sent(), "{untold:?}");
    let seen = double.seen();
    assert_eq!(seen.len(), 5);
    assert_eq!((seen[1].method.as_str(), seen[1].url.as_str()), ("POST", "https://iam.example/users"));
    assert_eq!((&seen[1].body[..], seen[1].arrived, seen[4].arrived), (&b"{\"n\":1}"[..], true, false));
}

#[tokio::test]
async fn it_fails_in_either_way_and_late() {
    let clock = Clock::stepped(Moment::from_secs(1));
    let double = Double::new(clock.clone());
    let outbound = double.outbound();
    double.next(Reply::not_sent("connection refused")).next(Reply::lost("EOF"));
    let url = "https://iam.example/";
    assert!(outbound.http(Request::post(url)).await.unwrap_err().is_not_sent());
    let lost = outbound.http(Request::post(url)).await.unwrap_err();
    assert_eq!(lost.to_string(), "https://iam.example:443: EOF");
    assert!(matches!(lost, Error::MayHaveArrived { .. }));
    for (delay, arrives) in [(59, true), (61, false)] {
        double.next(Reply::answer(200, "").after(Duration::from_secs(delay)));
        let waiting = tokio::spawn({
            let outbound = outbound.clone();
            async move { outbound.http(Request::post(url)).await }
        });
        while !waiting.is_finished() {
            tokio::task::yield_now().await;
            clock.advance(Duration::from_secs(1));
        }
        match waiting.await.unwrap() {
            Ok(_) => assert!(arrives),
            Err(error) => {
                assert!(!arrives);
                assert!(matches!(
                    error,
                    Error::MayHaveArrived { reason: Reason::TimedOut(Phase::Whole), .. }
                ));
            }
        }
    }
    assert_eq!(double.seen().iter().filter(|seen| seen.arrived).count(), 3);
}

#[tokio::test]
async fn names_and_rules_hold_for_it() {
    let double = Double::new(Clock::system());
    let inside = "169.254.169.254".parse().unwrap();
    double.name("rebound.example", &["192.0.2.7".parse().unwrap()]).name("rebound.example", &[inside]);
    double.always("GET http", Reply::answer(200, ""));
    double.always("POST http", Reply::answer(302, "").header("location", "https://rebound.example/"));
    let outbound = double.outbound();
    outbound.http(Request::get("https://rebound.example/")).await.unwrap();
    for request in [
        Request::get("https://rebound.example/"),
        Request::get("http://169.254.169.254/"),
        Request::post("https://fine.example/").follow(1),
    ] {
        let error = outbound.http(request).await.unwrap_err();
        assert!(matches!(error.reason(), Reason::Forbidden(_)), "{error:?}");
    }
}

#[tokio::test]
async fn it_has_streams() {
    let double = Double::new(Clock::system());
    let mut server = double.stream("db.example:5432");
    let outbound = double.outbound();
    let mut stream = outbound.tcp("db.example", 5432).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    let mut read = [0; 5];
    server.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"hello");
    let refused = outbound.tcp("db.example", 5432).await.unwrap_err();
    assert!(refused.is_not_sent(), "{refused:?}");
}
