//! An engine whose transactions stay open until the test commits them, for what happens between requests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use strongroom_barrier::{Barrier, Keyring, MountPlace, Txn};
use strongroom_engine_api::{
    Backend as _, BarrierError, Call, Captures, Clock, Engine, EngineError, Entropy, Environment, Extensions,
    Lifetimes, Moment, Mount, MountId, NamespaceId, Operation, Peer, RawTail, Redactions, Reply, Request,
    RequestBody, ServerTxn, View,
};
use strongroom_storage::InMemory;

/// The place of the mount under test.
const PLACE: MountPlace = MountPlace { namespace: NamespaceId::ROOT, mount: MountId::new(1), local: false };

pub(super) struct Rig {
    pub(super) clock: Clock,
    barrier: Arc<Barrier>,
}

/// A request that has run and not been committed.
pub(super) struct Open {
    txn: Txn,
    pub(super) outcome: Result<Reply, EngineError>,
}

impl Open {
    /// True if nothing that the request has read has changed meanwhile; then it takes effect.
    pub(super) async fn commit(self) -> bool {
        match self.txn.commit().await {
            Ok(_) => true,
            Err(BarrierError::Conflict) => false,
            Err(error) => panic!("{error}"),
        }
    }
}

impl Rig {
    pub(super) fn new() -> Self {
        let clock = Clock::stepped(Moment::from_secs(1_700_000_000));
        let barrier = Barrier::new(Arc::new(InMemory::new()), Entropy::system(), 1 << 20);
        barrier.unseal(Keyring::generate(&Entropy::system(), clock.now()).unwrap());
        Self { clock, barrier }
    }

    /// Runs a request up to its commit.
    pub(super) async fn open(&self, engine: &Engine, operation: Operation, path: &str, input: Value) -> Open {
        let found = engine.find(path, &[operation]).unwrap();
        let (txn, call) = self.prepare(operation, path, &input, found.params.clone());
        let outcome = found.endpoint(operation).unwrap().run(&call).await;
        Open { txn, outcome }
    }

    /// Runs a request and commits it, where nothing else is going on.
    pub(super) async fn outcome(
        &self,
        engine: &Engine,
        operation: Operation,
        path: &str,
        input: Value,
    ) -> Result<Reply, EngineError> {
        let mut open = self.open(engine, operation, path, input).await;
        let outcome = std::mem::replace(&mut open.outcome, Ok(Reply::default()));
        if outcome.is_ok() {
            assert!(open.commit().await, "nothing else is going on");
        }
        outcome
    }

    pub(super) async fn call(
        &self,
        engine: &Engine,
        operation: Operation,
        path: &str,
        input: Value,
    ) -> Reply {
        self.outcome(engine, operation, path, input).await.unwrap()
    }

    /// True if a write to `path` is an update rather than a creation.
    pub(super) async fn exists(&self, engine: &Engine, path: &str) -> bool {
        let found = engine.find(path, &[Operation::Create, Operation::Update]).unwrap();
        assert!(found.route.tells_create_from_update(), "{path}");
        let (_txn, call) = self.prepare(Operation::Update, path, &Value::Null, found.params.clone());
        found.exists(&call).await.unwrap()
    }

    /// Has what commits tell told to `sink`.
    pub(super) fn publish_to(&self, sink: Arc<dyn strongroom_barrier::EventSink>) {
        self.barrier.publish_to(sink);
    }

    /// The mount's storage.
    pub(super) fn view(&self) -> View {
        self.barrier.view().mount(PLACE)
    }

    pub(super) async fn data(
        &self,
        engine: &Engine,
        operation: Operation,
        path: &str,
        input: Value,
    ) -> Value {
        self.call(engine, operation, path, input).await.answered().unwrap().to_value()
    }

    /// Runs one step of housekeeping up to its commit; `more` is what it answered.
    pub(super) async fn open_step(&self, engine: &Engine) -> (Open, bool) {
        let (txn, call) = self.prepare(Operation::Update, "", &Value::Null, Captures::default());
        let more = engine.jobs()[0].run(&call, self.clock.now().after(Duration::from_mins(1))).await.unwrap();
        (Open { txn, outcome: Ok(Reply::default()) }, more)
    }

    /// Runs one step of housekeeping; answers whether there is more to do.
    pub(super) async fn step(&self, engine: &Engine) -> bool {
        let (open, more) = self.open_step(engine).await;
        assert!(open.commit().await, "nothing else is going on");
        more
    }

    fn prepare(&self, operation: Operation, path: &str, input: &Value, params: Captures) -> (Txn, Arc<Call>) {
        let lifetimes = Lifetimes { default: Duration::from_hours(1), max: Duration::from_hours(1) };
        let mount = Mount {
            id: PLACE.mount,
            path: "kv/".to_owned(),
            accessor: "kv_test".to_owned(),
            kind: "kv".to_owned(),
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
            asker: None,
            wrap_ttl: None,
            body: RequestBody::default(),
            raw_tail: RawTail::default(),
            redactions: Redactions::default(),
            upgrade: None,
        };
        let txn = self.barrier.transaction(self.barrier.view());
        let call = Arc::new(Call {
            request: Arc::new(request),
            params,
            txn: txn.mount(PLACE),
            mount: Arc::new(mount),
            environment: Environment { clock: self.clock.clone(), entropy: Entropy::system() },
            extensions: Extensions::default(),
            server: ServerTxn::default(),
            renewal: None,
            lease: None,
            facilities: Arc::default(),
            warnings: Mutex::default(),
        });
        (txn, call)
    }
}
