//! Mounts that move to another namespace: with all they keep, through crashes, and what becomes of them where it goes wrong.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests fail loudly"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use strongroom_engine_api::lenient::Text;
use strongroom_engine_api::{
    AuthGrant, Engine, EngineError, Extension, Input, LeaseGrant, LocalTable, Path, Reply, Stored, Table,
    Txn, View, tables,
};
use strongroom_pipeline::Verb;
use strongroom_storage::{Commit, CommitError, InMemory, Index, Observer, Snapshot, Store, StoreError};
use strongroom_testkit::lending::{self, Lending, Mood};
use strongroom_testkit::{Request, Response, Server, Setup};
use tokio::sync::Semaphore;

tables! {
    /// Notes.
    NOTES: Table<str, Note> = 1;
    /// Notes of one cluster.
    LOCAL: LocalTable<str, Note> = 2;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    text: String,
}

impl Stored for Note {}

#[derive(Deserialize, JsonSchema)]
struct NoteInput {
    text: Text,
}

async fn write(
    Path(name): Path<String>,
    Input(input): Input<NoteInput>,
    txn: Txn,
) -> Result<(), EngineError> {
    NOTES.put(&txn, name.as_str(), Note { text: input.text.0.clone() })?;
    Ok(LOCAL.put(&txn, name.as_str(), Note { text: input.text.0 })?)
}

/// Writes, and is not done before somebody lets it.
async fn write_slowly(
    path: Path<String>,
    Extension(gate): Extension<Gate>,
    input: Input<NoteInput>,
    txn: Txn,
) -> Result<(), EngineError> {
    write(path, input, txn).await?;
    gate.entered.add_permits(1);
    gate.leave.acquire().await.unwrap().forget();
    Ok(())
}

async fn read(Path(name): Path<String>, view: View) -> Result<Option<Reply>, EngineError> {
    let (note, local) = (NOTES.get(&view, name.as_str()).await?, LOCAL.get(&view, name.as_str()).await?);
    let Some(note) = note else { return Ok(None) };
    Ok(Some(Reply::data(&json!({ "text": note.text, "local": local.map(|note| note.text.clone()) }))?))
}

async fn lend() -> Result<Reply, EngineError> {
    let lease = LeaseGrant { ttl: Duration::from_hours(1), ..LeaseGrant::default() };
    Ok(Reply::data(&json!({ "lent": true }))?.lent(lease))
}

async fn enter() -> Result<AuthGrant, EngineError> {
    Ok(AuthGrant { alias: "ann".to_owned(), ..AuthGrant::default() })
}

/// Holds requests up.
struct Gate {
    entered: Semaphore,
    leave: Semaphore,
}

fn notes(gate: &Arc<Gate>) -> Engine {
    Engine::new("notes", "Keeps notes.")
        .tables(TABLES)
        .extension(gate.clone())
        .route("creds", |r| r.read("Lend.", lend))
        .route("slow/{name}", |r| r.update("Write slowly.", write_slowly))
        .route("notes/{name}", |r| r.read("Read.", read).update("Write.", write))
}

fn door() -> Engine {
    Engine::auth("door", "Lets anybody in.")
        .tables(TABLES)
        .route("login", |r| r.open().update("Log in.", enter))
        .route("notes/{name}", |r| r.read("Read.", read).update("Write.", write))
}

/// More notes than a step copies.
const COUNT: usize = 150;

struct Rig {
    server: Server,
    gate: Arc<Gate>,
    outside: Arc<Lending>,
    disk: Arc<Disk>,
}

impl Rig {
    /// A server with the namespaces `a/`, `a/in/` and `b/`, and a mount full of notes in `a/`.
    async fn new() -> Self {
        let gate = Arc::new(Gate { entered: Semaphore::new(0), leave: Semaphore::new(0) });
        let (outside, disk) = (Arc::new(Lending::default()), Arc::new(Disk::default()));
        let (lender, held) = (outside.clone(), gate.clone());
        let setup =
            Setup::default().with(move || notes(&held)).with(door).with(move || lending::engine(&lender));
        let mut server = setup.over(disk.clone());
        server.initialize(1, 1).await;
        server.unseal().await;
        let rig = Self { server, gate, outside, disk };
        for namespace in ["a", "b", "a/in"] {
            rig.done(200, "", &format!("sys/namespaces/{namespace}"), json!({})).await;
        }
        rig.done(204, "a", "sys/mounts/from", json!({ "type": "notes", "description": "of mine" })).await;
        for number in 0..COUNT {
            rig.done(204, "a", &format!("from/notes/{number}"), json!({ "text": "x".repeat(number) })).await;
        }
        rig
    }

    async fn ask(&self, namespace: &str, asked: Verb, path: &str, input: Value) -> Response {
        self.server.ask(Request::new(&self.server.root, asked, path, input).within(namespace)).await
    }

    async fn read(&self, namespace: &str, path: &str) -> Response {
        self.ask(namespace, Verb::Read, path, json!({})).await
    }

    async fn done(&self, status: u16, namespace: &str, path: &str, input: Value) -> Response {
        let told = self.ask(namespace, Verb::Write, path, input).await;
        assert_eq!(told.status, status, "{namespace} {path}: {}", told.body);
        told
    }

    async fn gone(&self, namespace: &str, path: &str) {
        let told = self.ask(namespace, Verb::Delete, path, json!({})).await;
        assert_eq!(told.status, 204, "{path}: {}", told.body);
    }

    /// Begins a move; answers its id.
    async fn begin(&self, from: &str, to: &str) -> String {
        self.done(200, "", "sys/remount", json!({ "from": from, "to": to })).await.text("/data/migration_id")
    }

    /// The status of a move, its stage and its error.
    async fn info(&self, id: &str) -> Value {
        self.read("", &format!("sys/remount/status/{id}")).await.data()["migration_info"].clone()
    }

    async fn status(&self, id: &str) -> String {
        self.info(id).await["status"].as_str().unwrap().to_owned()
    }

    /// One step of every move.
    async fn step(&self) -> bool {
        self.server.core.background.continue_moves().await.unwrap()
    }

    /// All that moves and jobs have to do.
    async fn settle(&self) {
        for _ in 0..3 {
            self.server.settle().await;
            self.server.clock.advance(Duration::from_mins(2));
        }
    }

    async fn has_all(&self, namespace: &str, path: &str) -> bool {
        for number in 0..COUNT {
            let told = self.read(namespace, &format!("{path}/notes/{number}")).await;
            let text = "x".repeat(number);
            if told.status != 200 || told.data() != &json!({ "text": text, "local": text }) {
                return false;
            }
        }
        true
    }

    /// Keys of mounts with entries in storage, by namespace: `a/` is number 2, `b/` number 3.
    async fn keys_in(&self, namespace: u8) -> usize {
        let stored = self.server.stored().await;
        let is_of = |key: &[u8]| {
            matches!(key.first(), Some(2 | 4)) && key[1..5] == [0, 0, 0, namespace] && key[8] >= 16
        };
        stored.iter().filter(|(key, _)| is_of(key)).count()
    }

    /// A move that has failed: its reason is told, the mount is where it was, and nothing is left elsewhere.
    async fn has_failed(&self, id: &str, reason: &str) {
        let info = self.info(id).await;
        assert_eq!((&info["status"], &info["error"]), (&json!("failure"), &json!(reason)));
        assert!(self.has_all("a", "from").await);
        self.done(204, "a", "from/notes/more", json!({ "text": "y" })).await;
        self.settle().await;
        assert_eq!(self.keys_in(3).await, 0, "copies are removed");
        assert_eq!(self.info(id).await["error"], reason, "still known");
        self.server.clock.advance(Duration::from_hours(26));
        self.server.core.background.run_jobs_once(true).await.unwrap();
        assert_eq!(self.read("", &format!("sys/remount/status/{id}")).await.status, 404);
        let view = self.server.view().await;
        assert!(self.server.services().mounts.moves(&view).await.unwrap().is_empty());
    }
}

/// Storage that can be full, or become so after some commits.
#[derive(Default)]
struct Disk {
    inner: InMemory,
    full: AtomicBool,
}

#[async_trait]
impl Store for Disk {
    fn applied(&self) -> Index {
        self.inner.applied()
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.inner.snapshot().await
    }

    async fn commit(&self, commit: Commit) -> Result<Index, CommitError> {
        if self.full.load(Ordering::SeqCst) {
            Err(CommitError::NoSpace)
        } else {
            self.inner.commit(commit).await
        }
    }

    async fn begin(&self) -> Result<(), StoreError> {
        self.inner.begin().await
    }

    fn observe(&self, observer: Arc<dyn Observer>) {
        self.inner.observe(observer);
    }

    async fn close(&self) {}

    fn kind(&self) -> &'static str {
        self.inner.kind()
    }
}

const BUSY: &str = "the mount at \"from/\" is being moved to another namespace";

#[tokio::test]
async fn a_move_goes_on_after_a_crash_at_every_step() {
    let mut rig = Rig::new().await;
    let before = rig.read("a", "sys/mounts/from").await.data().clone();
    let id = rig.begin("a/from", "b/to").await;
    let mut steps = 0;
    while rig.status(&id).await == "in-progress" {
        assert_eq!(rig.read("a", "from/notes/1").await.refusal(), (503, BUSY));
        assert_eq!(rig.read("b", "to/notes/1").await.status, 404);
        assert!(rig.step().await);
        rig.server.restart().await;
        steps += 1;
    }
    assert!(steps > 5, "{steps}");
    assert!(rig.has_all("b", "to").await);
    assert_eq!(rig.read("a", "from/notes/1").await.status, 404);
    assert_eq!(rig.keys_in(2).await, 2 * COUNT, "for those who were on their way");
    rig.server.clock.advance(Duration::from_mins(2));
    while rig.step().await {
        rig.server.restart().await;
        assert_eq!(rig.status(&id).await, "success");
    }
    assert_eq!((rig.keys_in(2).await, rig.keys_in(3).await), (0, 2 * COUNT));
    let after = rig.read("b", "sys/mounts/to").await.data().clone();
    for member in ["accessor", "uuid", "description", "type"] {
        assert_eq!(after[member], before[member], "{member}");
    }
    // It is a mount like any other.
    rig.done(204, "b", "to/notes/new", json!({ "text": "y" })).await;
    let back = rig.begin("b/to", "a/in/back").await;
    rig.settle().await;
    assert_eq!(rig.status(&back).await, "success");
    assert!(rig.has_all("a/in", "back").await);
    assert_eq!(rig.read("a/in", "back/notes/new").await.data()["text"], "y");
}

/// A write that was let in before the move began is either copied or refused: it is never acknowledged and lost.
#[tokio::test]
async fn a_write_that_is_under_way_is_not_lost() {
    let rig = Rig::new().await;
    let pipeline = rig.server.core.pipeline.clone();
    let request = Request::new(&rig.server.root, Verb::Write, "from/slow/late", json!({ "text": "late" }));
    let request = request.within("a").inbound();
    let slow = tokio::spawn(async move { Response::from(pipeline.handle(request).await) });
    rig.gate.entered.acquire().await.unwrap().forget();
    let id = rig.begin("a/from", "b/to").await;
    while rig.status(&id).await == "in-progress" {
        rig.step().await;
    }
    rig.gate.leave.add_permits(1);
    let told = slow.await.unwrap();
    assert_eq!(told.status, 404, "{}", told.body);
    assert_eq!(rig.read("b", "to/notes/late").await.status, 404);
    assert_eq!(rig.keys_in(2).await, 2 * COUNT, "nothing was written behind the copy");
}

#[tokio::test]
async fn a_mount_answers_nothing_and_grants_nothing_while_it_moves() {
    let rig = Rig::new().await;
    let lent = rig.read("a", "from/creds").await;
    let lease = json!({ "lease_id": lent.body["lease_id"] });
    let id = rig.begin("a/from", "b/to").await;
    assert_eq!(rig.info(&id).await["stage"], "ending-leases");
    for (asked, path) in
        [(Verb::Read, "from/creds"), (Verb::Write, "from/notes/1"), (Verb::Help, "from/notes/1")]
    {
        let told = rig.ask("a", asked, path, json!({ "text": "y" })).await;
        assert_eq!(told.refusal(), (503, BUSY), "{path}");
    }
    let nobody = rig.server.ask(Request::new("", Verb::Read, "from/notes/1", json!({})).within("a")).await;
    assert_eq!(nobody.status, 403, "who may not read it is not told");
    let again = rig.ask("", Verb::Write, "sys/remount", json!({ "from": "a/from", "to": "b/too" })).await;
    assert_eq!(again.refusal(), (400, "the mount at \"from/\" is being moved already"));
    let again = rig.ask("a", Verb::Write, "sys/remount", json!({ "from": "from", "to": "there" })).await;
    assert_eq!(again.refusal(), (400, "the mount at \"from/\" is being moved already"));
    let taken = rig.ask("a", Verb::Write, "sys/mounts/from", json!({ "type": "notes" })).await;
    assert_eq!(taken.refusal(), (400, "path is already in use at from/"));
    // Tuning it goes with it.
    rig.done(204, "a", "sys/mounts/from/tune", json!({ "description": "tuned" })).await;
    rig.settle().await;
    assert_eq!(rig.status(&id).await, "success");
    assert!(rig.has_all("b", "to").await);
    assert_eq!(rig.read("b", "sys/mounts/to").await.data()["description"], "tuned");
    assert_eq!(rig.ask("a", Verb::Write, "sys/leases/lookup", lease).await.status, 400, "it has ended");
    // The path is free for another, which is another.
    rig.done(204, "a", "sys/mounts/from", json!({ "type": "notes" })).await;
    assert_eq!(rig.read("a", "from/notes/1").await.status, 404);
}

#[tokio::test]
async fn leases_are_revoked_before_anything_is_copied() {
    let rig = Rig::new().await;
    for (name, mood) in [("down", Mood::Down), ("refusing", Mood::Refusing)] {
        rig.done(204, "a", &format!("sys/mounts/{name}"), json!({ "type": lending::KIND })).await;
        rig.done(204, "a", &format!("{name}/config"), json!({})).await;
        rig.done(200, "a", &format!("{name}/creds/web"), json!({})).await;
        rig.outside.set(&format!("{name}/"), mood);
    }
    let (down, refusing) = (rig.begin("a/down", "b/down").await, rig.begin("a/refusing", "b/refusing").await);
    for _ in 0..60 {
        rig.server.pass(Duration::from_mins(10), Duration::from_mins(2)).await;
        if rig.status(&refusing).await == "failure" {
            break;
        }
    }
    let info = rig.info(&refusing).await;
    assert_eq!(info["error"], "leases are irrevocable; sys/leases lists them with type=irrevocable");
    rig.done(200, "a", "refusing/creds/web", json!({})).await;
    let info = rig.info(&down).await;
    assert_eq!((&info["status"], &info["stage"]), (&json!("in-progress"), &json!("revoking-leases")));
    assert!(info["error"].as_str().unwrap().contains("no route"), "{info}");
    assert_eq!(rig.ask("a", Verb::Write, "down/config", json!({})).await.status, 503);
    // Its status is kept for longer than that of a move that is over.
    rig.server.clock.advance(Duration::from_hours(30));
    rig.server.core.background.run_jobs_once(true).await.unwrap();
    assert_eq!(rig.status(&down).await, "in-progress");
    rig.outside.set("down/", Mood::Fine);
    rig.server.pass(Duration::from_hours(2), Duration::from_mins(1)).await;
    assert_eq!(rig.status(&down).await, "success");
    assert!(
        rig.outside.users().iter().all(|user| user.starts_with("refusing/")),
        "{:?}",
        rig.outside.users()
    );
    rig.done(200, "b", "down/creds/web", json!({})).await;
}

#[tokio::test]
async fn an_auth_method_moves_without_its_tokens_and_aliases() {
    let rig = Rig::new().await;
    rig.done(204, "a", "sys/auth/door", json!({ "type": "door" })).await;
    rig.done(204, "a", "auth/door/notes/1", json!({ "text": "x" })).await;
    let login = async |namespace: &str, path: &str| {
        let request = Request::new("", Verb::Write, format!("auth/{path}/login"), json!({}));
        rig.server.ask(request.within(namespace)).await
    };
    let before = login("a", "door").await;
    let own = |token: &str| Request::new(token, Verb::Read, "auth/token/lookup-self", json!({})).within("a");
    assert_eq!(rig.server.ask(own(&before.token())).await.status, 200);
    let group = json!({ "name": "outer", "type": "external" });
    let group = rig.done(200, "a", "identity/group", group).await.text("/data/id");
    let accessor = rig.read("a", "sys/auth/door").await.data()["accessor"].clone();
    let alias = json!({ "name": "team", "mount_accessor": accessor, "canonical_id": group });
    rig.done(200, "a", "identity/group-alias", alias).await;
    let id = rig.begin("a/auth/door", "b/auth/gate").await;
    assert_eq!(login("a", "door").await.status, 503);
    rig.settle().await;
    assert_eq!(rig.status(&id).await, "success");
    assert_eq!(rig.server.ask(own(&before.token())).await.status, 403);
    assert_eq!(rig.read("b", "auth/gate/notes/1").await.data()["text"], "x");
    for kind in ["entity-alias", "group-alias"] {
        let left = rig.ask("a", Verb::List, &format!("identity/{kind}/id"), json!({})).await;
        assert_eq!(left.status, 404, "{}", left.body);
    }
    let entity = before.text("/auth/entity_id");
    assert_eq!(rig.read("a", &format!("identity/entity/id/{entity}")).await.data()["aliases"], json!([]));
    let after = login("b", "gate").await;
    assert_ne!(after.auth()["entity_id"], before.auth()["entity_id"], "entities stay where they are");
    assert_eq!(rig.read("b", "sys/auth/gate").await.data()["accessor"], accessor);
    // And back, where the accessor has been before.
    rig.begin("b/auth/gate", "a/auth/door").await;
    rig.settle().await;
    assert_eq!(login("b", "gate").await.status, 403);
    let again = login("a", "door").await;
    assert_eq!(again.status, 200);
    let aliases = rig.ask("a", Verb::List, "identity/entity-alias/id", json!({})).await;
    assert_eq!(aliases.data()["keys"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_target_that_is_taken_meanwhile_ends_the_move() {
    let rig = Rig::new().await;
    let id = rig.begin("a/from", "b/to").await;
    for _ in 0..4 {
        rig.step().await;
    }
    assert_eq!(rig.info(&id).await["stage"], "copying-data");
    assert!(rig.keys_in(3).await > 0);
    rig.done(204, "b", "sys/mounts/to/sub", json!({ "type": "notes" })).await;
    rig.step().await;
    rig.has_failed(&id, "path already in use at \"to/sub/\"").await;
}

#[tokio::test]
async fn a_namespace_that_is_deleted_meanwhile_ends_the_move() {
    let rig = Rig::new().await;
    let id = rig.begin("a/from", "b/to").await;
    for _ in 0..4 {
        rig.step().await;
    }
    rig.gone("", "sys/namespaces/b").await;
    rig.step().await;
    rig.has_failed(&id, "the namespace that it was to move to was deleted").await;

    rig.done(200, "", "sys/namespaces/c", json!({})).await;
    let id = rig.begin("a/from", "c/to").await;
    for _ in 0..4 {
        rig.step().await;
    }
    rig.gone("a", "sys/namespaces/in").await;
    rig.gone("", "sys/namespaces/a").await;
    rig.settle().await;
    let info = rig.info(&id).await;
    assert_eq!(info["error"], "the namespace of the mount was deleted");
    assert_eq!(rig.read("c", "to/notes/1").await.status, 404);
    let stored = rig.server.stored().await;
    let notes = stored.iter().filter(|(key, _)| matches!(key.first(), Some(2 | 4)) && key[8] >= 16);
    assert_eq!(notes.count(), 0, "of neither");
}

#[tokio::test]
async fn a_mount_that_is_disabled_meanwhile_does_not_arrive() {
    let rig = Rig::new().await;
    let id = rig.begin("a/from", "b/to").await;
    for _ in 0..4 {
        rig.step().await;
    }
    rig.gone("a", "sys/mounts/from").await;
    rig.done(204, "a", "sys/mounts/from", json!({ "type": "notes" })).await;
    rig.settle().await;
    assert_eq!(rig.info(&id).await["error"], "the mount was disabled");
    assert_eq!((rig.keys_in(2).await, rig.keys_in(3).await), (0, 0));
    rig.done(204, "a", "from/notes/1", json!({ "text": "another" })).await;
}

#[tokio::test]
async fn a_full_disk_ends_the_move_when_there_is_room_again() {
    let rig = Rig::new().await;
    let id = rig.begin("a/from", "b/to").await;
    for _ in 0..3 {
        rig.step().await;
    }
    rig.disk.full.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        assert!(!rig.server.core.background.continue_moves().await.unwrap_or(false));
    }
    assert_eq!(rig.status(&id).await, "in-progress", "nothing can be written, not even that");
    rig.disk.full.store(false, Ordering::SeqCst);
    rig.step().await;
    rig.has_failed(&id, "no space left for storage").await;
}

#[tokio::test]
async fn what_cannot_be_moved_is_refused() {
    let rig = Rig::new().await;
    rig.done(204, "a", "sys/mounts/near", json!({ "type": "notes", "local": true })).await;
    rig.done(204, "b", "sys/mounts/there", json!({ "type": "notes" })).await;
    for (from, to, text) in [
        ("a/near", "b/to", "cannot move local mount \"near/\" to another namespace"),
        ("a/none", "b/to", "no matching mount at \"none/\""),
        ("a/from", "b/there", "path already in use at \"there/\""),
        ("a/from", "b/there/in", "path already in use at \"there/\""),
        ("a/sys", "b/to", "cannot remount \"sys/\""),
        ("a/cubbyhole", "b/to", "cannot remount \"cubbyhole/\""),
        ("a/identity", "b/to", "cannot remount \"identity/\""),
        ("a/auth/token", "b/auth/to", "cannot remount \"auth/token/\""),
        ("a/from", "b/sys", "cannot remount to destination sys/"),
        ("a/from", "b/auth/to", "cannot remount to destination auth/to/"),
        ("a/from", "b/auth/token", "cannot remount to destination auth/token/"),
        ("a/from", "b", "cannot remount to destination b/"),
        ("a", "b/to", "cannot remount \"a/\""),
        ("a/from", "b/../to", "path 'b/../to/' does not match cleaned path 'b/to/'"),
        ("a/from", "b//to", "path 'b//to/' does not match cleaned path 'b/to/'"),
    ] {
        let told = rig.ask("", Verb::Write, "sys/remount", json!({ "from": from, "to": to })).await;
        assert_eq!(told.refusal(), (400, text), "{from} {to}");
    }
    // Nothing leads out of the namespace that is asked: `b/to` is a path of its own there.
    let told = rig.done(200, "a", "sys/remount", json!({ "from": "from", "to": "b/to" })).await;
    assert_eq!(rig.read("a", "b/to/notes/1").await.status, 200);
    let path = format!("sys/remount/status/{}", told.text("/data/migration_id"));
    assert_eq!((rig.read("a", &path).await.status, rig.read("", &path).await.status), (200, 404));
    // Within a namespace, asked from above.
    let id = rig.begin("a/b/to", "a/from").await;
    assert_eq!((rig.status(&id).await, rig.has_all("a", "from").await), ("success".to_owned(), true));
    rig.done(200, "", "sys/namespaces/api-lock/lock/b", json!({})).await;
    let told = rig.ask("", Verb::Write, "sys/remount", json!({ "from": "a/from", "to": "b/to" })).await;
    assert_eq!(told.refusal(), (503, "the namespace \"b/\" is locked"));
}

/// The policy that counts is that of the namespace which holds both; those of either alone are not enough.
#[tokio::test]
async fn who_moves_a_mount_needs_the_right_above_both() {
    let rig = Rig::new().await;
    let sudo = |path: &str| format!("path \"{path}\" {{ capabilities = [\"update\", \"sudo\"] }}");
    let token = async |namespace: &str, policy: String| {
        rig.done(204, namespace, "sys/policies/acl/mover", json!({ "policy": policy })).await;
        rig.done(200, namespace, "auth/token/create", json!({ "policies": ["mover"] })).await.token()
    };
    let ask = async |token: &str, namespace: &str, from: &str, to: &str| {
        let input = json!({ "from": from, "to": to });
        rig.server.ask(Request::new(token, Verb::Write, "sys/remount", input).within(namespace)).await.status
    };
    let of_a = token("a", sudo("sys/remount")).await;
    let below = token("", [sudo("a/sys/remount"), sudo("b/sys/remount")].join("\n")).await;
    assert_eq!(ask(&of_a, "", "a/from", "b/to").await, 403);
    assert_eq!(ask(&below, "", "a/from", "b/to").await, 403);
    let update = token("", "path \"sys/remount\" { capabilities = [\"update\"] }".to_owned()).await;
    assert_eq!(ask(&update, "", "a/from", "b/to").await, 403);
    let fenced = r#"path "sys/remount" { capabilities = ["update", "sudo"] denied_parameters = { "from" = ["a/*"] } }"#;
    let fenced = token("", fenced.to_owned()).await;
    for spelling in ["a/from", "/a/from", "a/from/"] {
        assert_eq!(ask(&fenced, "", spelling, "b/to").await, 403, "{spelling}");
    }
    assert_eq!(ask(&of_a, "a", "from", "in/to").await, 200);
    let above = token("", sudo("sys/remount")).await;
    rig.settle().await;
    assert_eq!(ask(&above, "", "a/in/to", "b/to").await, 200);
}
