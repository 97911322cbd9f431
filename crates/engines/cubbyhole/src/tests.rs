//! Cubbyholes as tokens see them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use strongroom_barrier::{Barrier, Keyring, MountPlace, Txn};
use strongroom_engine_api::{
    Asker, Backend as _, Call, Caller, Clock, Engine, EngineError, Entropy, Environment, Extensions, Json,
    Lifetimes, Moment, Mount, MountId, NamespaceId, Operation, Operation::*, Peer, RawTail, Redactions,
    Reply, Request, RequestBody, Secret, ServerTxn, TokenKind,
};
use strongroom_storage::InMemory;

const ALICE: [u8; 16] = [1; 16];
const BOB: [u8; 16] = [2; 16];

/// The place of the cubbyhole under test.
const PLACE: MountPlace = MountPlace { namespace: NamespaceId::ROOT, mount: MountId::new(3), local: true };

/// The engine, called by one token or another.
struct Rig {
    engine: Engine,
    clock: Clock,
    barrier: Arc<Barrier>,
}

impl Rig {
    fn new() -> Self {
        let clock = Clock::stepped(Moment::from_secs(1_700_000_000));
        let barrier = Barrier::new(Arc::new(InMemory::new()), Entropy::system(), 1 << 20);
        barrier.unseal(Keyring::generate(&Entropy::system(), clock.now()).unwrap());
        Self { engine: crate::engine(), clock, barrier }
    }

    fn txn(&self) -> Txn {
        self.barrier.transaction(self.barrier.view())
    }

    async fn call(
        &self,
        caller: Option<Caller>,
        operation: Operation,
        path: &str,
        input: Value,
    ) -> Result<Reply, EngineError> {
        let found = self.engine.find(path, &[operation]).unwrap();
        let lifetimes = Lifetimes { default: Duration::from_hours(1), max: Duration::from_hours(1) };
        let mount = Mount {
            id: PLACE.mount,
            path: "cubbyhole/".to_owned(),
            accessor: "cubbyhole_test".to_owned(),
            kind: "cubbyhole".to_owned(),
            options: BTreeMap::new(),
            lifetimes,
            namespace: PLACE.namespace,
            namespace_path: String::new(),
            local: PLACE.local,
        };
        let request = Request {
            id: "test".into(),
            operation,
            path: path.into(),
            input: Arc::new(input.as_object().cloned().unwrap_or_default()),
            peer: Peer::default(),
            headers: BTreeMap::new(),
            asker: caller.map(|caller| Arc::new(caller) as Arc<dyn Asker>),
            wrap_ttl: None,
            body: RequestBody::default(),
            raw_tail: RawTail::default(),
            redactions: Redactions::default(),
            upgrade: None,
        };
        let txn = self.txn();
        let call = Arc::new(Call {
            request: Arc::new(request),
            params: found.params.clone(),
            mount: Arc::new(mount),
            txn: txn.mount(PLACE),
            environment: Environment { clock: self.clock.clone(), entropy: Entropy::system() },
            extensions: Extensions::default(),
            server: ServerTxn::default(),
            renewal: None,
            lease: None,
            facilities: Arc::default(),
            warnings: Mutex::default(),
        });
        let exists = found.exists(&call).await;
        let reply = found.endpoint(operation).unwrap().run(&call).await?;
        if operation.has_body() {
            assert_eq!(exists.unwrap(), operation == Update, "writes are asked for as what they are");
        }
        txn.commit().await.unwrap();
        Ok(reply)
    }

    async fn data(&self, token: [u8; 16], operation: Operation, path: &str, input: Value) -> Value {
        let reply = self.call(Some(caller(token, TokenKind::Service)), operation, path, input).await.unwrap();
        reply.answered().map_or(Value::Null, Json::to_value)
    }

    async fn refusal(&self, token: [u8; 16], operation: Operation, path: &str, input: Value) -> String {
        match self.call(Some(caller(token, TokenKind::Service)), operation, path, input).await {
            Err(EngineError::Invalid(text)) => text,
            Err(EngineError::NotFound) => "404".to_owned(),
            other => panic!("{:?}", other.err()),
        }
    }
}

fn caller(token_key: [u8; 16], kind: TokenKind) -> Caller {
    Caller {
        token: Arc::new(Secret::new("hvs.test".to_owned())),
        token_key,
        namespace: NamespaceId::ROOT,
        kind,
        accessor: String::new(),
        display_name: "test".to_owned(),
        entity_id: String::new(),
        entity_namespace: NamespaceId::ROOT,
        identity_policies: Arc::default(),
        policies: Arc::from(["default".to_owned()]),
        metadata: BTreeMap::new(),
        ephemeral: false,
        sudo: false,
    }
}

#[tokio::test]
async fn each_token_has_its_own() {
    let rig = Rig::new();
    assert_eq!(rig.refusal(ALICE, Read, "a", json!({})).await, "404");
    rig.data(ALICE, Create, "a", json!({"x": 1, "ttl": "1h"})).await;
    rig.data(BOB, Create, "a", json!({"x": 2})).await;
    assert_eq!(rig.data(ALICE, Read, "a", json!({})).await, json!({"x": 1, "ttl": "1h"}));
    rig.data(ALICE, Update, "a", json!({"y": 3})).await;
    assert_eq!(rig.data(ALICE, Read, "a", json!({})).await, json!({"y": 3}), "replaced as a whole");
    rig.data(ALICE, Delete, "a", json!({})).await;
    rig.data(ALICE, Delete, "a", json!({})).await;
    assert_eq!(rig.refusal(ALICE, Read, "a", json!({})).await, "404");
    assert_eq!(rig.refusal(ALICE, List, "", json!({})).await, "404");
    assert_eq!(rig.data(BOB, Read, "a", json!({})).await, json!({"x": 2}));
    assert_eq!(rig.data(BOB, List, "", json!({})).await, json!({"keys": ["a"]}));
}

#[tokio::test]
async fn there_is_no_lease_hint() {
    let rig = Rig::new();
    rig.data(ALICE, Create, "a", json!({"ttl": "1h"})).await;
    let reply = rig.call(Some(caller(ALICE, TokenKind::Service)), Read, "a", json!({})).await.unwrap();
    assert!(reply.lease().is_none());
}

#[tokio::test]
async fn only_service_tokens_have_one() {
    let rig = Rig::new();
    for operation in [Read, Update, Create, Delete, List, Scan] {
        let outcome =
            rig.call(Some(caller([0; 16], TokenKind::Batch)), operation, "a", json!({"x": 1})).await;
        let Err(EngineError::Invalid(text)) = outcome else { panic!("{operation}: taken") };
        assert_eq!(text, "cubbyhole operations are only supported by 'service' type tokens");
        let outcome = rig.call(None, operation, "a", json!({"x": 1})).await;
        assert!(matches!(outcome, Err(EngineError::Denied(_))), "{operation}");
    }
}

#[tokio::test]
async fn refuses_what_vault_refuses() {
    let rig = Rig::new();
    assert_eq!(rig.refusal(ALICE, Create, "a", json!({})).await, "missing data fields");
    assert_eq!(
        rig.refusal(ALICE, Create, "a/", json!({"x": 1})).await,
        "cannot write to a path ending in '/'"
    );
    assert_eq!(rig.refusal(ALICE, Create, "", json!({"x": 1})).await, "missing path");
}

#[tokio::test]
async fn numbers_texts_and_sizes_survive() {
    let rig = Rig::new();
    let given = r#"{"n":123456789012345678901234567890,"exact":1.50,"ключ":"ü\u0000🦀"}"#;
    let mut given: Value = serde_json::from_str(given).unwrap();
    given["blob"] = json!("x".repeat(1 << 20));
    rig.data(ALICE, Create, "a", given.clone()).await;
    assert_eq!(rig.data(ALICE, Read, "a", json!({})).await, given);
}

#[tokio::test]
async fn lists_and_scans_are_paged() {
    let rig = Rig::new();
    for path in ["b", "d", "d/e/f", "d/g", "d/\u{10ffff}x", "d/\u{10ffff}y/z", "z"] {
        rig.data(ALICE, Create, path, json!({"x": 1})).await;
    }
    rig.data(BOB, Create, "c", json!({"x": 1})).await;
    for (path, paging, keys) in [
        ("", json!({}), json!(["b", "d", "d/", "z"])),
        ("d", json!({}), json!(["e/", "g", "\u{10ffff}x", "\u{10ffff}y/"])),
        ("d/e/", json!({}), json!(["f"])),
        ("", json!({"after": "b", "limit": 2}), json!(["d", "d/"])),
        ("", json!({"after": "d"}), json!(["d/", "z"])),
        ("", json!({"after": "d/"}), json!(["z"])),
        ("d", json!({"after": "e/", "limit": 1}), json!(["g"])),
    ] {
        assert_eq!(
            rig.data(ALICE, List, path, paging.clone()).await,
            json!({ "keys": keys }),
            "{path} {paging}"
        );
    }
    assert_eq!(rig.refusal(ALICE, List, "b", json!({})).await, "404");
    assert_eq!(rig.refusal(ALICE, List, "", json!({"after": "z"})).await, "404");
    let all = json!({"keys": ["b", "d", "d/e/f", "d/g", "d/\u{10ffff}x", "d/\u{10ffff}y/z", "z"]});
    assert_eq!(rig.data(ALICE, Scan, "", json!({})).await, all);
    assert_eq!(rig.data(ALICE, Scan, "d", json!({"after": "e/f", "limit": 1})).await, json!({"keys": ["g"]}));
}

#[tokio::test]
async fn long_folders_are_named_once() {
    let rig = Rig::new();
    let txn = rig.txn();
    for number in 0..700 {
        for path in [format!("deep/{number:04}"), format!("k{number:04}")] {
            let data = Secret::new("{}".to_owned());
            crate::ENTRIES.put(&txn.mount(PLACE), &(ALICE, path.as_str()), crate::Entry { data }).unwrap();
        }
    }
    txn.commit().await.unwrap();
    let mut expected = vec!["deep/".to_owned()];
    expected.extend((0..700).map(|number| format!("k{number:04}")));
    assert_eq!(rig.data(ALICE, List, "", json!({})).await, json!({ "keys": expected }));
    let deep = rig.data(ALICE, List, "deep", json!({"limit": 300})).await;
    assert_eq!(deep["keys"].as_array().unwrap().len(), 300);
}

#[tokio::test]
async fn a_cubbyhole_ends_with_its_token() {
    let rig = Rig::new();
    for number in 0..5 {
        rig.data(ALICE, Create, &format!("a/{number}"), json!({"x": 1})).await;
    }
    rig.data(BOB, Create, "a", json!({"x": 2})).await;
    let table = rig.engine.table_by_token().unwrap();
    let purge = async |txn: &Txn| txn.delete_of_table(PLACE, table, &ALICE, 2).await.unwrap();
    let mut more = Vec::new();
    while more.last() != Some(&false) {
        let txn = rig.txn();
        more.push(purge(&txn).await == 2);
        txn.commit().await.unwrap();
    }
    assert_eq!(more, [true, true, false], "in bounded steps");
    assert_eq!(rig.refusal(ALICE, Scan, "", json!({})).await, "404");
    assert_eq!(rig.data(BOB, Read, "a", json!({})).await, json!({"x": 2}));
    assert_eq!(purge(&rig.txn()).await, 0);
}
