//! The mount table in storage and the router built from it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_barrier::{BarrierError, MountId, NamespaceId, Reads, Stored, TableId, Txn};
use strongroom_engine_api::{Class, Engine, EngineError, Lifetimes, Mount, TokenKind, bad_request};

use crate::Core;
use crate::disabled_mounts::DisabledMount;
use crate::tables::{DISABLED_MOUNTS, MOUNTS, NUMBERS, Number};

/// Mounts in one namespace; far above what is sensible, so that a scan has an end.
const MOST_MOUNTS: usize = 100_000;

/// What `listing_visibility` can be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListingVisibility {
    /// Shown to whoever may use the mount.
    #[default]
    Hidden,
    /// Shown before login too.
    Unauth,
}

/// What `sys/mounts/:path/tune` sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountTuning {
    /// Zero: the server's.
    pub default_lease_ttl: Duration,
    /// Zero: the server's.
    pub max_lease_ttl: Duration,
    /// Request members that audit devices show in clear.
    pub audit_non_hmac_request_keys: Vec<String>,
    /// Answer members that audit devices show in clear.
    pub audit_non_hmac_response_keys: Vec<String>,
    /// Request headers that the engine gets to see.
    pub passthrough_request_headers: Vec<String>,
    /// Headers that the engine may answer with.
    pub allowed_response_headers: Vec<String>,
    /// Who sees the mount listed.
    pub listing_visibility: Option<ListingVisibility>,
    /// What kind of tokens an auth mount gives out where the role leaves it open, and whether it may differ.
    pub token_type: Option<String>,
    /// Kept for clients that set it.
    pub force_no_cache: bool,
    /// User lockout settings, as set.
    pub user_lockout: BTreeMap<String, String>,
}

/// One mount as kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountEntry {
    /// Its number, never given out twice.
    pub id: MountId,
    /// A UUID for clients.
    pub uuid: String,
    /// The accessor.
    pub accessor: String,
    /// The engine's type.
    pub kind: String,
    /// For people.
    pub description: String,
    /// Engine options (`version` for KV).
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// What tuning sets.
    #[serde(default)]
    pub tuning: MountTuning,
    /// Not replicated; kept for the time when there is replication.
    #[serde(default)]
    pub local: bool,
    /// Asked for at enabling; what it means depends on the seal.
    #[serde(default)]
    pub seal_wrap: bool,
    /// Asked for at enabling.
    #[serde(default)]
    pub external_entropy_access: bool,
}

impl Stored for MountEntry {}

/// A mount ready to serve.
#[derive(Debug)]
pub struct Mounted {
    /// What handlers see of it.
    pub mount: Arc<Mount>,
    /// Its path from the namespace's root: `secret/`, `auth/approle/`.
    pub path: String,
    /// Its entry.
    pub entry: MountEntry,
    /// Its engine.
    pub engine: Arc<Engine>,
    /// The entry's type, as answers carry it.
    pub kind: Arc<str>,
}

impl Mounted {
    /// `auth`, `secret` or `system`, as audit records say.
    pub fn class_name(&self) -> &'static str {
        if self.path.starts_with("auth/") { "auth" } else { "secret" }
    }
}

/// All mounts of all namespaces, by path.
#[derive(Default)]
pub struct Router {
    by_path: HashMap<NamespaceId, HashMap<String, Arc<Mounted>>>,
    by_accessor: HashMap<String, Arc<Mounted>>,
    by_id: HashMap<MountId, Arc<Mounted>>,
    kept_by_token: Vec<(Arc<Mounted>, TableId)>,
}

impl Router {
    /// The mount that `path` leads to, and the rest of the path.
    pub fn route<'a>(&self, namespace: NamespaceId, path: &'a str) -> Option<(Arc<Mounted>, &'a str)> {
        // Mounts do not nest, so at most one boundary fits; `auth/token` without a slash still means the mount.
        let mounts = self.by_path.get(&namespace)?;
        let boundaries = path.match_indices('/').map(|(at, _)| at.saturating_add(1));
        for at in boundaries {
            let (mount, rest) = path.split_at_checked(at)?;
            if let Some(mounted) = mounts.get(mount) {
                return Some((mounted.clone(), rest));
            }
        }
        let whole = mounts.get(&format!("{path}/"))?;
        Some((whole.clone(), ""))
    }

    /// The mount at exactly this path (with a trailing slash).
    pub fn at(&self, namespace: NamespaceId, path: &str) -> Option<&Arc<Mounted>> {
        self.by_path.get(&namespace)?.get(path)
    }

    /// The mount with this accessor.
    pub fn by_accessor(&self, accessor: &str) -> Option<&Arc<Mounted>> {
        self.by_accessor.get(accessor)
    }

    /// The mount with this number.
    pub fn by_id(&self, id: MountId) -> Option<&Arc<Mounted>> {
        self.by_id.get(&id)
    }

    /// The mounts whose engines keep entries that end with a token, and the tables of those.
    pub fn kept_by_token(&self) -> impl Iterator<Item = (&Arc<Mounted>, TableId)> {
        self.kept_by_token.iter().map(|(mounted, table)| (mounted, *table))
    }

    /// The mounts of a namespace in path order.
    pub fn in_namespace(&self, namespace: NamespaceId) -> Vec<Arc<Mounted>> {
        let mounts = self.by_path.get(&namespace).into_iter().flat_map(HashMap::values);
        let mut mounts: Vec<_> = mounts.cloned().collect();
        mounts.sort_by(|a, b| a.path.cmp(&b.path));
        mounts
    }

    /// Every mount.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Mounted>> {
        self.by_path.values().flat_map(HashMap::values)
    }
}

impl Core {
    /// The router as of the newest change of a mount.
    pub async fn router(&self) -> Result<Arc<Router>, BarrierError> {
        self.router.get(|| self.build_router()).await
    }

    async fn build_router(&self) -> Result<(u64, Router), BarrierError> {
        let view = self.barrier.pinned_view().await?;
        let mut router = Router::default();
        for ((namespace, path), entry) in MOUNTS.scan(&view, &NamespaceId::ROOT, None, MOST_MOUNTS).await? {
            let Some(mounted) = self.mounted(namespace, &path, &entry).map(Arc::new) else {
                tracing::error!(path, kind = entry.kind, "a mount's engine is not part of this program");
                continue;
            };
            router.by_accessor.insert(entry.accessor.clone(), mounted.clone());
            router.by_id.insert(entry.id, mounted.clone());
            router
                .kept_by_token
                .extend(mounted.engine.table_by_token().map(|table| (mounted.clone(), table)));
            router.by_path.entry(namespace).or_default().insert(path, mounted);
        }
        Ok((view.index(), router))
    }

    /// The handle of a mount; `None` where its engine is not part of this program.
    pub(crate) fn mounted(&self, namespace: NamespaceId, path: &str, entry: &MountEntry) -> Option<Mounted> {
        let class = if path.starts_with("auth/") { Class::Auth } else { Class::Secrets };
        Some(Mounted {
            engine: self.catalog.engine(class, &entry.kind, &entry.options)?,
            mount: Arc::new(self.mount_seen_by_engines(namespace, path, entry)),
            entry: entry.clone(),
            kind: Arc::from(entry.kind.as_str()),
            path: path.to_owned(),
        })
    }

    fn mount_seen_by_engines(&self, namespace: NamespaceId, path: &str, entry: &MountEntry) -> Mount {
        let or = |set: Duration, fallback: Duration| if set.is_zero() { fallback } else { set };
        let max = or(entry.tuning.max_lease_ttl, self.settings.max_lease_ttl);
        let default = or(entry.tuning.default_lease_ttl, self.settings.default_lease_ttl).min(max);
        Mount {
            id: entry.id,
            path: path.strip_prefix("auth/").unwrap_or(path).to_owned(),
            accessor: entry.accessor.clone(),
            kind: entry.kind.clone(),
            options: entry.options.clone(),
            lifetimes: Lifetimes { default, max },
            namespace,
            local: entry.local,
        }
    }

    /// Enables `entry` at `path` (`secret/`, `auth/x/`): checks the path, options and type, and numbers it.
    pub async fn add_mount(&self, txn: &Txn, path: &str, entry: NewMount) -> Result<MountEntry, EngineError> {
        let class = if path.starts_with("auth/") { Class::Auth } else { Class::Secrets };
        let engine = self
            .catalog
            .engine(class, &entry.kind, &entry.options)
            .ok_or_else(|| bad_request(format!("plugin not found in the catalog: {}", entry.kind)))?;
        engine.validate_options(&entry.options).map_err(bad_request)?;
        if let Some(other) = self.taken_by(txn, path).await? {
            let other = other.strip_prefix("auth/").unwrap_or(&other);
            return Err(bad_request(format!("path is already in use at {other}")));
        }
        let id = self.next_mount_id(txn).await?;
        let random = self.environment.entropy.bytes::<4>()?;
        let prefix = if class == Class::Auth { "auth_" } else { "" };
        let kept = MountEntry {
            id,
            uuid: self.environment.entropy.uuid()?,
            accessor: format!("{prefix}{}_{:08x}", entry.kind, u32::from_be_bytes(random)),
            kind: entry.kind,
            description: entry.description,
            options: entry.options,
            tuning: entry.tuning,
            local: entry.local,
            seal_wrap: entry.seal_wrap,
            external_entropy_access: entry.external_entropy_access,
        };
        MOUNTS.put(txn, &(NamespaceId::ROOT, path), kept.clone())?;
        Ok(kept)
    }

    async fn next_mount_id(&self, txn: &Txn) -> Result<MountId, EngineError> {
        let next = NUMBERS.get(txn, NEXT_MOUNT).await?.map_or(1, |next| next.0);
        let id =
            u32::try_from(next).map_err(|_error| EngineError::Internal("out of mount numbers".to_owned()))?;
        NUMBERS.put(txn, NEXT_MOUNT, Number(next.saturating_add(1)))?;
        Ok(MountId::new(id))
    }

    /// The mount that takes `path`, by being there or by lying inside or around it: requests could not be told apart.
    async fn taken_by(&self, txn: &Txn, path: &str) -> Result<Option<String>, EngineError> {
        let taken = MOUNTS.keys(txn, &NamespaceId::ROOT, None, MOST_MOUNTS).await?;
        let meets = |other: &String| other.starts_with(path) || path.starts_with(other.as_str());
        Ok(taken.into_iter().map(|(_, other)| other).find(meets))
    }

    /// Moves a mount with all that it keeps. Leases and tokens name the path they came from: none must be left in force
    /// ([`Core::revoke_prefix_step`]).
    pub async fn move_mount(&self, txn: &Txn, from: &str, to: &str) -> Result<(), EngineError> {
        let Some(entry) = self.mount_entry(txn, from).await? else {
            return Err(bad_request(format!("no matching mount at {from:?}")));
        };
        if let Some(other) = self.taken_by(txn, to).await? {
            return Err(bad_request(format!("path already in use at {other:?}")));
        }
        MOUNTS.delete(txn, &(NamespaceId::ROOT, from));
        MOUNTS.put(txn, &(NamespaceId::ROOT, to), (*entry).clone())?;
        Ok(())
    }

    /// The entry at a path, for tuning; the transaction is decided on it.
    pub async fn mount_entry(
        &self,
        reads: &impl Reads,
        path: &str,
    ) -> Result<Option<Arc<MountEntry>>, BarrierError> {
        MOUNTS.get(reads, &(NamespaceId::ROOT, path)).await
    }

    /// Writes a tuned entry back.
    pub fn put_mount(&self, txn: &Txn, path: &str, entry: MountEntry) -> Result<(), BarrierError> {
        MOUNTS.put(txn, &(NamespaceId::ROOT, path), entry)
    }

    /// Takes a mount away: it takes no requests from here on, and its path is free. Its leases and tokens are ended and
    /// what it kept is removed by housekeeping in bounded steps; nothing else can reach them, because the number is not
    /// given out again.
    pub async fn remove_mount(&self, txn: &Txn, path: &str) -> Result<Option<Arc<MountEntry>>, EngineError> {
        let Some(entry) = self.mount_entry(txn, path).await? else { return Ok(None) };
        MOUNTS.delete(txn, &(NamespaceId::ROOT, path));
        let disabled = DisabledMount::new(NamespaceId::ROOT, path, (*entry).clone());
        DISABLED_MOUNTS.put(txn, &entry.id, disabled)?;
        Ok(Some(entry))
    }

    /// The kind of token an auth mount gives out where its role leaves the choice, per its `token_type` tuning.
    pub(crate) fn mount_token_kind(entry: &MountEntry, asked: Option<TokenKind>) -> TokenKind {
        match (entry.tuning.token_type.as_deref(), asked) {
            (Some("batch"), _) | (Some("default-batch"), None) => TokenKind::Batch,
            (Some("service"), _) => TokenKind::Service,
            (_, asked) => asked.unwrap_or_default(),
        }
    }
}

const NEXT_MOUNT: &str = "next-mount";

/// What is asked for when enabling a mount.
#[derive(Clone, Debug, Default)]
pub struct NewMount {
    /// The engine's type.
    pub kind: String,
    /// For people.
    pub description: String,
    /// Engine options.
    pub options: BTreeMap<String, String>,
    /// Tuning from the start.
    pub tuning: MountTuning,
    /// Not replicated.
    pub local: bool,
    /// Asked for.
    pub seal_wrap: bool,
    /// Asked for.
    pub external_entropy_access: bool,
}
