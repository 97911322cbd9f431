//! The settings that the server's configuration makes for its services.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use strongroom_auditing::DeviceRules;
use strongroom_engine_api::Moment;
use strongroom_engine_api::outbound_api::{NoWayOut, WayOut};
use strongroom_lockout::LockoutRules;
use strongroom_policy::DenyMode;

/// The settings that the server's configuration makes for its services.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The default TTL of leases and tokens.
    pub default_lease_ttl: Duration,
    /// The most they live.
    pub max_lease_ttl: Duration,
    /// True if a deny always wins.
    pub deny_mode: DenyMode,
    /// True if `sys/raw` answers.
    pub raw_storage_endpoint: bool,
    /// True if `sys/internal/inspect` answers.
    pub introspection_endpoint: bool,
    /// The operations that need no token although they do by default (`enable_unauthenticated_access`).
    pub unauthenticated: BTreeSet<String>,
    /// The rules for audit devices.
    pub audit: DeviceRules,
    /// The cluster's name; made at initialization where empty.
    pub cluster_name: String,
    /// The address at which clients reach this node.
    pub api_addr: String,
    /// The address at which other nodes reach this node.
    pub cluster_addr: String,
    /// The API version that clients gate on (`2.0.0+strongroom.0.1.0`).
    pub version: String,
    /// The time at which the program was built (RFC 3339); empty where the build could not tell.
    pub build_date: String,
    /// The configuration without its secrets, for `sys/config/state/sanitized`.
    pub sanitized: serde_json::Value,
    /// Bytes of opened entries to keep in memory.
    pub cache_bytes: u64,
    /// The rules by which failed logins lock a user out.
    pub lockout: LockoutRules,
    /// The way to the outside that engines have.
    pub way_out: Arc<dyn WayOut>,
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
            unauthenticated: BTreeSet::new(),
            audit: DeviceRules {
                allow_prefix: false,
                allow_creation: true,
                guarded: Vec::new(),
                declared: Vec::new(),
            },
            cluster_name: String::new(),
            api_addr: String::new(),
            cluster_addr: String::new(),
            version: format!("2.0.0+strongroom.{}", env!("CARGO_PKG_VERSION")),
            build_date: String::new(),
            sanitized: serde_json::Value::Null,
            cache_bytes: 64 << 20,
            lockout: Some(BTreeMap::new()),
            way_out: Arc::new(NoWayOut),
        }
    }
}

/// The time at which a server was started.
#[derive(Clone, Copy, Debug)]
pub struct Started(pub Moment);
