//! Numbers of namespaces and mounts.
//!
//! They are types of their own, because both stand in every storage key and a number of one kind in the place of the
//! other would read nothing and compile.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of a namespace, never given out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NamespaceId(u32);

impl NamespaceId {
    /// No namespace: entries of the server as a whole, such as the index of what ends when.
    pub(crate) const SERVER: Self = Self(0);

    /// The root namespace, which is always there.
    pub const ROOT: Self = Self(1);

    /// The namespace with this number.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// True if this is the root namespace.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    pub fn is_root(&self) -> bool {
        *self == Self::ROOT
    }
}

impl Default for NamespaceId {
    /// The root namespace: records leave it out.
    fn default() -> Self {
        Self::ROOT
    }
}

impl fmt::Display for NamespaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a mount, never given out twice, so that what one mount kept cannot be reached by its successor at
/// the same path. Zero is no mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MountId(u32);

impl MountId {
    /// No mount: what the server itself granted.
    pub const NONE: Self = Self(0);

    /// The mount with this number.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// True if it stands for no mount.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }
}

impl fmt::Display for MountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
