//! The router: looks up mounts by namespace and path, by accessor or by number, and namespaces by path.
//!
//! It is in memory and derived from storage on every node. Thousands of tenants have thousands of mounts, so a change
//! of one mount or namespace costs only that one: commits tell which entries they touched, and before the next lookup
//! only those are read again. Everything is read at once only where all may have changed: after unsealing, a restore, a
//! term.
//!
//! Each look shows the state of one commit; two looks may show two. Where entries cannot be read, a look fails: a router
//! that is known to be old does not answer.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use strongroom_barrier::{BarrierError, MountId, NamespaceId, TableId, View};
use strongroom_engine_api::{Class, Facilities, Lifetimes, Mount};
use strongroom_storage::Index;

use crate::mounts::{BUILT_IN, BuiltIn, MountEntry, MountHandle};
use crate::namespaces::{Namespace, NamespaceEntry};
use crate::{Catalog, MOUNTS, Mounts, NAMESPACES};

/// Bytes of a mount's path at most: a look-up tries each beginning of a request's path that ends in a slash.
pub(crate) const MAX_MOUNT_PATH: usize = 512;

/// Entries read at a time while everything is read.
const PAGE: usize = 1000;

/// Changes noted one by one; beyond, everything is read again.
const MAX_NOTED: usize = 10_000;

/// All mounts of all namespaces.
pub struct Router {
    catalog: Arc<Catalog>,
    /// The lifetimes that mounts have where they say nothing.
    lifetimes: Lifetimes,
    /// The facilities that the server lends to engines.
    facilities: Arc<Facilities>,
    state: RwLock<State>,
    outdated: Mutex<Outdated>,
    /// True if `outdated` is not empty: every request reads it.
    is_outdated: AtomicBool,
    /// Counts the changes of `state`: what was resolved by an older one is resolved again.
    generation: AtomicU64,
    /// One reads at a time.
    refreshing: tokio::sync::Mutex<()>,
    /// Mounts with jobs that came and went since the jobs were named.
    job_changes: Mutex<JobChanges>,
}

/// The entries that commits have touched since they were read.
#[derive(Clone, Default)]
struct Outdated {
    all: Option<Index>,
    mounts: HashMap<(NamespaceId, String), Index>,
    namespaces: HashMap<(NamespaceId, String), Index>,
}

impl Outdated {
    fn is_empty(&self) -> bool {
        self.all.is_none() && self.mounts.is_empty() && self.namespaces.is_empty()
    }

    /// Removes what was `read` again at `index`. A commit that was noted since stays, also where the view of `index` shows it: its
    /// entry was not among those read.
    fn settle(&mut self, read: &Self, index: Index) {
        self.all = self.all.filter(|touched| *touched > index || read.all != Some(*touched));
        self.mounts.retain(|key, touched| *touched > index || read.mounts.get(key) != Some(touched));
        self.namespaces.retain(|key, touched| *touched > index || read.namespaces.get(key) != Some(touched));
    }
}

/// Mounts whose jobs are to be added or removed.
#[derive(Default)]
pub struct JobChanges {
    /// True if the jobs of all mounts are to be listed again.
    pub all: bool,
    /// Those that went.
    pub gone: Vec<Arc<MountHandle>>,
    /// Those that came.
    pub new: Vec<Arc<MountHandle>>,
}

#[derive(Default)]
struct State {
    branches: HashMap<NamespaceId, Branch>,
    by_accessor: HashMap<String, Arc<MountHandle>>,
    /// Mounts that have entries. Only the numbers of built-in ones are the same in several namespaces.
    by_id: HashMap<(Option<NamespaceId>, MountId), Arc<MountHandle>>,
    /// The namespaces that are locked by themselves.
    locked: HashSet<NamespaceId>,
    /// The cluster's seed of the accessors of built-in mounts.
    seed: [u8; 16],
}

/// One namespace: its mounts and the namespaces directly in it.
struct Branch {
    namespace: Arc<Namespace>,
    mounts: HashMap<String, Arc<MountHandle>>,
    children: HashMap<String, NamespaceId>,
    /// Made when one is asked for: most namespaces of a large server are quiet.
    built_in: OnceLock<Vec<Arc<MountHandle>>>,
}

impl Branch {
    fn new(namespace: Arc<Namespace>) -> Self {
        let (mounts, children) = (HashMap::new(), HashMap::new());
        Self { namespace, mounts, children, built_in: OnceLock::new() }
    }
}

/// The key of a mount's number: built-in mounts have the same in all namespaces.
fn number(namespace: NamespaceId, id: MountId) -> (Option<NamespaceId>, MountId) {
    let is_built_in = BUILT_IN.iter().any(|built_in| built_in.id() == id);
    (is_built_in.then_some(namespace), id)
}

/// A key of a namespace, and what is there now.
type Read<V> = ((NamespaceId, String), Option<Arc<V>>);

/// The outdated entries as a refresh has read them.
#[derive(Default)]
struct Changes {
    namespaces: Vec<Read<NamespaceEntry>>,
    mounts: Vec<Read<MountEntry>>,
}

impl Router {
    pub(crate) fn new(catalog: Arc<Catalog>, facilities: Arc<Facilities>, lifetimes: Lifetimes) -> Self {
        Self {
            catalog,
            facilities,
            lifetimes,
            state: RwLock::default(),
            outdated: Mutex::new(Outdated { all: Some(0), ..Outdated::default() }),
            is_outdated: AtomicBool::new(true),
            generation: AtomicU64::new(0),
            refreshing: tokio::sync::Mutex::default(),
            job_changes: Mutex::new(JobChanges { all: true, ..JobChanges::default() }),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        let state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        self.generation.fetch_add(1, Ordering::SeqCst);
        state
    }

    /// The number of changes so far. What was looked up after it was read is of that state or a later one, so that it is
    /// good for as long as the number stays.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// True if nothing has changed since [`Router::generation`] was this, nor waits to be read again.
    pub(crate) fn is_at(&self, generation: u64) -> bool {
        !self.is_outdated.load(Ordering::SeqCst) && self.generation() == generation
    }

    fn outdated(&self) -> MutexGuard<'_, Outdated> {
        self.outdated.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn jobs(&self) -> MutexGuard<'_, JobChanges> {
        self.job_changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The namespace and mount path that `path` leads to, with the rest of it.
    pub fn route<'a>(&self, namespace: NamespaceId, path: &'a str) -> Option<(Arc<MountHandle>, &'a str)> {
        // Mounts do not nest, so at most one boundary fits; `auth/token` without a slash still means the mount.
        let state = self.read();
        let branch = state.branches.get(&namespace)?;
        let slashes = path.bytes().enumerate().take(MAX_MOUNT_PATH).filter(|(_, byte)| *byte == b'/');
        for (at, _) in slashes {
            let (mount, rest) = path.split_at_checked(at.saturating_add(1))?;
            if let Some(mounted) = self.mount_of(&state, branch, mount) {
                return Some((mounted, rest));
            }
        }
        if path.len() >= MAX_MOUNT_PATH {
            return None;
        }
        Some((self.mount_of(&state, branch, &format!("{path}/"))?, ""))
    }

    /// The mount at exactly this path (with a trailing slash).
    pub fn at(&self, namespace: NamespaceId, path: &str) -> Option<Arc<MountHandle>> {
        let state = self.read();
        self.mount_of(&state, state.branches.get(&namespace)?, path)
    }

    fn mount_of(&self, state: &State, branch: &Branch, path: &str) -> Option<Arc<MountHandle>> {
        // Most paths lead to a mount with an entry. A built-in mount has one where it was tuned.
        let entered = branch.mounts.get(path);
        entered.or_else(|| self.made(state, branch).iter().find(|mounted| mounted.path == path)).cloned()
    }

    /// The built-in mounts of a namespace as they are where they have no entry.
    fn made<'a>(&self, state: &State, branch: &'a Branch) -> &'a [Arc<MountHandle>] {
        branch.built_in.get_or_init(|| {
            let namespace = &branch.namespace;
            let made =
                BUILT_IN.iter().map(|built_in| (built_in.path, built_in.entry(namespace.id, &state.seed)));
            made.filter_map(|(path, entry)| self.mounted(namespace, path, &entry)).collect()
        })
    }

    /// The built-in mounts of a namespace that have no entry.
    fn built_in<'a>(&self, state: &State, branch: &'a Branch) -> impl Iterator<Item = &'a Arc<MountHandle>> {
        self.made(state, branch).iter().filter(|mounted| !branch.mounts.contains_key(&mounted.path))
    }

    /// The mount with this accessor, if it is one of the namespace's.
    pub fn by_accessor(&self, namespace: NamespaceId, accessor: &str) -> Option<Arc<MountHandle>> {
        let state = self.read();
        if let Some(mounted) = state.by_accessor.get(accessor) {
            return (mounted.namespace.id == namespace).then(|| mounted.clone());
        }
        let branch = state.branches.get(&namespace)?;
        self.built_in(&state, branch).find(|mounted| mounted.entry.accessor == accessor).cloned()
    }

    /// True if there is a mount with this accessor: one that was enabled, in whatever namespace, or a built-in one of `home`.
    pub fn has_accessor(&self, home: NamespaceId, accessor: &str) -> bool {
        let state = self.read();
        let of_home = || {
            let branch = state.branches.get(&home);
            branch.is_some_and(|branch| {
                self.built_in(&state, branch).any(|found| found.entry.accessor == accessor)
            })
        };
        state.by_accessor.contains_key(accessor) || of_home()
    }

    /// The mount of a namespace with this number.
    pub fn by_id(&self, namespace: NamespaceId, id: MountId) -> Option<Arc<MountHandle>> {
        let state = self.read();
        if let Some(mounted) = state.by_id.get(&number(namespace, id)) {
            return (mounted.namespace.id == namespace).then(|| mounted.clone());
        }
        let branch = state.branches.get(&namespace)?;
        self.built_in(&state, branch).find(|mounted| mounted.mount.id == id).cloned()
    }

    /// The mount with this number, whatever its namespace; none that is built in.
    pub fn by_number(&self, id: MountId) -> Option<Arc<MountHandle>> {
        self.read().by_id.get(&(None, id)).cloned()
    }

    /// The mounts whose engines keep entries that end with a token of this namespace, and the tables of those. Only parts of
    /// the server keep such.
    pub fn kept_by_token(&self, namespace: NamespaceId) -> Vec<(Arc<MountHandle>, TableId)> {
        let state = self.read();
        let Some(branch) = state.branches.get(&namespace) else { return Vec::new() };
        let kept = |built_in: &BuiltIn| {
            let mounted = self.mount_of(&state, branch, built_in.path)?;
            let table = mounted.engine.table_by_token()?;
            Some((mounted, table))
        };
        BUILT_IN.iter().filter_map(kept).collect()
    }

    /// The mounts of a namespace in path order.
    pub fn in_namespace(&self, namespace: NamespaceId) -> Vec<Arc<MountHandle>> {
        let state = self.read();
        let Some(branch) = state.branches.get(&namespace) else { return Vec::new() };
        let mut mounts: Vec<_> =
            branch.mounts.values().chain(self.built_in(&state, branch)).cloned().collect();
        mounts.sort_by(|a, b| a.path.cmp(&b.path));
        mounts
    }

    /// The namespace with this number.
    pub fn namespace(&self, id: NamespaceId) -> Option<Arc<Namespace>> {
        Some(self.read().branches.get(&id)?.namespace.clone())
    }

    /// The path of the outermost namespace that is locked, of this one and those around it.
    pub(crate) fn locked_by(&self, id: NamespaceId) -> Option<String> {
        let state = self.read();
        if state.locked.is_empty() {
            return None;
        }
        let (mut id, mut found) = (id, None);
        while let Some(branch) = state.branches.get(&id) {
            if branch.namespace.is_locked() {
                found = Some(branch.namespace.path.clone());
            }
            if id.is_root() {
                break;
            }
            id = branch.namespace.parent().0;
        }
        found
    }

    /// The namespace directly in `parent` with this name.
    pub fn child(&self, parent: NamespaceId, name: &str) -> Option<Arc<Namespace>> {
        let state = self.read();
        let id = state.branches.get(&parent)?.children.get(name)?;
        Some(state.branches.get(id)?.namespace.clone())
    }

    /// The namespaces directly in `parent`, by name.
    pub fn children(&self, parent: NamespaceId) -> Vec<Arc<Namespace>> {
        let state = self.read();
        let Some(branch) = state.branches.get(&parent) else { return Vec::new() };
        let children =
            branch.children.values().filter_map(|id| Some(state.branches.get(id)?.namespace.clone()));
        let mut children: Vec<_> = children.collect();
        children.sort_by(|a, b| a.path.cmp(&b.path));
        children
    }

    /// The innermost namespace from `start` on into which the segments of `path` lead, and the rest of the path.
    pub fn descend<'a>(&self, start: NamespaceId, path: &'a str) -> Option<(Arc<Namespace>, &'a str)> {
        let state = self.read();
        let mut branch = state.branches.get(&start)?;
        let mut rest = path;
        loop {
            if branch.children.is_empty() {
                return Some((branch.namespace.clone(), rest));
            }
            let (name, further) = rest.split_once('/').unwrap_or((rest, ""));
            let Some(child) = branch.children.get(name).and_then(|id| state.branches.get(id)) else {
                return Some((branch.namespace.clone(), rest));
            };
            (branch, rest) = (child, further);
        }
    }

    /// Every mount that has an entry, and the built-in ones of the root namespace.
    fn all_with_jobs(&self) -> Vec<Arc<MountHandle>> {
        let state = self.read();
        let entered = state.branches.values().flat_map(|branch| branch.mounts.values());
        let root = state.branches.get(&NamespaceId::ROOT).into_iter();
        let built_in = root.flat_map(|branch| self.built_in(&state, branch));
        entered.chain(built_in).filter(|mounted| mounted.has_jobs()).cloned().collect()
    }

    /// The mounts whose jobs are to be added or removed since the last call.
    pub fn take_job_changes(&self) -> JobChanges {
        let mut changes = std::mem::take(&mut *self.jobs());
        if changes.all {
            changes.new = self.all_with_jobs();
        }
        changes
    }

    /// Drops everything: sealing.
    pub(crate) fn clear(&self) {
        self.outdate_all(0);
        *self.write() = State::default();
    }

    /// Commit `index` may have changed anything.
    pub(crate) fn outdate_all(&self, index: Index) {
        let mut outdated = self.outdated();
        outdated.all = Some(outdated.all.unwrap_or_default().max(index));
        self.is_outdated.store(true, Ordering::SeqCst);
    }

    /// Commit `index` touched the entry of the mount at `path`.
    pub(crate) fn outdate_mount(&self, namespace: NamespaceId, path: &[u8], index: Index) {
        self.note(path, index, |outdated, path| {
            outdated.mounts.insert((namespace, path), index);
        });
    }

    /// Commit `index` touched the entry of the namespace of this name in `parent`.
    pub(crate) fn outdate_namespace(&self, parent: NamespaceId, name: &[u8], index: Index) {
        self.note(name, index, |outdated, name| {
            outdated.namespaces.insert((parent, name), index);
        });
    }

    fn note(&self, key: &[u8], index: Index, note: impl FnOnce(&mut Outdated, String)) {
        let mut outdated = self.outdated();
        match std::str::from_utf8(key) {
            Ok(key) if outdated.mounts.len().saturating_add(outdated.namespaces.len()) < MAX_NOTED => {
                note(&mut outdated, key.to_owned());
            }
            _ => {
                let all = Some(outdated.all.unwrap_or_default().max(index));
                *outdated = Outdated { all, ..Outdated::default() };
            }
        }
        self.is_outdated.store(true, Ordering::SeqCst);
    }

    fn settle(&self, read: &Outdated, index: Index) {
        let mut outdated = self.outdated();
        outdated.settle(read, index);
        self.is_outdated.store(!outdated.is_empty(), Ordering::SeqCst);
    }

    /// The mount of an entry; `None` where its engine is not part of this program.
    pub fn mounted(
        &self,
        namespace: &Arc<Namespace>,
        path: &str,
        entry: &MountEntry,
    ) -> Option<Arc<MountHandle>> {
        let class = if path.starts_with("auth/") { Class::Auth } else { Class::Secrets };
        let Some(engine) = self.catalog.engine(class, &entry.kind, &entry.options) else {
            tracing::error!(path, kind = entry.kind, "unknown engine type for mount");
            return None;
        };
        Some(Arc::new(MountHandle {
            mount: Arc::new(self.seen_by_engines(namespace, path, entry)),
            namespace: namespace.clone(),
            entry: entry.clone(),
            engine,
            facilities: self.facilities.clone(),
            kind: Arc::from(entry.kind.as_str()),
            path: path.to_owned(),
        }))
    }

    fn seen_by_engines(&self, namespace: &Namespace, path: &str, entry: &MountEntry) -> Mount {
        let or = |set: Duration, fallback: Duration| if set.is_zero() { fallback } else { set };
        let max = or(entry.tuning.max_lease_ttl, self.lifetimes.max);
        let default = or(entry.tuning.default_lease_ttl, self.lifetimes.default).min(max);
        Mount {
            id: entry.id,
            path: path.strip_prefix("auth/").unwrap_or(path).to_owned(),
            accessor: entry.accessor.clone(),
            kind: entry.kind.clone(),
            options: entry.options.clone(),
            lifetimes: Lifetimes { default, max },
            namespace: namespace.id,
            namespace_path: namespace.path.clone(),
            local: entry.local,
        }
    }

    /// Works what was read again into the state, or into one that takes its place, all of it at once.
    fn apply(&self, changes: Changes, anew: Option<State>) {
        let mut state = self.write();
        let mut jobs = self.jobs();
        let is_anew = anew.is_some();
        let mut replaced = Vec::new();
        if let Some(anew) = anew {
            *state = anew;
        }
        for ((parent, name), entry) in changes.namespaces {
            state.set_namespace(parent, &name, entry, &mut jobs);
        }
        for ((namespace, path), entry) in changes.mounts {
            let Some(branch) = state.branches.get(&namespace) else { continue };
            let mounted = entry.and_then(|entry| self.mounted(&branch.namespace, &path, &entry));
            // What was there is dropped behind the lock.
            replaced.extend(state.set_mount(namespace, &path, mounted, &mut jobs));
        }
        if is_anew || jobs.gone.len().saturating_add(jobs.new.len()) > MAX_NOTED {
            *jobs = JobChanges { all: true, ..JobChanges::default() };
        }
        drop((state, jobs));
        drop(replaced);
    }
}

impl State {
    /// The root namespace without any mount of its own.
    fn begin(seed: [u8; 16]) -> Self {
        let branches = HashMap::from([(NamespaceId::ROOT, Branch::new(Arc::new(Namespace::root())))]);
        Self { branches, seed, ..Self::default() }
    }

    /// Sets or removes the mount at a path; answers the one that was there.
    fn set_mount(
        &mut self,
        namespace: NamespaceId,
        path: &str,
        mounted: Option<Arc<MountHandle>>,
        jobs: &mut JobChanges,
    ) -> Option<Arc<MountHandle>> {
        let branch = self.branches.get_mut(&namespace)?;
        let before = match &mounted {
            Some(mounted) => branch.mounts.insert(path.to_owned(), mounted.clone()),
            None => branch.mounts.remove(path),
        };
        if let Some(before) = &before {
            self.forget(before.clone(), jobs);
        }
        if let Some(mounted) = mounted {
            self.by_accessor.insert(mounted.entry.accessor.clone(), mounted.clone());
            self.by_id.insert(number(namespace, mounted.mount.id), mounted.clone());
            if mounted.has_jobs() {
                jobs.new.push(mounted);
            }
        }
        before
    }

    /// Removes a mount, unless another has taken its number or its accessor: one that was moved may first be seen at its new
    /// path, and has another number there where that is in another namespace.
    fn forget(&mut self, mounted: Arc<MountHandle>, jobs: &mut JobChanges) {
        let is_it = |kept: &Arc<MountHandle>| Arc::ptr_eq(kept, &mounted);
        let id = number(mounted.namespace.id, mounted.mount.id);
        if self.by_id.get(&id).is_some_and(is_it) {
            self.by_id.remove(&id);
        }
        if self.by_accessor.get(&mounted.entry.accessor).is_some_and(is_it) {
            self.by_accessor.remove(&mounted.entry.accessor);
        }
        if mounted.has_jobs() {
            jobs.gone.push(mounted);
        }
    }

    /// Sets or removes the namespace of a name. One that is removed has no others in it.
    fn set_namespace(
        &mut self,
        parent: NamespaceId,
        name: &str,
        entry: Option<Arc<NamespaceEntry>>,
        jobs: &mut JobChanges,
    ) {
        let Some(branch) = self.branches.get_mut(&parent) else { return };
        let namespace = entry.map(|entry| Arc::new(Namespace::new(&branch.namespace, name, entry)));
        let before = match &namespace {
            Some(namespace) => branch.children.insert(name.to_owned(), namespace.id),
            None => branch.children.remove(name),
        };
        if let Some(before) = &before {
            self.locked.remove(before);
        }
        if let Some(namespace) = namespace.as_ref().filter(|namespace| namespace.is_locked()) {
            self.locked.insert(namespace.id);
        }
        if let Some(before) = before.filter(|before| namespace.as_ref().is_none_or(|now| now.id != *before))
            && let Some(branch) = self.branches.remove(&before)
        {
            branch.mounts.into_values().for_each(|mounted| self.forget(mounted, jobs));
        }
        let Some(namespace) = namespace else { return };
        match self.branches.get_mut(&namespace.id) {
            // Mounts and tenants of a namespace stay when its metadata change.
            Some(branch) => branch.namespace = namespace,
            None => {
                self.branches.insert(namespace.id, Branch::new(namespace));
            }
        }
    }
}

impl Mounts {
    /// The router as of the newest change.
    pub async fn router(&self) -> Result<Arc<Router>, BarrierError> {
        if self.router.is_outdated.load(Ordering::SeqCst) {
            // Boxed: it is rare, and would make every request that looks at the router as large.
            Box::pin(self.refresh_router()).await?;
        }
        Ok(self.router.clone())
    }

    /// Reads again what commits have touched. What was outdated stays so until the state shows it, so a caller that goes
    /// away in between leaves it to the next.
    async fn refresh_router(&self) -> Result<(), BarrierError> {
        let router = &self.router;
        let _one_at_a_time = router.refreshing.lock().await;
        let outdated = router.outdated().clone();
        if outdated.is_empty() {
            return Ok(());
        }
        let view = self.barrier.pinned_view().await?;
        if outdated.all.is_some() {
            let seed = self.built_in_seed()?;
            router.apply(self.read_all(&view).await?, Some(State::begin(seed)));
        } else {
            router.apply(read_again(&view, &outdated).await?, None);
        }
        router.settle(&outdated, view.index());
        Ok(())
    }

    /// Every namespace and every mount there is, parents before what is in them.
    async fn read_all(&self, view: &View) -> Result<Changes, BarrierError> {
        let mut changes = Changes::default();
        let mut waiting = BTreeSet::from([NamespaceId::ROOT]);
        while let Some(namespace) = waiting.pop_first() {
            let mut after: Option<String> = None;
            loop {
                let last = after.as_deref().map(|after| (namespace, after));
                let page = MOUNTS.scan_after(view, &namespace, last.as_ref(), PAGE).await?;
                after = page.last().map(|((_, path), _)| path.clone());
                let is_full = page.len() == PAGE;
                changes.mounts.extend(page.into_iter().map(|(key, entry)| (key, Some(entry))));
                if !is_full {
                    break;
                }
            }
            let mut after: Option<String> = None;
            loop {
                let last = after.as_deref().map(|after| (namespace, after));
                let page = NAMESPACES.scan_after(view, &namespace, last.as_ref(), PAGE).await?;
                after = page.last().map(|((_, name), _)| name.clone());
                let is_full = page.len() == PAGE;
                waiting.extend(page.iter().map(|(_, entry)| entry.id));
                changes.namespaces.extend(page.into_iter().map(|(key, entry)| (key, Some(entry))));
                if !is_full {
                    break;
                }
            }
        }
        // A namespace has a higher number than the one it was made in.
        changes.namespaces.sort_by_key(|((parent, _), _)| *parent);
        Ok(changes)
    }
}

/// The current entries of what `outdated` names.
async fn read_again(view: &View, outdated: &Outdated) -> Result<Changes, BarrierError> {
    let mut changes = Changes::default();
    for (parent, name) in outdated.namespaces.keys() {
        let entry = NAMESPACES.get(view, &(*parent, name.as_str())).await?;
        changes.namespaces.push(((*parent, name.clone()), entry));
    }
    for (namespace, path) in outdated.mounts.keys() {
        let entry = MOUNTS.get(view, &(*namespace, path.as_str())).await?;
        changes.mounts.push(((*namespace, path.clone()), entry));
    }
    changes.namespaces.sort_by_key(|((parent, _), _)| *parent);
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(notes: &[(&str, Index)]) -> Outdated {
        let mounts = notes.iter().map(|(path, index)| ((NamespaceId::ROOT, (*path).to_owned()), *index));
        Outdated { mounts: mounts.collect(), ..Outdated::default() }
    }

    /// A commit between the look at the notes and the view that they are read in: the view shows it, and nobody has read it.
    #[test]
    fn what_is_noted_while_others_are_read_stays_noted() {
        let read = noted(&[("a/", 4), ("b/", 5)]);
        let mut outdated = noted(&[("a/", 4), ("b/", 6), ("c/", 6), ("d/", 9)]);
        outdated.namespaces.insert((NamespaceId::ROOT, "team".to_owned()), 6);
        outdated.settle(&read, 6);
        assert_eq!(outdated.mounts, noted(&[("b/", 6), ("c/", 6), ("d/", 9)]).mounts);
        assert_eq!(outdated.namespaces.len(), 1);
        outdated.all = Some(6);
        outdated.settle(&Outdated::default(), 7);
        assert_eq!(outdated.all, Some(6), "not all was read");
        outdated.settle(&Outdated { all: Some(6), ..Outdated::default() }, 7);
        assert_eq!(outdated.all, None);
    }
}
