//! The store on a real PostgreSQL server, which is started once for all tests and ends with them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that fails does so loudly"
)]

mod conforms;
mod faults;
mod server;
mod tables;
mod tls;

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use strongroom_leased_db::{Batch, Claim, Database, Fence};
use strongroom_storage::{Active, Versioned};

/// The validity of a lock that a test does not wait for.
const LONG: Duration = Duration::from_hours(1);

fn holder(number: u64) -> Active {
    Active { number, node_id: format!("n{number}"), ..Active::default() }
}

async fn claim(database: &dyn Database, number: u64) -> Fence {
    match database.claim(&holder(number), LONG, true).await.unwrap() {
        Claim::Granted(fence) => fence,
        Claim::Held(holder) => panic!("{holder:?}"),
    }
}

/// A change of the head as it is, by one index.
async fn change(database: &dyn Database, key: &'static str, value: &'static str) -> Batch {
    let head = database.head().await.unwrap();
    let to = head.index + 1;
    let entry = Versioned { modified: to, value: Bytes::from_static(value.as_bytes()) };
    let puts = vec![(Bytes::from_static(key.as_bytes()), entry)];
    Batch { fence: head.fence, from: head.index, to, puts, deletes: Vec::new() }
}

async fn get(database: &dyn Database, key: &str) -> Option<Bytes> {
    let snapshot = database.snapshot().await.unwrap();
    snapshot.get(key.as_bytes()).await.unwrap().map(|found| found.value)
}

/// Asks until the answer is yes.
async fn until<F: Future<Output = bool>>(what: &str, ask: impl Fn() -> F) {
    for _ in 0..600 {
        if ask().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("never: {what}");
}
