//! The `storage` block.
//!
//! Source: <https://developer.hashicorp.com/vault/docs/configuration/storage/raft>.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use strongroom_stdx::Secret;

use crate::auto_join::{AutoJoin, DEFAULT_PORT, SCHEMES};
use crate::fields::Fields;
use crate::{ConfigError, Etcd, Postgresql, convert, keys};

/// The range of `max_entry_size`: what the server writes by itself must fit, and an entry is held in memory.
const MAX_ENTRY_SIZE: RangeInclusive<i64> = 65_536..=536_870_912;

/// The storage of the server.
#[derive(Clone, Debug)]
pub enum Storage {
    /// In memory, gone with the process.
    Inmem,
    /// On disk, replicated between the nodes of a cluster.
    Raft(Box<Raft>),
    /// In etcd, which several nodes may share.
    Etcd(Box<Etcd>),
    /// In a PostgreSQL database, which several nodes may share.
    Postgresql(Box<Postgresql>),
}

/// `storage "raft"`.
#[derive(Clone, Debug)]
pub struct Raft {
    /// The directory of the data; needed, here or in `VAULT_RAFT_PATH`.
    pub path: Option<PathBuf>,
    /// The node's name in the cluster; one is made up at the first start unless set.
    pub node_id: Option<String>,
    /// Scales heartbeats and elections, 1 (fast) to 10; 5 unless set.
    pub performance_multiplier: u8,
    /// Log entries that are kept after a snapshot; the store's choice unless set.
    pub trailing_logs: Option<u64>,
    /// Log entries after which a snapshot is taken; the store's choice unless set.
    pub snapshot_threshold: Option<u64>,
    /// The interval at which it is checked whether a snapshot is due; 2 min unless set.
    pub snapshot_interval: Duration,
    /// Bytes that a request may write at most; the store's choice unless set.
    pub max_entry_size: Option<u64>,
    /// The nodes that a new node asks to join their cluster.
    pub retry_join: Vec<RetryJoin>,
    /// A node that joins so does not vote.
    pub retry_join_as_non_voter: bool,
    /// For how long reads are answered without a quorum, and marked as stale; none unless set.
    pub quorum_loss_read_only: Duration,
    /// After how long without a quorum the node seals itself; zero: never.
    pub quorum_loss_seal_after: Duration,
    /// The interval at which autopilot acts; read and of no effect. 10 s unless set.
    pub autopilot_reconcile_interval: Duration,
    /// The interval at which autopilot looks at the nodes; read and of no effect. 2 s unless set.
    pub autopilot_update_interval: Duration,
    /// The version this node reports to autopilot for automated upgrades.
    pub autopilot_upgrade_version: Option<String>,
    /// The failure zone this node is in.
    pub autopilot_redundancy_zone: Option<String>,
}

/// `retry_join`: a node to join, or how to find one.
#[derive(Clone, Debug)]
pub struct RetryJoin {
    /// The node.
    pub join: Join,
    /// The trust in it.
    pub tls: JoinTls,
}

/// The node to join.
#[derive(Clone, Debug)]
pub enum Join {
    /// The node at this URL.
    Address(String),
    /// The nodes that discovery finds, again at each attempt.
    Discover(AutoJoin),
}

/// The TLS settings of the connection to the node to join.
#[derive(Clone, Debug, Default)]
pub struct JoinTls {
    /// The name in its certificate, if not that of its address.
    pub server_name: Option<String>,
    /// The CA of its certificate.
    pub ca_cert: Option<Pem>,
    /// This node's certificate.
    pub client_cert: Option<Pem>,
    /// The private key of this node's certificate.
    pub client_key: Option<Pem>,
}

/// A certificate or key.
#[derive(Clone, Debug)]
pub enum Pem {
    /// In a file.
    File(PathBuf),
    /// In the configuration itself.
    Inline(Secret<String>),
}

impl Storage {
    /// The type of the block.
    pub fn kind(&self) -> &'static str {
        match self {
            Storage::Inmem => "inmem",
            Storage::Raft(_) => "raft",
            Storage::Etcd(_) => "etcd",
            Storage::Postgresql(_) => "postgresql",
        }
    }

    pub(crate) fn read(kind: &str, mut fields: Fields<'_>) -> Result<Storage, ConfigError> {
        match kind {
            "inmem" => fields.finish(&keys::STORAGE_INMEM).map(|()| Storage::Inmem),
            "raft" => {
                let raft = Raft::read(&mut fields)?;
                fields.finish(&keys::STORAGE_RAFT)?;
                Ok(Storage::Raft(Box::new(raft)))
            }
            "etcd" => {
                let etcd = Etcd::read(&mut fields)?;
                fields.finish(&keys::STORAGE_ETCD)?;
                Ok(Storage::Etcd(Box::new(etcd)))
            }
            "postgresql" => {
                let postgresql = Postgresql::read(&mut fields)?;
                fields.finish(&keys::STORAGE_POSTGRESQL)?;
                Ok(Storage::Postgresql(Box::new(postgresql)))
            }
            _ => {
                let message = format!(
                    "{} is not supported; supported are \"etcd\", \"inmem\", \"postgresql\", \"raft\". \"operator migrate\" \
                     copies data between these; secrets of another server are copied over the API (docs/migrate.md)",
                    fields.scope()
                );
                Err(fields.place().invalid(message))
            }
        }
    }
}

impl Raft {
    fn read(fields: &mut Fields<'_>) -> Result<Raft, ConfigError> {
        let retry_join =
            fields.blocks("retry_join")?.into_iter().map(RetryJoin::read).collect::<Result<Vec<_>, _>>()?;
        let retry_join_as_non_voter = fields.switch("retry_join_as_non_voter")?;
        if retry_join_as_non_voter && retry_join.is_empty() {
            let message =
                "\"retry_join_as_non_voter\" is only valid if there is at least one \"retry_join\" block";
            return Err(fields.place_of("retry_join_as_non_voter").invalid(message));
        }
        let secs = Duration::from_secs;
        let multiplier =
            fields.integer("performance_multiplier", 0..=10)?.filter(|multiplier| *multiplier != 0);
        Ok(Raft {
            path: fields.path("path")?,
            node_id: fields.text("node_id")?,
            performance_multiplier: multiplier.unwrap_or(5),
            trailing_logs: fields.integer("trailing_logs", 1..=i64::MAX)?,
            snapshot_threshold: snapshot_threshold(fields)?,
            snapshot_interval: fields.duration("snapshot_interval")?.unwrap_or(secs(120)),
            max_entry_size: fields.integer("max_entry_size", MAX_ENTRY_SIZE)?,
            retry_join,
            retry_join_as_non_voter,
            quorum_loss_read_only: fields.duration("quorum_loss_read_only")?.unwrap_or_default(),
            quorum_loss_seal_after: fields.duration("quorum_loss_seal_after")?.unwrap_or_default(),
            autopilot_reconcile_interval: fields
                .duration("autopilot_reconcile_interval")?
                .unwrap_or(secs(10)),
            autopilot_update_interval: fields.duration("autopilot_update_interval")?.unwrap_or(secs(2)),
            autopilot_upgrade_version: fields.text("autopilot_upgrade_version")?,
            autopilot_redundancy_zone: fields.text("autopilot_redundancy_zone")?,
        })
    }
}

/// Vault's documentation has it under both names.
fn snapshot_threshold(fields: &mut Fields<'_>) -> Result<Option<u64>, ConfigError> {
    const OTHER: &str = "raft_snapshot_threshold";
    let entries = fields.integer("snapshot_threshold", 1..=i64::MAX)?;
    match (entries, fields.integer(OTHER, 1..=i64::MAX)?) {
        (Some(_), Some(_)) => {
            let message = format!("{OTHER:?} is another name of \"snapshot_threshold\"; use only one");
            Err(fields.place_of(OTHER).invalid(message))
        }
        (entries, other) => Ok(entries.or(other)),
    }
}

impl RetryJoin {
    fn read(mut fields: Fields<'_>) -> Result<RetryJoin, ConfigError> {
        let address = fields.read("leader_api_addr", convert::others_url)?;
        let expression = fields.secret("auto_join")?;
        let schemes = SCHEMES.map(|scheme| (scheme, scheme));
        let scheme = fields.choice("auto_join_scheme", &schemes)?.unwrap_or("https");
        let port = fields.integer("auto_join_port", 1..=65535)?.unwrap_or(DEFAULT_PORT);
        let join = match (address, expression) {
            (Some(address), None) => Join::Address(address),
            (None, Some(expression)) => {
                let invalid =
                    |reason| fields.place_of("auto_join").invalid(format!("\"auto_join\" {reason}"));
                Join::Discover(AutoJoin::parse(&expression, scheme, port).map_err(invalid)?)
            }
            _ => {
                let message = "\"retry_join\" needs either \"leader_api_addr\" or \"auto_join\"";
                return Err(fields.place().invalid(message));
            }
        };
        let tls = JoinTls {
            server_name: fields.text("leader_tls_servername")?,
            ca_cert: pem(&mut fields, "leader_ca_cert_file", "leader_ca_cert")?,
            client_cert: pem(&mut fields, "leader_client_cert_file", "leader_client_cert")?,
            client_key: pem(&mut fields, "leader_client_key_file", "leader_client_key")?,
        };
        let given = [&tls.ca_cert, &tls.client_cert, &tls.client_key];
        let mixed = given.iter().any(|pem| matches!(pem, Some(Pem::File(_))))
            && given.iter().any(|pem| matches!(pem, Some(Pem::Inline(_))));
        if mixed {
            let message = "\"retry_join\" must give certificates and key either all as files or all as text";
            return Err(fields.place().invalid(message));
        }
        if tls.client_cert.is_some() != tls.client_key.is_some() {
            let message = "\"retry_join\" must give a client certificate together with its key";
            return Err(fields.place().invalid(message));
        }
        fields.finish(&keys::RETRY_JOIN)?;
        Ok(RetryJoin { join, tls })
    }
}

fn pem(
    fields: &mut Fields<'_>,
    file: &'static str,
    inline: &'static str,
) -> Result<Option<Pem>, ConfigError> {
    match (fields.path(file)?, fields.secret(inline)?) {
        (Some(_), Some(_)) => {
            Err(fields.place_of(inline).invalid(format!("{file:?} and {inline:?} are mutually exclusive")))
        }
        (Some(path), None) => Ok(Some(Pem::File(path))),
        (None, Some(text)) if !text.expose().contains("-----BEGIN") => {
            let message =
                format!("{inline:?} must be PEM text, from \"-----BEGIN\" on; a file is named by {file:?}");
            Err(fields.place_of(inline).invalid(message))
        }
        (None, text) => Ok(text.map(Pem::Inline)),
    }
}
