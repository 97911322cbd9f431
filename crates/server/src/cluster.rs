//! The cluster port, and the way to the API of a node that is to be joined.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use serde_json::Value;
use strongroom_backup::ObjectStore;
use strongroom_client::{Client, Config as ClientConfig, Request};
use strongroom_cluster::{Identity, Network, Port, Registrar};
use strongroom_config::{Address, Config, Join, JoinTls, Listener, Pem, Raft, RetryJoin, Storage};
use strongroom_core::Assembly;
use strongroom_http::{Edge, EdgeSettings};
use strongroom_leased_db::SharedStore;
use strongroom_node::{ClusterNode, Coordination, Discovery, JoinClient, JoinTarget, LeaderAddress, Members};
use strongroom_raft::RaftStore;
use strongroom_stdx::Secret;
use strongroom_storage::Coordinator as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::discovery::{self, Lookup};

/// A raft store and the way to its peers.
pub(crate) struct Peering {
    pub(crate) store: Arc<RaftStore>,
    pub(crate) network: Arc<Network>,
    /// The data directory.
    pub(crate) path: std::path::PathBuf,
}

/// The way in which nodes take over from one another.
pub(crate) enum Together {
    /// This node is on its own, whatever happens.
    Alone,
    /// Raft.
    Peers(Peering),
    /// A lock in the database that they share; without a cluster port where there is to be one node only.
    Shared { store: Arc<SharedStore>, ha_enabled: bool },
}

/// The listeners of the cluster port; dropping it closes them.
pub(crate) struct ClusterPort {
    _tasks: JoinSet<()>,
}

impl ClusterPort {
    /// Makes the core one of a cluster, and listens for its peers.
    pub(crate) async fn start(
        core: &Arc<Assembly>,
        config: &Config,
        peering: Peering,
        objects: Arc<dyn ObjectStore>,
    ) -> Result<Self> {
        let Peering { store, network, path } = peering;
        let identity = Identity::of(&path, core.services.environment.clock.clone());
        if let Some(credentials) = identity.credentials(&store.cluster_id(), store.raft_id())? {
            network.set_credentials(credentials);
        }
        // Until it is unsealed it could not serve, and leaves leading to others.
        store.set_eligible(false);
        let mut node = ClusterNode::new(
            store.clone(),
            network.clone(),
            identity,
            Arc::new(OverHttp),
            config.api_addr.clone().unwrap_or_default(),
            config.cluster_addr.clone().unwrap_or_default(),
        );
        node.standby_policy.answers_reads = !config.disable_performance_standby;
        if let Some(Storage::Raft(raft)) = &config.storage {
            node.standby_policy.stale_reads_for = raft.quorum_loss_read_only;
            node.standby_policy.seal_after =
                Some(raft.quorum_loss_seal_after).filter(|limit| !limit.is_zero());
        }
        core.services.backup.keep_objects_by(objects);
        core.services.node.set_cluster(node);
        Self::listen(core, config, Some(store), network).await
    }

    /// Makes the core one of several that share a database, and listens for the others where there may be any.
    pub(crate) async fn share(
        core: &Arc<Assembly>,
        config: &Config,
        store: Arc<SharedStore>,
        ha_enabled: bool,
    ) -> Result<Option<Self>> {
        // Until it is unsealed it could not serve, and leaves leading to others.
        store.set_eligible(false);
        let network = ha_enabled.then(Arc::<Network>::default);
        core.services.node.set_coordination(Coordination::new(store, network.clone()));
        match network {
            Some(network) => Self::listen(core, config, None, network).await.map(Some),
            None => Ok(None),
        }
    }

    async fn listen(
        core: &Arc<Assembly>,
        config: &Config,
        store: Option<Arc<RaftStore>>,
        network: Arc<Network>,
    ) -> Result<Self> {
        let edge = Edge::new(core.clone(), EdgeSettings::default(), Arc::default());
        let version = core.services.settings.version.parse().context("the version is no header field")?;
        let registrar: Option<Arc<dyn Registrar>> = match &store {
            Some(_) => Some(Arc::new(Members::new(&core.services.node))),
            None => None,
        };
        let port = Arc::new(Port { store, network, forwarded: Arc::new(edge), registrar, version });
        let mut tasks = JoinSet::new();
        for listener in &config.listeners {
            let Listener::Tcp(tcp) = listener else { continue };
            let bound = bind(&tcp.cluster_address).await?;
            tracing::info!(address = %bound.local_addr()?, "listening for other nodes");
            tasks.spawn(port.clone().serve(bound));
        }
        Ok(Self { _tasks: tasks })
    }
}

async fn bind(address: &Address) -> Result<TcpListener> {
    let host = if address.host.is_empty() { "::" } else { &address.host };
    let bound = match TcpListener::bind((host, address.port)).await {
        Err(_no_ipv6) if address.host.is_empty() => TcpListener::bind(("0.0.0.0", address.port)).await,
        bound => bound,
    };
    bound.with_context(|| format!("Error initializing the cluster port: listen {address}"))
}

/// Begins to join what the configuration names, on a node that belongs to no cluster.
pub(crate) async fn retry_join(core: &Arc<Assembly>, config: &Config) -> Result<()> {
    let Some(Storage::Raft(raft)) = &config.storage else { return Ok(()) };
    let Raft { retry_join, retry_join_as_non_voter, .. } = &**raft;
    let wanted = retry_join.iter().map(join_target).collect::<Result<Vec<_>>>()?;
    if !wanted.is_empty()
        && let Err(error) = core.services.node.join_with_patience(wanted, *retry_join_as_non_voter).await
    {
        tracing::debug!(%error, "nothing to join");
    }
    Ok(())
}

/// The node that a block names, or the way to find it. Reads the files that it names.
pub(crate) fn join_target(entry: &RetryJoin) -> Result<JoinTarget> {
    let target = match &entry.join {
        Join::Address(address) => leader(address, &entry.tls).map(JoinTarget::Known),
        Join::Discover(auto_join) => leader("", &entry.tls)
            .map(|leader| JoinTarget::Found(Arc::new(Lookup(auto_join.clone())), leader)),
    };
    target.context("retry_join")
}

fn leader(address: &str, tls: &JoinTls) -> Result<LeaderAddress> {
    let text = |key: &str, pem: &Option<Pem>| match pem {
        None => Ok(String::new()),
        Some(Pem::Inline(text)) => Ok(text.expose().clone()),
        Some(Pem::File(path)) => {
            std::fs::read_to_string(path).with_context(|| format!("{key} {}", path.display()))
        }
    };
    let leader = LeaderAddress {
        api_addr: address.to_owned(),
        ca_cert: text("leader_ca_cert_file", &tls.ca_cert)?,
        server_name: tls.server_name.clone().unwrap_or_default(),
        client_cert: text("leader_client_cert_file", &tls.client_cert)?,
        client_key: Secret::new(text("leader_client_key_file", &tls.client_key)?),
    };
    // Certificates that cannot be used will not be better at the next attempt.
    let reached = if address.is_empty() { "https://localhost" } else { address };
    client(&leader, reached).map_err(|reason| anyhow::anyhow!("{reached}: {reason}"))?;
    Ok(leader)
}

/// A client of the API of a node.
fn client(leader: &LeaderAddress, address: &str) -> Result<Client, String> {
    let mut config = ClientConfig { address: address.to_owned(), ..ClientConfig::default() };
    let given = |text: &str| (!text.is_empty()).then(|| text.as_bytes().to_vec());
    config.tls.ca_bytes = given(&leader.ca_cert);
    config.tls.server_name = Some(leader.server_name.clone()).filter(|name| !name.is_empty());
    config.tls.client_pem = given(&leader.client_cert).map(|chain| (chain, leader.client_key.clone()));
    Client::new(config).map_err(|error| error.to_string())
}

/// Speaks HTTP to the API of a node.
struct OverHttp;

#[async_trait]
impl JoinClient for OverHttp {
    async fn write(&self, leader: &LeaderAddress, path: &str, body: Value) -> Result<Value, String> {
        let client = client(leader, &leader.api_addr)?;
        let request = Request::post(path).json(&body).map_err(|error| error.to_string())?;
        let response = client.send(request).await.map_err(|error| error.to_string())?;
        let reply = response.reply().await.map_err(|error| error.to_string())?;
        let data = reply.and_then(|reply| reply.data).ok_or("the answer is empty")?;
        Ok(serde_json::json!(data))
    }

    fn discovery(
        &self,
        expression: &Secret<String>,
        scheme: Option<&str>,
        port: Option<u16>,
    ) -> Result<Arc<dyn Discovery>, String> {
        discovery::discovery(expression, scheme, port)
    }
}
