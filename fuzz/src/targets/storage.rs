//! Ranges of keys.

use strongroom_storage::KeyRange;

use super::parts;
use crate::Target;

pub(super) const RANGE: Target = Target {
    name: "key_range",
    run: range,
    made: crate::no_inputs,
    seeds: &[b"ab\0ac", b"\xff\xff\0\xff", b"\0a"],
    words: &["\0", "a"],
};

/// A range holds what begins with its prefix and nothing else.
fn range(input: &[u8]) {
    let [prefix, key] = parts(input);
    let range = KeyRange::prefix(prefix);
    assert_eq!(range.contains(key), key.starts_with(prefix));
    assert!(!range.is_empty());
    let after = range.after(key);
    assert!(!after.contains(key));
    for other in [prefix, input] {
        assert_eq!(after.contains(other), range.contains(other) && other > key);
    }
}
