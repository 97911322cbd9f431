//! Saving the state of the cluster to an archive, and restoring it. Source: Vault's API page `sys/storage/raft`,
//! "Take a snapshot", "Restore snapshot", "Force restore snapshot".

mod auto;
mod bucket;
mod local;
mod names;
mod pace;
mod remote;

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use strongroom_barrier::{
    BOOTSTRAP_RECORD, Barrier, BarrierError, CoreLocal, Keyring, Table, TableId, bootstrap_key, tables,
};
use strongroom_engine_api::{EngineError, Environment, Moment, PipeReader, bad_request};
use strongroom_raft::{Saved, Spool, check_saved};
use strongroom_seal::{BootstrapRecord, EARLIER_ENTRY, RecordError};
use strongroom_snapshot::{Contents, Meta, Server, SnapshotError};
use strongroom_stdx::{Entropy, PipeWriter, pipe};
use strongroom_storage::{CommitError, StoreError};
use tokio::sync::Semaphore;

pub use auto::{AutoSnapshots, AutoStatus, Place};
pub use bucket::{Bucket, Credentials, Encryption, ObjectStore};
use pace::Paced;
use strongroom_node::{ClusterNode, Node};
use strongroom_seal_state::{KEYRING, SealState};

tables! {
    /// Automated snapshots by name.
    pub(crate) AUTO_SNAPSHOTS: Table<CoreLocal, str, AutoSnapshots> = 11;
    /// The outcome of automated snapshots, by name.
    pub(crate) AUTO_STATUS: Table<CoreLocal, str, AutoStatus> = 12;
}

/// Archives that are received at a time: each takes its size on disk.
const MAX_RECEIVING: usize = 4;

/// The place that the sums of an archive are sealed for.
const SUMS_PLACE: &[u8] = b"snapshot-sums";

/// Vault's answer to an archive whose sums this barrier does not open.
const OTHER_KEYS: &str = "could not verify hash file, possibly the snapshot is using a different set of unseal keys; use the snapshot-force API to bypass this check";

fn stored(error: StoreError) -> EngineError {
    BarrierError::from(error).into()
}

fn broken(error: SnapshotError) -> EngineError {
    match error {
        SnapshotError::Malformed(_) | SnapshotError::Read(_) => bad_request(error.to_string()),
        SnapshotError::Write(error) if error.kind() == io::ErrorKind::StorageFull => {
            BarrierError::Commit(CommitError::NoSpace).into()
        }
        SnapshotError::Write(error) => stored(StoreError::Failed(error.to_string())),
    }
}

/// The service that saves and restores the state of a server.
pub struct Backup {
    barrier: Arc<Barrier>,
    environment: Environment,
    seal_state: Arc<SealState>,
    node: Arc<Node>,
    /// The way to buckets that snapshots are kept in, where there is one.
    objects: OnceLock<Arc<dyn ObjectStore>>,
    /// The archives that are being received. Several, so that one that dribbles does not keep the others out.
    receiving: Semaphore,
    /// The number of the next archive.
    next: AtomicU64,
    /// Held while a snapshot takes the place of everything.
    restoring: tokio::sync::Mutex<()>,
    /// The automated snapshots under way.
    under_way: UnderWay,
}

impl Backup {
    /// For the state behind `barrier`, which `node` replicates.
    pub fn new(
        barrier: Arc<Barrier>,
        environment: Environment,
        seal_state: Arc<SealState>,
        node: Arc<Node>,
    ) -> Self {
        Self {
            barrier,
            environment,
            seal_state,
            node,
            objects: OnceLock::new(),
            receiving: Semaphore::new(MAX_RECEIVING),
            next: AtomicU64::new(0),
            restoring: tokio::sync::Mutex::default(),
            under_way: UnderWay::default(),
        }
    }

    /// Has automated snapshots kept in buckets by `objects`. The first that is given stays.
    pub fn keep_objects_by(&self, objects: Arc<dyn ObjectStore>) {
        let _first = self.objects.set(objects);
    }

    /// The node, where it is the active one.
    fn active_node(&self) -> Result<&ClusterNode, EngineError> {
        let node = self.node.cluster().ok_or_else(|| bad_request("raft storage is not in use"))?;
        if self.node.is_active() {
            Ok(node)
        } else {
            Err(BarrierError::Commit(CommitError::NotLeader { leader: None }).into())
        }
    }

    /// A snapshot of all that is acknowledged by now, as it is made. Later writes are not held up by it.
    ///
    /// # Errors
    ///
    /// [`EngineError`] where this is not the active node or storage cannot be read. What goes wrong later breaks the
    /// stream, and the archive lacks its end.
    pub async fn save_snapshot(&self) -> Result<PipeReader, EngineError> {
        Ok(self.save_sized().await?.0)
    }

    /// A snapshot, and about how many bytes it has.
    async fn save_sized(&self) -> Result<(PipeReader, u64), EngineError> {
        let saved = self.active_node()?.store.save().await.map_err(stored)?;
        let (keyring, entropy) = (self.barrier.keyring()?, self.barrier.entropy().clone());
        let (writer, reader) = pipe();
        let size = saved.size();
        tokio::task::spawn_blocking(move || {
            let index = saved.facts().index;
            match archive(&saved, &keyring, &entropy, writer) {
                Ok(()) => tracing::info!(index, "snapshot saved"),
                Err(error) => tracing::warn!(%error, index, "snapshot was not saved completely"),
            }
        });
        Ok((reader, size))
    }

    /// Puts the state in an archive in the place of everything. One that other keys made is taken by `force` only;
    /// this node is sealed then, until it is unsealed with the state's own seal.
    ///
    /// Once the archive has arrived, it goes on also where nobody waits for it any more.
    ///
    /// # Errors
    ///
    /// 400 for what is no whole snapshot, or not one of these keys; nothing has changed then.
    pub async fn restore_snapshot(
        self: &Arc<Self>,
        archive: PipeReader,
        force: bool,
    ) -> Result<(), EngineError> {
        let backup = self.clone();
        let restoring = tokio::spawn(async move { backup.restore_now(archive, force).await });
        restoring.await.map_err(|error| EngineError::Internal(error.to_string()))?
    }

    async fn restore_now(self: Arc<Self>, archive: PipeReader, force: bool) -> Result<(), EngineError> {
        let node = self.active_node()?;
        let Ok(_place) = self.receiving.try_acquire() else {
            return Err(bad_request(format!("{MAX_RECEIVING} other snapshots are being restored")));
        };
        let spool = node.store.spool(self.next.fetch_add(1, Ordering::Relaxed)).map_err(stored)?;
        let archive = Paced::new(archive, self.environment.clock.clone());
        let received = tokio::task::spawn_blocking(move || receive(archive, spool));
        let received = received.await.map_err(|error| EngineError::Internal(error.to_string()))??;
        // One at a time, of those that have arrived.
        let _alone = self.restoring.lock().await;
        self.accept(node, &received, force)?;
        let authority = self.node.authority(&node.store.cluster_id()).await?;
        let id = u64::from_be_bytes(self.environment.entropy.bytes()?);
        let state = received.spool.read().map_err(stored)?;
        let index = node.store.restore(state, id).await.map_err(BarrierError::from)?;
        tracing::warn!(
            index,
            of = received.contents.meta.index,
            cluster = received.contents.meta.cluster_id,
            "a snapshot has taken the place of everything"
        );
        // It is done: what goes wrong from here on does not take it back.
        if let Err(error) = self.seal_state.renew_keyring().await {
            tracing::error!(%error, "the keys of the restored state could not be taken over");
        }
        let settled = self.node.put_authority_back(authority).await;
        if let Err(error) = settled.and(self.node.settle_authority().await) {
            tracing::error!(%error, "this node has no valid certificate for the cluster port");
        }
        Ok(())
    }

    /// Refuses a snapshot that this cluster should not or cannot take.
    fn accept(&self, node: &ClusterNode, received: &Received, force: bool) -> Result<(), EngineError> {
        let Contents { sums, sealed, .. } = &received.contents;
        let opened = self.barrier.keyring()?.open(SUMS_PLACE, sealed);
        if opened.is_ok_and(|opened| *opened == *sums) {
            return Ok(());
        }
        if !force {
            return Err(bad_request(OTHER_KEYS));
        }
        if node.store.members().len() > 1 && !self.seal_state.opens(&received.keyring) {
            return Err(bad_request(
                "the snapshot is of a cluster with other keys: restore it on a single node, and let the others join \
                 that one afterwards",
            ));
        }
        Ok(())
    }
}

/// The snapshots being taken, by name, and since when.
#[derive(Default)]
struct UnderWay(Mutex<HashMap<String, Moment>>);

impl UnderWay {
    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<String, Moment>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False where it is under way already.
    fn begin(&self, name: &str, now: Moment) -> bool {
        let mut all = self.all();
        let free = !all.contains_key(name);
        if free {
            all.insert(name.to_owned(), now);
        }
        free
    }

    fn end(&self, name: &str) {
        self.all().remove(name);
    }

    /// Since when it is under way, if it is.
    fn since(&self, name: &str) -> Option<Moment> {
        self.all().get(name).copied()
    }
}

/// A snapshot that has arrived whole.
struct Received {
    contents: Contents,
    /// Its keyring, as its root key sealed it.
    keyring: Vec<u8>,
    spool: Spool,
}

/// Reads an archive to its end and checks all of it that can be checked without its keys. Blocks.
fn receive(archive: impl Read, mut spool: Spool) -> Result<Received, EngineError> {
    let contents = strongroom_snapshot::read(archive, &mut spool).map_err(broken)?;
    let wanted = [bootstrap_key(BOOTSTRAP_RECORD), bootstrap_key(EARLIER_ENTRY), bootstrap_key(KEYRING)];
    let checked = check_saved(spool.read().map_err(stored)?, &wanted);
    let [record, earlier, keyring] = checked.map_err(|error| bad_request(error.to_string()))?.found;
    let unreadable = |error: RecordError| bad_request(format!("the snapshot cannot be restored: {error}"));
    if record.is_none() && earlier.is_some() {
        return Err(unreadable(RecordError::Earlier));
    }
    let (Some(record), Some(keyring)) = (record, keyring) else {
        return Err(bad_request("the snapshot is of a cluster without keys"));
    };
    BootstrapRecord::decode(&record).map_err(unreadable)?;
    Ok(Received { contents, keyring, spool })
}

/// Writes an archive. Blocks.
fn archive(saved: &Saved, keyring: &Keyring, entropy: &Entropy, mut to: PipeWriter) -> io::Result<()> {
    let facts = saved.facts();
    let meta = Meta {
        version: strongroom_snapshot::VERSION,
        id: format!("{}-{}", facts.term, facts.index),
        index: facts.index,
        term: facts.term,
        size: 0,
        cluster_id: facts.cluster_id,
        servers: facts.members.into_iter().map(|(id, voter)| Server { id, voter }).collect(),
    };
    let state = || saved.read().map_err(io::Error::other);
    let seal = |sums: &[u8]| keyring.seal(entropy, SUMS_PLACE, sums).map_err(io::Error::other);
    strongroom_snapshot::write(&mut to, meta, state, seal)?;
    to.finish()
}

/// The tables that are kept here, for the registry of formats.
pub const fn table_ids() -> &'static [TableId] {
    TABLES
}
