//! The database over real etcd servers, which `scripts/install-test-deps` installs.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests, and what they are made of, fail loudly"
)]

mod conformance;
mod faults;
mod lock;
mod secured;
mod semantics;
mod server;

use bytes::Bytes;
use strongroom_leased_db::{Batch, Claim, Database, Fence};
use strongroom_storage::{Active, Index, Versioned};

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn entry(key: &str, modified: Index, value: &str) -> (Bytes, Versioned) {
    (bytes(key), Versioned { modified, value: bytes(value) })
}

/// A batch that goes from `from` to the index after it.
fn batch(fence: Fence, from: Index, puts: &[(&str, &str)]) -> Batch {
    let puts = puts.iter().map(|(key, value)| entry(key, from + 1, value)).collect();
    Batch { fence, from, to: from + 1, puts, deletes: Vec::new() }
}

fn node(number: u64) -> Active {
    Active { number, node_id: format!("node-{number}"), ..Active::default() }
}

async fn granted(database: &impl Database, me: &Active, seconds: u64, by_force: bool) -> Fence {
    let claim = database.claim(me, std::time::Duration::from_secs(seconds), by_force).await.unwrap();
    match claim {
        Claim::Granted(fence) => fence,
        Claim::Held(by) => panic!("held by {by:?}"),
    }
}
