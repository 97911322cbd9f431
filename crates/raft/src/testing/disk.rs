//! A data directory in memory of which a power cut leaves what was synced, and some of the rest.

use std::path::Path;
use std::sync::Arc;

use crate::files::trace::{Dice, Disk, Left, Trace};

/// The content of a data directory at some moment.
#[derive(Clone, Default)]
pub struct DiskState(Disk);

/// A directory whose files are watched as long as this is held. Syncing them asks no device.
pub struct WatchedDisk(Arc<Trace>);

impl DiskState {
    /// Writes it into an empty directory and watches what becomes of it. The directory's own path must be the one that a
    /// node is opened with.
    pub fn place(&self, directory: &Path) -> WatchedDisk {
        self.0.write_out(directory);
        WatchedDisk(Trace::follow(directory, self.0.clone()))
    }
}

impl WatchedDisk {
    /// The content as a process sees it: all that was written, synced or not.
    pub fn content(&self) -> DiskState {
        DiskState(self.0.disk().seen())
    }

    /// The content after the process is killed at this moment; by some seeds after the power is cut as well, which
    /// takes some of what was not synced.
    pub fn crashed(&self, seed: u64) -> DiskState {
        let mut dice = Dice::new(seed);
        let left = match dice.below(8) {
            0 | 1 => return self.content(),
            2 => Left::Nothing,
            3 => Left::Names,
            4 => Left::Contents,
            5 => Left::Everything,
            _ => Left::Something,
        };
        DiskState(self.0.disk().cut(left, &mut dice))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files::{File, sync_directory};

    #[test]
    fn a_crash_keeps_what_was_synced_and_some_of_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        fs::create_dir(&first).unwrap();
        let disk = DiskState::default().place(&first);
        let file = File::open(&first.join("log")).unwrap();
        file.write_all_at(b"synced", 0).unwrap();
        file.sync_data().unwrap();
        sync_directory(&first).unwrap();
        file.write_all_at(b"UNSYNCED", 1000).unwrap();
        let mut lengths = std::collections::BTreeSet::new();
        for seed in 0..50 {
            fs::create_dir(&second).unwrap();
            let _watched = disk.crashed(seed).place(&second);
            let found = fs::read(second.join("log")).unwrap();
            assert!(found.starts_with(b"synced"), "{seed}");
            lengths.insert(found.len());
            fs::remove_dir_all(&second).unwrap();
        }
        assert_eq!(lengths.first(), Some(&6), "a power cut may take all that was not synced");
        assert_eq!(lengths.last(), Some(&1008), "or leave it");
        assert_eq!(disk.content().0.seen().files(), [1008]);
        file.sync_data().unwrap();
        for seed in 0..50 {
            assert_eq!(disk.crashed(seed).0.seen().files(), [1008], "{seed}");
        }
    }
}
