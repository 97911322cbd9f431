//! The mount table in storage. [`Router`](crate::Router) is what requests look mounts up in.
//!
//! Four mounts are in every namespace and have no entry, so that ten thousand namespaces cost no forty thousand entries:
//! their numbers are the same everywhere, and their accessors follow from the namespace's. One that is tuned has an entry.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_barrier::{BarrierError, MountId, MountPlace, NamespaceId, Reads, Stored, Txn};
use strongroom_engine_api::{
    Backend, Class, EngineError, Facilities, Lifetimes, Mount, TokenKind, bad_request,
};

use crate::changes;
use crate::disabled_mounts::DisabledMount;
use crate::moving::being_moved;
use crate::namespaces::Namespace;
use crate::router::MAX_MOUNT_PATH;
use crate::{DISABLED_MOUNTS, MOUNTS, Mounts, NAMESPACES, NUMBERS, Number};

/// The first number that a mount with an entry is given; those below are the built-in ones'.
const FIRST_MOUNT: u64 = 16;

/// A mount that is in every namespace.
pub(crate) struct BuiltIn {
    id: MountId,
    pub(crate) path: &'static str,
    kind: &'static str,
    description: &'static str,
}

/// The mounts that are in every namespace. Their numbers are in storage keys, and so never change.
pub(crate) static BUILT_IN: [BuiltIn; 4] = [
    BuiltIn {
        id: MountId::new(1),
        path: "sys/",
        kind: "system",
        description: "system endpoints used for control, policy and debugging",
    },
    BuiltIn {
        id: MountId::new(2),
        path: "cubbyhole/",
        kind: "cubbyhole",
        description: "per-token private secret storage",
    },
    BuiltIn {
        id: MountId::new(3),
        path: "auth/token/",
        kind: "token",
        description: "token based credentials",
    },
    BuiltIn { id: MountId::new(4), path: "identity/", kind: "identity", description: "identity store" },
];

impl BuiltIn {
    /// Its number, the same in every namespace.
    pub(crate) const fn id(&self) -> MountId {
        self.id
    }

    /// The entry that it would have. Accessor and UUID are told apart by cluster and namespace.
    pub(crate) fn entry(&self, namespace: NamespaceId, seed: &[u8; 16]) -> MountEntry {
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        context.update(seed);
        context.update(&namespace.get().to_be_bytes());
        context.update(self.path.as_bytes());
        let hex = strongroom_stdx::to_hex(context.finish().as_ref());
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
        let prefix = if self.path.starts_with("auth/") { "auth_" } else { "" };
        MountEntry {
            id: self.id,
            uuid: [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-"),
            accessor: format!("{prefix}{}_{}", self.kind, part(32, 40)),
            kind: self.kind.to_owned(),
            description: self.description.to_owned(),
            options: BTreeMap::new(),
            tuning: MountTuning::default(),
            local: self.kind == "cubbyhole",
            seal_wrap: self.kind == "system",
            external_entropy_access: false,
            moving: false,
        }
    }

    /// The place of its entries in storage.
    pub(crate) fn place(&self, namespace: NamespaceId) -> MountPlace {
        MountPlace { namespace, mount: self.id, local: self.kind == "cubbyhole" }
    }
}

/// The values of `listing_visibility`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListingVisibility {
    /// Shown to callers that may use the mount.
    #[default]
    Hidden,
    /// Shown before login too.
    Unauth,
}

/// The parameters that `sys/mounts/:path/tune` sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountTuning {
    /// Zero: the server's.
    pub default_lease_ttl: Duration,
    /// Zero: the server's.
    pub max_lease_ttl: Duration,
    /// Request members that audit devices do not hash.
    pub audit_non_hmac_request_keys: Vec<String>,
    /// Answer members that audit devices do not hash.
    pub audit_non_hmac_response_keys: Vec<String>,
    /// Request headers that the engine gets to see.
    pub passthrough_request_headers: Vec<String>,
    /// Headers that the engine may answer with.
    pub allowed_response_headers: Vec<String>,
    /// The callers that see the mount listed.
    pub listing_visibility: Option<ListingVisibility>,
    /// The type of tokens that an auth mount issues where the role leaves it open, and whether a role may set another.
    pub token_type: Option<String>,
    /// Kept for clients that set it.
    pub force_no_cache: bool,
    /// User lockout settings, as set.
    pub user_lockout: BTreeMap<String, String>,
}

/// One mount as kept.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and three are Vault's")]
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
    /// The parameters that tuning sets.
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
    /// True while it is being moved to another namespace: it answers nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub moving: bool,
}

impl Stored for MountEntry {}

/// A mount ready to serve.
#[derive(Debug)]
pub struct MountHandle {
    /// The mount as handlers see it.
    pub mount: Arc<Mount>,
    /// The namespace it is in.
    pub namespace: Arc<Namespace>,
    /// Its path from the namespace's root: `secret/`, `auth/approle/`.
    pub path: String,
    /// Its entry.
    pub entry: MountEntry,
    /// Its engine.
    pub engine: Arc<dyn Backend>,
    /// The facilities that the server lends to its engine.
    pub facilities: Arc<Facilities>,
    /// The entry's type, as answers carry it.
    pub kind: Arc<str>,
}

impl MountHandle {
    /// `auth`, `secret` or `system`, as audit records say.
    pub fn class_name(&self) -> &'static str {
        if self.path.starts_with("auth/") { "auth" } else { "secret" }
    }

    /// Its path from the root of the server.
    pub fn full_path(&self) -> String {
        self.namespace.full(&self.path)
    }

    /// The kind of token an auth mount gives out where its role leaves the choice, per its `token_type` tuning.
    pub fn token_kind(&self, asked: Option<TokenKind>) -> TokenKind {
        match (self.entry.tuning.token_type.as_deref(), asked) {
            (Some("batch"), _) | (Some("default-batch"), None) => TokenKind::Batch,
            (Some("service"), _) => TokenKind::Service,
            (_, asked) => asked.unwrap_or_default(),
        }
    }

    /// True if it has work in the background. Jobs of the server's own engines are the server's, and run once.
    pub(crate) fn has_jobs(&self) -> bool {
        let of_server = self.engine.class() == Class::System && !self.namespace.id.is_root();
        !of_server && !self.entry.moving && !self.engine.jobs().is_empty()
    }
}

impl Mounts {
    /// Enables `entry` at `path` (`secret/`, `auth/x/`): checks the path, options and type, and numbers it.
    pub async fn add_mount(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        path: &str,
        entry: NewMount,
    ) -> Result<MountEntry, EngineError> {
        if path.len() > MAX_MOUNT_PATH {
            return Err(bad_request(format!("path is longer than {MAX_MOUNT_PATH} bytes")));
        }
        let class = if path.starts_with("auth/") { Class::Auth } else { Class::Secrets };
        let engine = self
            .catalog
            .engine(class, &entry.kind, &entry.options)
            .ok_or_else(|| bad_request(format!("plugin not found in the catalog: {}", entry.kind)))?;
        engine.validate_options(&entry.options).map_err(bad_request)?;
        if let Some(other) = self.taken_by(txn, namespace, path).await? {
            let other = other.strip_prefix("auth/").unwrap_or(&other);
            return Err(bad_request(format!("path is already in use at {other}")));
        }
        let id = self.next_mount_id(txn).await?;
        let random = self.entropy.bytes::<4>()?;
        let prefix = if class == Class::Auth { "auth_" } else { "" };
        let kept = MountEntry {
            id,
            uuid: self.entropy.uuid()?,
            accessor: format!("{prefix}{}_{:08x}", entry.kind, u32::from_be_bytes(random)),
            kind: entry.kind,
            description: entry.description,
            options: entry.options,
            tuning: entry.tuning,
            local: entry.local,
            seal_wrap: entry.seal_wrap,
            external_entropy_access: entry.external_entropy_access,
            moving: false,
        };
        changes::enabled(txn, self.name_of(namespace), path, &kept.kind);
        MOUNTS.put(txn, &(namespace, path), kept.clone())?;
        Ok(kept)
    }

    /// The path of a namespace in the log; empty for the root, and for one that is gone.
    fn name_of(&self, namespace: NamespaceId) -> String {
        self.namespace(namespace).map(|namespace| namespace.path.clone()).unwrap_or_default()
    }

    pub(crate) async fn next_mount_id(&self, txn: &Txn) -> Result<MountId, EngineError> {
        let next = NUMBERS.get(txn, NEXT_MOUNT).await?.map_or(FIRST_MOUNT, |next| next.0);
        let id =
            u32::try_from(next).map_err(|_error| EngineError::Internal("out of mount numbers".to_owned()))?;
        NUMBERS.put(txn, NEXT_MOUNT, Number(next.saturating_add(1)))?;
        Ok(MountId::new(id))
    }

    /// The mount or namespace that takes `path`, by being there or by lying inside or around it: requests could not be told
    /// apart. Read within `txn`, so that two who take the same path at once do not both get it.
    pub(crate) async fn taken_by(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        path: &str,
    ) -> Result<Option<String>, EngineError> {
        let meets = |built_in: &&BuiltIn| built_in.path.starts_with(path) || path.starts_with(built_in.path);
        if let Some(built_in) = BUILT_IN.iter().find(meets) {
            return Ok(Some(built_in.path.to_owned()));
        }
        for (at, _) in path.match_indices('/') {
            let Some(around) = path.get(..=at) else { continue };
            if MOUNTS.get(txn, &(namespace, around)).await?.is_some() {
                return Ok(Some(around.to_owned()));
            }
        }
        let inside = MOUNTS.keys(txn, &(namespace, path), None, 1).await?;
        if let Some((_, other)) = inside.into_iter().next() {
            return Ok(Some(other));
        }
        let name = path.split_once('/').map_or(path, |(name, _)| name);
        let child = NAMESPACES.get(txn, &(namespace, name)).await?;
        Ok(child.map(|_| format!("{name}/")))
    }

    /// Moves a mount with all that it keeps. Leases and tokens name the path they came from: none must be left in force
    /// (the step by step revocation of a prefix is for that).
    pub async fn move_mount(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        from: &str,
        to: &str,
    ) -> Result<MountId, EngineError> {
        let Some(entry) = self.mount_entry(txn, namespace, from).await? else {
            return Err(bad_request(format!("no matching mount at {from:?}")));
        };
        if entry.moving {
            return Err(bad_request(format!("the mount at {from:?} is being moved already")));
        }
        if to.len() > MAX_MOUNT_PATH {
            return Err(bad_request(format!("path is longer than {MAX_MOUNT_PATH} bytes")));
        }
        if let Some(other) = self.taken_by(txn, namespace, to).await? {
            return Err(bad_request(format!("path already in use at {other:?}")));
        }
        changes::moved(txn, self.name_of(namespace), from, to);
        MOUNTS.delete(txn, &(namespace, from));
        MOUNTS.put(txn, &(namespace, to), (*entry).clone())?;
        Ok(entry.id)
    }

    /// The entry at a path, for tuning; the transaction is decided on it.
    pub async fn mount_entry(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        path: &str,
    ) -> Result<Option<Arc<MountEntry>>, BarrierError> {
        let found = MOUNTS.get(reads, &(namespace, path)).await?;
        if found.is_some() {
            return Ok(found);
        }
        let Some(built_in) = BUILT_IN.iter().find(|built_in| built_in.path == path) else { return Ok(None) };
        Ok(Some(Arc::new(built_in.entry(namespace, &self.built_in_seed()?))))
    }

    /// The seed of the accessors of built-in mounts. It differs from cluster to cluster and is no secret.
    pub(crate) fn built_in_seed(&self) -> Result<[u8; 16], BarrierError> {
        self.seal_state.token_hmac(&["built-in mounts\0"])
    }

    /// Makes sure that a mount is not disabled, nor begins to move, before `txn` commits: the transaction that disables it
    /// finds what it has granted, or the grant finds no mount.
    pub async fn require_mount(&self, txn: &Txn, mounted: &MountHandle) -> Result<(), EngineError> {
        if mounted.engine.class() == Class::System {
            return Ok(());
        }
        let entry = MOUNTS.get(txn, &(mounted.mount.namespace, mounted.path.as_str())).await?;
        match entry.filter(|entry| entry.id == mounted.mount.id) {
            Some(entry) if entry.moving => Err(being_moved(&mounted.path)),
            Some(_) => Ok(()),
            None => Err(EngineError::NotFound),
        }
    }

    /// The lifetimes of the mount that a path leads to, or led to: the server's where there is none any more.
    pub async fn lifetimes_of(&self, namespace: NamespaceId, path: &str) -> Result<Lifetimes, BarrierError> {
        let router = self.router().await?;
        let found = router.route(namespace, path).map(|(mounted, _)| mounted.mount.lifetimes);
        Ok(found.unwrap_or(self.lifetimes))
    }

    /// The path and accessor of the mount that granted a lease, though it be disabled; `None` where it is gone.
    pub async fn origin_of_lease(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        mount: MountId,
    ) -> Result<Option<(String, String)>, BarrierError> {
        if let Some(mounted) = self.router().await?.by_id(namespace, mount) {
            return Ok(Some((mounted.path.clone(), mounted.entry.accessor.clone())));
        }
        let disabled = DISABLED_MOUNTS.get(reads, &mount).await?;
        Ok(disabled.map(|disabled| (disabled.path.clone(), disabled.entry.accessor.clone())))
    }

    /// Writes a tuned entry back.
    pub fn put_mount(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        path: &str,
        entry: MountEntry,
    ) -> Result<(), BarrierError> {
        MOUNTS.put(txn, &(namespace, path), entry)
    }

    /// Takes a mount away: it takes no requests from here on, and its path is free. Its leases and tokens are ended and
    /// what it kept is removed by housekeeping in bounded steps; nothing else can reach them, because the number is not
    /// given out again.
    pub async fn remove_mount(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        path: &str,
    ) -> Result<Option<Arc<MountEntry>>, EngineError> {
        let Some(entry) = MOUNTS.get(txn, &(namespace, path)).await? else { return Ok(None) };
        changes::disabled(txn, self.name_of(namespace), path);
        MOUNTS.delete(txn, &(namespace, path));
        let disabled = DisabledMount::new(namespace, path, (*entry).clone());
        DISABLED_MOUNTS.put(txn, &entry.id, disabled)?;
        Ok(Some(entry))
    }
}

const NEXT_MOUNT: &str = "next-mount";

/// The parameters of enabling a mount.
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
