//! Commits as bytes, and the ranges in them.

use strongroom_storage::{Commit, KeyRange};

use super::parts;
use crate::Target;

pub(super) const COMMIT: Target = Target {
    name: "commit",
    run: commit,
    seeds: &[
        b"\x93\x91\x92\xc4\x01k\x05\x91\x93\x92\x91a\xc0\x02\x03\x91\x92\xc4\x01k\xc4\x01v\0ab\0ac",
        b"\x83\xa6points\x90\xa6ranges\x90\xa6writes\x91\x82\xa3key\xc4\x01k\xa5value\xc0\0\xff\xff\0",
    ],
    words: &["points", "ranges", "writes", "key", "value", "start", "end", "\0"],
};

/// A commit that can be read is written and read as the same; a range holds what begins with its prefix and nothing else.
fn commit(input: &[u8]) {
    if let Ok(commit) = rmp_serde::from_slice::<Commit>(input) {
        let written = rmp_serde::to_vec(&commit).expect("a commit can be written");
        assert_eq!(rmp_serde::from_slice::<Commit>(&written).expect("and read"), commit);
        let _ = commit.size();
    }
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
