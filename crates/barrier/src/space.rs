//! The spaces of storage, and who may read and write in which.
//!
//! Every key begins with a space and a namespace, for mounts also a mount, so that what is to be replicated, sealed,
//! counted or deleted together is a range of keys:
//!
//! | first byte | holds | replicated to other clusters |
//! |---|---|---|
//! | 0 | bootstrap entries, readable while sealed | no |
//! | 1 | the server's own tables | yes |
//! | 2 | tables of mounts | yes |
//! | 3 | the server's own tables: tokens, leases, what ends when, state of nodes | no |
//! | 4 | tables of mounts, and all tables of a mount that is `local` | no |
//! | 255 | a state that is being restored, staged by the storage backend | no |
//!
//! A space is a type. [`Table`](crate::Table) names its space, a space names its owner, and readers and writers are of
//! one owner: the server's [`View`](crate::View) and [`Txn`](crate::Txn), or a mount's
//! [`MountView`](crate::MountView) and [`MountTxn`](crate::MountTxn). A mount's cannot be turned into the server's or
//! into another mount's.

use crate::{MountId, NamespaceId, TableId};

/// The first byte of entries that are needed before there are keys; they are not sealed by the barrier.
pub const BOOTSTRAP: u8 = 0;
const CORE: u8 = 1;
const MOUNT: u8 = 2;
const CORE_LOCAL: u8 = 3;
const MOUNT_LOCAL: u8 = 4;

/// The owner of a space, who reads and writes it: the server or a mount.
pub trait Owner: sealed::Sealed {
    /// The part of a key that is known before the table is: nothing, or the mount's namespace and number.
    type Place: Copy + Send + Sync;
}

/// The server itself.
pub enum Server {}

/// One mount.
pub enum OfMount {}

impl Owner for Server {
    type Place = ();
}

impl Owner for OfMount {
    type Place = MountPlace;
}

/// The place of a mount's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MountPlace {
    /// The mount's namespace.
    pub namespace: NamespaceId,
    /// The mount.
    pub mount: MountId,
    /// True if all its tables are local to the cluster.
    pub local: bool,
}

/// A part of storage, identified by the first byte of its keys.
pub trait Space: sealed::Sealed {
    /// The owner, who may read and write it.
    type Owner: Owner;

    /// The first byte of keys of tables of this space.
    const BYTE: u8;

    /// Appends the part of the key that comes before the table's number.
    fn begin(out: &mut Vec<u8>, place: <Self::Owner as Owner>::Place, namespace: NamespaceId);
}

/// The server's replicated tables: mounts, policies, roles.
pub enum CoreSpace {}

/// The server's tables that belong to one cluster: tokens, leases, state of nodes.
pub enum CoreLocal {}

/// A mount's replicated tables.
pub enum MountSpace {}

/// A mount's tables that belong to one cluster: what it issued, what it knows of sessions.
pub enum MountLocal {}

impl Space for CoreSpace {
    type Owner = Server;
    const BYTE: u8 = CORE;

    fn begin(out: &mut Vec<u8>, _place: (), namespace: NamespaceId) {
        begin(out, Self::BYTE, namespace);
    }
}

impl Space for CoreLocal {
    type Owner = Server;
    const BYTE: u8 = CORE_LOCAL;

    fn begin(out: &mut Vec<u8>, _place: (), namespace: NamespaceId) {
        begin(out, Self::BYTE, namespace);
    }
}

impl Space for MountSpace {
    type Owner = OfMount;
    const BYTE: u8 = MOUNT;

    fn begin(out: &mut Vec<u8>, place: MountPlace, _namespace: NamespaceId) {
        let byte = if place.local { MOUNT_LOCAL } else { MOUNT };
        begin_mount(out, byte, place);
    }
}

impl Space for MountLocal {
    type Owner = OfMount;
    const BYTE: u8 = MOUNT_LOCAL;

    fn begin(out: &mut Vec<u8>, place: MountPlace, _namespace: NamespaceId) {
        begin_mount(out, MOUNT_LOCAL, place);
    }
}

fn begin(out: &mut Vec<u8>, space: u8, namespace: NamespaceId) {
    out.push(space);
    out.extend_from_slice(&namespace.get().to_be_bytes());
}

fn begin_mount(out: &mut Vec<u8>, space: u8, place: MountPlace) {
    begin(out, space, place.namespace);
    out.extend_from_slice(&place.mount.get().to_be_bytes());
}

impl MountPlace {
    /// The beginning of the keys of the mount's tables that are not local of themselves.
    pub fn prefix(self) -> Vec<u8> {
        let mut prefix = Vec::with_capacity(9);
        MountSpace::begin(&mut prefix, self, self.namespace);
        prefix
    }

    /// The beginnings of all keys of the mount, whatever tables they are of.
    pub(crate) fn prefixes(self) -> [Vec<u8>; 2] {
        [MOUNT, MOUNT_LOCAL].map(|space| {
            let mut prefix = Vec::with_capacity(9);
            begin_mount(&mut prefix, space, self);
            prefix
        })
    }
}

/// The place that a storage key names: for observers of commits, who are told keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyPlace {
    /// The first byte.
    pub space: u8,
    /// The namespace.
    pub namespace: NamespaceId,
    /// The mount; none for the server's own tables.
    pub mount: MountId,
    /// The table's number.
    pub table: u8,
}

impl KeyPlace {
    /// The place of a storage key; `None` for bootstrap entries and for keys that are none of the barrier's.
    pub fn of(key: &[u8]) -> Option<Self> {
        let (space, rest) = key.split_first()?;
        let (namespace, rest) = number(rest)?;
        let (mount, rest) = match *space {
            CORE | CORE_LOCAL => (0, rest),
            MOUNT | MOUNT_LOCAL => number(rest)?,
            _ => return None,
        };
        let table = *rest.first()?;
        let (namespace, mount) = (NamespaceId::new(namespace), MountId::new(mount));
        Some(Self { space: *space, namespace, mount, table })
    }

    /// True if it is in a table of the server's own.
    pub fn is_of(&self, table: TableId) -> bool {
        self.space == table.space && self.table == table.number
    }

    /// The part of the key at this place that follows the table.
    pub fn within_table<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        let head = if self.mount.is_none() { 6 } else { 10 };
        key.get(head..).unwrap_or_default()
    }
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*number), rest))
}

/// Keys that a space's tables can have. The server's tables are by namespace or for the server as a whole; a mount's
/// are in the mount's namespace whatever their keys say, so a namespace cannot be part of them.
pub trait Admits<R>: Space {}

impl<R> Admits<R> for CoreSpace {}
impl<R> Admits<R> for CoreLocal {}
impl Admits<crate::key::Plain> for MountSpace {}
impl Admits<crate::key::Plain> for MountLocal {}

mod sealed {
    /// Spaces and owners are these and no others.
    pub trait Sealed {}

    impl Sealed for super::Server {}
    impl Sealed for super::OfMount {}
    impl Sealed for super::CoreSpace {}
    impl Sealed for super::CoreLocal {}
    impl Sealed for super::MountSpace {}
    impl Sealed for super::MountLocal {}
}
