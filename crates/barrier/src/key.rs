//! Keys of tables: compact and ordered.

use std::fmt::Write as _;

use crate::NamespaceId;

/// The name of the bootstrap record, which says how the root key is sealed: there from the first commit on.
pub const BOOTSTRAP_RECORD: &str = "seal";

/// Keys of entries that belong to no namespace of their own: those of the server as a whole, and those of mounts.
pub enum Plain {}

/// Keys of entries of one namespace, which come before the table in storage: a namespace is a range of keys.
pub enum ByNamespace {}

/// A key by which a table's entries are found. The encoding keeps the order, and no key is a prefix of another unless
/// its text is.
pub trait TableKey {
    /// The owned form that scans return.
    type Owned;

    /// The realm of the entries: of one namespace ([`ByNamespace`]) or not ([`Plain`]).
    type Realm;

    /// The namespace of the entry.
    fn namespace(&self) -> NamespaceId {
        NamespaceId::SERVER
    }

    /// Appends the encoded key, without its namespace.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads an encoded key of a namespace; `None` when it is not one.
    fn decode(namespace: NamespaceId, bytes: &[u8]) -> Option<Self::Owned>;
}

impl TableKey for str {
    type Owned = String;
    type Realm = Plain;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn decode(_namespace: NamespaceId, bytes: &[u8]) -> Option<String> {
        std::str::from_utf8(bytes).ok().map(str::to_owned)
    }
}

impl TableKey for String {
    type Owned = Self;
    type Realm = Plain;

    fn encode(&self, out: &mut Vec<u8>) {
        self.as_str().encode(out);
    }

    fn decode(namespace: NamespaceId, bytes: &[u8]) -> Option<Self> {
        str::decode(namespace, bytes)
    }
}

impl TableKey for u32 {
    type Owned = Self;
    type Realm = Plain;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }

    fn decode(_namespace: NamespaceId, bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_be_bytes)
    }
}

impl TableKey for crate::MountId {
    type Owned = Self;
    type Realm = Plain;

    fn encode(&self, out: &mut Vec<u8>) {
        self.get().encode(out);
    }

    fn decode(namespace: NamespaceId, bytes: &[u8]) -> Option<Self> {
        u32::decode(namespace, bytes).map(Self::new)
    }
}

impl TableKey for u64 {
    type Owned = Self;
    type Realm = Plain;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }

    fn decode(_namespace: NamespaceId, bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_be_bytes)
    }
}

impl TableKey for () {
    type Owned = ();
    type Realm = Plain;

    fn encode(&self, _out: &mut Vec<u8>) {}

    fn decode(_namespace: NamespaceId, bytes: &[u8]) -> Option<()> {
        bytes.is_empty().then_some(())
    }
}

impl<const N: usize> TableKey for [u8; N] {
    type Owned = Self;
    type Realm = Plain;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn decode(_namespace: NamespaceId, bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok()
    }
}

/// A fixed-width number, then anything.
impl<K: TableKey<Realm = Plain> + ?Sized> TableKey for (u64, &K) {
    type Owned = (u64, K::Owned);
    type Realm = Plain;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_be_bytes());
        self.1.encode(out);
    }

    fn decode(namespace: NamespaceId, bytes: &[u8]) -> Option<Self::Owned> {
        let (number, rest) = bytes.split_first_chunk::<8>()?;
        Some((u64::from_be_bytes(*number), K::decode(namespace, rest)?))
    }
}

/// A mount, then anything: an index of the server's that is to be walked mount by mount.
impl<K: TableKey<Realm = Plain> + ?Sized> TableKey for (crate::MountId, &K) {
    type Owned = (crate::MountId, K::Owned);
    type Realm = Plain;

    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
    }

    fn decode(namespace: NamespaceId, bytes: &[u8]) -> Option<Self::Owned> {
        let (mount, rest) = bytes.split_first_chunk::<4>()?;
        Some((crate::MountId::new(u32::from_be_bytes(*mount)), K::decode(namespace, rest)?))
    }
}

/// A namespace by itself: the beginning of all its keys.
impl TableKey for NamespaceId {
    type Owned = Self;
    type Realm = ByNamespace;

    fn namespace(&self) -> NamespaceId {
        *self
    }

    fn encode(&self, _out: &mut Vec<u8>) {}

    fn decode(namespace: NamespaceId, bytes: &[u8]) -> Option<Self> {
        bytes.is_empty().then_some(namespace)
    }
}

/// A key within a namespace.
impl<K: TableKey<Realm = Plain> + ?Sized> TableKey for (NamespaceId, &K) {
    type Owned = (NamespaceId, K::Owned);
    type Realm = ByNamespace;

    fn namespace(&self) -> NamespaceId {
        self.0
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.1.encode(out);
    }

    fn decode(namespace: NamespaceId, bytes: &[u8]) -> Option<Self::Owned> {
        Some((namespace, K::decode(namespace, bytes)?))
    }
}

/// Fixed-width bytes within a namespace, then anything.
impl<const N: usize, K: TableKey<Realm = Plain> + ?Sized> TableKey for (NamespaceId, [u8; N], &K) {
    type Owned = (NamespaceId, [u8; N], K::Owned);
    type Realm = ByNamespace;

    fn namespace(&self) -> NamespaceId {
        self.0
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.1);
        self.2.encode(out);
    }

    fn decode(namespace: NamespaceId, bytes: &[u8]) -> Option<Self::Owned> {
        let (first, rest) = bytes.split_first_chunk::<N>()?;
        Some((namespace, *first, K::decode(namespace, rest)?))
    }
}

/// Fixed-width bytes, then anything.
impl<const N: usize, K: TableKey<Realm = Plain> + ?Sized> TableKey for ([u8; N], &K) {
    type Owned = ([u8; N], K::Owned);
    type Realm = Plain;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
        self.1.encode(out);
    }

    fn decode(namespace: NamespaceId, bytes: &[u8]) -> Option<Self::Owned> {
        let (first, rest) = bytes.split_first_chunk::<N>()?;
        Some((*first, K::decode(namespace, rest)?))
    }
}

/// A text, then anything, with a NUL between: texts that come from requests never hold one.
impl<K: TableKey<Realm = Plain> + ?Sized> TableKey for (&str, &K) {
    type Owned = (String, K::Owned);
    type Realm = Plain;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.as_bytes());
        out.push(0);
        self.1.encode(out);
    }

    fn decode(namespace: NamespaceId, bytes: &[u8]) -> Option<Self::Owned> {
        let end = bytes.iter().position(|byte| *byte == 0)?;
        let (text, rest) = bytes.split_at_checked(end)?;
        let rest = rest.get(1..)?;
        Some((str::decode(namespace, text)?, K::decode(namespace, rest)?))
    }
}

/// A key for error messages: printable bytes as they are, others in hex. Keys are not secret.
pub(crate) fn describe(key: &[u8]) -> String {
    let mut text = String::with_capacity(key.len());
    for byte in key {
        if byte.is_ascii_graphic() {
            text.push(char::from(*byte));
        } else {
            // Writing to a String cannot fail.
            let _infallible = write!(text, "\\x{byte:02x}");
        }
    }
    text
}
