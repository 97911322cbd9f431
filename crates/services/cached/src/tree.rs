//! Values by namespace, mount, kind and key, so that all of a namespace, a mount or a kind leave in one step, however many
//! they are: the caller that removes them frees them after the lock.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::Arc;

use strongroom_barrier::{MountId, NamespaceId, TableId};

use crate::{Held, Place};

/// The values of one kind in a mount.
pub(crate) struct Group {
    from: &'static [TableId],
    values: HashMap<Box<[u8]>, Arc<Held>>,
}

type Mount = HashMap<TypeId, Group>;
type Namespaces = HashMap<NamespaceId, HashMap<MountId, Mount>>;

#[derive(Default)]
pub(crate) struct Tree {
    plain: Namespaces,
    /// The values that hold connections.
    connecting: Namespaces,
}

impl Tree {
    fn side(&mut self, connects: bool) -> &mut Namespaces {
        if connects { &mut self.connecting } else { &mut self.plain }
    }

    fn sides(&mut self) -> [&mut Namespaces; 2] {
        [&mut self.plain, &mut self.connecting]
    }

    pub(crate) fn get(&self, place: Place, key: &[u8]) -> Option<&Arc<Held>> {
        let side = if place.connects { &self.connecting } else { &self.plain };
        side.get(&place.namespace)?.get(&place.mount)?.get(&place.kind)?.values.get(key)
    }

    /// Puts a value in; answers the one whose place it takes.
    pub(crate) fn insert(&mut self, held: Arc<Held>, from: &'static [TableId]) -> Option<Arc<Held>> {
        let Place { namespace, mount, kind, connects } = held.id.place;
        let mount = self.side(connects).entry(namespace).or_default().entry(mount).or_default();
        let group = mount.entry(kind).or_insert_with(|| Group { from, values: HashMap::new() });
        group.values.insert(held.id.key.clone(), held)
    }

    /// Takes out this very value.
    pub(crate) fn remove(&mut self, held: &Arc<Held>) -> Option<Arc<Held>> {
        let Place { namespace, mount, kind, connects } = held.id.place;
        let mounts = self.side(connects).get_mut(&namespace)?;
        let kinds = mounts.get_mut(&mount)?;
        let values = &mut kinds.get_mut(&kind)?.values;
        if !values.get(&held.id.key).is_some_and(|kept| Arc::ptr_eq(kept, held)) {
            return None;
        }
        let removed = values.remove(&held.id.key);
        if values.is_empty() {
            kinds.remove(&kind);
        }
        if kinds.is_empty() {
            mounts.remove(&mount);
        }
        removed
    }

    /// True if a cached value is derived from a table of a mount.
    pub(crate) fn depends(&self, namespace: NamespaceId, mount: MountId, table: u8) -> bool {
        let kinds = [&self.plain, &self.connecting]
            .into_iter()
            .filter_map(|side| side.get(&namespace)?.get(&mount))
            .flat_map(HashMap::values);
        kinds.into_iter().any(|group| group.follows_from(table))
    }

    pub(crate) fn take_of_table(&mut self, namespace: NamespaceId, mount: MountId, table: u8) -> Vec<Group> {
        let mut taken = Vec::new();
        for side in self.sides() {
            let Some(kinds) = side.get_mut(&namespace).and_then(|mounts| mounts.get_mut(&mount)) else {
                continue;
            };
            taken.extend(kinds.extract_if(|_, group| group.follows_from(table)).map(|(_, group)| group));
        }
        taken
    }

    /// The namespaces with something of a mount: one, or none.
    pub(crate) fn namespaces_of(&self, mount: MountId) -> Vec<NamespaceId> {
        let sides = [&self.plain, &self.connecting].into_iter().flatten();
        sides.filter(|(_, mounts)| mounts.contains_key(&mount)).map(|(namespace, _)| *namespace).collect()
    }

    pub(crate) fn take_of_mount(&mut self, namespace: NamespaceId, mount: MountId) -> [Option<Mount>; 2] {
        self.sides().map(|side| side.get_mut(&namespace).and_then(|mounts| mounts.remove(&mount)))
    }

    pub(crate) fn take_of_namespace(
        &mut self,
        namespace: NamespaceId,
    ) -> [Option<HashMap<MountId, Mount>>; 2] {
        self.sides().map(|side| side.remove(&namespace))
    }

    pub(crate) fn has_no_connecting(&self) -> bool {
        self.connecting.is_empty()
    }

    pub(crate) fn take_connecting(&mut self) -> Namespaces {
        std::mem::take(&mut self.connecting)
    }
}

impl Group {
    fn follows_from(&self, table: u8) -> bool {
        self.from.iter().any(|from| from.number == table)
    }
}
