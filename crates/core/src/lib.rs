//! The core: what a secrets manager is between the HTTP edge and the engines.
//!
//! [`Core`] owns the barrier and the services around it (mounts, policies, tokens, leases, audit, wrapping), each a
//! module of its own; [`pipeline`] takes a request through them, a stage a file. State in memory follows from storage
//! and is rebuilt when a commit touches what it follows from, on whatever node.

mod auditing;
mod background;
mod catalog;
mod cluster;
mod derived;
mod disabled_mounts;
mod envelope;
mod intents;
mod jobs;
mod leases;
mod lockout;
mod mounts;
mod namespaces;
mod observing;
pub mod pipeline;
mod policies;
mod router;
mod seal_state;
mod server_reply;
mod snapshots;
mod tables;
mod tokens;
mod wrapping;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::Duration;

use strongroom_barrier::{Barrier, TableId, Txn};
use strongroom_cached::Kept;
use strongroom_engine_api::{
    Call, Captures, Class, Engine, Environment, LeaseInHand, Moment, Operation, Peer, RawTail, Redactions,
    Renewal, Request, RequestBody, ServerTxn,
};
use strongroom_events::Bus;
use strongroom_jobs::Jobs;
use strongroom_policy::{CompiledAcl, DenyMode};
use strongroom_seal::Seals;
use tokio::sync::{Notify, Semaphore};

pub use auditing::{AuditEntry, AuditedHeader, Auditing, NewDevice};
pub use catalog::Catalog;
pub use cluster::{
    Admission, Answered, AutopilotConfig, AutopilotServer, AutopilotState, Challenge, ClusterNode, Conduct,
    Coordination, Discovery, Introducer, LeaderAddress, Members, Whom,
};
pub use envelope::Envelope;
pub use leases::{IrrevocableLease, Lease, LeaseFacts, LeaseOwner, LeaseState, Renewing, Revoking};
pub use lockout::LockoutRule;
pub use mounts::{ListingVisibility, MountEntry, MountTuning, Mounted, NewMount};
pub use namespaces::Namespace;
pub use pipeline::{Answer, AnswerContent, Asked, Inbound, ParametersOf, PolicyPath, Refused};
pub use policies::PasswordPolicy;
pub use router::Router;
pub use seal_state::{
    InitError, InitRequest, Initialized, KeyPartsWanted, KeyStatus, RootKeySource, RotationConfig, SealError,
    SealState, SealStatus, UnsealError, UnsealedCluster,
};
pub use server_reply::{Ending, HeldLease, ServerPart, ServerReply, WrapGrant};
pub use snapshots::{AutoSnapshots, AutoStatus, Bucket, Credentials, Encryption, ObjectStore, Place};
pub use strongroom_jobs::{JobName, JobStatus};
pub use tokens::{
    Made, NewToken, OlderNames, Principal, RoleTokenType, Tidy, TokenEntry, TokenId, TokenKey, TokenRole,
    with_default,
};
pub use wrapping::{Wrapped, not_wrapping};

use auditing::OpenDevices;
use derived::Derived;
use intents::Acts;
use jobs::Wakes;
use leases::Revoker;
use lockout::Lockouts;
use policies::PolicyCache;

/// The server's own tables, for the registry of formats.
pub const fn tables() -> &'static [TableId] {
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
    /// When failed logins lock a user out, by the type of the auth method; `all` for those not named. `None`: nobody
    /// is locked out, whatever a mount's tuning says (`VAULT_DISABLE_USER_LOCKOUT`).
    pub lockout: Option<BTreeMap<String, LockoutRule>>,
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

/// Bytes of values derived from tables of mounts that are kept, by what they weigh.
const MAX_KEPT: usize = 64 << 20;

/// Requests in tasks of their own at once; more are answered 503. One whose client has gone still counts.
const MAX_TASKS: usize = 8192;

/// One server's core.
pub struct Core {
    barrier: Arc<Barrier>,
    environment: Environment,
    settings: Arc<Settings>,
    catalog: Arc<Catalog>,
    started: Moment,
    seal_state: SealState,
    router: Arc<Router>,
    policies: PolicyCache,
    root_acl: Arc<CompiledAcl>,
    auditing: Derived<Auditing>,
    audit_devices: OpenDevices,
    lockouts: Lockouts,
    /// What engines derive from their tables.
    kept: Arc<Kept>,
    events: Arc<Bus>,
    cluster: OnceLock<ClusterNode>,
    coordination: OnceLock<Coordination>,
    /// Room for requests that run in tasks of their own.
    tasks: Arc<Semaphore>,
    jobs: Arc<Jobs>,
    wakes: RwLock<Wakes>,
    revoker: Revoker,
    acts: Arc<Acts>,
    /// Told when another state has taken the place of everything: the keys are to be looked at anew.
    replaced: Arc<Notify>,
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
        let (settings, catalog) = (Arc::new(settings), Arc::new(catalog));
        let environment_of_jobs = (environment.clock.clone(), environment.entropy.clone());
        let core = Arc::new(Self {
            started: environment.clock.now(),
            seal_state: SealState::new(barrier.clone(), environment.clone(), seals),
            barrier,
            environment,
            router: Arc::new(Router::new(catalog.clone(), settings.clone())),
            settings,
            catalog,
            policies: PolicyCache::new(),
            root_acl: Arc::new(CompiledAcl::root()),
            auditing: Derived::new(),
            audit_devices: OpenDevices::default(),
            lockouts: Lockouts::default(),
            kept: Arc::new(Kept::new(MAX_KEPT)),
            events: Bus::new(),
            cluster: OnceLock::new(),
            coordination: OnceLock::new(),
            tasks: Arc::new(Semaphore::new(MAX_TASKS)),
            jobs: Arc::new(Jobs::new(environment_of_jobs.0, environment_of_jobs.1)),
            wakes: RwLock::default(),
            revoker: Revoker::default(),
            acts: Arc::default(),
            replaced: Arc::default(),
        });
        core.barrier.publish_to(core.events.clone());
        core.barrier.store().observe(Arc::new(observing::CoreObserver::new(&core)));
        core
    }

    /// The barrier.
    pub const fn barrier(&self) -> &Arc<Barrier> {
        &self.barrier
    }

    /// The bus of what commits on this node tell.
    pub const fn events(&self) -> &Arc<Bus> {
        &self.events
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
    pub const fn seal_state(&self) -> &SealState {
        &self.seal_state
    }

    /// The engines there are.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// When this core was made.
    pub const fn started(&self) -> Moment {
        self.started
    }

    /// A call that no client made: renewals and housekeeping.
    pub(crate) fn internal_call(
        self: &Arc<Self>,
        mounted: &Mounted,
        txn: &Txn,
        renewal: Option<Renewal>,
    ) -> Arc<Call> {
        self.call_of_no_client(mounted, txn, renewal, None)
    }

    /// A call for a lease that is renewed or revoked.
    pub(crate) fn lease_call(
        self: &Arc<Self>,
        mounted: &Mounted,
        txn: &Txn,
        lease: LeaseInHand,
    ) -> Arc<Call> {
        self.call_of_no_client(mounted, txn, None, Some(lease))
    }

    fn call_of_no_client(
        self: &Arc<Self>,
        mounted: &Mounted,
        txn: &Txn,
        renewal: Option<Renewal>,
        lease: Option<LeaseInHand>,
    ) -> Arc<Call> {
        let request = Request {
            id: Arc::from(""),
            operation: Operation::Update,
            path: Arc::from(""),
            input: Arc::default(),
            peer: Peer::default(),
            headers: std::collections::BTreeMap::new(),
            asker: None,
            wrap_ttl: None,
            body: RequestBody::default(),
            raw_tail: RawTail::default(),
            redactions: Redactions::default(),
            upgrade: None,
        };
        Arc::new(Call {
            request: Arc::new(request),
            params: Captures::default(),
            mount: mounted.mount.clone(),
            txn: txn.mount(mounted.mount.place()),
            server: server_txn(&mounted.engine, txn),
            kept: self.kept.clone(),
            environment: self.environment.clone(),
            extension: self.extension_for(&mounted.engine),
            renewal,
            lease,
            warnings: Mutex::default(),
        })
    }

    /// What an engine's handlers draw with `Extension`: its own, or for parts of the server the core itself.
    pub(crate) fn extension_for(
        self: &Arc<Self>,
        engine: &Engine,
    ) -> Option<Arc<dyn std::any::Any + Send + Sync>> {
        engine.extension_handle().or_else(|| {
            (engine.class() == Class::System).then(|| self.clone() as Arc<dyn std::any::Any + Send + Sync>)
        })
    }
}

/// The transaction as the server has it, for an engine that is part of the server.
pub(crate) fn server_txn(engine: &Engine, txn: &Txn) -> ServerTxn {
    if engine.class() == Class::System { ServerTxn::of(txn.clone()) } else { ServerTxn::default() }
}
