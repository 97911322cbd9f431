//! The rights that follow from an identity: an entity's own policies and those of the groups that it is in, directly or not.
//!
//! They are derived from storage when a token of the entity is first used, on every node, and kept until a commit touches what
//! they follow from. A commit leaves its index in a mark for each entity or group that its keys name, before anyone hears of
//! it, and one mark for any change of a group. Checking what is kept costs two comparisons, however many groups the entity is
//! in; only after some group has changed are its own groups' marks looked at, once. So a change of a group is read again for
//! its members, when they next ask, and for nobody else. Marks are chosen by a hash: two ids with one mark cost a rebuild and
//! no error.
//!
//! What is kept is never older than the newest commit that touches it. When storage fails, the request fails.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use strongroom_barrier::{BarrierError, KeyPlace, NamespaceId, Reads, TableId};
use strongroom_engine_api::{EngineError, Moment, PolicySets};
use strongroom_policy::{ROOT_POLICY_NAME, TemplateReference, TemplateValues};
use strongroom_storage::Index;

use crate::Identity;
use crate::across::GroupPolicyMode;
use crate::aliases::Alias;
use crate::entities::Entity;
use crate::groups::Group;
use crate::id::{IdBytes, IdentityId};
use crate::members::Placed;
use crate::tables::{ALIASES, ENTITIES, GROUP_POLICY_MODE, GROUPS, MEMBERSHIPS, MERGED, PARENTS};

/// Marks, a power of two.
const MARKS: usize = 1 << 14;
/// The sum of the weights of what is kept, in bytes, roughly.
const MAX_WEIGHT: u64 = 64 << 20;
/// Entities that are kept, as a first guess of the cache's.
const ENTITIES_EXPECTED: usize = 10_000;

/// An entity with everything that its tokens' rights follow from.
#[derive(Debug, Default)]
pub struct Effective {
    /// Its id: of an entity that was merged, the id of the one that it was merged into.
    pub id: IdentityId,
    /// Its namespace.
    pub namespace: NamespaceId,
    /// The entity.
    pub entity: Arc<Entity>,
    /// Its aliases by the accessor of their mount.
    pub aliases: BTreeMap<String, Arc<Alias>>,
    /// The groups that it is in, directly or not, with their namespaces.
    pub groups: BTreeMap<IdentityId, (NamespaceId, Arc<Group>)>,
    /// The groups that it is in itself.
    pub direct: BTreeSet<IdentityId>,
    /// Its policies and those of its groups, sorted, without `root`.
    pub policies: PolicySets,
    /// True if its tokens act in every namespace of which it has policies.
    pub everywhere: bool,
}

impl Effective {
    /// True if a token made at this moment is refused: the entity is disabled, or was revoked since.
    pub fn refuses(&self, created: Moment) -> bool {
        self.entity.disabled || self.entity.revoked.is_some_and(|revoked| created <= revoked)
    }

    /// The policies of one namespace.
    pub fn policies_of(&self, namespace: NamespaceId) -> &[String] {
        let found = self.policies.iter().find(|(of, _)| *of == namespace);
        found.map_or(&[], |(_, names)| names.as_slice())
    }

    fn weight(&self) -> u64 {
        let aliases = self.aliases.len().saturating_mul(512);
        let groups = self.groups.len().saturating_mul(256);
        let names: usize = self.policies.iter().flat_map(|(_, names)| names).map(String::len).sum();
        let bytes = aliases.saturating_add(groups).saturating_add(names).saturating_add(512);
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

impl TemplateValues for Effective {
    fn value(&self, reference: &TemplateReference) -> Option<String> {
        use TemplateReference as T;
        let alias = |accessor: &String| self.aliases.get(accessor);
        let by_id = |id: &String| self.groups.get(&IdentityId::parse(id)?);
        let by_name = |name: &String| self.groups.iter().find(|(_, (_, group))| group.name == *name);
        match reference {
            T::EntityId => Some(self.id.to_string()),
            T::EntityName => Some(self.entity.name.clone()),
            T::EntityMetadata { key } => self.entity.metadata.get(key).cloned(),
            T::AliasId { accessor } => alias(accessor).map(|alias| alias.id.to_string()),
            T::AliasName { accessor } => alias(accessor).map(|alias| alias.name.clone()),
            T::AliasMetadata { accessor, key } => alias(accessor)?.metadata.get(key).cloned(),
            T::AliasCustomMetadata { accessor, key } => alias(accessor)?.custom_metadata.get(key).cloned(),
            T::GroupName { id } => by_id(id).map(|(_, group)| group.name.clone()),
            T::GroupId { name } => by_name(name).map(|(id, _)| id.to_string()),
            T::GroupMetadataById { id, key } => by_id(id)?.1.metadata.get(key).cloned(),
            T::GroupMetadataByName { name, key } => by_name(name)?.1.1.metadata.get(key).cloned(),
        }
    }
}

/// The newest commits that touched entities and groups.
pub(crate) struct Marks {
    by_id: Box<[AtomicU64]>,
    /// Any group.
    groups: AtomicU64,
    /// Everything.
    all: AtomicU64,
}

/// The tables whose keys begin with an entity.
const OF_ENTITIES: [TableId; 4] = [ENTITIES.id(), ALIASES.id(), MEMBERSHIPS.id(), MERGED.id()];
/// The tables whose keys begin with a group that an entity may be in.
const OF_GROUPS: [TableId; 2] = [GROUPS.id(), PARENTS.id()];

impl Marks {
    fn new() -> Self {
        let by_id = (0..MARKS).map(|_| AtomicU64::new(0)).collect();
        Self { by_id, groups: AtomicU64::new(0), all: AtomicU64::new(0) }
    }

    fn place(id: IdBytes) -> usize {
        // The bytes of a UUID are random but for six bits, none of which are among the first.
        let [first, second, ..] = id;
        usize::from(u16::from_be_bytes([first, second])) % MARKS
    }

    fn mark(&self, id: IdBytes) -> Index {
        // A mark that is not there outdates everything.
        self.by_id.get(Self::place(id)).map_or(Index::MAX, |mark| mark.load(Ordering::SeqCst))
    }

    /// Commit `index` touched an entry of the server's own.
    fn observe(&self, place: KeyPlace, key: &[u8], index: Index) {
        if place.is_of(GROUP_POLICY_MODE.id()) {
            self.all.fetch_max(index, Ordering::SeqCst);
            return;
        }
        let of_group = OF_GROUPS.iter().any(|table| place.is_of(*table));
        if !of_group && !OF_ENTITIES.iter().any(|table| place.is_of(*table)) {
            return;
        }
        let Some(id) = place.within_table(key).first_chunk::<16>() else { return };
        if let Some(mark) = self.by_id.get(Self::place(*id)) {
            mark.fetch_max(index, Ordering::SeqCst);
        }
        // After the group's own: who reads this one finds that one set.
        if of_group {
            self.groups.fetch_max(index, Ordering::SeqCst);
        }
    }
}

/// What is kept of an entity.
pub(crate) struct Held {
    /// `None`: there is no such entity.
    effective: Option<Arc<Effective>>,
    /// The commit index that it was read at.
    built_at: Index,
    /// The entities that it follows from: its own id, and the one that it was merged into.
    entities: [IdBytes; 2],
    groups: Box<[IdBytes]>,
    /// The newest change of any group that is known to be of none of these.
    checked: AtomicU64,
}

impl Held {
    /// True if no commit has touched what it follows from.
    fn is_current(&self, marks: &Marks) -> bool {
        if marks.all.load(Ordering::SeqCst) > self.built_at {
            return false;
        }
        if self.entities.iter().any(|id| marks.mark(*id) > self.built_at) {
            return false;
        }
        let changed = marks.groups.load(Ordering::SeqCst);
        if changed <= self.checked.load(Ordering::SeqCst) {
            return true;
        }
        if self.groups.iter().any(|id| marks.mark(*id) > self.built_at) {
            return false;
        }
        self.checked.fetch_max(changed, Ordering::SeqCst);
        true
    }
}

/// Weighs what is kept.
#[derive(Clone)]
pub(crate) struct ByBytes;

type Key = (NamespaceId, IdBytes);

impl Weighter<Key, Arc<Held>> for ByBytes {
    fn weight(&self, _key: &Key, held: &Arc<Held>) -> u64 {
        held.effective.as_ref().map_or(128, |effective| effective.weight())
    }
}

/// What is kept of entities, and when it is outdated.
pub(crate) struct Cached {
    marks: Marks,
    held: Cache<Key, Arc<Held>, ByBytes>,
}

impl Cached {
    pub(crate) fn new() -> Self {
        Self { marks: Marks::new(), held: Cache::with_weighter(ENTITIES_EXPECTED, MAX_WEIGHT, ByBytes) }
    }
}

impl Identity {
    /// Commit `index` touched an entry of the server's own.
    pub fn observe(&self, place: KeyPlace, key: &[u8], index: Index) {
        self.cached.marks.observe(place, key, index);
    }

    /// Commit `index` may have changed anything.
    pub fn outdate(&self, index: Index) {
        self.cached.marks.all.fetch_max(index, Ordering::SeqCst);
    }

    /// Drops what is in memory: sealing.
    pub fn clear(&self) {
        self.cached.held.clear();
    }

    /// The rights of an entity, as of the newest commit that touches them; `None` where there is no such entity.
    pub async fn effective(
        &self,
        namespace: NamespaceId,
        id: IdentityId,
    ) -> Result<Option<Arc<Effective>>, BarrierError> {
        if let Some(held) = self.cached.held.get(&(namespace, id.bytes()))
            && held.is_current(&self.cached.marks)
        {
            return Ok(held.effective.clone());
        }
        Box::pin(self.derive(namespace, id)).await
    }

    /// Reads the rights of an entity and keeps them.
    async fn derive(
        &self,
        namespace: NamespaceId,
        id: IdentityId,
    ) -> Result<Option<Arc<Effective>>, BarrierError> {
        // A view of its own: the request's may be older than what it has to see, and need not conflict for it.
        let view = self.barrier.pinned_view().await?;
        let effective = self.effective_in(&view, namespace, id).await?.map(Arc::new);
        let groups = effective.iter().flat_map(|found| found.groups.keys()).map(|id| id.bytes()).collect();
        let own = effective.as_ref().map_or(id, |found| found.id);
        let held = Held {
            effective: effective.clone(),
            built_at: view.index(),
            entities: [id.bytes(), own.bytes()],
            groups,
            checked: AtomicU64::new(view.index()),
        };
        self.cached.held.insert((namespace, id.bytes()), Arc::new(held));
        if self.barrier.is_sealed() {
            // Sealing may have emptied the cache just before the insertion.
            self.cached.held.clear();
            return Err(BarrierError::Sealed);
        }
        Ok(effective)
    }

    /// Refuses what is asked for by or for an entity that is disabled, or gone.
    ///
    /// # Errors
    ///
    /// 403.
    pub async fn require_enabled(&self, namespace: NamespaceId, id: IdentityId) -> Result<(), EngineError> {
        let found = self.effective(namespace, id).await?;
        if found.is_some_and(|found| !found.entity.disabled) {
            return Ok(());
        }
        Err(EngineError::Denied("permission denied".to_owned()))
    }

    /// An entity's policies of all namespaces but one, by the short ids of those.
    pub async fn policies_elsewhere(
        &self,
        effective: &Effective,
        namespace: NamespaceId,
    ) -> Result<BTreeMap<String, Vec<String>>, BarrierError> {
        let mut elsewhere = BTreeMap::new();
        if effective.policies.iter().all(|(of, _)| *of == namespace) {
            return Ok(elsewhere);
        }
        let router = self.mounts.router().await?;
        for (of, names) in effective.policies.iter().filter(|(of, _)| *of != namespace) {
            if let Some(found) = router.namespace(*of) {
                elsewhere.insert(found.short_id.clone(), names.clone());
            }
        }
        Ok(elsewhere)
    }

    /// The rights of an entity as `reads` shows them.
    pub async fn effective_in(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        id: IdentityId,
    ) -> Result<Option<Effective>, BarrierError> {
        let Some((id, entity)) = self.resolve(reads, namespace, id).await? else { return Ok(None) };
        let aliases = self.aliases_of(reads, namespace, id).await?.into_iter().collect();
        let direct: Vec<Placed> = self.groups_of(reads, (namespace, id)).await?;
        let mode = self.group_policy_mode(reads).await?;
        let groups = self.groups_above(reads, (mode, namespace), &direct).await?;
        let mut policies: BTreeMap<NamespaceId, BTreeSet<&String>> = BTreeMap::new();
        policies.entry(namespace).or_default().extend(&entity.policies);
        for (of, group) in groups.values() {
            policies.entry(*of).or_default().extend(&group.policies);
        }
        let granted = |names: BTreeSet<&String>| -> Vec<String> {
            // Written policies never name it; a record that does grants nothing by it.
            names.into_iter().filter(|name| !name.eq_ignore_ascii_case(ROOT_POLICY_NAME)).cloned().collect()
        };
        let policies = policies.into_iter().map(|(of, names)| (of, granted(names)));
        let policies: PolicySets = policies.filter(|(_, names)| !names.is_empty()).collect();
        let direct = direct.into_iter().map(|(_, id)| id).filter(|id| groups.contains_key(id)).collect();
        let everywhere = mode == GroupPolicyMode::Any;
        Ok(Some(Effective { id, namespace, entity, aliases, groups, direct, policies, everywhere }))
    }

    /// The entity with this id, or the one that it was merged into.
    pub async fn resolve(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        id: IdentityId,
    ) -> Result<Option<(IdentityId, Arc<Entity>)>, BarrierError> {
        if let Some(entity) = self.entity(reads, namespace, id).await? {
            return Ok(Some((id, entity)));
        }
        let Some(into) = self.merged_into(reads, namespace, id).await? else { return Ok(None) };
        Ok(self.entity(reads, namespace, into).await?.map(|entity| (into, entity)))
    }

    /// The groups that an entity is directly in.
    pub async fn groups_of(
        &self,
        reads: &impl Reads,
        (namespace, entity): Placed,
    ) -> Result<Vec<Placed>, BarrierError> {
        let found = MEMBERSHIPS.scan(reads, &entity.at(namespace), None, usize::MAX).await?;
        let placed = found.into_iter().map(|((_, _, id), of)| (of.namespace, IdentityId::of_bytes(id)));
        Ok(placed.collect())
    }

    /// These groups and all that they are in, each once. One that is gone, or does not count for entities of `home`, leads no
    /// further.
    async fn groups_above(
        &self,
        reads: &impl Reads,
        (mode, home): (GroupPolicyMode, NamespaceId),
        direct: &[Placed],
    ) -> Result<BTreeMap<IdentityId, (NamespaceId, Arc<Group>)>, BarrierError> {
        let mut groups = BTreeMap::new();
        let mut waiting: Vec<Placed> = direct.to_vec();
        while let Some((namespace, id)) = waiting.pop() {
            if groups.contains_key(&id) || !self.counts_for(mode, home, namespace).await? {
                continue;
            }
            let Some(group) = self.group(reads, namespace, id).await? else { continue };
            groups.insert(id, (namespace, group));
            waiting.extend(self.parents(reads, (namespace, id)).await?);
        }
        Ok(groups)
    }
}
