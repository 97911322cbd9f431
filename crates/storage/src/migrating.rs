//! The mark of a store that is being filled from another one.

/// The key that a store has while another one's entries are copied into it. Who finds it must not take the store for an
/// empty one.
pub const MIGRATING: &[u8] = b"\xffmigrating";
