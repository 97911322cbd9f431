//! Opening the store that the configuration names.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use strongroom_config::{Config, Storage};
use strongroom_raft::RaftStore;
use strongroom_storage::{InMemory, Store};

/// A store, and the raft node's name where it is one.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) node_id: Option<String>,
}

pub(crate) async fn open(config: &Config) -> Result<Opened> {
    match &config.storage {
        None => bail!("a storage stanza is needed"),
        Some(Storage::Inmem) => Ok(Opened { store: Arc::new(InMemory::new()), node_id: None }),
        Some(Storage::Raft(raft)) => {
            if !raft.retry_join.is_empty() {
                bail!(
                    "retry_join: joining another node is not offered by this version; this server is a cluster of one"
                );
            }
            let path = raft.path.clone().context("storage \"raft\" needs a path")?;
            let mut options = strongroom_raft::Options::new(path);
            options.node_id.clone_from(&raft.node_id);
            options.api_address = config.api_addr.clone().unwrap_or_default();
            options.cluster_address = config.cluster_addr.clone().unwrap_or_default();
            let store = RaftStore::open(options).await?;
            Ok(Opened { node_id: Some(store.node_id().to_owned()), store })
        }
    }
}
