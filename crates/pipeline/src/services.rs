//! The services of a server, wired up.
//!
//! A plain struct of handles: what a service is and does is in its crate, which says what it sees. Here is the one place that
//! makes them all, each from those above it; nothing else needs more than a few of them but the pipeline and the system engine.

use std::sync::Arc;

use strongroom_auditing::AuditDevices;
use strongroom_backup::Backup;
use strongroom_barrier::Barrier;
use strongroom_cached::Kept;
use strongroom_engine_api::{Environment, Extensions, Facilities, Lifetimes};
use strongroom_events::Bus;
use strongroom_initialization::Initialization;
use strongroom_jobs::Jobs;
use strongroom_leases::Leases;
use strongroom_lockout::Lockouts;
use strongroom_mounts::{Catalog, Mounts};
use strongroom_node::Node;
use strongroom_passwords::Passwords;
use strongroom_policies::Policies;
use strongroom_revocation::Revocation;
use strongroom_seal::Seals;
use strongroom_seal_state::{SealListener, SealState};
use strongroom_storage::Leadership;
use strongroom_tokens::TokenStore;
use strongroom_wrapping::Wrapping;

use crate::system::ServerAsSeen;
use crate::{Settings, Started};

/// Bytes of values derived from tables of mounts that are kept, by what they weigh.
const MAX_KEPT: usize = 64 << 20;

/// The services of a server.
#[derive(Clone)]
pub struct Services {
    /// The barrier: storage that encrypts and decrypts entries.
    pub barrier: Arc<Barrier>,
    /// Time and randomness.
    pub environment: Environment,
    /// The settings of the configuration.
    pub settings: Arc<Settings>,
    /// The time at which the server was started.
    pub started: Arc<Started>,
    /// Initialization of a new cluster.
    pub initialization: Arc<Initialization>,
    /// Values that engines derive from their tables.
    pub kept: Arc<Kept>,
    /// The facilities lent to engines.
    pub facilities: Arc<Facilities>,
    /// The bus of what commits on this node tell.
    pub events: Arc<Bus>,
    /// The scheduler of work in the background.
    pub jobs: Arc<Jobs>,
    /// The seal: its state, its keys.
    pub seal_state: Arc<SealState>,
    /// The mounts and namespaces.
    pub mounts: Arc<Mounts>,
    /// The password policies.
    pub passwords: Arc<Passwords>,
    /// The policies.
    pub policies: Arc<Policies>,
    /// The audit devices.
    pub audit_devices: Arc<AuditDevices>,
    /// The users that are locked out.
    pub lockouts: Arc<Lockouts>,
    /// This node in its cluster.
    pub node: Arc<Node>,
    /// Snapshots of the whole state.
    pub backup: Arc<Backup>,
    /// The tokens.
    pub tokens: Arc<TokenStore>,
    /// The leases.
    pub leases: Arc<Leases>,
    /// Revocation of tokens and leases.
    pub revocation: Arc<Revocation>,
    /// Response wrapping.
    pub wrapping: Arc<Wrapping>,
    /// Told when the keys are gone; the state of the seal does not keep it alive.
    _in_memory: Arc<dyn SealListener>,
}

/// State that services keep in memory and drop when the keys are dropped.
struct InMemory {
    mounts: Arc<Mounts>,
    policies: Arc<Policies>,
    audit_devices: Arc<AuditDevices>,
    lockouts: Arc<Lockouts>,
    kept: Arc<Kept>,
}

impl SealListener for InMemory {
    fn sealed(&self) {
        self.mounts.clear();
        self.policies.clear();
        self.audit_devices.clear();
        self.lockouts.clear();
        self.kept.sealed();
    }
}

impl Services {
    /// Those over `barrier`, which is sealed, with the engines of `catalog` and the keys that `seals` lead to.
    #[allow(clippy::too_many_lines, reason = "one service after the other, each from those above it")]
    pub fn new(
        barrier: Arc<Barrier>,
        environment: Environment,
        settings: Settings,
        catalog: Catalog,
        seals: Seals,
    ) -> Self {
        let (settings, catalog) = (Arc::new(settings), Arc::new(catalog));
        let seal_state = Arc::new(SealState::new(barrier.clone(), environment.clone(), seals));
        let (kept, events) = (Arc::new(Kept::new(MAX_KEPT)), Bus::new());
        barrier.publish_to(events.clone());
        let passwords = Arc::new(Passwords::new(barrier.clone(), environment.entropy.clone()));
        let leadership = Leadership::default();
        let system = ServerAsSeen {
            passwords: passwords.clone(),
            seal_state: seal_state.clone(),
            leadership: leadership.clone(),
        };
        let facilities = Arc::new(Facilities::new(kept.clone(), settings.way_out.clone(), Arc::new(system)));
        let mounts = Arc::new(Mounts::new(
            barrier.clone(),
            environment.entropy.clone(),
            seal_state.clone(),
            catalog,
            facilities.clone(),
            Lifetimes { default: settings.default_lease_ttl, max: settings.max_lease_ttl },
        ));
        let policies = Arc::new(Policies::new(barrier.clone(), mounts.clone(), settings.deny_mode));
        let audit_devices =
            Arc::new(AuditDevices::new(barrier.clone(), environment.clone(), settings.audit.clone()));
        let lockouts =
            Arc::new(Lockouts::new(settings.lockout.clone(), environment.clock.clone(), mounts.clone()));
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
            kept: kept.clone(),
        });
        seal_state.subscribe(&in_memory);
        let started = Arc::new(Started(environment.clock.now()));
        let jobs = Arc::new(Jobs::new(environment.clock.clone(), environment.entropy.clone()));
        let initialization = Arc::new(Initialization::new(
            barrier.clone(),
            seal_state.clone(),
            tokens.clone(),
            settings.cluster_name.clone(),
            mounts.lifetimes(),
        ));
        Self {
            environment,
            barrier,
            settings,
            started,
            initialization,
            kept,
            facilities,
            events,
            jobs,
            seal_state,
            mounts,
            passwords,
            policies,
            audit_devices,
            lockouts,
            node,
            backup,
            tokens,
            leases,
            revocation,
            wrapping,
            _in_memory: in_memory,
        }
    }

    /// The values that handlers of the server's own engines can draw.
    pub fn extensions(&self) -> Extensions {
        Extensions::default()
            .with(self.barrier.clone())
            .with(self.settings.clone())
            .with(self.started.clone())
            .with(self.initialization.clone())
            .with(self.jobs.clone())
            .with(self.seal_state.clone())
            .with(self.mounts.clone())
            .with(self.passwords.clone())
            .with(self.policies.clone())
            .with(self.audit_devices.clone())
            .with(self.lockouts.clone())
            .with(self.node.clone())
            .with(self.backup.clone())
            .with(self.tokens.clone())
            .with(self.leases.clone())
            .with(self.revocation.clone())
            .with(self.wrapping.clone())
    }
}
