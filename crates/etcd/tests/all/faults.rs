//! Servers that stand still, go away and come back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use strongroom_etcd::{Etcd, Options};
use strongroom_leased_db::{ApplyError, Database};
use strongroom_storage::KeyRange;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::server::{Server, until};
use crate::{batch, granted, node};

fn impatient(server: &Server) -> Options {
    Options { request_timeout: Duration::from_secs(10), ..server.options("faults") }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_write_without_answer_nothing_is_known_until_the_head_is_read() {
    let server = Server::start();
    let etcd = server.open("faults").await;
    let hasty = Etcd::open(impatient(&server)).await.unwrap();
    etcd.apply(&batch(0, 0, &[("a", "1")])).await.unwrap();
    hasty.head().await.unwrap();
    server.pause();
    let lost = hasty.apply(&batch(0, 1, &[("a", "2")])).await;
    let unread = hasty.head().await;
    server.resume();
    assert!(matches!(lost, Err(ApplyError::Unknown(_))), "{lost:?}");
    assert!(unread.unwrap_err().to_string().contains("no answer in time"));
    // The server reads it from its socket now, or has not got it whole.
    until("it goes on", async || {
        let head = etcd.head().await.unwrap();
        etcd.apply(&batch(0, head.index, &[("a", "3")])).await.is_ok()
    })
    .await;
    until("the hasty one, too", async || hasty.head().await.is_ok()).await;
    assert_eq!(hasty.snapshot().await.unwrap().get(b"a").await.unwrap().unwrap().value, "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_it_goes_on() {
    let server = Server::start();
    let etcd = server.open("faults").await;
    let fence = granted(&etcd, &node(1), 300, false).await;
    etcd.apply(&batch(fence, 0, &[("a", "1")])).await.unwrap();
    let snapshot = etcd.snapshot().await.unwrap();
    server.kill();
    // Nobody is there to take it: nothing was written, and that is known once the old connection is.
    let refused = etcd.apply(&batch(fence, 1, &[("a", "2")])).await;
    assert!(matches!(refused, Err(ApplyError::Refused(_) | ApplyError::Unknown(_))), "{refused:?}");
    let refused = etcd.apply(&batch(fence, 1, &[("a", "2")])).await;
    assert!(matches!(&refused, Err(ApplyError::Refused(text)) if text.contains("refused")), "{refused:?}");
    server.start_again();
    assert_eq!(etcd.head().await.unwrap().index, 1);
    etcd.apply(&batch(fence, 1, &[("a", "2")])).await.unwrap();
    assert_eq!(snapshot.get(b"a").await.unwrap().unwrap().value, "1");
    assert!(etcd.renew(fence, Duration::from_secs(300)).await.unwrap(), "the lease is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_database_says_so() {
    let server = Server::start_with("http", &["--quota-backend-bytes", "8388608"].map(str::to_owned));
    let etcd = server.open("full").await;
    let large = "x".repeat(512 << 10);
    let mut index = 0;
    let refused = loop {
        match etcd.apply(&batch(0, index, &[("a", large.as_str())])).await {
            Ok(()) => index += 1,
            Err(refused) => break refused,
        }
        assert!(index < 64, "it is never full");
    };
    assert!(matches!(&refused, ApplyError::NoSpace(text) if text.contains("space")), "{refused:?}");
    assert_eq!(etcd.head().await.unwrap().index, index, "nothing was written, and reads go on");
}

/// The change that makes a database too large is made, and answered in the same words as those after it that are not:
/// several clients at once come upon it.
#[tokio::test(flavor = "multi_thread")]
async fn what_made_a_database_full_is_not_said_to_be_missing() {
    let server = Server::start_with("http", &["--quota-backend-bytes", "8388608"].map(str::to_owned));
    let mut stores = Vec::new();
    for number in 0..16 {
        stores.push((number, server.open(&format!("full-{number}")).await));
    }
    let mut writers = JoinSet::new();
    for (number, etcd) in stores {
        writers.spawn(async move {
            let large = "x".repeat(64 << 10);
            let mut index = 0;
            while index < 1024 && etcd.apply(&batch(0, index, &[("a", large.as_str())])).await.is_ok() {
                index += 1;
            }
            (number, index, etcd.head().await.unwrap().index)
        });
    }
    while let Some(written) = writers.join_next().await {
        let (number, said, found) = written.unwrap();
        assert!(said < 1024, "it is never full");
        assert_eq!(said, found, "writer {number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_tried_in_turn() {
    let (server, unused) = (Server::start(), Server::start());
    unused.kill();
    let endpoints = vec![unused.url(), server.url()];
    let etcd = Etcd::open(Options { endpoints, ..server.options("faults") }).await.unwrap();
    for at in 0..5 {
        etcd.apply(&batch(0, at, &[("a", "1")])).await.unwrap();
    }
    let nobody = Options { endpoints: vec![unused.url()], ..server.options("faults") };
    let error = Etcd::open(nobody).await.err().unwrap().to_string();
    assert!(error.contains("etcd is not reachable") && error.contains("127.0.0.1"), "{error}");
}

/// One member stands still while the other answers: reads wait a share of their time for the first, and then no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_stands_still_is_left_alone() {
    let (server, still) = (Server::start(), Server::start());
    let endpoints = vec![still.url(), server.url()];
    let etcd = Etcd::open(Options { sync: false, endpoints: vec![server.url()], ..server.options("faults") });
    etcd.await.unwrap();
    still.pause();
    let options = Options {
        request_timeout: Duration::from_secs(4),
        sync: false,
        endpoints,
        ..server.options("faults")
    };
    let both = Etcd::open(options).await;
    let later = match &both {
        Ok(both) => both.apply(&batch(0, 0, &[("a", "1")])).await,
        Err(_) => Ok(()),
    };
    still.resume();
    both.unwrap();
    later.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_etcd_is_told() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n";
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let options = Options { endpoints: vec![format!("http://127.0.0.1:{port}")], ..Options::default() };
    let error = Etcd::open(options).await.err().unwrap().to_string();
    assert!(error.contains("enable-grpc-gateway"), "{error}");
    serving.abort();
}

/// Members are killed in turn while one writes, who was told of one of them. What was acknowledged is there, and the
/// head counts no write that is not.
#[tokio::test(flavor = "multi_thread")]
async fn no_write_is_lost_while_members_are_killed() {
    let members = Server::start_three();
    let mut options = members[0].options("members");
    options.request_timeout = Duration::from_secs(3);
    let mut opened = None;
    until("the cluster is ready", async || {
        opened = Etcd::open(options.clone()).await.ok();
        opened.is_some()
    })
    .await;
    let etcd = Arc::new(opened.unwrap());
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let writer = tokio::spawn({
        let (etcd, acknowledged) = (etcd.clone(), acknowledged.clone());
        async move {
            loop {
                let Ok(head) = etcd.head().await else { continue };
                let to = head.index + 1;
                let next = batch(0, head.index, &[(&format!("n/{to:06}"), "")]);
                // It may also be overtaken by a write of its own whose answer was lost.
                if etcd.apply(&next).await.is_ok() {
                    acknowledged.lock().unwrap().push(to);
                }
            }
        }
    });
    let goes_on = async |by: usize| {
        let before = acknowledged.lock().unwrap().len();
        until("it goes on", async || acknowledged.lock().unwrap().len() >= before + by).await;
    };
    for member in &members {
        goes_on(10).await;
        member.kill();
        goes_on(10).await;
        member.start_again();
    }
    goes_on(10).await;
    writer.abort();
    let _ = writer.await;
    let acknowledged = acknowledged.lock().unwrap().clone();
    let written: Vec<u64> = etcd
        .snapshot()
        .await
        .unwrap()
        .scan(&KeyRange::prefix(b"n/"), usize::MAX)
        .await
        .unwrap()
        .into_iter()
        .map(|(_, entry)| entry.modified)
        .collect();
    assert!(acknowledged.iter().all(|index| written.contains(index)));
    assert_eq!(written, (1..=written.last().copied().unwrap()).collect::<Vec<_>>());
}
