//! The core: what a secrets manager is between the HTTP edge and the engines.
//!
//! [`Services`] are made here, each a crate of its own; [`pipeline`] takes a request through them, a stage a file; what no
//! request asks for is done in the [`Background`]. State in memory follows from storage and is rebuilt when a commit touches
//! what it follows from, on whatever node.

mod background;
mod envelope;
mod init;
mod jobs;
mod observing;
pub mod pipeline;
mod server_reply;
mod services;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use strongroom_barrier::{Barrier, TableId};
use strongroom_engine_api::{Class, Engine, Environment, Extensions, Moment};
use strongroom_policy::DenyMode;
use strongroom_seal::Seals;

pub use background::Background;
pub use envelope::Envelope;
pub use init::Initialization;
pub use pipeline::Pipeline;
pub use pipeline::{Answer, AnswerContent, Asked, Inbound, PolicyPath, Refused};
pub use server_reply::{Ending, ServerPart, ServerReply};
pub use services::Services;
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

/// A server: its services, the way of requests through them, and the work that no request asks for.
pub struct Assembly {
    /// The services.
    pub services: Services,
    /// The way of a request.
    pub pipeline: Arc<Pipeline>,
    /// The upkeep of the node, and the jobs.
    pub background: Arc<Background>,
}

impl Assembly {
    /// A sealed server over `barrier`, with the engines of `catalog`, sealed by `seals`.
    pub fn new(
        barrier: Arc<Barrier>,
        environment: Environment,
        settings: Settings,
        catalog: Catalog,
        seals: Seals,
    ) -> Arc<Self> {
        let services = Services::new(barrier, environment, settings, catalog, seals);
        let extensions = services.extensions();
        let pipeline = Arc::new(Pipeline::new(services.clone(), extensions.clone()));
        let background = Arc::new(Background::new(services.clone(), extensions));
        background.observe_commits();
        Arc::new(Self { services, pipeline, background })
    }
}

/// What an engine's handlers draw with `Extension`: its own, or for parts of the server the services.
pub(crate) fn extensions_for(services: &Extensions, engine: &Engine) -> Extensions {
    let source = if engine.class() == Class::System { services } else { engine.extensions() };
    source.clone()
}
