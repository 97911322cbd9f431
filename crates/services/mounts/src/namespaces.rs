//! Namespaces: tenants of one server, each with mounts, policies, tokens and leases of its own, one inside the other.
//!
//! A namespace is a number in storage keys, and a name in the namespace it is in. Neither changes or is used again: a
//! namespace that is deleted and created again under its name is another one, which nothing of the first can reach.
//! Deleting removes the name at once; a job removes the contents.
//!
//! This module does not decide who may do what where: policies do, and [`Namespace::is_within`] confines tokens.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use strongroom_barrier::{BarrierError, NamespaceId, Reads, Stored, Txn};
use strongroom_engine_api::{EngineError, bad_request};

use crate::mounts::BUILT_IN;
use crate::{DELETED_NAMESPACES, MOUNTS, Mounts, NAMESPACES, NUMBERS, Number};

/// The number of the first namespace in the root namespace.
const FIRST_NAMESPACE: u64 = 2;
const NEXT_NAMESPACE: &str = "next-namespace";

/// Characters of a namespace's short id.
const SUFFIX_LEN: usize = 6;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// A multiplier that spreads numbers over short ids, so that those of neighbors do not look alike, and its inverse
/// (modulo 2^32).
const SPREAD: u32 = 0x9E37_79B1;
const GATHER: u32 = 0x0E8B_2F51;

/// Names that no namespace can have: they are paths of the server.
const RESERVED: [&str; 8] = [".", "..", "root", "sys", "audit", "auth", "cubbyhole", "identity"];
/// Bytes of a name.
const MAX_NAME: usize = 255;
/// Entries removed in one transaction.
const STEP: usize = 500;

/// A namespace as kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NamespaceEntry {
    /// Its number, never given out twice.
    pub id: NamespaceId,
    /// A UUID for clients.
    pub uuid: String,
    /// The metadata set at its creation.
    #[serde(default)]
    pub custom_metadata: BTreeMap<String, String>,
    /// What is needed to unlock it, while it is locked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<UnlockKey>,
}

impl Stored for NamespaceEntry {}

/// The HMAC of the key that unlocks a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UnlockKey(pub(crate) [u8; 16]);

/// A namespace that is gone and whose entries are not yet.
#[derive(Clone, Serialize, Deserialize)]
pub struct DeletedNamespace {
    /// The path it had.
    pub path: String,
}

impl Stored for DeletedNamespace {}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its number in storage keys.
    pub id: NamespaceId,
    /// Its path from the root namespace, with a slash at its end; empty for the root namespace.
    pub path: String,
    /// The short id that its tokens, accessors and lease ids end in; `root` for the root namespace.
    pub short_id: String,
    /// The namespace it is in, and its name there; the root namespace is in itself.
    parent: (NamespaceId, String),
    entry: Arc<NamespaceEntry>,
}

impl Default for Namespace {
    /// The root namespace.
    fn default() -> Self {
        Self::root()
    }
}

impl Namespace {
    /// A namespace that is deleted, for what is still to be ended of its mounts.
    pub fn gone(id: NamespaceId) -> Self {
        let entry = Arc::new(NamespaceEntry { id, ..NamespaceEntry::default() });
        Self { id, entry, ..Self::root() }
    }

    pub(crate) fn root() -> Self {
        let entry = NamespaceEntry { id: NamespaceId::ROOT, ..NamespaceEntry::default() };
        Self {
            id: NamespaceId::ROOT,
            path: String::new(),
            short_id: "root".to_owned(),
            parent: (NamespaceId::ROOT, String::new()),
            entry: Arc::new(entry),
        }
    }

    /// The namespace of this name in `parent`.
    pub(crate) fn new(parent: &Self, name: &str, entry: Arc<NamespaceEntry>) -> Self {
        Self {
            id: entry.id,
            path: format!("{}{name}/", parent.path),
            short_id: short_id(entry.id),
            parent: (parent.id, name.to_owned()),
            entry,
        }
    }

    /// True if it is the root namespace.
    pub fn is_root(&self) -> bool {
        self.id.is_root()
    }

    /// A UUID for clients; empty for the root namespace.
    pub fn uuid(&self) -> &str {
        &self.entry.uuid
    }

    /// The metadata set at its creation.
    pub fn custom_metadata(&self) -> &BTreeMap<String, String> {
        &self.entry.custom_metadata
    }

    /// True if its API is locked. It is so too while that of a namespace around it is.
    pub fn is_locked(&self) -> bool {
        self.entry.lock.is_some()
    }

    pub(crate) const fn parent(&self) -> &(NamespaceId, String) {
        &self.parent
    }

    pub(crate) fn entry(&self) -> &NamespaceEntry {
        &self.entry
    }

    /// The number of the namespace it is in; the root namespace is in itself.
    pub const fn parent_id(&self) -> NamespaceId {
        self.parent.0
    }

    /// A path of this namespace as seen from the root namespace: as policies have it.
    pub fn full(&self, path: &str) -> String {
        format!("{}{path}", self.path)
    }

    /// True if it is `other` or is inside it.
    pub fn is_within(&self, other: &Self) -> bool {
        self.path.starts_with(&other.path)
    }
}

/// The short id of a namespace other than the root. It follows from the number, so it needs no index and is never given
/// out twice.
fn short_id(id: NamespaceId) -> String {
    let mut rest = id.get().wrapping_mul(SPREAD);
    let mut text = [b'0'; SUFFIX_LEN];
    for digit in text.iter_mut().rev() {
        let at = usize::try_from(rest % 62).unwrap_or_default();
        *digit = BASE62.get(at).copied().unwrap_or(b'0');
        rest /= 62;
    }
    text.iter().map(|digit| char::from(*digit)).collect()
}

/// The suffix of ids made in a namespace: nothing in the root namespace, `.ID` in others.
pub fn suffix(namespace: NamespaceId) -> String {
    if namespace.is_root() { String::new() } else { format!(".{}", short_id(namespace)) }
}

/// The namespace that a token names by its end, and the text before that. One without such an end is the root namespace's.
pub fn named_by(token: &str) -> (NamespaceId, &str) {
    let named = token.rsplit_once('.').and_then(|(text, id)| Some((from_short_id(id)?, text)));
    named.filter(|(_, text)| !text.is_empty()).unwrap_or((NamespaceId::ROOT, token))
}

fn from_short_id(text: &str) -> Option<NamespaceId> {
    if text.len() != SUFFIX_LEN {
        return None;
    }
    let mut number: u64 = 0;
    for byte in text.bytes() {
        let digit = BASE62.iter().position(|digit| *digit == byte)?;
        number = number.checked_mul(62)?.checked_add(u64::try_from(digit).ok()?)?;
    }
    let id = NamespaceId::new(u32::try_from(number).ok()?.wrapping_mul(GATHER));
    (id > NamespaceId::ROOT).then_some(id)
}

/// Refuses what cannot be the name of a namespace.
fn check_name(name: &str) -> Result<(), EngineError> {
    if RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(bad_request(format!(
            "{name:?} is a reserved path and cannot be used as a namespace path"
        )));
    }
    let fits = |c: char| !c.is_control() && !c.is_whitespace() && !matches!(c, '/' | '*' | '+');
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(fits) {
        return Err(bad_request(format!("{name:?} cannot be used as a namespace path")));
    }
    Ok(())
}

impl Mounts {
    /// The namespace with this number, as of the last look at the router.
    pub fn namespace(&self, id: NamespaceId) -> Option<Arc<Namespace>> {
        self.router.namespace(id)
    }

    /// A path of a namespace as policies have it; `None` where the namespace is gone.
    pub fn full_path(&self, id: NamespaceId, path: &str) -> Option<String> {
        Some(self.namespace(id)?.full(path))
    }

    /// A namespace and all that are inside it, each before those in it; none where it is gone.
    pub async fn namespaces_within(&self, id: NamespaceId) -> Result<Vec<Arc<Namespace>>, BarrierError> {
        let router = self.router().await?;
        let (mut found, mut waiting) = (Vec::new(), Vec::from_iter(router.namespace(id)));
        while let Some(next) = waiting.pop() {
            waiting.extend(router.children(next.id).into_iter().rev());
            found.push(next);
        }
        Ok(found)
    }

    /// Makes `path` below `parent`, whose last segment is the name; its parent must exist. Answers the new namespace,
    /// and whether it is new: the caller then creates the initial contents of a namespace. One that is there already
    /// gets the metadata.
    pub async fn create_namespace(
        &self,
        txn: &Txn,
        parent: &Namespace,
        path: &str,
        custom_metadata: BTreeMap<String, String>,
    ) -> Result<(Namespace, bool), EngineError> {
        let (parent, name) = self
            .parent_of(txn, parent, path)
            .await?
            .ok_or_else(|| bad_request(format!("the parent namespace of {path:?} does not exist")))?;
        check_name(name)?;
        if let Some(kept) = NAMESPACES.get(txn, &(parent.id, name)).await? {
            let entry = NamespaceEntry { custom_metadata, ..(*kept).clone() };
            NAMESPACES.put(txn, &(parent.id, name), entry.clone())?;
            return Ok((Namespace::new(&parent, name, Arc::new(entry)), false));
        }
        // A mount `a` is at `a/`, and one inside at `a/b/`.
        let taken = MOUNTS.keys(txn, &(parent.id, format!("{name}/").as_str()), None, 1).await?;
        if let Some((_, other)) = taken.first() {
            return Err(bad_request(format!("path is already in use at {other}")));
        }
        let next = NUMBERS.get(txn, NEXT_NAMESPACE).await?.map_or(FIRST_NAMESPACE, |next| next.0);
        let id = u32::try_from(next)
            .map_err(|_error| EngineError::Internal("out of namespace numbers".to_owned()))?;
        NUMBERS.put(txn, NEXT_NAMESPACE, Number(next.saturating_add(1)))?;
        let id = NamespaceId::new(id);
        let entry = NamespaceEntry { id, uuid: self.entropy.uuid()?, custom_metadata, lock: None };
        NAMESPACES.put(txn, &(parent.id, name), entry.clone())?;
        Ok((Namespace::new(&parent, name, Arc::new(entry)), true))
    }

    /// The namespace at `path` below `parent`.
    pub async fn find_namespace(
        &self,
        reads: &impl Reads,
        parent: &Namespace,
        path: &str,
    ) -> Result<Option<Namespace>, BarrierError> {
        let Some((parent, name)) = self.parent_of(reads, parent, path).await? else { return Ok(None) };
        let found = NAMESPACES.get(reads, &(parent.id, name)).await?;
        Ok(found.map(|entry| Namespace::new(&parent, name, entry)))
    }

    /// Deletes the namespace at `path` below `parent`; answers whether there was one. It is gone at once, what was in it
    /// goes step by step. One that others are in stays.
    pub async fn delete_namespace(
        &self,
        txn: &Txn,
        parent: &Namespace,
        path: &str,
    ) -> Result<bool, EngineError> {
        let Some(namespace) = self.find_namespace(txn, parent, path).await? else { return Ok(false) };
        // A transaction that creates one in it reads its entry, so one of the two fails.
        if !NAMESPACES.keys(txn, &namespace.id, None, 1).await?.is_empty() {
            let text = format!("child namespaces exist under path {:?}, cannot remove", namespace.path);
            return Err(bad_request(text));
        }
        NAMESPACES.delete(txn, &(namespace.parent.0, namespace.parent.1.as_str()));
        let deleted = DeletedNamespace { path: namespace.path.clone() };
        DELETED_NAMESPACES.put(txn, &u64::from(namespace.id.get()), deleted)?;
        let path = namespace.path.clone();
        txn.on_commit(move || tracing::info!(namespace = path, "namespace deleted"));
        Ok(true)
    }

    /// The namespace in which the last segment of `path` is a name, and that segment. Where a transaction reads, each
    /// step is one it rests on, so that none of them goes meanwhile.
    async fn parent_of<'a>(
        &self,
        reads: &impl Reads,
        start: &Namespace,
        path: &'a str,
    ) -> Result<Option<(Namespace, &'a str)>, BarrierError> {
        let mut parent = start.clone();
        let mut rest = path.trim_matches('/');
        while let Some((name, further)) = rest.split_once('/') {
            let Some(entry) = NAMESPACES.get(reads, &(parent.id, name)).await? else { return Ok(None) };
            parent = Namespace::new(&parent, name, entry);
            rest = further;
        }
        Ok(Some((parent, rest)))
    }

    /// Rests what `txn` will commit on the namespace being there: nothing is written into one that is being deleted.
    pub async fn hold_namespace(&self, txn: &Txn, namespace: &Namespace) -> Result<bool, BarrierError> {
        if namespace.is_root() {
            return Ok(true);
        }
        let (parent, name) = &namespace.parent;
        let entry = NAMESPACES.get(txn, &(*parent, name.as_str())).await?;
        Ok(entry.is_some_and(|entry| entry.id == namespace.id))
    }

    /// The first namespace that is deleted and not yet empty: its number, and the path it had.
    pub async fn first_deleted(
        &self,
        reads: &impl Reads,
    ) -> Result<Option<(NamespaceId, String)>, BarrierError> {
        let found = DELETED_NAMESPACES.scan(reads, &(), None, 1).await?;
        let Some((number, deleted)) = found.into_iter().next() else { return Ok(None) };
        let id = u32::try_from(number).map_err(|error| {
            BarrierError::Malformed("a deleted namespace's note".to_owned(), error.to_string())
        })?;
        Ok(Some((NamespaceId::new(id), deleted.path.clone())))
    }

    /// Removes one step's worth of what a deleted namespace held, whose tokens are gone: mounts, which end their leases as
    /// any disabled mount does, then what the server kept for it. Answers whether there was anything; where there was
    /// not, the namespace is forgotten.
    pub async fn clear_namespace(&self, txn: &Txn, id: NamespaceId) -> Result<bool, EngineError> {
        let mounts = MOUNTS.keys(txn, &id, None, STEP).await?;
        for (_, path) in &mounts {
            if BUILT_IN.iter().any(|built_in| built_in.path == path) {
                MOUNTS.delete(txn, &(id, path.as_str()));
            } else {
                self.remove_mount(txn, id, path).await?;
            }
        }
        if !mounts.is_empty() {
            return Ok(true);
        }
        for built_in in &BUILT_IN {
            if txn.delete_of_mount(built_in.place(id), STEP).await? > 0 {
                return Ok(true);
            }
        }
        // Policies, roles, and whatever else there may be: all of it is the namespace's alone.
        if txn.delete_of_namespace(id, STEP).await? > 0 {
            return Ok(true);
        }
        DELETED_NAMESPACES.delete(txn, &u64::from(id.get()));
        Ok(false)
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn short_ids_lead_back_to_their_namespace() {
        assert_eq!(SPREAD.wrapping_mul(GATHER), 1);
        for number in (2..5000).chain([u32::MAX - 1, u32::MAX]) {
            let id = NamespaceId::new(number);
            assert_eq!(named_by(&format!("hvs.abc{}", suffix(id))), (id, "hvs.abc"));
        }
    }

    #[test]
    fn what_names_no_namespace_is_the_root_namespaces() {
        for token in
            ["hvs.abcdefghijklmnopqrstuvwx", "root", "", ".000002", "hvs.zzzzzz", "a.b", "hvs.abc.12345-"]
        {
            assert_eq!(named_by(token), (NamespaceId::ROOT, token), "{token}");
        }
        assert_eq!(suffix(NamespaceId::ROOT), "");
    }

    #[test]
    fn names_are_checked() {
        for name in
            ["", ".", "..", "root", "sys", "Sys", "audit", "auth", "cubbyhole", "identity", "a b", "a\u{7}"]
        {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        for name in ["a", "team-1", "Über", "sys2", "a.b"] {
            assert!(check_name(name).is_ok(), "{name:?}");
        }
    }
}
