//! The way out and the server, as the steps of an engine have them. (With the feature `harness`.)
#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used, reason = "a test says what failed by failing")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use strongroom_engine_api::harness::Harness;
use strongroom_engine_api::lenient::Text;
use strongroom_engine_api::outbound_api::{Request, Timeouts};
use strongroom_engine_api::{
    ActError, Caller, Cluster, Engine, EngineError, Entity, Extension, IdentityTokenRequest, Input, Intent,
    Issued, Mount, NamespaceId, Operation, Outbound, Plan, Reply, Schedule, Secret, System, SystemPort, View,
};
use strongroom_outbound::{Double, Reply as Answer};

/// A way out that a step has kept.
#[derive(Default)]
struct Left(Mutex<Option<Outbound>>);

#[derive(Clone, Deserialize, JsonSchema)]
struct Verb {
    /// The URL to ask.
    url: Text,
}

async fn prepare(_view: View, Input(asked): Input<Verb>) -> Result<String, EngineError> {
    Ok(asked.url.0)
}

async fn ask(url: String, out: Outbound, Extension(left): Extension<Left>) -> Result<u16, EngineError> {
    *left.0.lock().unwrap() = Some(out.clone());
    // Longer than the step: what is left of that is the bound.
    let patient = out.with_timeouts(Timeouts::NONE);
    Ok(patient.http(Request::post(url)).await?.status.as_u16())
}

async fn conclude(status: Arc<u16>) -> Result<Reply, EngineError> {
    Reply::data(&json!({ "status": *status }))
}

#[derive(Serialize, JsonSchema)]
struct Made {
    /// The password.
    password: String,
    /// The place that it is for.
    place: String,
}

async fn plan(system: System) -> Result<Plan<String>, EngineError> {
    Ok(Plan::new(system.generate_password("strong").await?.expose().clone()))
}

async fn make(
    intent: Intent<String>,
    out: Outbound,
    system: System,
    mount: Arc<Mount>,
) -> Result<Issued<Made>, ActError> {
    intent.check()?;
    out.http(Request::post("https://u.example/users").json(&intent.payload)).await?;
    let cluster = system.cluster().map_or_else(String::new, |cluster| cluster.name);
    let place = format!("{cluster} {}{}", mount.namespace_path, mount.path);
    Ok(Issued::new(Made { password: intent.payload, place }))
}

async fn who(system: System, caller: Caller) -> Result<Reply, EngineError> {
    let entity = system.entity(&caller.entity_id).await?.map(|entity| entity.name);
    let request = IdentityTokenRequest { audience: "cloud".to_owned(), ..IdentityTokenRequest::default() };
    let token = system.identity_token(&request).await;
    Reply::data(&json!({ "entity": entity, "token": token.map_err(|error| error.to_string()).err() }))
}

async fn sweep(out: Outbound) -> Result<bool, EngineError> {
    out.http(Request::delete("https://u.example/users/old")).await?;
    Ok(false)
}

fn engine(left: Arc<Left>) -> Engine {
    Engine::new("remote", "Asks outside.")
        .extension(left)
        .job("sweep", Schedule::Every(Duration::from_secs(60)), sweep)
        .route("ask", |r| r.ask("Ask.", prepare, ask, conclude))
        .route("creds", |r| r.issue("user", "Make a user.", plan, make))
        .route("who", |r| r.read("Say who asks.", who))
}

struct Server;

impl SystemPort for Server {
    fn password<'a>(
        &'a self,
        namespace: NamespaceId,
        policy: &'a str,
    ) -> BoxFuture<'a, Result<Option<Secret<String>>, EngineError>> {
        let made = (namespace.is_root() && policy == "strong").then(|| Secret::new("p4ssw0rd".to_owned()));
        Box::pin(std::future::ready(Ok(made)))
    }

    fn cluster(&self) -> Option<Cluster> {
        Some(Cluster { name: "main".to_owned(), id: "1".to_owned() })
    }

    fn is_active(&self) -> bool {
        true
    }

    fn entity<'a>(
        &'a self,
        _namespace: NamespaceId,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<Entity>, EngineError>> {
        let entity = Entity {
            id: id.to_owned(),
            name: "alice".to_owned(),
            metadata: std::collections::BTreeMap::new(),
            groups: Vec::new(),
        };
        Box::pin(std::future::ready(Ok(Some(entity))))
    }
}

fn harness() -> (Arc<Harness>, Double, Arc<Left>) {
    let left = Arc::new(Left::default());
    let mut harness = Harness::new(engine(left.clone()));
    let double = Double::new(harness.clock.clone());
    harness.way_out = Arc::new(double.outbound());
    (Arc::new(harness), double, left)
}

#[tokio::test]
async fn steps_reach_outside_by_the_servers_rules() {
    let (engine, double, _) = harness();
    double.next(Answer::answer(418, ""));
    let ask = async |url: &str| engine.call(Operation::Update, "ask", json!({ "url": url })).await;
    assert_eq!(
        engine.data(Operation::Update, "ask", json!({"url": "https://u.example/x"})).await["status"],
        418
    );
    let forbidden = ask("http://169.254.169.254/latest/meta-data/").await;
    let text = "http://169.254.169.254:80: connections to 169.254.169.254 are not permitted: it is where clouds \
                keep a machine's credentials";
    assert!(matches!(forbidden, Err(EngineError::Invalid(said)) if said == text));
    double.next(Answer::lost("EOF"));
    let lost = ask("https://u.example/secret?token=hush").await;
    assert!(matches!(lost, Err(EngineError::Status(502, said)) if said == "https://u.example:443: EOF"));
    let with_login = ask("https://me:hush@u.example/").await;
    assert!(matches!(with_login, Err(EngineError::Invalid(said)) if !said.contains("hush")));
    double.next(Answer::answer(204, ""));
    engine.run_jobs().await;
    assert_eq!(double.seen().last().map(|seen| seen.method.as_str().to_owned()).as_deref(), Some("DELETE"));
}

#[tokio::test]
async fn a_step_has_no_more_time_than_it_was_given_and_nothing_after() {
    let (engine, double, left) = harness();
    double.next(Answer::answer(200, "").after(Duration::from_secs(3600)));
    let waiting = tokio::spawn({
        let engine = engine.clone();
        async move { engine.call(Operation::Update, "ask", json!({"url": "https://u.example/"})).await }
    });
    let begun = engine.clock.now();
    while !waiting.is_finished() {
        tokio::task::yield_now().await;
        engine.clock.advance(Duration::from_secs(1));
    }
    let late = waiting.await.unwrap();
    let text = "https://u.example:443: no answer in time";
    assert!(matches!(late, Err(EngineError::Status(504, said)) if said == text));
    let took = engine.clock.now().since(begun);
    assert!((60..65).contains(&took.as_secs()), "{took:?}");
    let kept = left.0.lock().unwrap().take().unwrap();
    assert_eq!(kept.left(), Duration::ZERO);
    double.always("GET https://", Answer::answer(200, ""));
    let asked = kept.http(Request::get("https://u.example/path")).await.unwrap_err();
    assert!(asked.is_not_sent());
    assert_eq!(asked.to_string(), text);
    assert!(kept.tcp("u.example", 1).await.unwrap_err().is_not_sent());
    assert_eq!(double.seen().len(), 1, "nothing was sent after the step");
}

#[tokio::test]
async fn an_engine_asks_its_server() {
    let (engine, double, _) = harness();
    let alone = engine.call(Operation::Read, "creds", json!({})).await;
    assert!(matches!(alone, Err(EngineError::Invalid(said)) if said == "no password policy found"));
    let nobody = json!({"entity": null, "token": "identity tokens are not available"});
    assert_eq!(engine.data(Operation::Read, "who", json!({})).await, nobody);
    let mut engine = Arc::into_inner(engine).unwrap();
    engine.system = Arc::new(Server);
    engine.mount.namespace_path = "team/".to_owned();
    double.next(Answer::answer(201, ""));
    let made = engine.data(Operation::Read, "creds", json!({})).await;
    assert_eq!(made, json!({"password": "p4ssw0rd", "place": "main team/remote/"}));
    assert_eq!(&double.seen()[0].body[..], b"\"p4ssw0rd\"");
    assert_eq!(engine.data(Operation::Read, "who", json!({})).await["entity"], "alice");
}
