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

/// An engine whose steps reach outside where they may: compiles.
const REACHING: &str = r#"
    use std::sync::Arc;
    use strongroom_engine_api::outbound_api::Request;
    use strongroom_engine_api::{
        ActError, Engine, EngineError, Intent, Issued, LeaseTerms, Leased, Outbound, Plan, RevokeError, Schedule, System,
        Txn, View,
    };
    async fn prepare(_view: View, system: System) -> Result<bool, EngineError> { Ok(system.is_active()) }
    async fn ask(_question: bool, out: Outbound) -> Result<u16, EngineError> {
        Ok(out.http(Request::get("https://u.example/")).await?.status.as_u16())
    }
    async fn conclude(_answer: Arc<u16>, _txn: Txn, _system: System) -> Result<(), EngineError> { Ok(()) }
    async fn plan(_txn: Txn, system: System) -> Result<Plan<String>, EngineError> {
        Ok(Plan::new(system.generate_password("p").await?.expose().clone()))
    }
    async fn act(intent: Intent<String>, out: Outbound, _system: System) -> Result<Issued<u16>, ActError> {
        intent.check()?;
        Ok(Issued::new(out.http(Request::get("https://u.example/")).await?.status.as_u16()))
    }
    async fn value() -> Result<String, EngineError> { Ok(String::new()) }
    async fn change(_intent: Intent<String>, out: Outbound) -> Result<u16, ActError> {
        out.tls("u.example", 5432, &[]).await?;
        Ok(1)
    }
    async fn end(_lease: Leased<String>, out: Outbound, _txn: Txn) -> Result<(), RevokeError> {
        out.tcp("u.example", 5432).await?;
        Ok(())
    }
    async fn extend(_lease: Leased<String>, out: Outbound) -> Result<LeaseTerms, EngineError> {
        out.tcp("u.example", 5432).await?;
        Ok(LeaseTerms::default())
    }
    async fn sweep(out: Outbound, _txn: Txn) -> Result<bool, EngineError> {
        out.tcp("u.example", 5432).await?;
        Ok(false)
    }
    async fn read(system: System) -> Result<(), EngineError> { system.cluster(); Ok(()) }
    pub fn engine() -> Engine {
        Engine::new("x", "X.")
            .lease("k", |l| l.revoke(end).renew(extend))
            .settlement("s", end)
            .job("sweep", Schedule::Every(std::time::Duration::from_secs(1)), sweep)
            .route("a", |r| r.ask("A.", prepare, ask, conclude).read("R.", read))
            .route("b", |r| r.issue("k", "B.", plan, act))
            .route("c", |r| r.settle("s", "C.", value, change, conclude))
    }
"#;

/// The way out where it must not be drawn, as routes of an engine that has a step for each part.
const WAYS_OUT: &[(&str, &str)] = &[
    ("a handler that reads", r#"r.read("R.", with_out)"#),
    ("a handler that writes", r#"r.update("R.", with_out)"#),
    ("what tells a creation from an update", r#"r.upsert("R.", exists_with_out, without)"#),
    ("what prepares a question", r#"r.ask("R.", prepare_with_out, ask, conclude)"#),
    ("a conclusion", r#"r.ask("R.", prepare, ask, conclude_with_out)"#),
    ("a plan", r#"r.issue("k", "R.", plan_with_out, act)"#),
    ("what a settlement starts from", r#"r.settle("k", "R.", value_with_out, change, conclude)"#),
    ("a settlement's conclusion", r#"r.settle("k", "R.", value, change, conclude_with_out)"#),
];

const STEPS: &str = r"
    use std::sync::Arc;
    use strongroom_engine_api::{ActError, Engine, EngineError, Intent, Issued, Outbound, Plan, View};
    async fn without() -> Result<(), EngineError> { Ok(()) }
    async fn with_out(_out: Outbound) -> Result<(), EngineError> { Ok(()) }
    async fn exists_with_out(_out: Outbound) -> Result<bool, EngineError> { Ok(true) }
    async fn prepare(_view: View) -> Result<u8, EngineError> { Ok(1) }
    async fn prepare_with_out(_view: View, _out: Outbound) -> Result<u8, EngineError> { Ok(1) }
    async fn ask(question: u8, _out: Outbound) -> Result<u8, EngineError> { Ok(question) }
    async fn conclude(_answer: Arc<u8>) -> Result<(), EngineError> { Ok(()) }
    async fn conclude_with_out(_answer: Arc<u8>, _out: Outbound) -> Result<(), EngineError> { Ok(()) }
    async fn plan_with_out(_out: Outbound) -> Result<Plan<String>, EngineError> { Ok(Plan::new(String::new())) }
    async fn act(_intent: Intent<String>, _out: Outbound) -> Result<Issued<u8>, ActError> { Ok(Issued::new(1)) }
    async fn value() -> Result<String, EngineError> { Ok(String::new()) }
    async fn value_with_out(_out: Outbound) -> Result<String, EngineError> { Ok(String::new()) }
    async fn change(_intent: Intent<String>, _out: Outbound) -> Result<u8, ActError> { Ok(1) }
";

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
    (
        "a say in a renewal that reaches outside",
        r#"use strongroom_engine_api::{AuthGrant, Engine, EngineError, Outbound};
        async fn renew(_out: Outbound) -> Result<AuthGrant, EngineError> { Ok(AuthGrant::default()) }
        pub fn engine() -> Engine { Engine::auth("x", "X.").on_renew(renew) }"#,
        "E0277",
    ),
    (
        "the way out by hand, in a handler that draws the whole call",
        r"use std::sync::Arc;
        use strongroom_engine_api::{Call, Moment, Once, Outbound, Outgoing};
        pub fn take(call: &Arc<Call>) -> Outbound {
            Outgoing::draw(call, &Once { until: Moment::from_secs(1) }).unwrap()
        }",
        "E0451",
    ),
    (
        "the way out of what the server lends",
        "use strongroom_engine_api::Call;
        pub fn take(call: &Call) { let _ = call.facilities.way_out(); }",
        "E0624",
    ),
    (
        "the server's answers past the namespace of the mount",
        "use strongroom_engine_api::Call;
        pub fn take(call: &Call) { let _ = call.facilities.system(); }",
        "E0624",
    ),
    (
        "a way out of one's own",
        "use strongroom_engine_api::Outbound;
        pub fn make() -> Outbound { Outbound::new(Default::default()) }",
        "E0599",
    ),
    (
        "other rules for addresses",
        "use strongroom_engine_api::Outbound;
        pub fn wider(out: Outbound) -> Outbound { out.with_policy(Default::default()) }",
        "E0599",
    ),
    (
        "more time than the step has",
        "use strongroom_engine_api::{Moment, Outbound};
        pub fn longer(mut out: Outbound) -> Outbound { out.until = Moment::from_secs(u64::MAX); out }",
        "E0616",
    ),
    (
        "the crate that carries requests out",
        "pub fn make() -> strongroom_outbound::Outbound { loop {} }",
        "E0433",
    ),
];

#[test]
fn an_engine_that_stays_within_its_mount_compiles() {
    for engine in [HONEST, REACHING] {
        let outcome = compile(engine);
        assert!(outcome.compiled, "{}", outcome.said);
    }
}

#[test]
fn what_may_run_again_cannot_reach_outside() {
    let engine = |route: &str| {
        let builder =
            format!("pub fn engine() -> Engine {{ Engine::new(\"x\", \"X.\").route(\"a\", |r| {route}) }}");
        compile(&format!("{STEPS}\n{builder}"))
    };
    let honest = engine(r#"r.ask("R.", prepare, ask, conclude).read("R.", without)"#);
    assert!(honest.compiled, "{}", honest.said);
    for (place, route) in WAYS_OUT {
        let outcome = engine(route);
        assert!(!outcome.compiled, "{place} draws the way out");
        let said = outcome.said;
        assert!(said.contains("error[E0277]") && said.contains("Outbound"), "{place}: {said}");
    }
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
