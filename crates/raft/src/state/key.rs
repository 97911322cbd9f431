//! Keys of the tree in memory.

use std::borrow::Borrow;
use std::cmp::Ordering;

use bytes::Bytes;

/// Bytes of a key that are compared first: as many as hold most keys' scope, table and the better part of their own.
const HEAD: usize = 24;

/// A key that carries its beginning with it. The tree's nodes hold what nearly every comparison is decided by;
/// following a pointer for each would be a cache miss for each.
#[derive(Clone)]
pub(super) struct Key {
    head: [u8; HEAD],
    whole: Bytes,
}

/// A key to look for.
pub(super) struct Probe<'k> {
    head: [u8; HEAD],
    whole: &'k [u8],
}

/// The head by which keys are compared.
pub(super) trait Headed {
    /// The first bytes, zeros behind a shorter key.
    fn head(&self) -> &[u8; HEAD];
    /// The whole key.
    fn whole(&self) -> &[u8];
}

fn head_of(whole: &[u8]) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    for (to, from) in head.iter_mut().zip(whole) {
        *to = *from;
    }
    head
}

impl Key {
    pub(super) fn new(whole: Bytes) -> Self {
        Self { head: head_of(&whole), whole }
    }

    pub(super) const fn bytes(&self) -> &Bytes {
        &self.whole
    }
}

impl<'k> Probe<'k> {
    pub(super) fn new(whole: &'k [u8]) -> Self {
        Self { head: head_of(whole), whole }
    }
}

impl Headed for Key {
    fn head(&self) -> &[u8; HEAD] {
        &self.head
    }

    fn whole(&self) -> &[u8] {
        &self.whole
    }
}

impl Headed for Probe<'_> {
    fn head(&self) -> &[u8; HEAD] {
        &self.head
    }

    fn whole(&self) -> &[u8] {
        self.whole
    }
}

/// The order of the bytes: a zero behind a shorter key sorts no later than any byte of a longer one.
impl Ord for dyn Headed + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.head().cmp(other.head()).then_with(|| self.whole().cmp(other.whole()))
    }
}

impl PartialOrd for dyn Headed + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn Headed + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for dyn Headed + '_ {}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        (self as &dyn Headed).cmp(other as &dyn Headed)
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Key {}

impl<'k> Borrow<dyn Headed + 'k> for Key {
    fn borrow(&self) -> &(dyn Headed + 'k) {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Keys that differ late, early, by length, and by zeros.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(0u8), Just(1), Just(255), any::<u8>()];
        prop_oneof![
            prop::collection::vec(byte.clone(), 0..40),
            prop::collection::vec(byte, 0..12).prop_map(|end| [vec![7; 20], end].concat()),
        ]
    }

    proptest! {
        #[test]
        fn keys_are_in_the_order_of_their_bytes(a in key(), b in key()) {
            let (one, other) = (Key::new(a.clone().into()), Key::new(b.clone().into()));
            prop_assert_eq!(one.cmp(&other), a.cmp(&b));
            let probe = Probe::new(&b);
            prop_assert_eq!((&one as &dyn Headed).cmp(&probe as &dyn Headed), a.cmp(&b));
        }
    }
}
