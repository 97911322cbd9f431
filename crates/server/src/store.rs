//! Opening the store that the configuration names.

mod shared;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use strongroom_cluster::Network;
use strongroom_config::{Config, Raft, Storage};
use strongroom_raft::{Options, RaftStore};
use strongroom_storage::{InMemory, Store};

use crate::cluster::{Peering, Together};
pub(crate) use shared::check;

/// Between two heartbeats, for each step of `performance_multiplier`.
const HEARTBEAT: Duration = Duration::from_millis(20);

/// A store, and the raft node's name where it is one.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) node_id: Option<String>,
    pub(crate) together: Together,
}

/// The addresses under which others find this node.
#[derive(Clone, Default)]
pub(crate) struct Addresses {
    pub(crate) api: String,
    pub(crate) cluster: String,
}

impl Addresses {
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            api: config.api_addr.clone().unwrap_or_default(),
            cluster: config.cluster_addr.clone().unwrap_or_default(),
        }
    }
}

/// The way in which others may use a database that several nodes share.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// As the configuration has it.
    AsConfigured,
    /// No other process: a lock that is not free is waited for, and never taken by force.
    Exclusive,
}

pub(crate) async fn open(storage: &Storage, at: &Addresses, sharing: Sharing) -> Result<Opened> {
    match storage {
        Storage::Inmem => {
            Ok(Opened { store: Arc::new(InMemory::new()), node_id: None, together: Together::Alone })
        }
        Storage::Postgresql(postgresql) => shared::open_postgresql(postgresql, at, sharing).await,
        Storage::Etcd(etcd) => shared::open_etcd(etcd, at, sharing).await,
        Storage::Raft(raft) => {
            let network = Arc::new(Network::default());
            let mut options = options(raft, at)?;
            options.bootstrap = false;
            options.transport = network.clone();
            let path = options.path.clone();
            let store = RaftStore::open(options).await.context("storage \"raft\"")?;
            let together = Together::Peers(Peering { store: store.clone(), network, path });
            Ok(Opened { node_id: Some(store.node_id().to_owned()), store, together })
        }
    }
}

/// The options of the store. What the configuration leaves open is the store's choice.
pub(crate) fn options(raft: &Raft, at: &Addresses) -> Result<Options> {
    let path = raft.path.clone().context("storage \"raft\" needs a path")?;
    let mut options = Options::new(path);
    options.node_id.clone_from(&raft.node_id);
    options.api_address.clone_from(&at.api);
    options.cluster_address.clone_from(&at.cluster);
    options.heartbeat = HEARTBEAT.saturating_mul(u32::from(raft.performance_multiplier));
    options.trailing_logs = raft.trailing_logs.unwrap_or(options.trailing_logs);
    options.snapshot_threshold = raft.snapshot_threshold.unwrap_or(options.snapshot_threshold);
    if let Some(bytes) = raft.max_entry_size {
        options.set_max_commit_size(usize::try_from(bytes).context("max_entry_size")?);
    }
    options.check()?;
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(lines: &str) -> Options {
        let text = format!("storage \"raft\" {{\npath = \"/data\"\n{lines}\n}}");
        let source = strongroom_config::Source { file: "server.hcl".into(), text };
        let config = strongroom_config::parse(&[source]).unwrap().config;
        let Some(Storage::Raft(raft)) = &config.storage else { panic!("{config:?}") };
        options(raft, &Addresses::of(&config)).unwrap()
    }

    #[test]
    fn what_is_tuned_reaches_the_store() {
        let chosen = configured(
            "performance_multiplier = 1\ntrailing_logs = 7\nsnapshot_threshold = 9\nmax_entry_size = 8388608",
        );
        assert_eq!(chosen.heartbeat, Duration::from_millis(20));
        assert_eq!((chosen.trailing_logs, chosen.snapshot_threshold), (7, 9));
        assert_eq!((chosen.max_commit_size, chosen.segment_size), (8 << 20, 16 << 20));
        let small = configured("max_entry_size = 65536");
        assert_eq!((small.max_commit_size, small.max_batch_size), (65_536, 65_536));
    }

    #[test]
    fn what_is_not_is_the_stores_choice() {
        let (default, configured) = (Options::new("/data"), configured(""));
        assert_eq!(configured.heartbeat, default.heartbeat);
        assert_eq!(configured.trailing_logs, default.trailing_logs);
        assert_eq!(configured.snapshot_threshold, default.snapshot_threshold);
        assert_eq!(configured.max_commit_size, default.max_commit_size);
    }

    #[test]
    fn the_limits_of_an_entry_can_all_be_opened_with() {
        for size in [65_536, 536_870_912] {
            assert_eq!(configured(&format!("max_entry_size = {size}")).max_commit_size, size);
        }
    }
}
