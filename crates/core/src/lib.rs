//! The core: what a secrets manager is between the HTTP edge and the engines.
//!
//! [`Core`] owns the barrier and the services around it (mounts, policies, tokens, leases, audit, wrapping), each a
//! module of its own; [`pipeline`] takes a request through them, a stage a file. State in memory follows from storage
//! and is rebuilt when a commit touches what it follows from, on whatever node.

mod background;
mod envelope;
mod init;
mod jobs;
mod observing;
pub mod pipeline;
mod server_reply;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use strongroom_barrier::{Barrier, TableId};
use strongroom_engine_api::{Class, Engine, Environment, Extensions, Lifetimes, Moment};
use strongroom_jobs::Jobs;
use strongroom_policy::DenyMode;
use strongroom_seal::Seals;
use strongroom_seal_state::SealListener;
use strongroom_storage::Leadership;
use tokio::sync::{Notify, Semaphore};

pub use envelope::Envelope;
pub use init::Initialization;
pub use pipeline::{Answer, AnswerContent, Asked, Inbound, PolicyPath, Refused};
pub use server_reply::{Ending, ServerPart, ServerReply};
pub use strongroom_auditing::{AuditDevices, AuditEntry, AuditedHeader, Auditing, NewDevice};
pub use strongroom_backup::{
    AutoSnapshots, AutoStatus, Backup, Bucket, Credentials, Encryption, ObjectStore, Place,
};
pub use strongroom_expiry::{HeldLease, Lease, LeaseOwner, LeaseState, Revoking};
pub use strongroom_jobs::{JobName, JobStatus};
pub use strongroom_leases::{IrrevocableLease, LeaseFacts, Leases};
pub use strongroom_lockout::{LockoutRule, LockoutRules, Lockouts};
pub use strongroom_mounts::{
    Catalog, ListingVisibility, MountEntry, MountTuning, Mounted, Mounts, Namespace, NewMount, Router,
};
pub use strongroom_node::{
    Admission, Answered, AutopilotConfig, AutopilotServer, AutopilotState, Challenge, ClusterNode, Conduct,
    Coordination, Discovery, Introducer, LeaderAddress, Members, Node, Whom,
};
pub use strongroom_policies::{PasswordPolicy, Policies, write_builtin};
pub use strongroom_revocation::Revocation;
pub use strongroom_seal_state::{
    InitError, InitRequest, Initialized, KeyPartsWanted, KeyStatus, RootKeySource, RotationConfig, SealError,
    SealState, SealStatus, UnsealError, UnsealedCluster,
};
pub use strongroom_tokens::{
    Made, NewToken, OlderNames, Principal, RoleTokenType, Tidy, TokenEntry, TokenId, TokenKey, TokenRole,
    TokenStore, Wrapped, with_default,
};
pub use strongroom_wrapping::{WrapGrant, Wrapping, not_wrapping};

use jobs::Wakes;
use pipeline::NewestIndex;

/// The server's own tables, those of each owner, for the registry of formats.
pub const fn tables() -> &'static [&'static [TableId]] {
    tables::TABLES
}

/// What the server's configuration decides for the core.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long leases and tokens live where nothing else says.
    pub default_lease_ttl: Duration,
    /// The most they live.
    pub max_lease_ttl: Duration,
    /// Whether a deny always wins.
    pub deny_mode: DenyMode,
    /// Whether `sys/raw` answers.
    pub raw_storage_endpoint: bool,
    /// Whether `sys/internal/inspect` answers.
    pub introspection_endpoint: bool,
    /// Whether audit devices may have a prefix.
    pub allow_audit_log_prefixing: bool,
    /// The cluster's name; made at initialisation where empty.
    pub cluster_name: String,
    /// Where clients reach this node.
    pub api_addr: String,
    /// Where other nodes reach this node.
    pub cluster_addr: String,
    /// The API version that clients gate on (`2.0.0+strongroom.0.1.0`).
    pub version: String,
    /// When the program was built (RFC 3339); empty where the build could not tell.
    pub build_date: String,
    /// The configuration without its secrets, for `sys/config/state/sanitized`.
    pub sanitized: serde_json::Value,
    /// Bytes of opened entries to keep in memory.
    pub cache_bytes: u64,
    /// When failed logins lock a user out.
    pub lockout: LockoutRules,
}

/// 32 days: Vault's `default_lease_ttl` and `max_lease_ttl`.
pub const DEFAULT_LEASE_TTL: Duration = Duration::from_secs(2_764_800);

impl Default for Settings {
    fn default() -> Self {
        Self {
            default_lease_ttl: DEFAULT_LEASE_TTL,
            max_lease_ttl: DEFAULT_LEASE_TTL,
            deny_mode: DenyMode::default(),
            raw_storage_endpoint: false,
            introspection_endpoint: false,
            allow_audit_log_prefixing: false,
            cluster_name: String::new(),
            api_addr: String::new(),
            cluster_addr: String::new(),
            version: format!("2.0.0+strongroom.{}", env!("CARGO_PKG_VERSION")),
            build_date: String::new(),
            sanitized: serde_json::Value::Null,
            cache_bytes: 64 << 20,
            lockout: Some(BTreeMap::new()),
        }
    }
}

/// When a server was started.
#[derive(Clone, Copy, Debug)]
pub struct Started(pub Moment);

/// Requests in tasks of their own at once; more are answered 503. One whose client has gone still counts.
const MAX_TASKS: usize = 8192;

/// One server's core.
pub struct Core {
    barrier: Arc<Barrier>,
    environment: Environment,
    settings: Arc<Settings>,
    started: Arc<Started>,
    initialization: Arc<Initialization>,
    seal_state: Arc<SealState>,
    mounts: Arc<Mounts>,
    policies: Arc<Policies>,
    audit_devices: Arc<AuditDevices>,
    lockouts: Arc<Lockouts>,
    node: Arc<Node>,
    backup: Arc<Backup>,
    /// Whom the state of the seal tells that the keys are gone.
    _in_memory: Arc<dyn SealListener>,
    newest_index: NewestIndex,
    /// What parts of the server can draw.
    services: Extensions,
    /// Room for requests that run in tasks of their own.
    tasks: Arc<Semaphore>,
    jobs: Arc<Jobs>,
    wakes: RwLock<Wakes>,
    tokens: Arc<TokenStore>,
    leases: Arc<Leases>,
    revocation: Arc<Revocation>,
    wrapping: Arc<Wrapping>,
    /// Told when another state has taken the place of everything: the keys are to be looked at anew.
    replaced: Arc<Notify>,
}

/// What services keep in memory and drop when the keys go.
struct InMemory {
    mounts: Arc<Mounts>,
    policies: Arc<Policies>,
    audit_devices: Arc<AuditDevices>,
    lockouts: Arc<Lockouts>,
}

impl SealListener for InMemory {
    fn sealed(&self) {
        self.mounts.clear();
        self.policies.clear();
        self.audit_devices.clear();
        self.lockouts.clear();
    }
}

impl Core {
    /// A sealed core over `barrier`, with the engines of `catalog`, sealed by `seals`.
    pub fn new(
        barrier: Arc<Barrier>,
        environment: Environment,
        settings: Settings,
        catalog: Catalog,
        seals: Seals,
    ) -> Arc<Self> {
        Self::wired(barrier, environment, settings, catalog, seals)
    }

    #[allow(clippy::too_many_lines, reason = "one service after the other, each from those above it")]
    fn wired(
        barrier: Arc<Barrier>,
        environment: Environment,
        settings: Settings,
        catalog: Catalog,
        seals: Seals,
    ) -> Arc<Self> {
        let (settings, catalog) = (Arc::new(settings), Arc::new(catalog));
        let environment_of_jobs = (environment.clock.clone(), environment.entropy.clone());
        let seal_state = Arc::new(SealState::new(barrier.clone(), environment.clone(), seals));
        let mounts = Arc::new(Mounts::new(
            barrier.clone(),
            environment.entropy.clone(),
            seal_state.clone(),
            catalog,
            Lifetimes { default: settings.default_lease_ttl, max: settings.max_lease_ttl },
        ));
        let policies =
            Arc::new(Policies::new(barrier.clone(), environment.clone(), mounts.clone(), settings.deny_mode));
        let audit_devices = Arc::new(AuditDevices::new(
            barrier.clone(),
            environment.clone(),
            settings.allow_audit_log_prefixing,
        ));
        let lockouts =
            Arc::new(Lockouts::new(settings.lockout.clone(), environment.clock.clone(), mounts.clone()));
        let leadership = Leadership::default();
        let node = Arc::new(Node::new(
            barrier.clone(),
            environment.clone(),
            seal_state.clone(),
            settings.version.clone(),
            leadership.clone(),
        ));
        let backup =
            Arc::new(Backup::new(barrier.clone(), environment.clone(), seal_state.clone(), node.clone()));
        let tokens = Arc::new(TokenStore::new(
            barrier.clone(),
            environment.clone(),
            seal_state.clone(),
            mounts.clone(),
            leadership.clone(),
        ));
        let leases = Arc::new(Leases::new(
            barrier.clone(),
            environment.clone(),
            mounts.clone(),
            tokens.clone(),
            leadership.clone(),
        ));
        let revocation = Arc::new(Revocation::new(
            barrier.clone(),
            environment.clone(),
            mounts.clone(),
            tokens.clone(),
            leadership.clone(),
        ));
        let wrapping = Arc::new(Wrapping::new(tokens.clone(), settings.max_lease_ttl));
        seal_state.subscribe(&(node.clone() as Arc<dyn SealListener>));
        let in_memory: Arc<dyn SealListener> = Arc::new(InMemory {
            mounts: mounts.clone(),
            policies: policies.clone(),
            audit_devices: audit_devices.clone(),
            lockouts: lockouts.clone(),
        });
        seal_state.subscribe(&in_memory);
        let started = Arc::new(Started(environment.clock.now()));
        let jobs = Arc::new(Jobs::new(environment_of_jobs.0, environment_of_jobs.1));
        let initialization = Arc::new(Initialization::new(
            barrier.clone(),
            seal_state.clone(),
            tokens.clone(),
            settings.cluster_name.clone(),
            mounts.lifetimes(),
        ));
        let services = Extensions::default()
            .with(barrier.clone())
            .with(started.clone())
            .with(jobs.clone())
            .with(initialization.clone())
            .with(settings.clone())
            .with(seal_state.clone())
            .with(mounts.clone())
            .with(policies.clone())
            .with(audit_devices.clone())
            .with(lockouts.clone())
            .with(node.clone())
            .with(backup.clone())
            .with(tokens.clone())
            .with(leases.clone())
            .with(revocation.clone())
            .with(wrapping.clone());
        let core = Arc::new(Self {
            started,
            initialization,
            seal_state,
            services,
            barrier,
            environment,
            mounts,
            settings,
            policies,
            audit_devices,
            lockouts,
            node,
            backup,
            _in_memory: in_memory,
            newest_index: NewestIndex::default(),
            tasks: Arc::new(Semaphore::new(MAX_TASKS)),
            jobs,
            wakes: RwLock::default(),
            tokens,
            leases,
            revocation,
            wrapping,
            replaced: Arc::default(),
        });
        core.barrier.store().observe(Arc::new(observing::CoreObserver::new(&core)));
        core
    }

    /// The barrier.
    pub const fn barrier(&self) -> &Arc<Barrier> {
        &self.barrier
    }

    /// Time and randomness.
    pub const fn environment(&self) -> &Environment {
        &self.environment
    }

    /// What the configuration decided.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The seal: its state, its keys.
    pub const fn seal_state(&self) -> &Arc<SealState> {
        &self.seal_state
    }

    /// The mounts and namespaces.
    pub const fn mounts(&self) -> &Arc<Mounts> {
        &self.mounts
    }

    /// The policies.
    pub const fn policies(&self) -> &Arc<Policies> {
        &self.policies
    }

    /// The audit devices.
    pub const fn audit_devices(&self) -> &Arc<AuditDevices> {
        &self.audit_devices
    }

    /// Who is locked out.
    pub const fn lockouts(&self) -> &Arc<Lockouts> {
        &self.lockouts
    }

    /// This node in its cluster.
    pub const fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Snapshots of the whole state.
    pub const fn backup(&self) -> &Arc<Backup> {
        &self.backup
    }

    /// The tokens.
    pub const fn tokens(&self) -> &Arc<TokenStore> {
        &self.tokens
    }

    /// The leases.
    pub const fn leases(&self) -> &Arc<Leases> {
        &self.leases
    }

    /// What ends tokens and leases.
    pub const fn revocation(&self) -> &Arc<Revocation> {
        &self.revocation
    }

    /// What wraps answers.
    pub const fn wrapping(&self) -> &Arc<Wrapping> {
        &self.wrapping
    }

    /// When this core was made.
    pub fn started(&self) -> Moment {
        self.started.0
    }

    /// What makes a new cluster.
    pub const fn initialization(&self) -> &Arc<Initialization> {
        &self.initialization
    }

    /// What an engine's handlers draw with `Extension`: its own, or for parts of the server the services.
    pub(crate) fn extensions_for(&self, engine: &Engine) -> Extensions {
        if engine.class() == Class::System {
            self.services.clone()
        } else {
            engine.extensions().clone()
        }
    }
}
