//! The outermost keys.
//!
//! Source: <https://developer.hashicorp.com/vault/docs/configuration>.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use strongroom_stdx::Secret;

use crate::fields::Fields;
use crate::{
    AuditDevice, ConfigError, Listener, LockoutLabel, Outbound, Place, Storage, Telemetry, UserLockout,
    audit, convert, keys, lockout,
};

/// The configuration of a server.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches, each a documented key")]
pub struct Config {
    /// The files and directories that it was read from.
    pub paths: Vec<PathBuf>,
    /// The listeners; at least one is needed.
    pub listeners: Vec<Listener>,
    /// The storage; needed.
    pub storage: Option<Storage>,
    /// The protection of root key and recovery key; empty for Shamir's secret sharing.
    pub seals: Vec<Seal>,
    /// The URL under which this node's clients reach it.
    pub api_addr: Option<String>,
    /// The URL under which the other nodes reach it.
    pub cluster_addr: Option<String>,
    /// The name of the cluster; one is made up unless set.
    pub cluster_name: Option<String>,
    /// Requests are not forwarded between nodes.
    pub disable_clustering: bool,
    /// The default TTL of tokens and secrets; [`Config::DEFAULT_LEASE_TTL`] unless set.
    pub default_lease_ttl: Option<Duration>,
    /// The maximum TTL of tokens and secrets; [`Config::DEFAULT_LEASE_TTL`] unless set.
    pub max_lease_ttl: Option<Duration>,
    /// The maximum duration of a request, on listeners that do not set it; 90 s unless set.
    pub default_max_request_duration: Option<Duration>,
    /// Memory is not locked; `None` leaves it to the server.
    pub disable_mlock: Option<bool>,
    /// Nothing is cached.
    pub disable_cache: bool,
    /// A standby hands every request to the active node.
    pub disable_performance_standby: bool,
    /// Entries of the cache; the server's choice unless set.
    pub cache_size: Option<u64>,
    /// The level of the log; `info` unless set.
    pub log_level: Option<LogLevel>,
    /// At which level each request is logged; not at all unless set.
    pub log_requests_level: Option<LogLevel>,
    /// The format of log lines; `standard` unless set.
    pub log_format: Option<LogFormat>,
    /// The log's file, besides the standard error output.
    pub log_file: Option<PathBuf>,
    /// Bytes after which a new log file is begun.
    pub log_rotate_bytes: Option<u64>,
    /// The time after which a new log file is begun; 24 h unless set.
    pub log_rotate_duration: Duration,
    /// The number of old log files to keep: 0 for all, -1 for none.
    pub log_rotate_max_files: i64,
    /// The file in which the process's number is put.
    pub pid_file: Option<PathBuf>,
    /// `sys/raw` exists.
    pub raw_storage_endpoint: bool,
    /// `sys/internal/inspect` exists.
    pub introspection_endpoint: bool,
    /// The web interface is served at `/ui`.
    pub ui: bool,
    /// The operations that need no token although they do by default.
    pub enable_unauthenticated_access: Vec<String>,
    /// The audit devices that the configuration declares, in order.
    pub audit: Vec<AuditDevice>,
    /// Audit devices of type `file` may have a `prefix`.
    pub allow_audit_log_prefixing: bool,
    /// No audit device can be enabled over the API (`unsafe_allow_api_audit_creation` is false).
    pub no_api_audit_creation: bool,
    /// Responses have the header `X-Vault-Hostname`.
    pub enable_response_header_hostname: bool,
    /// Responses have the header `X-Vault-Raft-Node-ID`.
    pub enable_response_header_raft_node_id: bool,
    /// The metrics.
    pub telemetry: Telemetry,
    /// The rank of `deny` among rules that match.
    pub policy_deny: PolicyDeny,
    /// The addresses to which the server may connect on behalf of API users.
    pub outbound: Outbound,
    /// The rules of user lockout, by the type of the auth method; `all` for those not named.
    pub user_lockout: BTreeMap<String, UserLockout>,
    /// The labels that set them, to be held against the types that there are ([`Loaded::check_user_lockout`](crate::Loaded)).
    pub user_lockout_labels: Vec<LockoutLabel>,
    /// `VAULT_DISABLE_USER_LOCKOUT`: no user is locked out, whatever else is configured.
    pub user_lockout_disabled: bool,
}

/// The rank of `deny`: whether a more specific rule of a policy can grant what another one denies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PolicyDeny {
    /// A `deny` that matches a path refuses, whatever other rules grant.
    #[default]
    DenyWins,
    /// The most specific rule that matches a path decides, as in Vault.
    MostSpecific,
}

/// The level of the log; a level includes those above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the words say it")]
pub enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Plain lines.
    Standard,
    /// A JSON object a line.
    Json,
}

/// A `seal` block, whatever its type.
#[derive(Clone, Debug)]
pub struct Seal {
    /// The type: `shamir`, `transit`, `awskms`, …
    pub kind: String,
    /// It is only there so that data sealed with it can be migrated.
    pub disabled: bool,
    /// All other keys; some are credentials.
    pub parameters: BTreeMap<String, Secret<String>>,
    /// The place of the block.
    pub place: Place,
}

/// The names of log levels, those that Vault's logging library takes besides the documented ones included.
pub(crate) const LOG_LEVELS: [(&str, LogLevel); 9] = [
    ("trace", LogLevel::Trace),
    ("debug", LogLevel::Debug),
    ("info", LogLevel::Info),
    ("warn", LogLevel::Warn),
    ("error", LogLevel::Error),
    ("off", LogLevel::Off),
    ("notice", LogLevel::Info),
    ("warning", LogLevel::Warn),
    ("err", LogLevel::Error),
];

pub(crate) const LOG_FORMATS: [(&str, LogFormat); 2] =
    [("standard", LogFormat::Standard), ("json", LogFormat::Json)];

const POLICY_DENY: [(&str, PolicyDeny); 2] =
    [("deny-wins", PolicyDeny::DenyWins), ("most-specific", PolicyDeny::MostSpecific)];

impl Config {
    /// The default of `default_lease_ttl` and `max_lease_ttl`: 32 days.
    pub const DEFAULT_LEASE_TTL: Duration = Duration::from_hours(768);

    /// The default of `default_max_request_duration`.
    pub const DEFAULT_MAX_REQUEST_DURATION: Duration = Duration::from_secs(90);

    /// The default TTL of tokens and secrets.
    pub fn effective_default_lease_ttl(&self) -> Duration {
        self.default_lease_ttl.unwrap_or(Self::DEFAULT_LEASE_TTL).min(self.effective_max_lease_ttl())
    }

    /// The maximum TTL of tokens and secrets.
    pub fn effective_max_lease_ttl(&self) -> Duration {
        self.max_lease_ttl.unwrap_or(Self::DEFAULT_LEASE_TTL)
    }

    /// Says what is missing to start a server, after [`Config::apply_environment`]. The development server does
    /// without.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.listeners.is_empty() {
            return Err(ConfigError::Missing("at least one \"listener\" block is needed"));
        }
        match &self.storage {
            None => return Err(ConfigError::Missing("a \"storage\" block is needed")),
            Some(Storage::Raft(raft)) if raft.path.is_none() => {
                return Err(ConfigError::Missing(
                    "\"path\" in storage \"raft\" or VAULT_RAFT_PATH is needed",
                ));
            }
            Some(Storage::Raft(_)) if self.cluster_addr.is_none() => {
                return Err(ConfigError::Missing(
                    "\"cluster_addr\" or VAULT_CLUSTER_ADDR is needed with storage \"raft\"",
                ));
            }
            Some(Storage::Postgresql(postgresql)) if postgresql.connection_url.is_none() => {
                return Err(ConfigError::Missing(
                    "\"connection_url\" in storage \"postgresql\" or VAULT_PG_CONNECTION_URL is needed",
                ));
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// The remark about an `api_addr` that is missing where there may be other nodes, or that leads nowhere.
    pub fn doubtful_api_addr(&self) -> Option<&'static str> {
        let shared = match &self.storage {
            Some(Storage::Raft(_)) => true,
            Some(Storage::Etcd(etcd)) => etcd.ha_enabled,
            Some(Storage::Postgresql(postgresql)) => postgresql.ha_enabled,
            Some(Storage::Inmem) | None => false,
        };
        if self.api_addr.as_deref().is_some_and(convert::means_all_addresses) {
            return Some(
                "\"api_addr\" means all addresses of a machine: other nodes and their clients, who are sent there, reach \
                 themselves. Set it to the address at which they reach this node",
            );
        }
        (shared && self.api_addr.is_none()).then_some(
            "no \"api_addr\" is configured, and no VAULT_API_ADDR: other nodes and their clients cannot be told where to \
             reach this one",
        )
    }

    /// Refuses seals that are not of the `kinds` that this server has. A development server is checked for nothing else.
    pub fn check_seals(&self, kinds: &[&str]) -> Result<(), ConfigError> {
        let Some(seal) = self.seals.iter().find(|seal| !kinds.contains(&seal.kind.as_str())) else {
            return Ok(());
        };
        let known: Vec<String> = kinds.iter().map(|kind| format!("{kind:?}")).collect();
        Err(seal.place.invalid(format!(
            "seal {:?} is not supported; supported is {} (docs/seal.md). Data that another seal protects cannot be opened \
             here: start a cluster of its own, and copy the secrets over the API (docs/migrate.md)",
            seal.kind,
            known.join(", ")
        )))
    }

    pub(crate) fn read(mut fields: Fields<'_>) -> Result<Config, ConfigError> {
        let (default_lease_ttl, max_lease_ttl) = lease_ttls(&mut fields)?;
        let default_max_request_duration =
            fields.duration("default_max_request_duration")?.filter(|duration| !duration.is_zero());
        let listeners = listeners(
            &mut fields,
            default_max_request_duration.unwrap_or(Self::DEFAULT_MAX_REQUEST_DURATION),
        )?;
        let storage = storage(&mut fields)?;
        let (user_lockout, user_lockout_labels) = lockout::read(&mut fields)?;
        let config = Config {
            paths: Vec::new(),
            listeners,
            seals: seals(&mut fields)?,
            api_addr: fields.read("api_addr", convert::url)?,
            cluster_addr: fields.read("cluster_addr", convert::reachable_url)?,
            cluster_name: fields.text("cluster_name")?,
            disable_clustering: disable_clustering(&mut fields, storage.as_ref())?,
            storage,
            default_lease_ttl,
            max_lease_ttl,
            default_max_request_duration,
            disable_mlock: fields.flag("disable_mlock")?,
            disable_cache: fields.switch("disable_cache")?,
            disable_performance_standby: fields.switch("disable_performance_standby")?,
            cache_size: fields.integer("cache_size", 0..=i64::MAX)?.filter(|size| *size != 0),
            log_level: fields.choice("log_level", &LOG_LEVELS)?,
            log_requests_level: fields.choice("log_requests_level", &LOG_LEVELS)?,
            log_format: fields.choice("log_format", &LOG_FORMATS)?,
            log_file: fields.path("log_file")?,
            log_rotate_bytes: fields.integer("log_rotate_bytes", 0..=i64::MAX)?.filter(|bytes| *bytes != 0),
            log_rotate_duration: fields.duration("log_rotate_duration")?.unwrap_or(Duration::from_hours(24)),
            log_rotate_max_files: fields.integer("log_rotate_max_files", -1..=i64::MAX)?.unwrap_or(0),
            pid_file: fields.path("pid_file")?,
            raw_storage_endpoint: fields.switch("raw_storage_endpoint")?,
            introspection_endpoint: fields.switch("introspection_endpoint")?,
            enable_unauthenticated_access: unauthenticated(&mut fields)?,
            ui: fields.switch("ui")?,
            audit: audit::read(&mut fields)?,
            allow_audit_log_prefixing: fields.switch("allow_audit_log_prefixing")?,
            no_api_audit_creation: fields.flag("unsafe_allow_api_audit_creation")? == Some(false),
            enable_response_header_hostname: fields.switch("enable_response_header_hostname")?,
            enable_response_header_raft_node_id: fields.switch("enable_response_header_raft_node_id")?,
            telemetry: fields.block("telemetry")?.map(Telemetry::read).transpose()?.unwrap_or_default(),
            policy_deny: fields.choice("policy_deny", &POLICY_DENY)?.unwrap_or_default(),
            outbound: Outbound::read(&mut fields)?,
            user_lockout,
            user_lockout_labels,
            user_lockout_disabled: false,
        };
        fields.finish(&keys::OUTERMOST)?;
        Ok(config)
    }
}

fn lease_ttls(fields: &mut Fields<'_>) -> Result<(Option<Duration>, Option<Duration>), ConfigError> {
    let default = fields.duration("default_lease_ttl")?.filter(|ttl| !ttl.is_zero());
    let max = fields.duration("max_lease_ttl")?.filter(|ttl| !ttl.is_zero());
    if default > Some(max.unwrap_or(Config::DEFAULT_LEASE_TTL)) {
        let message = "\"default_lease_ttl\" must not be longer than \"max_lease_ttl\"";
        return Err(fields.place_of("default_lease_ttl").invalid(message));
    }
    Ok((default, max))
}

/// The operations that may be opened to callers without a token.
const OPENED: [&str; 2] = ["generate-root", "rekey"];

fn unauthenticated(fields: &mut Fields<'_>) -> Result<Vec<String>, ConfigError> {
    let read = |value: &_| {
        let names = crate::convert::list(value)?;
        match names.iter().find(|name| !OPENED.contains(&name.as_str())) {
            Some(name) => Err(format!("must list \"generate-root\" or \"rekey\", and not {name:?}")),
            None => Ok(names),
        }
    };
    Ok(fields.read("enable_unauthenticated_access", read)?.unwrap_or_default())
}

fn listeners(fields: &mut Fields<'_>, max_request_duration: Duration) -> Result<Vec<Listener>, ConfigError> {
    let blocks = fields.typed("listener")?;
    blocks.into_iter().map(|(kind, block)| Listener::read(&kind, block, max_request_duration)).collect()
}

/// `storage`, or `backend` as it was called before Vault 0.9.
fn storage(fields: &mut Fields<'_>) -> Result<Option<Storage>, ConfigError> {
    let (new, old) = (fields.only_typed("storage")?, fields.only_typed("backend")?);
    match (new, old) {
        (Some(_), Some((_, old))) => {
            Err(old.place().invalid("\"backend\" is an old name of \"storage\"; use only one"))
        }
        (Some((kind, block)), None) | (None, Some((kind, block))) => Ok(Some(Storage::read(&kind, block)?)),
        (None, None) => Ok(None),
    }
}

fn disable_clustering(fields: &mut Fields<'_>, storage: Option<&Storage>) -> Result<bool, ConfigError> {
    const KEY: &str = "disable_clustering";
    let disabled = fields.switch(KEY)?;
    if disabled && matches!(storage, Some(Storage::Raft(_))) {
        return Err(fields
            .place_of(KEY)
            .invalid(format!("{KEY:?} cannot be set to true with storage \"raft\"")));
    }
    Ok(disabled)
}

fn seals(fields: &mut Fields<'_>) -> Result<Vec<Seal>, ConfigError> {
    let mut seals = Vec::new();
    for (kind, mut block) in fields.typed("seal")? {
        let place = block.place();
        let disabled = block.switch("disabled")?;
        let mut parameters = BTreeMap::new();
        if kind == "shamir" {
            block.finish(&keys::SEAL_SHAMIR)?;
            seals.push(Seal { kind, disabled, parameters, place });
            continue;
        }
        for (_, item) in block.into_items() {
            if !matches!(item.key.as_str(), "disabled" | "type") {
                let value = convert::text(&item.value).unwrap_or_else(|_| item.value.to_json().to_string());
                parameters.insert(item.key.clone(), Secret::new(value));
            }
        }
        seals.push(Seal { kind, disabled, parameters, place });
    }
    Ok(seals)
}
