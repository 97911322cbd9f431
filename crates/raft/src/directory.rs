//! The data directory: whose it is, in which format, and that nobody else uses it.
//!
//! ```text
//! FORMAT        who wrote the directory: format, cluster, node (JSON)
//! LOCK          held for as long as a process uses the directory
//! state.redb    the table as of the last checkpoint
//! log/          the write-ahead log, the vote, the last committed position
//! introduction  whom a node that was admitted believes until its log has come as far (JSON)
//! vote-forgotten  there where the vote was damaged and no leader was heard since
//! removed       there where the node was told that it was taken out of its cluster
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use strongroom_stdx::Entropy;

use crate::files::{MAX_SMALL_FILE, make_private, open_private, read_at_most, replace_file, sync_directory};
use crate::offline::Position;
use crate::options::{OpenError, Options};

const INTRODUCTION: &str = "introduction";
const MAGIC: &str = "strongroom-raft";
/// The newest format of a data directory that this program reads, and the one it writes.
const VERSION: u32 = 1;

/// The owner of a data directory.
#[allow(clippy::struct_field_names, reason = "they are what each of the three is called everywhere")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) cluster_id: String,
    /// The operator's name for the node.
    pub(crate) node_id: String,
    /// The node's number in the consensus protocol: drawn once, never used again by another node.
    pub(crate) raft_id: u64,
}

/// The members as a node learns of them when it is admitted: by this it knows whom to trust until it has heard of them
/// from their leader.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Introduction {
    /// The log entry of the membership.
    pub seen: Position,
    /// The members' numbers.
    pub members: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
struct Format {
    #[serde(flatten)]
    head: Head,
    #[serde(flatten)]
    identity: Identity,
}

/// The fields of every format, so that a later one is recognized as such.
#[derive(Serialize, Deserialize)]
struct Head {
    format: String,
    version: u32,
}

/// A data directory that this process owns until this is dropped.
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    pub(crate) identity: Identity,
    /// Closing the file gives the directory up.
    _lock: File,
}

impl Directory {
    /// Opens a data directory, or makes one where there is none.
    pub(crate) fn open(options: &Options) -> Result<Self, OpenError> {
        let path = &options.path;
        if !path.exists() {
            make_private(path).map_err(OpenError::io(path))?;
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            parent.map_or(Ok(()), sync_directory).map_err(OpenError::io(path))?;
        }
        let format = path.join("FORMAT");
        // Looked at before anything is written: a directory that is not ours is left as it is.
        let stored = read_format(&format)?;
        if stored.is_none() {
            refuse_foreign_files(path)?;
        }
        let lock = lock(&path.join("LOCK"))?;
        // Read again: who held the lock until now may have made the directory.
        let stored = match stored {
            None => read_format(&format)?,
            Some((version, _)) if version != VERSION => {
                upgrade(path, version)?;
                read_format(&format)?
            }
            stored => stored,
        };
        let identity = match stored {
            Some((_, identity)) => {
                let differs =
                    |ours: &Option<String>, stored: &str| ours.as_deref().is_some_and(|ours| ours != stored);
                if differs(&options.cluster_id, &identity.cluster_id) {
                    let reason = format!("the directory belongs to cluster {}", identity.cluster_id);
                    return Err(OpenError::Foreign { path: format, reason });
                }
                if differs(&options.node_id, &identity.node_id) {
                    let reason = format!("the directory belongs to node {}", identity.node_id);
                    return Err(OpenError::Foreign { path: format, reason });
                }
                identity
            }
            None => write_format(&format, options)?,
        };
        Ok(Self { path: path.clone(), identity, _lock: lock })
    }

    /// Makes the directory, which holds no data yet, one of another cluster.
    pub(crate) fn adopt(&mut self, cluster_id: &str, told: &Introduction) -> Result<(), OpenError> {
        let path = self.path.join(INTRODUCTION);
        let text = serde_json::to_vec(told).map_err(|error| OpenError::Start(error.to_string()))?;
        replace_file(&path, &text).map_err(OpenError::io(&path))?;
        let identity = Identity { cluster_id: cluster_id.to_owned(), ..self.identity.clone() };
        keep_identity(&self.path.join("FORMAT"), &identity)?;
        self.identity = identity;
        Ok(())
    }
}

/// The members as this node learned of them when it was admitted; `None` for one that never was.
pub(crate) fn read_introduction(directory: &Path) -> Result<Option<Introduction>, OpenError> {
    let path = directory.join(INTRODUCTION);
    match read_at_most(&path, MAX_SMALL_FILE) {
        Ok(text) => {
            let told = serde_json::from_slice(&text);
            told.map(Some).map_err(|error| OpenError::corrupt(&path, 0, error.to_string()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(OpenError::reading(&path)(error)),
    }
}

/// Brings a directory of an older format to the present one, before anything else of it is read. A format that comes
/// adds a step from the one before it, tested with a directory that the older program has left (`tests/format.rs`); each
/// step writes the new version into `FORMAT` last, so that one that was interrupted begins anew.
fn upgrade(path: &Path, from: u32) -> Result<(), OpenError> {
    match from {
        VERSION => Ok(()),
        unknown => {
            let reason = format!("there is no data directory of format {unknown}");
            Err(OpenError::Foreign { path: path.join("FORMAT"), reason })
        }
    }
}

fn read_format(path: &Path) -> Result<Option<(u32, Identity)>, OpenError> {
    let foreign = |reason: &str| OpenError::Foreign { path: path.to_owned(), reason: reason.into() };
    let text = match read_at_most(path, MAX_SMALL_FILE) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::reading(path)(error)),
    };
    let head: Head =
        serde_json::from_slice(&text).map_err(|_not_json| foreign("not a Strongroom data directory"))?;
    if head.format != MAGIC {
        return Err(foreign("not a Strongroom data directory"));
    }
    if head.version > VERSION {
        return Err(OpenError::Newer { path: path.to_owned(), version: head.version, supported: VERSION });
    }
    let format: Format = serde_json::from_slice(&text).map_err(|error| foreign(&error.to_string()))?;
    Ok(Some((format.head.version, format.identity)))
}

fn write_format(path: &Path, options: &Options) -> Result<Identity, OpenError> {
    let no_entropy = |error: strongroom_stdx::EntropyError| OpenError::Start(error.to_string());
    let named = |name: &Option<String>, entropy: &Entropy| match name {
        Some(name) => Ok(name.clone()),
        None => entropy.uuid().map_err(no_entropy),
    };
    let identity = Identity {
        cluster_id: named(&options.cluster_id, &options.entropy)?,
        node_id: named(&options.node_id, &options.entropy)?,
        raft_id: u64::from_be_bytes(options.entropy.bytes().map_err(no_entropy)?),
    };
    keep_identity(path, &identity)?;
    Ok(identity)
}

fn keep_identity(path: &Path, identity: &Identity) -> Result<(), OpenError> {
    let format = Format { head: Head { format: MAGIC.into(), version: VERSION }, identity: identity.clone() };
    let mut text = serde_json::to_vec_pretty(&format).map_err(|error| OpenError::Start(error.to_string()))?;
    text.push(b'\n');
    replace_file(path, &text).map_err(OpenError::io(path))
}

/// A directory without our mark must be empty, but for what the making of one may have left behind.
fn refuse_foreign_files(path: &Path) -> Result<(), OpenError> {
    for entry in fs::read_dir(path).map_err(OpenError::io(path))? {
        let entry = entry.map_err(OpenError::io(path))?;
        let ours = ["LOCK", "FORMAT.new", "lost+found"].iter().any(|name| entry.file_name() == *name);
        if !ours {
            let reason = "the directory is not empty and is not a Strongroom data directory".into();
            return Err(OpenError::Foreign { path: entry.path(), reason });
        }
    }
    Ok(())
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let file = open_private(path).map_err(OpenError::io(path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::Locked { path: path.to_owned() }),
        Err(error) => Err(OpenError::io(path)(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(path: &Path) -> Options {
        Options::new(path)
    }

    #[test]
    fn an_identity_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = Directory::open(&options(dir.path())).unwrap().identity.clone();
        let again = Directory::open(&options(dir.path())).unwrap().identity.clone();
        assert_eq!(first, again);
        assert_eq!(first.node_id.len(), 36);
    }

    #[test]
    fn two_may_not_share() {
        let dir = tempfile::tempdir().unwrap();
        let held = Directory::open(&options(dir.path())).unwrap();
        assert!(matches!(Directory::open(&options(dir.path())), Err(OpenError::Locked { .. })));
        drop(held);
        Directory::open(&options(dir.path())).unwrap();
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("raft.db"), "someone's").unwrap();
        let refused = Directory::open(&options(dir.path())).err().unwrap();
        assert!(
            matches!(&refused, OpenError::Foreign { path, .. } if path.ends_with("raft.db")),
            "{refused}"
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn another_node_cluster_or_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(Directory::open(&options(dir.path())).unwrap());
        let mut other = options(dir.path());
        other.node_id = Some("other".into());
        assert!(matches!(Directory::open(&other), Err(OpenError::Foreign { .. })));
        let mut other = options(dir.path());
        other.cluster_id = Some("other".into());
        assert!(matches!(Directory::open(&other), Err(OpenError::Foreign { .. })));
        fs::write(dir.path().join("FORMAT"), r#"{"format":"strongroom-raft","version":2,"new":[]}"#).unwrap();
        assert!(matches!(Directory::open(&options(dir.path())), Err(OpenError::Newer { version: 2, .. })));
        let identity = r#""cluster_id":"c","node_id":"n","raft_id":1"#;
        let older = format!(r#"{{"format":"strongroom-raft","version":0,{identity}}}"#);
        fs::write(dir.path().join("FORMAT"), &older).unwrap();
        assert!(matches!(Directory::open(&options(dir.path())), Err(OpenError::Foreign { .. })));
        assert_eq!(fs::read_to_string(dir.path().join("FORMAT")).unwrap(), older, "nothing is changed");
        fs::write(dir.path().join("FORMAT"), "something").unwrap();
        assert!(matches!(Directory::open(&options(dir.path())), Err(OpenError::Foreign { .. })));
    }
}
