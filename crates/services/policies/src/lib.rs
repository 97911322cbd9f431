//! Policies in storage, and the compiled form that tokens with the same set share.
//!
//! `strongroom-policy` parses and evaluates policies and only computes; tokens record which policies they hold. A
//! stored policy that cannot be read grants nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{
    Barrier, BarrierError, CoreSpace, KeyPlace, NamespaceId, Stored, Table, TableId, Txn, View, tables,
};
use strongroom_engine_api::{Caller, EngineError, PolicySets, bad_request};
use strongroom_policy::{
    CompiledAcl, DEFAULT_POLICY, DEFAULT_POLICY_NAME, DenyMode, Policy, RESPONSE_WRAPPING_POLICY,
    RESPONSE_WRAPPING_POLICY_NAME, ROOT_POLICY_NAME, SlashesInValues, TemplateValues,
};

use strongroom_mounts::Mounts;
use strongroom_storage::Index;

tables! {
    /// Policies by namespace and name.
    pub(crate) POLICIES: Table<CoreSpace, (NamespaceId, &str), PolicyEntry> = 2;
}

/// Sets filled for an identity that are kept: they are no larger than others, and there may be as many as identities.
const MAX_FILLED: usize = 2_000;
/// Different policy sets whose compiled form is kept.
const MAX_SETS: usize = 10_000;

/// A policy as kept: the text that was written.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct PolicyEntry {
    /// HCL or JSON.
    pub(crate) text: String,
}

impl Stored for PolicyEntry {}

/// The policies of a server.
pub struct Policies {
    barrier: Arc<Barrier>,
    mounts: Arc<Mounts>,
    deny_mode: DenyMode,
    root: Arc<CompiledAcl>,
    /// The newest commit that changed a policy.
    changed_at: AtomicU64,
    /// Compiled policy sets, by namespace and names, as of one state of the policies.
    sets: Cache<(NamespaceId, Vec<String>), (u64, Arc<CompiledAcl>)>,
    /// The same for tokens with policies of an identity: by namespace and the token's own names, and those of the identity.
    joined: Cache<JoinedSets, (u64, Arc<CompiledAcl>)>,
    /// Sets with templated rules, filled for an identity: by the addresses of both, which are held as long as this is.
    filled: Cache<(usize, usize), Filled>,
}

/// The values of an identity.
type Values = Arc<dyn TemplateValues + Send + Sync>;

/// A set that is filled for an identity.
#[derive(Clone)]
struct Filled {
    /// Held, so that their addresses are no others'.
    _of: (Arc<CompiledAcl>, Values),
    acl: Arc<CompiledAcl>,
}

/// The lookup key without owning the names.
#[derive(Hash)]
struct SetKey<'a>(NamespaceId, &'a [String]);

impl quick_cache::Equivalent<(NamespaceId, Vec<String>)> for SetKey<'_> {
    fn equivalent(&self, key: &(NamespaceId, Vec<String>)) -> bool {
        self.0 == key.0 && self.1 == key.1.as_slice()
    }
}

/// A token's namespace and policies, and those of its identity.
type JoinedSets = (NamespaceId, Vec<String>, PolicySets);

/// The lookup key of joined sets without owning the names.
#[derive(Hash)]
struct JoinedKey<'a>(NamespaceId, &'a [String], &'a [(NamespaceId, Vec<String>)]);

impl quick_cache::Equivalent<JoinedSets> for JoinedKey<'_> {
    fn equivalent(&self, key: &JoinedSets) -> bool {
        self.0 == key.0 && self.1 == key.1.as_slice() && *self.2 == *key.2
    }
}

/// Names of policies by their namespace.
type Names<'a> = [(NamespaceId, &'a [String])];

impl Policies {
    /// Those in storage behind `barrier`; `deny_mode` says which of several rules decides.
    pub fn new(barrier: Arc<Barrier>, mounts: Arc<Mounts>, deny_mode: DenyMode) -> Self {
        Self {
            barrier,
            mounts,
            deny_mode,
            root: Arc::new(CompiledAcl::root()),
            changed_at: AtomicU64::new(0),
            sets: Cache::new(MAX_SETS),
            joined: Cache::new(MAX_SETS),
            filled: Cache::new(MAX_FILLED),
        }
    }

    /// Commit `index` touched an entry of the server's own.
    pub fn observe(&self, place: KeyPlace, index: Index) {
        if place.is_of(POLICIES.id()) {
            self.outdate(index);
        }
    }

    /// Commit `index` may have changed any policy.
    pub fn outdate(&self, index: Index) {
        self.changed_at.fetch_max(index, Ordering::SeqCst);
    }

    /// Drops what is in memory: sealing.
    pub fn clear(&self) {
        self.sets.clear();
        self.joined.clear();
        self.filled.clear();
    }

    /// The compiled policies of a token, shared by all tokens with the same set.
    pub async fn acl(
        &self,
        view: &View,
        namespace: NamespaceId,
        names: &[String],
    ) -> Result<Arc<CompiledAcl>, BarrierError> {
        if names.iter().any(|name| name == ROOT_POLICY_NAME) {
            return Ok(self.root.clone());
        }
        let changed_at = self.changed_at.load(Ordering::SeqCst);
        if let Some((built_at, acl)) = self.sets.get(&SetKey(namespace, names))
            && built_at >= changed_at
        {
            return Ok(acl);
        }
        Ok(Box::pin(self.compiled_set(view, namespace, names, changed_at)).await?.1)
    }

    /// The compiled policies of a token and its identity, shared by all with the same sets. The token's own names alone can
    /// say `root`.
    pub async fn acl_with(
        &self,
        view: &View,
        namespace: NamespaceId,
        names: &[String],
        identity: &PolicySets,
    ) -> Result<Arc<CompiledAcl>, BarrierError> {
        if identity.is_empty() || names.iter().any(|name| name == ROOT_POLICY_NAME) {
            return self.acl(view, namespace, names).await;
        }
        let changed_at = self.changed_at.load(Ordering::SeqCst);
        if let Some((built_at, acl)) = self.joined.get(&JoinedKey(namespace, names, identity))
            && built_at >= changed_at
        {
            return Ok(acl);
        }
        Box::pin(self.join(view, (namespace, names), identity, changed_at)).await
    }

    /// The same rights with the values of an identity in templated paths, where `path` is one that such a rule could match. For
    /// all others, the set is shared as it is.
    pub fn for_path<V: TemplateValues + Send + Sync + 'static>(
        &self,
        acl: Arc<CompiledAcl>,
        identity: &Arc<V>,
        path: &str,
    ) -> Arc<CompiledAcl> {
        if acl.has_template_for(path) { self.for_identity(acl, identity) } else { acl }
    }

    /// The same rights with the values of an identity in templated paths. A value with a slash grants nothing: it would reach
    /// deeper than the policy's author has seen.
    pub fn for_identity<V: TemplateValues + Send + Sync + 'static>(
        &self,
        acl: Arc<CompiledAcl>,
        identity: &Arc<V>,
    ) -> Arc<CompiledAcl> {
        if !acl.is_templated() {
            return acl;
        }
        let key = (Arc::as_ptr(&acl).addr(), Arc::as_ptr(identity).addr());
        if let Some(found) = self.filled.get(&key) {
            return found.acl;
        }
        let filled = Arc::new(acl.filled(&**identity, SlashesInValues::Deny));
        let kept = Filled { _of: (acl, identity.clone()), acl: filled.clone() };
        self.filled.insert(key, kept);
        filled
    }

    /// The compiled policies of whoever calls.
    pub async fn acl_of(&self, view: &View, caller: &Caller) -> Result<Arc<CompiledAcl>, BarrierError> {
        self.acl_with(view, caller.namespace, &caller.policies, &caller.identity_policies).await
    }

    /// Compiles the union of a token's policies and its identity's. Where all are of one namespace, it is that of any token
    /// with the same names.
    async fn join(
        &self,
        view: &View,
        (namespace, names): (NamespaceId, &[String]),
        identity: &PolicySets,
        changed_at: Index,
    ) -> Result<Arc<CompiledAcl>, BarrierError> {
        let mut sets: BTreeMap<NamespaceId, BTreeSet<&String>> = BTreeMap::new();
        sets.entry(namespace).or_default().extend(names);
        for (of, names) in identity.iter() {
            sets.entry(*of).or_default().extend(names);
        }
        let sets: Vec<(NamespaceId, Vec<String>)> =
            sets.into_iter().map(|(of, names)| (of, names.into_iter().cloned().collect())).collect();
        let (built_at, acl) = if let [(_, union)] = sets.as_slice() {
            match self.sets.get(&SetKey(namespace, union)).filter(|(built_at, _)| *built_at >= changed_at) {
                Some(found) => found,
                None => self.compiled_set(view, namespace, union, changed_at).await?,
            }
        } else {
            let sets: Vec<_> = sets.iter().map(|(of, names)| (*of, names.as_slice())).collect();
            self.compile(view, &sets, changed_at).await?
        };
        self.joined.insert((namespace, names.to_vec(), identity.clone()), (built_at, acl.clone()));
        Ok(acl)
    }

    /// Compiles a set of policies, as of commit `changed_at` or later, and keeps it for the next that asks.
    async fn compiled_set(
        &self,
        view: &View,
        namespace: NamespaceId,
        names: &[String],
        changed_at: Index,
    ) -> Result<(Index, Arc<CompiledAcl>), BarrierError> {
        let (built_at, acl) = self.compile(view, &[(namespace, names)], changed_at).await?;
        self.sets.insert((namespace, names.to_vec()), (built_at, acl.clone()));
        Ok((built_at, acl))
    }

    /// Compiles policies of several namespaces into one set, as of commit `changed_at` or later.
    async fn compile(
        &self,
        view: &View,
        sets: &Names<'_>,
        changed_at: Index,
    ) -> Result<(Index, Arc<CompiledAcl>), BarrierError> {
        let view = self.view_at_least(view, changed_at).await?;
        let router = self.mounts.router().await?;
        let mut policies = Vec::new();
        for (namespace, names) in sets {
            // Its policies say nothing about what is outside. One that is gone has none.
            let Some(within) = router.namespace(*namespace) else { continue };
            for name in *names {
                let Some(entry) = POLICIES.get(&view, &(*namespace, name)).await? else { continue };
                match Policy::parse(name, &within.path, &entry.text) {
                    Ok(policy) => policies.push(Arc::new(policy)),
                    // It was parsed when it was written: fails closed, granting nothing.
                    Err(error) => tracing::error!(policy = name, %error, "stored policy is invalid"),
                }
            }
        }
        Ok((view.index(), Arc::new(CompiledAcl::compile(&policies, self.deny_mode))))
    }

    /// `view`, or a newer one when it is older than `index`.
    async fn view_at_least(&self, view: &View, index: u64) -> Result<View, BarrierError> {
        if view.index() >= index {
            return Ok(view.clone());
        }
        self.barrier.pinned_view().await
    }

    /// The text of a policy; `root` has an empty one.
    pub async fn policy_text(
        &self,
        view: &View,
        namespace: NamespaceId,
        name: &str,
    ) -> Result<Option<String>, BarrierError> {
        let name = name.to_lowercase();
        if name == ROOT_POLICY_NAME {
            return Ok(Some(String::new()));
        }
        Ok(POLICIES.get(view, &(namespace, &name)).await?.map(|entry| entry.text.clone()))
    }

    /// The names of all policies, sorted, and `root` at the end, as Vault lists them.
    pub async fn policy_names(
        &self,
        view: &View,
        namespace: NamespaceId,
    ) -> Result<Vec<String>, BarrierError> {
        let mut names: Vec<String> = POLICIES
            .keys(view, &namespace, None, usize::MAX)
            .await?
            .into_iter()
            .map(|(_, name)| name)
            .collect();
        names.retain(|name| name != RESPONSE_WRAPPING_POLICY_NAME);
        names.push(ROOT_POLICY_NAME.to_owned());
        Ok(names)
    }

    /// Writes a policy after parsing it. `root` and the built-in ones that are not for editing are refused.
    pub fn write_policy(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        name: &str,
        text: &str,
    ) -> Result<(), EngineError> {
        let name = name.to_lowercase();
        if is_untouchable(&name) {
            return Err(bad_request(format!("cannot update {name:?} policy")));
        }
        Policy::parse(&name, "", text)
            .map_err(|error| bad_request(format!("failed to parse policy: {error}")))?;
        POLICIES.put(txn, &(namespace, &name), PolicyEntry { text: text.to_owned() })?;
        txn.on_commit(move || tracing::info!(policy = name, "writing policy"));
        Ok(())
    }

    /// Deletes a policy. `root`, `default` and the built-in ones stay.
    pub fn delete_policy(&self, txn: &Txn, namespace: NamespaceId, name: &str) -> Result<(), EngineError> {
        let name = name.to_lowercase();
        if is_untouchable(&name) {
            return Err(bad_request(format!("cannot delete {name:?} policy")));
        }
        if name == DEFAULT_POLICY_NAME {
            return Err(bad_request("cannot delete default policy"));
        }
        POLICIES.delete(txn, &(namespace, &name));
        txn.on_commit(move || tracing::info!(policy = name, "deleting policy"));
        Ok(())
    }
}

fn is_untouchable(name: &str) -> bool {
    name == ROOT_POLICY_NAME || name == RESPONSE_WRAPPING_POLICY_NAME
}

/// Writes what every namespace begins with.
pub fn write_builtin(txn: &Txn, namespace: NamespaceId) -> Result<(), BarrierError> {
    for (name, text) in
        [(DEFAULT_POLICY_NAME, DEFAULT_POLICY), (RESPONSE_WRAPPING_POLICY_NAME, RESPONSE_WRAPPING_POLICY)]
    {
        POLICIES.put(txn, &(namespace, name), PolicyEntry { text: text.to_owned() })?;
    }
    Ok(())
}

/// The tables that are kept here, for the registry of formats.
pub const fn table_ids() -> &'static [TableId] {
    TABLES
}
