//! An engine reaches its own mount and nothing else: each of these attempts is compiled as an engine would be, against
//! this crate alone, and must be refused by the compiler for the reason given.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what failed by failing")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// An engine's handler that stays within its mount: compiles, so that the others are refused for what they try.
const HONEST: &str = r#"
    use strongroom_engine_api::{tables, EngineError, LocalTable, Table, Txn, View};
    tables! {
        NOTES: Table<str, String> = 1;
        SEEN: LocalTable<str, String> = 2;
    }
    pub async fn copy(view: View, txn: Txn) -> Result<(), EngineError> {
        let note = NOTES.get(&view, "a").await?;
        let seen = SEEN.get(&txn.peek(), "a").await?;
        if let (Some(note), None) = (note, seen) {
            SEEN.put(&txn, "a", note.to_string())?;
        }
        Ok(())
    }
"#;

/// An attempt, its code, and the compiler's code for why not.
const ATTEMPTS: &[(&str, &str, &str)] = &[
    (
        "naming the barrier",
        "pub fn take(barrier: &strongroom_engine_api::Barrier) { barrier.seal(); }",
        "E0425",
    ),
    (
        "naming the barrier's crate",
        "pub fn take(barrier: &strongroom_barrier::Barrier) { barrier.seal(); }",
        "E0433",
    ),
    (
        "reaching the barrier through a view",
        "pub fn take(view: strongroom_engine_api::View) { view.barrier(); }",
        "E0599",
    ),
    (
        "reaching the barrier through a transaction",
        "pub fn take(txn: strongroom_engine_api::Txn) { txn.barrier(); }",
        "E0599",
    ),
    (
        "defining a table of the server's",
        "pub fn table() -> strongroom_engine_api::CoreSpace { loop {} }",
        "E0425",
    ),
    (
        "a table by namespace",
        r"use strongroom_engine_api::{NamespaceId, Table, tables};
        tables! { OTHERS: Table<(NamespaceId, &str), String> = 1; }",
        "E0599",
    ),
    (
        "two tables with one number",
        r"use strongroom_engine_api::{LocalTable, Table, tables};
        tables! { A: Table<str, String> = 1; B: LocalTable<str, String> = 1; }",
        "E0080",
    ),
    (
        "widening a view to another mount",
        "use strongroom_engine_api::{MountPlace, View};
        pub fn other(view: View, place: MountPlace) -> View { view.mount(place) }",
        "E0599",
    ),
    (
        "widening a transaction to another mount",
        "use strongroom_engine_api::{MountPlace, Txn};
        pub fn other(txn: Txn, place: MountPlace) -> Txn { txn.mount(place) }",
        "E0599",
    ),
    (
        "putting another mount's place into a view",
        "use strongroom_engine_api::{MountPlace, View};
        pub fn other(mut view: View, place: MountPlace) -> View { view.place = place; view }",
        "E0616",
    ),
    (
        "the whole of a mount's transaction",
        "use strongroom_engine_api::Txn;
        pub fn whole(txn: &Txn) { txn.whole(); }",
        "E0624",
    ),
    (
        "committing before the request is done",
        "use strongroom_engine_api::Txn;
        pub async fn commit(txn: Txn) { let _ = txn.commit().await; }",
        "E0599",
    ),
    (
        "writing a bootstrap entry",
        r#"use strongroom_engine_api::Txn;
        pub fn plain(txn: &Txn) { txn.put_bootstrap("x", b"in clear".to_vec()); }"#,
        "E0599",
    ),
    (
        "reading by a storage key",
        r"use strongroom_engine_api::{Reads, View};
        pub async fn read(view: View) { let _ = view.read::<String>(vec![1, 0, 0]).await; }",
        "E0599",
    ),
    ("making a storage key", "pub fn key() -> strongroom_engine_api::FullKey { loop {} }", "E0425"),
    (
        "the server's transaction out of the call",
        "use strongroom_engine_api::Call;
        pub fn server(call: &Call) { let _ = &call.server.0; }",
        "E0616",
    ),
    (
        "writing in a step that runs once, outside of any transaction",
        r#"use std::sync::Arc;
        use strongroom_engine_api::{EngineError, Engine, Txn, View};
        async fn prepare(_view: View) -> Result<u8, EngineError> { Ok(1) }
        async fn ask(question: u8, _txn: Txn) -> Result<u8, EngineError> { Ok(question) }
        async fn conclude(_answer: Arc<u8>) -> Result<(), EngineError> { Ok(()) }
        pub fn engine() -> Engine {
            Engine::new("x", "X.").route("a", |r| r.ask("A.", prepare, ask, conclude))
        }"#,
        "E0277",
    ),
    (
        "an act that draws the whole call, and with it the transaction",
        r#"use std::sync::Arc;
        use strongroom_engine_api::{ActError, Call, Engine, EngineError, Intent, Issued, Plan};
        async fn plan() -> Result<Plan<String>, EngineError> { Ok(Plan::new(String::new())) }
        async fn act(_intent: Intent<String>, _call: Arc<Call>) -> Result<Issued<u8>, ActError> { Ok(Issued::new(1)) }
        pub fn engine() -> Engine {
            Engine::new("x", "X.").route("a", |r| r.issue("k", "A.", plan, act))
        }"#,
        "E0277",
    ),
    (
        "an act for another plan",
        r#"use strongroom_engine_api::{ActError, Engine, EngineError, Intent, Issued, Plan};
        async fn plan() -> Result<Plan<String>, EngineError> { Ok(Plan::new(String::new())) }
        async fn act(_intent: Intent<u8>) -> Result<Issued<u8>, ActError> { Ok(Issued::new(1)) }
        pub fn engine() -> Engine {
            Engine::new("x", "X.").route("a", |r| r.issue("k", "A.", plan, act))
        }"#,
        "E0277",
    ),
    (
        "drawing the server's transaction without its name",
        r#"use strongroom_engine_api::{Call, Extract};
        pub fn server(call: &std::sync::Arc<Call>) {
            if let Ok(txn) = Extract::extract(call) { txn.put_bootstrap("x", b"in clear".to_vec()); }
        }"#,
        "E0282",
    ),
];

#[test]
fn an_engine_that_stays_within_its_mount_compiles() {
    let outcome = compile(HONEST);
    assert!(outcome.compiled, "{}", outcome.said);
}

#[test]
fn an_engine_cannot_leave_its_mount() {
    for (attempt, code, reason) in ATTEMPTS {
        let outcome = compile(code);
        assert!(!outcome.compiled, "{attempt} compiles");
        assert!(outcome.said.contains(&format!("error[{reason}]")), "{attempt}: {}", outcome.said);
    }
}

struct Outcome {
    compiled: bool,
    said: String,
}

/// Compiles `code` against this crate as it was built for this test.
fn compile(code: &str) -> Outcome {
    let (folder, library) = built();
    let out = tempfile::tempdir().unwrap();
    let source = out.path().join("engine.rs");
    std::fs::write(&source, code).unwrap();
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args(["--edition=2024", "--crate-type=lib", "--emit=metadata", "--cap-lints=allow", "--out-dir"])
        .arg(out.path())
        .arg("-L")
        .arg(format!("dependency={}", folder.display()))
        .arg("--extern")
        .arg(format!("strongroom_engine_api={}", library.display()))
        .arg(&source)
        .output()
        .unwrap();
    Outcome { compiled: output.status.success(), said: String::from_utf8_lossy(&output.stderr).into_owned() }
}

/// The folder of libraries that this test was linked from, and this crate's in it: the newest, since older builds of it
/// with other features may lie beside it.
fn built() -> (PathBuf, PathBuf) {
    let program = std::env::current_exe().unwrap();
    let folder = program.parent().unwrap().to_owned();
    let is_library = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("libstrongroom_engine_api-") && path.extension().is_some_and(|kind| kind == "rlib")
    };
    let libraries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let newest = libraries
        .filter(|path| is_library(path))
        .max_by_key(|path| path.metadata().unwrap().modified().unwrap());
    (folder, newest.expect("the library that this test is linked with"))
}
