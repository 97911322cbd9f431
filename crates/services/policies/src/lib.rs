//! Policies in storage, and the compiled form that tokens with the same set share.
//!
//! `strongroom-policy` parses and evaluates policies and only computes; tokens record which policies they hold. A
//! stored policy that cannot be read grants nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{
    Barrier, BarrierError, CoreSpace, KeyPlace, NamespaceId, Stored, Table, TableId, Txn, View, tables,
};
use strongroom_engine_api::{EngineError, bad_request};
use strongroom_policy::{
    CompiledAcl, DEFAULT_POLICY, DEFAULT_POLICY_NAME, DenyMode, Policy, RESPONSE_WRAPPING_POLICY,
    RESPONSE_WRAPPING_POLICY_NAME, ROOT_POLICY_NAME,
};

use strongroom_mounts::Mounts;
use strongroom_storage::Index;

tables! {
    /// Policies by namespace and name.
    pub(crate) POLICIES: Table<CoreSpace, (NamespaceId, &str), PolicyEntry> = 2;
}

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
}

/// The lookup key without owning the names.
#[derive(Hash)]
struct SetKey<'a>(NamespaceId, &'a [String]);

impl quick_cache::Equivalent<(NamespaceId, Vec<String>)> for SetKey<'_> {
    fn equivalent(&self, key: &(NamespaceId, Vec<String>)) -> bool {
        self.0 == key.0 && self.1 == key.1.as_slice()
    }
}

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
        Box::pin(self.compiled_acl(view, namespace, names, changed_at)).await
    }

    /// Compiles a set of policies, as of commit `changed_at` or later, and keeps it for the next that asks.
    async fn compiled_acl(
        &self,
        view: &View,
        namespace: NamespaceId,
        names: &[String],
        changed_at: Index,
    ) -> Result<Arc<CompiledAcl>, BarrierError> {
        let view = self.view_at_least(view, changed_at).await?;
        // Its policies say nothing about what is outside. One that is gone has none.
        let namespace_path = self.mounts.router().await?.namespace(namespace).map(|found| found.path.clone());
        let (within, names_in_force) = match namespace_path {
            Some(path) => (path, names),
            None => (String::new(), &[][..]),
        };
        let mut policies = Vec::with_capacity(names.len());
        for name in names_in_force {
            if let Some(entry) = POLICIES.get(&view, &(namespace, name)).await? {
                match Policy::parse(name, &within, &entry.text) {
                    Ok(policy) => policies.push(Arc::new(policy)),
                    // It was parsed when it was written: fails closed, granting nothing.
                    Err(error) => tracing::error!(policy = name, %error, "stored policy is invalid"),
                }
            }
        }
        let acl = Arc::new(CompiledAcl::compile(&policies, self.deny_mode));
        self.sets.insert((namespace, names.to_vec()), (view.index(), acl.clone()));
        Ok(acl)
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
