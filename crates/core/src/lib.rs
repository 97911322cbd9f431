//! The core: a whole server between the HTTP edge and the engines.
//!
//! [`Services`] are each a crate of its own; the [`Pipeline`] takes a request through them; what no
//! request asks for is done in the [`Background`]. State in memory follows from storage and is rebuilt when a commit touches
//! what it follows from, on whatever node.

mod background;
mod jobs;
mod observing;
mod tables;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use strongroom_barrier::{Barrier, TableId};
use strongroom_engine_api::Environment;
use strongroom_seal::Seals;

pub use background::Background;
pub use strongroom_auditing::{AuditDevices, AuditEntry, AuditedHeader, Auditing, DeviceRules, NewDevice};
pub use strongroom_backup::{
    AutoSnapshots, AutoStatus, Backup, Bucket, Credentials, Encryption, ObjectStore, Place,
};
pub use strongroom_expiry::{HeldLease, Lease, LeaseOwner, LeaseState, Revoking};
pub use strongroom_initialization::Initialization;
pub use strongroom_jobs::{JobName, JobStatus};
pub use strongroom_leases::{IrrevocableLease, LeaseFacts, Leases};
pub use strongroom_lockout::{LockoutRule, LockoutRules, Lockouts};
pub use strongroom_mounts::{
    Catalog, ListingVisibility, MountEntry, MountHandle, MountTuning, Mounts, Namespace, NewMount, Router,
};
pub use strongroom_node::{
    AutopilotConfig, AutopilotServer, AutopilotState, Challenge, ChallengeAnswer, ClusterNode, Coordination,
    Discovery, JoinClient, JoinGrant, JoinTarget, LeaderAddress, Members, Node, StandbyPolicy,
};
pub use strongroom_pipeline::{
    AfterCommit, Answer, AnswerContent, Budget, DEFAULT_LEASE_TTL, Destination, Envelope, Inbound, Pipeline,
    PolicyPath, RequestError, ServerPart, ServerReply, Services, Settings, Share, Started, Verb,
};
pub use strongroom_policies::{Policies, write_builtin};
pub use strongroom_revocation::Revocation;
pub use strongroom_seal_state::{
    InitError, InitRequest, Initialized, KeyPartsWanted, KeyStatus, RootKeySource, RotationConfig, SealError,
    SealState, SealStatus, UnsealError, UnsealedCluster,
};
pub use strongroom_tokens::{
    IssuedToken, NewToken, OlderNames, Principal, RoleTokenType, Tidy, TokenEntry, TokenId, TokenKey,
    TokenRole, TokenStore, Wrapped, with_default,
};
pub use strongroom_wrapping::{WrapGrant, Wrapping, not_wrapping};

/// The server's own tables, those of each owner, for the registry of formats.
pub const fn tables() -> &'static [&'static [TableId]] {
    tables::TABLES
}

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
