//! Opening a store in a database that several nodes share.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use strongroom_config::{Etcd, Postgresql, Storage};
use strongroom_etcd::Login;
use strongroom_leased_db::{Database, Options, SharedStore, Timing};
use strongroom_stdx::Entropy;
use strongroom_storage::Active;

use super::{Addresses, Opened, Sharing};
use crate::cluster::Together;

/// Says what is wrong with the options of a database without asking it.
pub(crate) fn check(storage: &Storage) -> Result<()> {
    match storage {
        Storage::Postgresql(configured) => Ok(postgresql(configured)?.check()?),
        Storage::Etcd(configured) => Ok(etcd(configured)?.check()?),
        Storage::Inmem | Storage::Raft(_) => Ok(()),
    }
}

pub(super) async fn open_postgresql(
    configured: &Postgresql,
    at: &Addresses,
    sharing: Sharing,
) -> Result<Opened> {
    let options = postgresql(configured)?;
    let database = strongroom_postgresql::Postgresql::open(&options, &Entropy::system()).await?;
    open(Arc::new(database), configured.ha_enabled, Timing::default(), at, sharing).await
}

pub(super) async fn open_etcd(configured: &Etcd, at: &Addresses, sharing: Sharing) -> Result<Opened> {
    let database = strongroom_etcd::Etcd::open(etcd(configured)?).await?;
    let mut timing = Timing::default();
    timing.span = configured.lock_timeout.unwrap_or(timing.span);
    open(Arc::new(database), configured.ha_enabled, timing, at, sharing).await
}

/// The options of the store. What the configuration leaves open is the store's choice.
fn postgresql(configured: &Postgresql) -> Result<strongroom_postgresql::Options> {
    let url = configured.connection_url.clone();
    let url = url.context("storage \"postgresql\" needs a \"connection_url\"")?;
    let mut options = strongroom_postgresql::Options::new(url);
    options.table.clone_from(&configured.table);
    options.ha_table.clone_from(&configured.ha_table);
    options.max_parallel = usize::try_from(configured.max_parallel)?;
    let idle = configured.max_idle_connections.unwrap_or(configured.max_parallel);
    options.max_idle_connections = usize::try_from(idle)?;
    options.max_connect_retries = Some(configured.max_connect_retries).filter(|retries| *retries != 0);
    options.skip_create_table = configured.skip_create_table;
    Ok(options)
}

fn etcd(configured: &Etcd) -> Result<strongroom_etcd::Options> {
    ensure!(
        configured.username.is_some() || configured.password.is_none(),
        "storage \"etcd\" has a \"password\" and no \"username\""
    );
    let login = configured
        .username
        .clone()
        .map(|username| Login { username, password: configured.password.clone().unwrap_or_default() });
    Ok(strongroom_etcd::Options {
        endpoints: configured.address.clone(),
        path: configured.path.clone(),
        sync: configured.sync,
        login,
        tls: strongroom_etcd::Tls {
            ca_file: configured.tls_ca_file.clone(),
            cert_file: configured.tls_cert_file.clone(),
            key_file: configured.tls_key_file.clone(),
        },
        request_timeout: configured.request_timeout,
        ..strongroom_etcd::Options::default()
    })
}

/// A node has no directory to keep a name in: it has one as long as it runs.
async fn open(
    database: Arc<dyn Database>,
    ha_enabled: bool,
    timing: Timing,
    at: &Addresses,
    sharing: Sharing,
) -> Result<Opened> {
    let entropy = Entropy::system();
    let me = Active {
        number: u64::from_be_bytes(entropy.bytes()?),
        node_id: entropy.uuid()?,
        api_address: at.api.clone(),
        cluster_address: at.cluster.clone(),
    };
    let takes_turns = ha_enabled || sharing == Sharing::Exclusive;
    let store = SharedStore::open(database, Options { me, ha_enabled: takes_turns, timing }).await?;
    Ok(Opened { store: store.clone(), node_id: None, together: Together::Shared { store, ha_enabled } })
}
