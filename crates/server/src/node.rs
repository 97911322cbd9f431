//! One node: its store, its core, and its listeners.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use strongroom_auditing::{DeclaredDevice, DeviceRules, NewDevice};
use strongroom_backup::ObjectStore;
use strongroom_barrier::Barrier;
use strongroom_config::{AuditDevice, Config, Listener, Pem, PolicyDeny, Storage, UserLockout};
use strongroom_core::Assembly;
use strongroom_engine_api::Environment;
use strongroom_lockout::LockoutRule;
use strongroom_mounts::Catalog;
use strongroom_outbound::WayOut;
use strongroom_pipeline::Settings;
use strongroom_policy::DenyMode;
use strongroom_raft::RaftStore;
use strongroom_stdx::Moment;
use strongroom_storage::Store;
use tokio::task::JoinHandle;

use crate::cluster::{self, ClusterPort, Together};
use crate::listen::Listeners;
use crate::store::{self, Addresses, Sharing};

/// The time limit of requests under way when the node stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of opened entries to keep, where the configuration leaves the cache alone.
const CACHE_BYTES: u64 = 64 << 20;

/// `cache_size` counts entries; what an entry weighs on average.
const ENTRY_BYTES: u64 = 512;

/// A node that serves.
pub(crate) struct Node {
    pub(crate) core: Arc<Assembly>,
    pub(crate) listeners: Listeners,
    pub(crate) store: Arc<dyn Store>,
    /// Its store, where that knows the members of a cluster.
    pub(crate) peers: Option<Arc<RaftStore>>,
    cluster: Option<ClusterPort>,
    background: JoinHandle<()>,
}

impl Node {
    /// Opens the store and serves.
    pub(crate) async fn start(
        config: &Config,
        environment: Environment,
        objects: Arc<dyn ObjectStore>,
        way_out: Arc<dyn WayOut>,
        catalog: Catalog,
    ) -> Result<Self> {
        let storage = config.storage.as_ref().context("a storage stanza is needed")?;
        let opened = store::open(storage, &Addresses::of(config), Sharing::AsConfigured).await?;
        let cache = if config.disable_cache {
            0
        } else {
            config.cache_size.map_or(CACHE_BYTES, |entries| entries.saturating_mul(ENTRY_BYTES))
        };
        let barrier = Barrier::new(opened.store.clone(), environment.entropy.clone(), cache);
        let core = Assembly::new(
            barrier,
            environment,
            Settings { way_out, ..settings(config, cache) },
            catalog,
            strongroom_catalog::seals(),
        );
        core.services.seal_state.check_storage().await.map_err(anyhow::Error::msg)?;
        let peers = match &opened.together {
            Together::Peers(peering) => Some(peering.store.clone()),
            Together::Alone | Together::Shared { .. } => None,
        };
        let cluster = match opened.together {
            Together::Alone => None,
            Together::Peers(peering) => Some(ClusterPort::start(&core, config, peering, objects).await?),
            Together::Shared { store, ha_enabled } => {
                ClusterPort::share(&core, config, store, ha_enabled).await?
            }
        };
        let listeners = Listeners::start(&core, config, opened.node_id.as_deref()).await?;
        cluster::retry_join(&core, config).await?;
        let background = tokio::spawn(core.background.clone().run_background());
        Ok(Self { core, listeners, store: opened.store, peers, cluster, background })
    }

    /// Finishes what is under way, seals, and closes the store.
    pub(crate) async fn stop(self) {
        self.listeners.drain(DRAIN_TIMEOUT).await;
        self.background.abort();
        self.core.services.seal_state.seal().await;
        drop(self.cluster);
        self.store.close().await;
    }
}

fn settings(config: &Config, cache_bytes: u64) -> Settings {
    let max_lease_ttl = config.effective_max_lease_ttl();
    Settings {
        default_lease_ttl: config.effective_default_lease_ttl(),
        max_lease_ttl,
        deny_mode: match config.policy_deny {
            PolicyDeny::DenyWins => DenyMode::DenyWins,
            PolicyDeny::MostSpecific => DenyMode::MostSpecific,
        },
        raw_storage_endpoint: config.raw_storage_endpoint,
        introspection_endpoint: config.introspection_endpoint,
        unauthenticated: config.enable_unauthenticated_access.iter().cloned().collect(),
        audit: DeviceRules {
            allow_prefix: config.allow_audit_log_prefixing,
            allow_creation: !config.no_api_audit_creation,
            guarded: guarded(config),
            declared: declared_devices(config),
        },
        cluster_name: config.cluster_name.clone().unwrap_or_default(),
        api_addr: config.api_addr.clone().unwrap_or_default(),
        cluster_addr: config.cluster_addr.clone().unwrap_or_default(),
        build_date: build_date(env!("STRONGROOM_BUILD_EPOCH")),
        sanitized: config.sanitized(),
        cache_bytes,
        lockout: (!config.user_lockout_disabled).then(|| {
            config.user_lockout.iter().map(|(kind, lockout)| (kind.clone(), rule(*lockout))).collect()
        }),
        ..Settings::default()
    }
}

/// The audit devices that the configuration declares.
pub(crate) fn declared_devices(config: &Config) -> Vec<DeclaredDevice> {
    let declared = config.audit.iter().map(|declared| {
        let AuditDevice { kind, path, description, options, local, place: _ } = declared.clone();
        DeclaredDevice { path, device: NewDevice { kind, description, options, local } }
    });
    declared.collect()
}

/// The server's own files and folders, which no audit device that is enabled over the API may write to.
fn guarded(config: &Config) -> Vec<PathBuf> {
    let mut guarded: Vec<PathBuf> =
        [&config.log_file, &config.pid_file].into_iter().flatten().cloned().collect();
    guarded.extend(config.paths.iter().cloned());
    if let Some(Storage::Raft(raft)) = &config.storage {
        guarded.extend(raft.path.clone());
    }
    guarded.extend(tls_files(config).into_iter().filter_map(folder_of));
    guarded.extend(std::env::current_exe().ok().as_deref().and_then(folder_of));
    guarded
}

/// The folder of a file, unless that is the root, below which everything is.
fn folder_of(file: &Path) -> Option<PathBuf> {
    let file = std::path::absolute(file).ok()?;
    file.parent().filter(|folder| folder.parent().is_some()).map(Path::to_owned)
}

/// All files of certificates and keys that the configuration names.
fn tls_files(config: &Config) -> Vec<&Path> {
    let mut files: Vec<Option<&PathBuf>> = Vec::new();
    for listener in &config.listeners {
        if let Listener::Tcp(tcp) = listener
            && let Some(tls) = &tcp.tls
        {
            files.extend([Some(&tls.cert_file), Some(&tls.key_file), tls.client_ca_file.as_ref()]);
        }
    }
    match &config.storage {
        Some(Storage::Raft(raft)) => {
            let pems = raft.retry_join.iter().flat_map(|join| {
                let tls = &join.tls;
                [&tls.ca_cert, &tls.client_cert, &tls.client_key]
            });
            files.extend(pems.map(|pem| match pem {
                Some(Pem::File(file)) => Some(file),
                _ => None,
            }));
        }
        Some(Storage::Etcd(etcd)) => {
            files.extend([&etcd.tls_ca_file, &etcd.tls_cert_file, &etcd.tls_key_file].map(Option::as_ref));
        }
        Some(Storage::Postgresql(_) | Storage::Inmem) | None => {}
    }
    files.into_iter().flatten().map(PathBuf::as_path).collect()
}

/// The build date that `build.rs` found: seconds since 1970, or nothing where it could not tell.
fn build_date(epoch: &str) -> String {
    epoch.parse().map(|secs| Moment::from_secs(secs).rfc3339_secs()).unwrap_or_default()
}

fn rule(lockout: UserLockout) -> LockoutRule {
    let UserLockout { threshold, duration, counter_reset, disabled } = lockout;
    LockoutRule { threshold, duration, counter_reset, disabled }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn files_of_the_server_are_guarded() {
        let text = r#"
            log_file = "/var/log/strongroom.log"
            listener "tcp" {
              tls_cert_file = "/etc/tls/server/cert.pem"
              tls_key_file  = "keys/key.pem"
            }
            storage "raft" {
              path = "/var/lib/strongroom"
              retry_join {
                leader_api_addr       = "https://10.0.0.2:8200"
                leader_client_cert_file = "/etc/tls/node/cert.pem"
                leader_client_key_file  = "/etc/tls/node/key.pem"
              }
            }"#;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("server.hcl");
        std::fs::write(&file, text).unwrap();
        let loaded = strongroom_config::load_with(&[&file], &|text| Ok(text.to_owned())).unwrap();
        let guarded = guarded(&loaded.config);
        let here = std::env::current_dir().unwrap();
        for path in [
            Path::new("/var/log/strongroom.log"),
            Path::new("/etc/tls/server"),
            Path::new("/etc/tls/node"),
            Path::new("/var/lib/strongroom"),
            &here.join("keys"),
            &file,
        ] {
            assert!(guarded.iter().any(|guarded| guarded == path), "{}: {guarded:?}", path.display());
        }
        assert_eq!(folder_of(Path::new("/key.pem")), None, "everything is below the root");
    }

    #[test]
    fn the_build_date_is_a_date() {
        assert_eq!(build_date("1700000000"), "2023-11-14T22:13:20Z");
        assert_eq!(build_date(""), "");
    }

    #[test]
    fn the_build_date_is_that_of_the_commit() {
        // Whoever builds with a date of their own, or without a repository, has nothing to compare with.
        let log = Command::new("git").args(["log", "-1", "--format=%ct"]).output();
        let Some(log) =
            log.ok().filter(|log| log.status.success() && option_env!("SOURCE_DATE_EPOCH").is_none())
        else {
            return;
        };
        let commit = String::from_utf8(log.stdout).unwrap();
        assert_eq!(env!("STRONGROOM_BUILD_EPOCH"), commit.trim());
    }
}
