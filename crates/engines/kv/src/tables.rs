//! The tables of a mount, in one list since both versions of the engine share a mount's storage.

use strongroom_engine_api::{Table, tables};

use crate::flat::FlatEntry;
use crate::versioned::{Config, Key, VersionData};

tables! {
    /// Secrets of version 1 by path.
    pub(crate) ENTRIES: Table<str, FlatEntry> = 1;
    /// The one entry of settings of version 2.
    pub(crate) CONFIG: Table<(), Config> = 2;
    /// Keys by path.
    pub(crate) KEYS: Table<str, Key> = 3;
    /// The data of versions that do not lie with their key, by path and number.
    pub(crate) VERSIONS: Table<(&str, &u64), VersionData> = 4;
}
