//! Values that are derived from the tables of mounts, kept in memory by mount and key.
//!
//! An engine works with more than entries: a connection pool is derived from a configuration, a certificate chain from
//! several tables. Such a value is built on first use, on any node, and kept until a commit touches one of the tables
//! it is derived from. A caller gets the value of its own view's commit index, never an older or a newer one: for a
//! view that is older than the cached value, another is built. Each key is built by one caller at a time, and the
//! others wait for its value and share it.
//!
//! A value is checked for validity without a lock, by the indexes that commits leave with the barrier before they are
//! announced ([`Ground`]); [`Kept::touched`] only frees early. Values are never freed under a lock: they go to a thread
//! of their own, and at sealing are freed before sealing returns, except those that are in use.
//!
//! This crate does not read tables and does not know engines. When a build fails, its caller gets the error, nothing is
//! kept, and the next caller builds again.

mod builders;
mod reclaim;
mod tree;

use std::any::{Any, TypeId};
use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use strongroom_barrier::{Ground, MountId, MountPlace, MountView, NamespaceId, Reads, TableId};

use builders::Builders;
use reclaim::Reclaimer;
use tree::Tree;

/// A value whose type is known only to its owner.
type Opaque = Arc<dyn Any + Send + Sync>;

/// The description of a kind of values.
pub struct Kind<T> {
    /// The tables that they follow from.
    pub from: &'static [TableId],
    /// True if they hold connections, which end when this node is no longer the active one.
    pub connects: bool,
    /// The bytes, roughly, that one takes.
    pub weigh: fn(&T) -> usize,
}

impl<T> Clone for Kind<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Kind<T> {}

/// The place of a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Id {
    place: Place,
    key: Box<[u8]>,
}

/// The place of all values of a kind in a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    namespace: NamespaceId,
    mount: MountId,
    kind: TypeId,
    connects: bool,
}

/// A value that is kept. Its weight counts until it is let go.
struct Held {
    id: Id,
    value: Opaque,
    /// The value is that of every index from here
    since: u64,
    /// to here, and of later ones as long as no commit touches its tables.
    until: u64,
    weight: usize,
    /// Asked for since room was last looked for.
    used: AtomicBool,
    totals: Arc<Totals>,
}

/// The sums over what is kept, and over what is being freed.
#[derive(Default)]
struct Totals {
    weight: AtomicU64,
    values: AtomicUsize,
}

impl Held {
    fn new(
        id: Id,
        value: Opaque,
        (since, until): (u64, u64),
        weight: usize,
        totals: Arc<Totals>,
    ) -> Arc<Self> {
        totals.weight.fetch_add(as_u64(weight), Ordering::SeqCst);
        totals.values.fetch_add(1, Ordering::SeqCst);
        Arc::new(Self { id, value, since, until, weight, used: AtomicBool::new(false), totals })
    }

    /// True if a view shows this value.
    fn is_of(&self, ground: Ground) -> bool {
        self.since <= ground.index && (ground.index <= self.until || ground.touched <= self.until)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.totals.weight.fetch_sub(as_u64(self.weight), Ordering::SeqCst);
        self.totals.values.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The bound where none is given: for engines alone, under test.
const DEFAULT_LIMIT: usize = 16 << 20;

impl Default for Kept {
    fn default() -> Self {
        Self::new(DEFAULT_LIMIT)
    }
}

/// All values that are kept.
pub struct Kept {
    limit: u64,
    totals: Arc<Totals>,
    /// Counts what ended builds: one that began before is answered and not kept.
    epoch: AtomicU64,
    values: RwLock<Tree>,
    /// All that is kept, those that were kept or asked for last at the end.
    order: Mutex<VecDeque<Weak<Held>>>,
    builders: Builders,
    reclaimer: Reclaimer,
}

/// Values may hold secrets: it prints as nothing but its name.
impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept(..)")
    }
}

impl Kept {
    /// Nothing yet, and never more than `limit` bytes by what values weigh.
    pub fn new(limit: usize) -> Self {
        Self {
            limit: as_u64(limit),
            totals: Arc::default(),
            epoch: AtomicU64::new(0),
            values: RwLock::default(),
            order: Mutex::default(),
            builders: Builders::default(),
            reclaimer: Reclaimer::default(),
        }
    }

    /// The value of `key` in the view's mount, as the view's tables have it. `build` is called where it is not kept, and
    /// must read with that view only.
    pub async fn get<T, E, F>(
        &self,
        kind: Kind<T>,
        view: &MountView,
        key: &[u8],
        build: impl FnOnce() -> F,
    ) -> Result<Arc<T>, E>
    where
        T: Send + Sync + 'static,
        F: Future<Output = Result<T, E>>,
    {
        let MountPlace { namespace, mount, .. } = view.place();
        let place = Place { namespace, mount, kind: TypeId::of::<T>(), connects: kind.connects };
        if let Some(value) = self.find(place, key, view.ground(kind.from)) {
            return Ok(value);
        }
        let id = Id { place, key: key.into() };
        let turn = self.builders.turn(&id);
        let _one_builder = turn.lock().await;
        let epoch = self.epoch.load(Ordering::SeqCst);
        let ground = view.ground(kind.from);
        if let Some(value) = self.find(place, key, ground) {
            return Ok(value);
        }
        let value = Arc::new(build().await?);
        // The build may have opened the view's snapshot: the tables were the same at both indexes, or it had failed.
        let until = view.ground(kind.from).index.max(ground.index);
        let since = if ground.touched <= ground.index { ground.touched } else { ground.index };
        let weight = (kind.weigh)(&value).saturating_add(key.len()).max(1);
        if as_u64(weight) <= self.limit {
            let held = Held::new(id, value.clone(), (since, until), weight, self.totals.clone());
            self.keep(held, kind.from, epoch);
        }
        Ok(value)
    }

    /// The cached value, if the view shows it.
    fn find<T: Send + Sync + 'static>(&self, place: Place, key: &[u8], ground: Ground) -> Option<Arc<T>> {
        let values = self.read();
        let held = values.get(place, key).filter(|held| held.is_of(ground))?;
        held.used.store(true, Ordering::Relaxed);
        held.value.clone().downcast().ok()
    }

    fn keep(&self, held: Arc<Held>, from: &'static [TableId], epoch: u64) {
        let former = {
            let mut values = self.write();
            if self.epoch.load(Ordering::SeqCst) != epoch {
                return drop(values);
            }
            // A view that is older than what is kept has its value for itself.
            if values.get(held.id.place, &held.id.key).is_some_and(|kept| kept.until > held.until) {
                return drop(values);
            }
            values.insert(held.clone(), from)
        };
        if let Some(former) = former {
            self.free(former);
        }
        self.enqueue(&held);
        drop(held);
        self.make_room();
    }

    fn enqueue(&self, held: &Arc<Held>) {
        let mut order = self.order();
        order.push_back(Arc::downgrade(held));
        let live = self.len();
        // What was let go otherwise leaves its place behind.
        if order.len() > live.saturating_mul(2).saturating_add(64) {
            order.retain(|held| held.strong_count() > 0);
        }
    }

    /// Lets go of what was not asked for the longest until the rest is within the limit.
    fn make_room(&self) {
        while self.weight() > self.limit {
            let Some(oldest) = self.order().pop_front() else { return };
            let Some(held) = oldest.upgrade() else { continue };
            if held.used.swap(false, Ordering::Relaxed) {
                self.order().push_back(oldest);
                continue;
            }
            let removed = self.write().remove(&held);
            drop(removed);
            self.free(held);
        }
    }

    /// Frees a value that is not kept any more; its weight counts no longer.
    fn free(&self, held: Arc<Held>) {
        let value = held.value.clone();
        drop(held);
        self.reclaimer.free(value);
    }

    /// A commit has touched a table of a mount: what follows from it is let go, on a thread of its own.
    pub fn touched(&self, namespace: NamespaceId, mount: MountId, table: u8) {
        if self.is_empty() || !self.read().depends(namespace, mount, table) {
            return;
        }
        let gone = self.write().take_of_table(namespace, mount, table);
        self.reclaimer.free(gone);
    }

    /// Everything may have changed.
    pub fn touched_all(&self) {
        let gone = std::mem::take(&mut *self.write());
        self.reclaimer.free(gone);
    }

    /// The server is sealed: nothing is kept when this returns, nor what is being built now.
    pub fn sealed(&self) {
        let gone = self.end(std::mem::take);
        drop(gone);
        self.order().clear();
        self.reclaimer.finish();
    }

    /// A namespace is sealed or deleted.
    pub fn namespace_gone(&self, namespace: NamespaceId) {
        let gone = self.end(|values| values.take_of_namespace(namespace));
        self.reclaimer.free(gone);
    }

    /// This node is no longer the active one: what holds connections is let go.
    pub fn stepped_down(&self) {
        let gone = self.end(Tree::take_connecting);
        self.reclaimer.free(gone);
    }

    /// Whether anything may be kept that holds connections.
    pub fn holds_connections(&self) -> bool {
        !self.read().has_no_connecting()
    }

    /// A mount is disabled. Its number is never used again, so nothing is lost by not knowing its namespace.
    pub fn unmounted(&self, mount: MountId) {
        self.end(|_| ());
        let namespaces = self.read().namespaces_of(mount);
        let gone: Vec<_> = namespaces
            .into_iter()
            .map(|namespace| self.end(|values| values.take_of_mount(namespace, mount)))
            .collect();
        self.reclaimer.free(gone);
    }

    /// Takes values out, and has no build that began before kept.
    fn end<R>(&self, take: impl FnOnce(&mut Tree) -> R) -> R {
        let mut values = self.write();
        self.epoch.fetch_add(1, Ordering::SeqCst);
        take(&mut values)
    }

    /// True if there are no cached values.
    pub fn is_empty(&self) -> bool {
        self.weight() == 0
    }

    /// The total weight of the cached values, in bytes.
    pub fn weight(&self) -> u64 {
        self.totals.weight.load(Ordering::SeqCst)
    }

    /// The number of cached values.
    pub fn len(&self) -> usize {
        self.totals.values.load(Ordering::SeqCst)
    }

    fn read(&self) -> RwLockReadGuard<'_, Tree> {
        self.values.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tree> {
        self.values.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self) -> MutexGuard<'_, VecDeque<Weak<Held>>> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn as_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
