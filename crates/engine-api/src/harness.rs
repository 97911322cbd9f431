//! One engine alone on an in-memory store with a stepped clock: for the engines' own unit tests.

#![allow(clippy::expect_used, clippy::missing_panics_doc, reason = "a test harness fails loudly")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::{Map, Value};
use strongroom_barrier::{Barrier, Keyring, MountId, NamespaceId, Txn};
use strongroom_cached::Kept;
use strongroom_outbound_api::{NoWayOut, WayOut};
use strongroom_stdx::{Clock, Entropy, Moment, Secret};
use strongroom_storage::InMemory;
use strongroom_wire::Operation;

use crate::{
    ActError, Asking, AuthGrant, Backend as _, BarrierError, Call, Caller, Captures, Carried,
    CertificateChain, Engine, EngineError, Environment, Facilities, InForce, IntentFacts, LeaseGrant,
    Lifetimes, Mount, NoSystem, Peer, Prepared, RawTail, Redactions, Renewal, Reply, Request, RequestBody,
    RouteError, ServerTxn, SystemPort, TokenKind, Work,
};

/// An engine, its mount, and a clock to step.
pub struct Harness {
    /// The engine under test.
    pub engine: Engine,
    /// Its clock.
    pub clock: Clock,
    /// The mount of the engine; tests may change options.
    pub mount: Mount,
    /// The caller's address.
    pub remote: Option<IpAddr>,
    /// The caller's certificates.
    pub certificates: CertificateChain,
    /// The body of the next requests, where it is not their input.
    pub body: RequestBody,
    /// The way out that its steps have: none, unless a test gives one.
    pub way_out: Arc<dyn WayOut>,
    /// The server that it asks.
    pub system: Arc<dyn SystemPort>,
    barrier: Arc<Barrier>,
    kept: Arc<Kept>,
}

impl Harness {
    /// A fresh mount of `engine`.
    pub fn new(engine: Engine) -> Self {
        let clock = Clock::stepped(Moment::from_secs(1_700_000_000));
        let barrier = Barrier::new(Arc::new(InMemory::new()), Entropy::system(), 1 << 20);
        barrier.unseal(Keyring::generate(&Entropy::system(), clock.now()).expect("a keyring"));
        let mount = Mount {
            id: MountId::new(1),
            path: format!("{}/", engine.kind()),
            accessor: "test_accessor".to_owned(),
            kind: engine.kind().to_owned(),
            options: BTreeMap::new(),
            lifetimes: Lifetimes {
                default: Duration::from_secs(2_764_800),
                max: Duration::from_secs(2_764_800),
            },
            namespace: NamespaceId::ROOT,
            namespace_path: String::new(),
            local: false,
        };
        Self {
            engine,
            clock,
            mount,
            remote: Some(IpAddr::from([127, 0, 0, 1])),
            certificates: CertificateChain::default(),
            body: RequestBody::default(),
            way_out: Arc::new(NoWayOut),
            system: Arc::new(NoSystem),
            barrier,
            kept: Arc::default(),
        }
    }

    /// Runs one operation and commits it. POST is [`Operation::Update`]: it becomes a creation where the route can
    /// tell and nothing exists.
    pub async fn call(&self, operation: Operation, path: &str, input: Value) -> Result<Reply, EngineError> {
        let operations = match operation {
            Operation::Update | Operation::Create => vec![Operation::Create, Operation::Update],
            other => vec![other],
        };
        let found = match self.engine.find(path, &operations) {
            Ok(found) => found,
            Err(RouteError::UnsupportedPath) => return Err(EngineError::NotFound),
            Err(RouteError::UnsupportedOperation) => return Err(EngineError::Unsupported),
        };
        loop {
            let (txn, call) = self.prepare(operation, path, &input, found.params.clone(), None);
            let asked = match operation {
                Operation::Update if !found.exists(&call).await? => Operation::Create,
                other => other,
            };
            let endpoint = found.endpoint(asked).map_err(|_error| EngineError::Unsupported)?;
            let outcome = match &endpoint.work {
                Work::Handler(handler) => {
                    let outcome = handler.run(&call).await.map(|reply| warned(&call, reply));
                    committed(&txn, outcome).await
                }
                Work::Ask(asking) => {
                    let answer = self.answered(asking, &call).await?;
                    let conclude = || self.prepare(operation, path, &input, found.params.clone(), None);
                    let answer = &answer;
                    let run = |call: Arc<Call>| -> BoxFuture<'_, _> {
                        Box::pin(async move { asking.conclude(answer, &call).await })
                    };
                    concluded(conclude, run).await
                }
                Work::Issue(issuing) => {
                    let planned = committed(&txn, issuing.plan(&call).await).await?;
                    let made = issuing.act(planned.carried, self.intent(), &call).await;
                    let made = made.map_err(ActError::into_inner)?;
                    let grant = LeaseGrant {
                        ttl: planned.ttl,
                        max_ttl: planned.max_ttl,
                        renewable: planned.renewable,
                        kind: issuing.kind().to_owned().into(),
                        payload: made.payload.unwrap_or(planned.payload),
                        hint_only: false,
                    };
                    let reply = Reply::json(made.data).lent(grant);
                    Ok(warned(&call, made.warnings.into_iter().fold(reply, Reply::warned)))
                }
                Work::Settle(settling) => {
                    let planned = committed(&txn, settling.plan(&call).await).await?;
                    let done = settling.act(planned.carried, self.intent(), &call).await;
                    let done = done.map_err(ActError::into_inner)?;
                    let conclude = || self.prepare(operation, path, &input, found.params.clone(), None);
                    let done = &done;
                    let run = |call: Arc<Call>| -> BoxFuture<'_, _> {
                        Box::pin(async move { settling.conclude(done, &call).await })
                    };
                    concluded(conclude, run).await
                }
            };
            if !matches!(outcome, Err(EngineError::Barrier(BarrierError::Conflict))) {
                return outcome;
            }
        }
    }

    /// The moment at which steps are given up, as the server would have it.
    fn deadline(&self) -> Moment {
        self.clock.now().after(Duration::from_mins(1))
    }

    /// An intent as the server would have committed it: in force for a minute.
    fn intent(&self) -> IntentFacts {
        let (clock, deadline) = (self.clock.clone(), self.deadline());
        let in_force = InForce::new(move || clock.now() < deadline);
        IntentFacts { id: format!("{}test/intent", self.mount.path), deadline, in_force }
    }

    /// The `data` of a successful call, as a tree.
    pub async fn data(&self, operation: Operation, path: &str, input: Value) -> Value {
        let reply = self.call(operation, path, input).await.expect("the call succeeds");
        reply.answered().map_or(Value::Null, strongroom_wire::Json::to_value)
    }

    /// Prepares a question, and asks it where that is needed.
    async fn answered<O: Send + 'static>(
        &self,
        asking: &Asking<O>,
        call: &Arc<Call>,
    ) -> Result<Carried, EngineError> {
        match asking.prepare(call).await? {
            Prepared::Ask(question) => asking.ask(question, call, self.deadline()).await,
            Prepared::Known(answer) => Ok(answer),
        }
    }

    /// Asks the auth method about a renewal.
    pub async fn renew(&self, renewal: Renewal) -> Result<AuthGrant, EngineError> {
        let begin = || {
            let renewal = Some(renewal.clone());
            self.prepare(Operation::Update, "", &Value::Null, Captures::default(), renewal)
        };
        let (txn, call) = begin();
        if let Some(asking) = self.engine.asks_at_renewal() {
            let answer = self.answered(asking, &call).await?;
            let (txn, call) = begin();
            let grant = asking.conclude(&answer, &call).await?;
            txn.commit().await?;
            return Ok(grant);
        }
        let grant = self.engine.renewal(&call).expect("the method has a say in renewals").await?;
        txn.commit().await?;
        Ok(grant)
    }

    /// Runs the engine's jobs until there is nothing more to do.
    pub async fn run_jobs(&self) {
        let begin = || self.prepare(Operation::Update, "", &Value::Null, Captures::default(), None);
        for job in self.engine.jobs() {
            if let Some(acts) = job.acts() {
                for subject in acts.due(&begin().1).await.expect("the job says what is due") {
                    let (txn, call) = begin();
                    let planned = acts.plan(subject, &call).await.expect("the job plans");
                    txn.commit().await.expect("commits");
                    let Some(planned) = planned else { continue };
                    let done = acts.act(planned.carried, self.intent(), &begin().1).await;
                    let done = done.map_err(ActError::into_inner).expect("the job acts");
                    let (txn, call) = begin();
                    acts.conclude(&done, &call).await.expect("the job concludes");
                    txn.commit().await.expect("commits");
                }
                continue;
            }
            loop {
                let (txn, call) = begin();
                let more = job.run(&call, self.deadline()).await.expect("the job succeeds");
                txn.commit().await.expect("commits");
                if !more {
                    break;
                }
            }
        }
    }

    fn prepare(
        &self,
        operation: Operation,
        path: &str,
        input: &Value,
        params: Captures,
        renewal: Option<Renewal>,
    ) -> (Txn, Arc<Call>) {
        let input: Map<String, Value> = input.as_object().cloned().unwrap_or_default();
        let caller = Caller {
            token: Arc::new(Secret::new("test-token".to_owned())),
            token_key: [9; 16],
            namespace: NamespaceId::ROOT,
            kind: TokenKind::Service,
            accessor: "test-token-accessor".to_owned(),
            display_name: "test".to_owned(),
            entity_id: String::new(),
            entity_namespace: NamespaceId::ROOT,
            identity_policies: Arc::default(),
            policies: Arc::from(["root".to_owned()]),
            metadata: BTreeMap::new(),
            ephemeral: false,
            sudo: true,
        };
        let request = Request {
            id: "test-request".into(),
            operation,
            path: path.into(),
            input: Arc::new(input),
            peer: self
                .remote
                .map_or_else(Peer::default, |ip| Peer::at((ip, 0)))
                .with(self.certificates.clone()),
            headers: BTreeMap::new(),
            asker: Some(Arc::new(caller)),
            wrap_ttl: None,
            body: self.body.clone(),
            raw_tail: RawTail::default(),
            redactions: Redactions::default(),
            upgrade: None,
        };
        let txn = self.barrier.transaction(self.barrier.view());
        let call = Call {
            request: Arc::new(request),
            params,
            mount: Arc::new(self.mount.clone()),
            txn: txn.mount(self.mount.place()),
            environment: Environment { clock: self.clock.clone(), entropy: Entropy::system() },
            extensions: self.engine.extensions(),
            server: ServerTxn::default(),
            renewal,
            lease: None,
            facilities: Arc::new(Facilities::new(
                self.kept.clone(),
                self.way_out.clone(),
                self.system.clone(),
            )),
            warnings: Mutex::default(),
        };
        (txn, Arc::new(call))
    }
}

/// Commits what a step has written.
async fn committed<T>(txn: &Txn, outcome: Result<T, EngineError>) -> Result<T, EngineError> {
    let made = outcome?;
    txn.clone().commit().await?;
    Ok(made)
}

/// Runs the last step until it commits. Boxed, so that tests can run whole calls in tasks of their own.
async fn concluded<'a>(
    begin: impl Fn() -> (Txn, Arc<Call>),
    run: impl Fn(Arc<Call>) -> BoxFuture<'a, Result<Reply, EngineError>>,
) -> Result<Reply, EngineError> {
    loop {
        let (txn, call) = begin();
        let outcome = run(call.clone()).await;
        match committed(&txn, outcome).await {
            Err(EngineError::Barrier(BarrierError::Conflict)) => {}
            outcome => return outcome.map(|reply| warned(&call, reply)),
        }
    }
}

/// The answer with the warnings that were collected on the way.
fn warned(call: &Call, reply: Reply) -> Reply {
    let warnings = std::mem::take(&mut *call.warnings.lock().expect("not poisoned"));
    warnings.into_iter().fold(reply, Reply::warned)
}
