//! The record of a disabled mount, kept until nothing of the mount is left.
//!
//! A disabled mount is draining: it takes no requests and its path is free for another at once, but it is still known by
//! its number, so that its leases can be revoked in the external system. The revocation service walks this table, and
//! removes an entry when the mount's own entries are gone.

use serde::{Deserialize, Serialize};
use strongroom_barrier::{NamespaceId, Stored};

use crate::mounts::MountEntry;

/// A mount that is gone, with what its handle is made of.
#[derive(Clone, Serialize, Deserialize)]
pub struct DisabledMount {
    /// The namespace it was in.
    #[serde(rename = "s", default, skip_serializing_if = "NamespaceId::is_root")]
    pub namespace: NamespaceId,
    /// Its path, with which its leases begin.
    #[serde(rename = "p")]
    pub path: String,
    /// Its entry as it was.
    #[serde(rename = "e")]
    pub entry: MountEntry,
    /// The last lease id under its path that was dealt with; `None` once all are.
    #[serde(rename = "a")]
    pub after: Option<String>,
}

impl Stored for DisabledMount {}

impl DisabledMount {
    /// One that is disabled now.
    pub fn new(namespace: NamespaceId, path: &str, entry: MountEntry) -> Self {
        Self { namespace, path: path.to_owned(), entry, after: Some(path.to_owned()) }
    }
}
