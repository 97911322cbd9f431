//! The services of a server, wired up.
//!
//! A plain struct of handles: what a service is and does is in its crate, which says what it sees. Here is the one place that
//! makes them all, each from those above it; nothing else needs more than a few of them but the pipeline and the system engine.

use std::sync::Arc;

use strongroom_auditing::AuditDevices;
use strongroom_backup::Backup;
use strongroom_barrier::Barrier;
use strongroom_cached::Kept;
use strongroom_ceremonies::Ceremonies;
use strongroom_engine_api::{Environment, Extensions, Facilities, HeldResponses, Lifetimes};
use strongroom_events::Bus;
use strongroom_identity::Identity;
use strongroom_initialization::Initialization;
use strongroom_jobs::Jobs;
use strongroom_leases::Leases;
use strongroom_lockout::Lockouts;
use strongroom_mfa::Mfa;
use strongroom_mounts::{Catalog, Mounts};
use strongroom_node::Node;
use strongroom_oidc::Oidc;
use strongroom_passwords::Passwords;
use strongroom_policies::Policies;
use strongroom_revocation::Revocation;
use strongroom_seal::Seals;
use strongroom_seal_state::{SealListener, SealState};
use strongroom_storage::Leadership;
use strongroom_tokens::TokenStore;
use strongroom_wrapping::Wrapping;

use crate::system::{Above, ServerAsSeen, WrappedAsSeen};
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
    /// The entities, their aliases and groups.
    pub identity: Arc<Identity>,
    /// The second factors of logins.
    pub mfa: Arc<Mfa>,
    /// The identity provider: the keys that sign identity tokens.
    pub oidc: Arc<Oidc>,
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
    /// Ceremonies of key holders.
    pub ceremonies: Arc<Ceremonies>,
    /// Response wrapping.
    pub wrapping: Arc<Wrapping>,
    /// Told when the keys are gone; the state of the seal does not keep it alive.
    _in_memory: Arc<dyn SealListener>,
}

/// State that services keep in memory and drop when the keys are dropped.
struct InMemory {
    mounts: Arc<Mounts>,
    policies: Arc<Policies>,
    identity: Arc<Identity>,
    mfa: Arc<Mfa>,
    oidc: Arc<Oidc>,
    audit_devices: Arc<AuditDevices>,
    lockouts: Arc<Lockouts>,
    kept: Arc<Kept>,
    ceremonies: Arc<Ceremonies>,
}

impl SealListener for InMemory {
    fn sealed(&self) {
        self.mounts.clear();
        self.policies.clear();
        self.identity.clear();
        self.mfa.clear();
        self.oidc.clear();
        self.audit_devices.clear();
        self.lockouts.clear();
        self.kept.sealed();
        self.ceremonies.clear();
    }
}

/// The services that the others stand on: the keys, what engines are lent, and the mounts.
struct Ground {
    barrier: Arc<Barrier>,
    environment: Environment,
    settings: Arc<Settings>,
    leadership: Leadership,
    seal_state: Arc<SealState>,
    kept: Arc<Kept>,
    events: Arc<Bus>,
    passwords: Arc<Passwords>,
    facilities: Arc<Facilities>,
    mounts: Arc<Mounts>,
    above: Arc<Above>,
}

impl Ground {
    fn new(
        barrier: Arc<Barrier>,
        environment: Environment,
        settings: Settings,
        catalog: Catalog,
        seals: Seals,
    ) -> Self {
        let seal_state = SealState::new(barrier.clone(), environment.clone(), seals);
        let (kept, events) = (Arc::new(Kept::new(MAX_KEPT)), Bus::new());
        barrier.publish_to(events.clone());
        let passwords = Arc::new(Passwords::new(barrier.clone(), environment.entropy.clone()));
        let leadership = Leadership::default();
        let above = Arc::new(Above::default());
        let system = ServerAsSeen {
            above: above.clone(),
            version: settings.version.clone(),
            passwords: passwords.clone(),
            seal_state: seal_state.clone(),
            leadership: leadership.clone(),
        };
        let facilities = Arc::new(Facilities::new(kept.clone(), settings.way_out.clone(), Arc::new(system)));
        let mounts = Arc::new(Mounts::new(
            barrier.clone(),
            environment.entropy.clone(),
            seal_state.clone(),
            Arc::new(catalog),
            facilities.clone(),
            Lifetimes { default: settings.default_lease_ttl, max: settings.max_lease_ttl },
        ));
        let settings = Arc::new(settings);
        Self {
            barrier,
            environment,
            settings,
            leadership,
            seal_state,
            kept,
            events,
            passwords,
            facilities,
            mounts,
            above,
        }
    }

    fn tokens(&self) -> TokenStore {
        TokenStore::new(
            self.barrier.clone(),
            self.environment.clone(),
            self.seal_state.clone(),
            self.mounts.clone(),
            self.leadership.clone(),
        )
    }

    fn leases(&self, tokens: &Arc<TokenStore>) -> Leases {
        let (barrier, environment) = (self.barrier.clone(), self.environment.clone());
        Leases::new(barrier, environment, self.mounts.clone(), tokens.clone(), self.leadership.clone())
    }

    fn revocation(&self, tokens: &Arc<TokenStore>) -> Revocation {
        let (barrier, environment) = (self.barrier.clone(), self.environment.clone());
        Revocation::new(barrier, environment, self.mounts.clone(), tokens.clone(), self.leadership.clone())
    }

    fn initialization(&self, tokens: &Arc<TokenStore>) -> Initialization {
        let (cluster_name, lifetimes) = (self.settings.cluster_name.clone(), self.mounts.lifetimes());
        let seal_state = self.seal_state.clone();
        Initialization::new(
            self.barrier.clone(),
            seal_state,
            tokens.clone(),
            cluster_name,
            lifetimes,
            self.environment.entropy.clone(),
        )
    }

    fn ceremonies(&self, tokens: &Arc<TokenStore>) -> Ceremonies {
        let (leadership, environment) = (self.leadership.clone(), self.environment.clone());
        Ceremonies::new(
            self.seal_state.clone(),
            tokens.clone(),
            leadership,
            environment,
            self.mounts.lifetimes(),
        )
    }

    fn node(&self) -> Node {
        Node::new(
            self.barrier.clone(),
            self.environment.clone(),
            self.seal_state.clone(),
            self.settings.version.clone(),
            self.leadership.clone(),
        )
    }

    fn oidc(&self, node: &Arc<Node>) -> Oidc {
        let (barrier, environment) = (self.barrier.clone(), self.environment.clone());
        Oidc::new(barrier, environment, node.clone(), self.settings.api_addr.clone())
    }

    fn backup(&self, node: &Arc<Node>) -> Backup {
        let (barrier, environment) = (self.barrier.clone(), self.environment.clone());
        Backup::new(barrier, environment, self.seal_state.clone(), node.clone())
    }
}

impl Services {
    /// Those over `barrier`, which is sealed, with the engines of `catalog` and the keys that `seals` lead to.
    pub fn new(
        barrier: Arc<Barrier>,
        environment: Environment,
        settings: Settings,
        catalog: Catalog,
        seals: Seals,
    ) -> Self {
        Self::over(Ground::new(barrier, environment, settings, catalog, seals))
    }

    /// One service after the other, each from those above it.
    fn over(ground: Ground) -> Self {
        let node = Arc::new(ground.node());
        let backup = Arc::new(ground.backup(&node));
        let oidc = Arc::new(ground.oidc(&node));
        let tokens = Arc::new(ground.tokens());
        let leases = Arc::new(ground.leases(&tokens));
        let revocation = Arc::new(ground.revocation(&tokens));
        let initialization = Arc::new(ground.initialization(&tokens));
        let ceremonies = Arc::new(ground.ceremonies(&tokens));
        let Ground { barrier, environment, settings, leadership, seal_state, mounts, kept, above, .. } =
            ground;
        let clock = &environment.clock;
        let policies = Arc::new(Policies::new(barrier.clone(), mounts.clone(), settings.deny_mode));
        let identity = Arc::new(Identity::new(barrier.clone(), environment.clone(), mounts.clone()));
        above.are(&identity, &oidc);
        let mfa = Arc::new(Mfa::new(
            barrier.clone(),
            environment.clone(),
            mounts.clone(),
            identity.clone(),
            leadership.clone(),
        ));
        let devices = (barrier.clone(), environment.clone(), settings.audit.clone());
        let audit_devices = Arc::new(AuditDevices::new(devices.0, devices.1, devices.2, leadership));
        let lockouts = Arc::new(Lockouts::new(settings.lockout.clone(), clock.clone(), mounts.clone()));
        let in_memory: Arc<dyn SealListener> = Arc::new(InMemory {
            mounts: mounts.clone(),
            policies: policies.clone(),
            identity: identity.clone(),
            mfa: mfa.clone(),
            oidc: oidc.clone(),
            audit_devices: audit_devices.clone(),
            lockouts: lockouts.clone(),
            kept: kept.clone(),
            ceremonies: ceremonies.clone(),
        });
        seal_state.subscribe(&(node.clone() as Arc<dyn SealListener>));
        seal_state.subscribe(&in_memory);
        Self {
            started: Arc::new(Started(clock.now())),
            jobs: Arc::new(Jobs::new(clock.clone(), environment.entropy.clone())),
            wrapping: Arc::new(Wrapping::new(tokens.clone(), settings.max_lease_ttl)),
            environment,
            barrier,
            settings,
            initialization,
            ceremonies,
            kept,
            facilities: ground.facilities,
            events: ground.events,
            seal_state,
            mounts,
            passwords: ground.passwords,
            policies,
            identity,
            mfa,
            oidc,
            audit_devices,
            lockouts,
            node,
            backup,
            tokens,
            leases,
            revocation,
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
            .with(self.identity.clone())
            .with(self.mfa.clone())
            .with(self.oidc.clone())
            .with(self.audit_devices.clone())
            .with(self.lockouts.clone())
            .with(self.node.clone())
            .with(self.backup.clone())
            .with(self.tokens.clone())
            .with(self.leases.clone())
            .with(self.revocation.clone())
            .with(self.wrapping.clone())
            .with(self.ceremonies.clone())
            .with(Arc::new(HeldResponses(Arc::new(WrappedAsSeen {
                barrier: self.barrier.clone(),
                wrapping: self.wrapping.clone(),
            }))))
    }
}
