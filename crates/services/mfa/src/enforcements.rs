//! Login enforcements: which logins need which methods.
//!
//! An enforcement concerns the logins of its namespace and of those inside it. It is looked up at each login: those of a
//! namespace are kept in memory until any changes, so that a login to which none applies costs a comparison. What an enforcement
//! names may be gone; then nobody knows whom it was meant for, and logins are refused until an operator has changed it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{BarrierError, KeyPlace, NamespaceId, Reads, Stored, Txn};
use strongroom_engine_api::{Class, EngineError, bad_request};
use strongroom_identity::{Effective, IdentityId, Placed};
use strongroom_mounts::{MountHandle, Router};
use strongroom_storage::Index;

use crate::Mfa;
use crate::methods::{FoundMethod, inward, no_method, outward};
use crate::tables::ENFORCEMENTS;

/// Bytes of a name.
const MAX_NAME: usize = 256;
/// Methods, mounts, types, groups or entities that an enforcement names, of each: a login looks at them.
const MAX_NAMED: usize = 256;
/// Namespaces whose enforcements are kept in memory.
const MAX_KEPT: usize = 10_000;

/// A login enforcement as kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforcement {
    /// An id for clients.
    #[serde(rename = "i")]
    pub id: IdentityId,
    /// The methods, any of which is enough.
    #[serde(rename = "m")]
    pub methods: Vec<IdentityId>,
    /// Accessors of auth mounts, with the namespaces that they were found in.
    #[serde(rename = "a", default, skip_serializing_if = "Vec::is_empty")]
    pub accessors: Vec<(NamespaceId, String)>,
    /// Types of auth methods.
    #[serde(rename = "t", default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
    /// Groups.
    #[serde(rename = "g", default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Placed>,
    /// Entities.
    #[serde(rename = "e", default, skip_serializing_if = "Vec::is_empty")]
    pub entities: Vec<Placed>,
}

impl Stored for Enforcement {}

/// The changes to an enforcement; what is left out stays as it is.
#[derive(Clone, Debug, Default)]
pub struct EnforcementChange {
    /// Ids of methods.
    pub methods: Option<Vec<String>>,
    /// Accessors of auth mounts.
    pub accessors: Option<Vec<String>>,
    /// Types of auth methods.
    pub types: Option<Vec<String>>,
    /// Ids of groups.
    pub groups: Option<Vec<String>>,
    /// Ids of entities.
    pub entities: Option<Vec<String>>,
}

/// What a login has to satisfy by one enforcement.
#[derive(Clone, Debug)]
pub struct Requirement {
    /// The name of the enforcement; with its namespace's path where two have the same.
    pub name: String,
    /// The methods, any of which is enough.
    pub methods: Vec<FoundMethod>,
}

/// The enforcements of a namespace by name.
type Rules = Arc<[(String, Arc<Enforcement>)]>;

/// What is kept in memory of enforcements.
pub(crate) struct Kept {
    /// The newest commit that changed one.
    changed_at: AtomicU64,
    of_namespaces: Cache<NamespaceId, (Index, Rules)>,
}

impl Kept {
    pub(crate) fn new() -> Self {
        Self { changed_at: AtomicU64::new(0), of_namespaces: Cache::new(MAX_KEPT) }
    }

    pub(crate) fn clear(&self) {
        self.of_namespaces.clear();
    }
}

/// The bearing of an enforcement on a login.
enum Bearing {
    Applies,
    Elsewhere,
    /// It names what is gone.
    Unknown(String),
}

impl Mfa {
    /// Commit `index` touched an entry of the server's own.
    pub fn observe(&self, place: KeyPlace, index: Index) {
        if place.is_of(ENFORCEMENTS.id()) {
            self.outdate(index);
        }
    }

    /// Commit `index` may have changed any enforcement.
    pub fn outdate(&self, index: Index) {
        self.kept.changed_at.fetch_max(index, Ordering::SeqCst);
    }

    /// The enforcements of a namespace, as of the newest commit that changed one.
    async fn rules(&self, namespace: NamespaceId) -> Result<Rules, BarrierError> {
        let changed_at = self.kept.changed_at.load(Ordering::SeqCst);
        if let Some((built_at, rules)) = self.kept.of_namespaces.get(&namespace)
            && built_at >= changed_at
        {
            return Ok(rules);
        }
        Box::pin(self.read_rules(namespace)).await
    }

    async fn read_rules(&self, namespace: NamespaceId) -> Result<Rules, BarrierError> {
        // A view of its own: the request's may be older than what it has to see.
        let view = self.barrier.pinned_view().await?;
        let found = ENFORCEMENTS.scan(&view, &namespace, None, usize::MAX).await?;
        let rules: Rules = found.into_iter().map(|((_, name), enforcement)| (name, enforcement)).collect();
        self.kept.of_namespaces.insert(namespace, (view.index(), rules.clone()));
        if self.barrier.is_sealed() {
            // Sealing may have emptied the cache just before the insertion.
            self.kept.clear();
            return Err(BarrierError::Sealed);
        }
        Ok(rules)
    }

    /// What a login through a mount has to satisfy, by the enforcements of the mount's namespace and of those around it.
    ///
    /// # Errors
    ///
    /// 403 where one applies and the login has no entity, and where one names what is gone.
    pub async fn required(
        &self,
        txn: &Txn,
        mounted: &MountHandle,
        entity: Option<&Effective>,
    ) -> Result<Vec<Requirement>, EngineError> {
        let router = self.mounts.router().await?;
        let mut required: Vec<Requirement> = Vec::new();
        for at in outward(&router, mounted.mount.namespace) {
            for (name, rule) in self.rules(at).await?.iter() {
                match self.bearing(txn, &router, rule, mounted, entity).await? {
                    Bearing::Elsewhere => {}
                    Bearing::Unknown(what) => return Err(gone(name, &what)),
                    Bearing::Applies => {
                        let methods = self.methods_of(txn, at, name, rule).await?;
                        let taken = required.iter().any(|other| other.name == *name);
                        let path = router.namespace(at).map(|found| found.path.clone()).unwrap_or_default();
                        let name = if taken { format!("{path}{name}") } else { name.clone() };
                        required.push(Requirement { name, methods });
                    }
                }
            }
        }
        if !required.is_empty() && entity.is_none() {
            return Err(EngineError::Denied(
                "an entity is required for MFA, and this auth method's login has none".to_owned(),
            ));
        }
        Ok(required)
    }

    async fn bearing(
        &self,
        txn: &Txn,
        router: &Router,
        rule: &Enforcement,
        mounted: &MountHandle,
        entity: Option<&Effective>,
    ) -> Result<Bearing, EngineError> {
        let of_mount = rule.accessors.iter().any(|(_, accessor)| *accessor == mounted.entry.accessor)
            || rule.types.iter().any(|kind| *kind == *mounted.kind);
        let is_named = |(_, id): &Placed| {
            let of_entity = |entity: &Effective| entity.id == *id || entity.entity.merged.contains(id);
            entity.is_some_and(of_entity)
        };
        let in_group = |(_, id): &Placed| entity.is_some_and(|entity| entity.groups.contains_key(id));
        if of_mount || rule.entities.iter().any(is_named) || rule.groups.iter().any(in_group) {
            return Ok(Bearing::Applies);
        }
        for (home, accessor) in &rule.accessors {
            if !router.has_accessor(*home, accessor) {
                return Ok(Bearing::Unknown(format!("auth method with the accessor {accessor}")));
            }
        }
        for (namespace, id) in &rule.groups {
            if self.identity.group(txn, *namespace, *id).await?.is_none() {
                return Ok(Bearing::Unknown(format!("group {id}")));
            }
        }
        for (namespace, id) in &rule.entities {
            if self.identity.resolve(txn, *namespace, *id).await?.is_none() {
                return Ok(Bearing::Unknown(format!("entity {id}")));
            }
        }
        Ok(Bearing::Elsewhere)
    }

    async fn methods_of(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        name: &str,
        rule: &Enforcement,
    ) -> Result<Vec<FoundMethod>, EngineError> {
        let mut methods = Vec::with_capacity(rule.methods.len());
        for id in &rule.methods {
            let found = self.method(txn, namespace, *id).await?;
            methods.push(found.ok_or_else(|| gone(name, &format!("MFA method {id}")))?);
        }
        Ok(methods)
    }

    /// Names of a namespace's enforcements, after `after`.
    pub async fn enforcements(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Arc<Enforcement>)>, BarrierError> {
        let after = after.map(|after| (namespace, after));
        let found = ENFORCEMENTS.scan_after(reads, &namespace, after.as_ref(), limit).await?;
        Ok(found.into_iter().map(|((_, name), enforcement)| (name, enforcement)).collect())
    }

    /// An enforcement.
    pub async fn enforcement(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        name: &str,
    ) -> Result<Option<Arc<Enforcement>>, BarrierError> {
        ENFORCEMENTS.get(reads, &(namespace, name)).await
    }

    /// Writes an enforcement.
    ///
    /// # Errors
    ///
    /// 400 where it names nothing, too much, or what is not there.
    pub async fn write_enforcement(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        name: &str,
        change: EnforcementChange,
    ) -> Result<(), EngineError> {
        if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
            let text = format!("the name must have at most {MAX_NAME} bytes and no control characters");
            return Err(bad_request(text));
        }
        let router = self.mounts.router().await?;
        let mut rule = match self.enforcement(txn, namespace, name).await? {
            Some(kept) => (*kept).clone(),
            None => Enforcement { id: self.draw_id()?, ..Enforcement::default() },
        };
        if let Some(ids) = change.methods {
            rule.methods = self.named_methods(txn, namespace, &limited("mfa_method_ids", ids)?).await?;
        }
        if let Some(accessors) = change.accessors {
            let accessors = limited("auth_method_accessors", accessors)?;
            rule.accessors = named_mounts(&router, namespace, accessors)?;
        }
        if let Some(types) = change.types {
            rule.types = self.known_types(&router, namespace, limited("auth_method_types", types)?)?;
        }
        if let Some(ids) = change.groups {
            rule.groups =
                self.named_groups(txn, &router, namespace, &limited("identity_group_ids", ids)?).await?;
        }
        if let Some(ids) = change.entities {
            let ids = limited("identity_entity_ids", ids)?;
            rule.entities = self.named_entities(txn, &router, namespace, &ids).await?;
        }
        if rule.methods.is_empty() {
            return Err(bad_request("missing method ids"));
        }
        if rule.accessors.is_empty()
            && rule.types.is_empty()
            && rule.groups.is_empty()
            && rule.entities.is_empty()
        {
            return Err(bad_request(
                "One of auth_method_accessors, auth_method_types, identity_group_ids, identity_entity_ids must be specified",
            ));
        }
        ENFORCEMENTS.put(txn, &(namespace, name), rule)?;
        let name = name.to_owned();
        txn.on_commit(move || tracing::info!(name, "writing login enforcement"));
        Ok(())
    }

    /// Types of auth methods: one that no mount ever has would enforce nothing, and nobody would notice.
    fn known_types(
        &self,
        router: &Router,
        namespace: NamespaceId,
        types: Vec<String>,
    ) -> Result<Vec<String>, EngineError> {
        let (mounts, none) = (router.in_namespace(namespace), BTreeMap::new());
        for kind in &types {
            let mut auth = mounts.iter().filter(|mounted| mounted.path.starts_with("auth/"));
            let is_enabled = auth.any(|mounted| *mounted.kind == **kind);
            if !is_enabled && self.mounts.catalog().engine(Class::Auth, kind, &none).is_none() {
                return Err(bad_request(format!("auth method type {kind:?} is invalid")));
            }
        }
        Ok(types)
    }

    async fn named_methods(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        ids: &[String],
    ) -> Result<Vec<IdentityId>, EngineError> {
        let mut methods = Vec::with_capacity(ids.len());
        for text in ids {
            let id = IdentityId::parse(text).ok_or_else(|| no_method(text))?;
            self.method(txn, namespace, id).await?.ok_or_else(|| no_method(text))?;
            methods.push(id);
        }
        Ok(methods)
    }

    /// Groups of the namespace, or of one inside it.
    async fn named_groups(
        &self,
        txn: &Txn,
        router: &Router,
        namespace: NamespaceId,
        ids: &[String],
    ) -> Result<Vec<Placed>, EngineError> {
        let mut found = Vec::with_capacity(ids.len());
        'next: for text in ids {
            let invalid = || bad_request(format!("identity group ID {text:?} is invalid"));
            let id = IdentityId::parse(text).ok_or_else(invalid)?;
            for at in inward(router, namespace) {
                if self.identity.group(txn, at, id).await?.is_some() {
                    found.push((at, id));
                    continue 'next;
                }
            }
            return Err(invalid());
        }
        Ok(found)
    }

    /// Entities of the namespace, or of one inside it.
    async fn named_entities(
        &self,
        txn: &Txn,
        router: &Router,
        namespace: NamespaceId,
        ids: &[String],
    ) -> Result<Vec<Placed>, EngineError> {
        let mut found = Vec::with_capacity(ids.len());
        for text in ids {
            let invalid = || bad_request(format!("identity entity ID {text:?} is invalid"));
            let id = IdentityId::parse(text).ok_or_else(invalid)?;
            found.push(self.placed_entity(txn, router, namespace, id).await?.ok_or_else(invalid)?);
        }
        Ok(found)
    }

    async fn placed_entity(
        &self,
        reads: &impl Reads,
        router: &Router,
        namespace: NamespaceId,
        id: IdentityId,
    ) -> Result<Option<Placed>, BarrierError> {
        for at in inward(router, namespace) {
            if self.identity.entity(reads, at, id).await?.is_some() {
                return Ok(Some((at, id)));
            }
        }
        Ok(None)
    }

    /// The entity with this id and its namespace, which is this one or one inside it.
    pub async fn find_entity(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        id: IdentityId,
    ) -> Result<Option<Placed>, BarrierError> {
        let router = self.mounts.router().await?;
        self.placed_entity(reads, &router, namespace, id).await
    }

    /// Deletes an enforcement; nothing happens where there is none.
    pub fn delete_enforcement(&self, txn: &Txn, namespace: NamespaceId, name: &str) {
        ENFORCEMENTS.delete(txn, &(namespace, name));
        let name = name.to_owned();
        txn.on_commit(move || tracing::info!(name, "deleting login enforcement"));
    }
}

/// The refusal of a login while an enforcement names what is gone: it is not known whom the enforcement was meant for.
fn gone(name: &str, what: &str) -> EngineError {
    EngineError::Denied(format!(
        "login enforcement {name:?} names what does not exist any more: {what}; an operator has to update or delete it"
    ))
}

/// Auth mounts of the namespace, or of one inside it.
fn named_mounts(
    router: &Router,
    namespace: NamespaceId,
    accessors: Vec<String>,
) -> Result<Vec<(NamespaceId, String)>, EngineError> {
    let inside = if accessors.is_empty() { Vec::new() } else { inward(router, namespace) };
    let placed = |accessor: String| {
        let is_there = |at: &&NamespaceId| {
            let found = router.by_accessor(**at, &accessor);
            found.is_some_and(|mounted| mounted.path.starts_with("auth/"))
        };
        match inside.iter().find(is_there) {
            Some(at) => Ok((*at, accessor)),
            None => Err(bad_request(format!("auth method accessor {accessor:?} is invalid"))),
        }
    };
    accessors.into_iter().map(placed).collect()
}

/// What an enforcement names of a kind: each once, and not too many.
fn limited(field: &str, named: Vec<String>) -> Result<Vec<String>, EngineError> {
    let mut seen = BTreeSet::new();
    let named: Vec<String> = named.into_iter().filter(|one| seen.insert(one.clone())).collect();
    if named.len() > MAX_NAMED {
        return Err(bad_request(format!("{field} cannot have more than {MAX_NAMED} items")));
    }
    Ok(named)
}
