//! Storage keys: compact, ordered, one byte of space, a scope, one byte of table, then the table's own key.

use std::fmt::Write as _;

/// The part of the key space that a reader or writer is confined to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope(Vec<u8>);

impl Scope {
    const CORE: u8 = 1;
    const MOUNT: u8 = 2;

    /// What the core keeps: mounts, policies, tokens, leases.
    pub fn core() -> Self {
        Self(vec![Self::CORE])
    }

    /// What one mount keeps. Mount numbers are never used twice, so a scope dies with its mount.
    pub fn mount(number: u64) -> Self {
        let mut bytes = vec![Self::MOUNT];
        bytes.extend_from_slice(&number.to_be_bytes());
        Self(bytes)
    }

    /// A part of this scope set apart by a number: what is kept for one token, for instance.
    #[must_use]
    pub fn part(&self, name: &[u8]) -> Self {
        let mut bytes = self.0.clone();
        bytes.extend_from_slice(name);
        Self(bytes)
    }

    /// The bytes that every key of the scope begins with.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Where the seal keeps what is needed before there are keys; entries here are not sealed by the barrier.
pub const BOOTSTRAP: u8 = 0;

/// The name of the bootstrap record, which says how the root key is sealed: there from the first commit on.
pub const BOOTSTRAP_RECORD: &str = "seal";

/// What a table's entries are found by. The encoding keeps the order, and no key is a prefix of another unless its
/// text is.
pub trait TableKey {
    /// The owned form that scans return.
    type Owned;

    /// Appends the encoded key.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads an encoded key; `None` when it is not one.
    fn decode(bytes: &[u8]) -> Option<Self::Owned>;
}

impl TableKey for str {
    type Owned = String;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<String> {
        std::str::from_utf8(bytes).ok().map(str::to_owned)
    }
}

impl TableKey for String {
    type Owned = Self;

    fn encode(&self, out: &mut Vec<u8>) {
        self.as_str().encode(out);
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        str::decode(bytes)
    }
}

impl TableKey for u64 {
    type Owned = Self;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_be_bytes)
    }
}

impl TableKey for () {
    type Owned = ();

    fn encode(&self, _out: &mut Vec<u8>) {}

    fn decode(bytes: &[u8]) -> Option<()> {
        bytes.is_empty().then_some(())
    }
}

impl<const N: usize> TableKey for [u8; N] {
    type Owned = Self;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok()
    }
}

/// A fixed-width number, then anything.
impl<K: TableKey + ?Sized> TableKey for (u64, &K) {
    type Owned = (u64, K::Owned);

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_be_bytes());
        self.1.encode(out);
    }

    fn decode(bytes: &[u8]) -> Option<Self::Owned> {
        let (number, rest) = bytes.split_first_chunk::<8>()?;
        Some((u64::from_be_bytes(*number), K::decode(rest)?))
    }
}

/// Fixed-width bytes, then anything.
impl<const N: usize, K: TableKey + ?Sized> TableKey for ([u8; N], &K) {
    type Owned = ([u8; N], K::Owned);

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
        self.1.encode(out);
    }

    fn decode(bytes: &[u8]) -> Option<Self::Owned> {
        let (first, rest) = bytes.split_first_chunk::<N>()?;
        Some((*first, K::decode(rest)?))
    }
}

/// A text, then anything, with a NUL between: texts that come from requests never hold one.
impl<K: TableKey + ?Sized> TableKey for (&str, &K) {
    type Owned = (String, K::Owned);

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.as_bytes());
        out.push(0);
        self.1.encode(out);
    }

    fn decode(bytes: &[u8]) -> Option<Self::Owned> {
        let end = bytes.iter().position(|byte| *byte == 0)?;
        let (text, rest) = bytes.split_at_checked(end)?;
        let rest = rest.get(1..)?;
        Some((str::decode(text)?, K::decode(rest)?))
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
