//! A backend that is told at run time what it is, and asks a process of its own: what a server of plugins would be. It is mounted
//! beside the engines of the program and treated like them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use strongroom_barrier::TableId;
use strongroom_engine_api::{
    ActError, Backend, Call, Class, EngineError, Facts, Field, Intent, Issued, Job, LeaseKind, Leased, Mode,
    Operation, OperationDoc, Plan, Reply, Request, RevokeError, Route, RouteTable, Schedule, Stored, Table,
};
use strongroom_pipeline::Verb;
use strongroom_testkit::Setup;
use tokio::sync::{mpsc, oneshot};

use crate::testing::{Server, catalog};

/// The words with which the process begins.
const GREETING: &str = r#"{
  "kind": "cloud",
  "help": "Accounts at a cloud.",
  "leases": ["account"],
  "jobs": ["sweep"],
  "routes": [
    {"pattern": "config", "operations": {
      "write": {"summary": "Set the region.", "fields": {"region": "Where accounts are made."}},
      "read": {"summary": "Read the region."}
    }},
    {"pattern": "account/{name}", "help": "An account lives as long as its lease.", "operations": {
      "read": {"summary": "Make an account.", "makes": "account"}
    }}
  ]
}"#;

#[derive(Deserialize)]
struct Greeting {
    kind: String,
    help: String,
    leases: Vec<String>,
    jobs: Vec<String>,
    routes: Vec<ToldRoute>,
}

#[derive(Deserialize)]
struct ToldRoute {
    pattern: String,
    #[serde(default)]
    help: String,
    operations: BTreeMap<String, ToldOperation>,
}

#[derive(Deserialize)]
struct ToldOperation {
    summary: String,
    /// The kind of lease of what it makes outside.
    makes: Option<String>,
    #[serde(default)]
    fields: BTreeMap<String, String>,
}

/// A question to the process, and the way back.
struct Question {
    what: String,
    path: String,
    input: Map<String, Value>,
    answer: oneshot::Sender<Value>,
}

/// The way to the process.
#[derive(Clone)]
struct Line(mpsc::Sender<Question>);

impl Line {
    async fn ask(&self, what: &str, path: &str, input: Map<String, Value>) -> Result<Value, String> {
        let (answer, answered) = oneshot::channel();
        let question = Question { what: what.to_owned(), path: path.to_owned(), input, answer };
        let gone = |_| "the process has ended".to_owned();
        self.0.send(question).await.map_err(|_gone| "the process has ended".to_owned())?;
        answered.await.map_err(gone)
    }
}

/// The process: it makes accounts and drops them.
async fn process(mut questions: mpsc::Receiver<Question>) {
    let mut accounts = BTreeSet::new();
    while let Some(question) = questions.recv().await {
        let answer = match question.what.as_str() {
            "make account" => {
                accounts.insert(question.path.clone());
                json!({ "account": question.path, "given": question.input })
            }
            "revoke account" => {
                accounts.remove(&question.path);
                json!({})
            }
            "accounts" => json!(accounts),
            _ => json!({ "error": format!("{} {}: not known here", question.what, question.path) }),
        };
        // Who asked may have gone.
        let _unheard = question.answer.send(answer);
    }
}

#[derive(Clone, Serialize, Deserialize)]
struct Region(String);

impl Stored for Region {}

#[derive(Serialize, Deserialize)]
struct Account(String);

impl Stored for Account {}

strongroom_barrier::tables! {
    /// The region that the backend keeps for the process.
    REGION: Table<(), Region> = 1;
    /// Marks of the job's runs.
    SWEPT: Table<str, Region> = 2;
}

/// The backend, made of what it was told.
struct Told {
    facts: Facts,
    routes: RouteTable,
    leases: BTreeMap<String, LeaseKind>,
    jobs: Vec<Job>,
}

impl Backend for Told {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn route_table(&self) -> &RouteTable {
        &self.routes
    }

    fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    fn lease_kind(&self, kind: &str) -> Option<&LeaseKind> {
        self.leases.get(kind)
    }

    fn own_tables(&self) -> &[TableId] {
        TABLES
    }

    fn validate_options(&self, options: &BTreeMap<String, String>) -> Result<(), String> {
        options.get("zone").map_or(Ok(()), |zone| Err(format!("{} has no zone {zone}", self.kind())))
    }
}

fn told(greeting: &str, line: &Line) -> Told {
    let greeting: Greeting = serde_json::from_str(greeting).unwrap();
    let route = |route: ToldRoute| {
        let mut made = Route::new(&route.pattern).explain(route.help);
        for (name, operation) in route.operations {
            made = add(made, &name, operation, line.clone());
        }
        made
    };
    let lease = |kind: String| {
        let (line, what) = (line.clone(), format!("revoke {kind}"));
        let hook = LeaseKind::default().revoke(move |account: Leased<Account>| {
            let (line, what) = (line.clone(), what.clone());
            async move {
                let answer = line.ask(&what, &account.payload.0, Map::new()).await;
                answer.map(drop).map_err(RevokeError::Unreachable)
            }
        });
        (kind, hook)
    };
    let sweep = |name: String| {
        Job::new(name.clone(), Schedule::OnCommit(REGION.id()), move |call: Arc<Call>| {
            let name = name.clone();
            async move {
                SWEPT.put(&call.txn, &name, Region("swept".to_owned()))?;
                Ok::<_, EngineError>(false)
            }
        })
    };
    Told {
        routes: greeting.routes.into_iter().map(route).collect(),
        leases: greeting.leases.into_iter().map(lease).collect(),
        jobs: greeting.jobs.into_iter().map(sweep).collect(),
        facts: Facts::new(Class::Secrets, greeting.kind, greeting.help),
    }
}

fn add(route: Route, name: &str, told: ToldOperation, line: Line) -> Route {
    let field = |(name, description)| Field {
        name,
        schema: json!({ "type": "string" }),
        description,
        required: false,
        ..Field::default()
    };
    let doc = OperationDoc {
        summary: told.summary.into(),
        fields: told.fields.into_iter().map(field).collect(),
        mode: if name == "read" { Mode::Read } else { Mode::Write },
        ..OperationDoc::default()
    };
    match (name, told.makes) {
        ("read", Some(kind)) => {
            let what = format!("make {kind}");
            let act = move |intent: Intent<Account>, request: Arc<Request>| {
                make(what.clone(), line.clone(), intent, request)
            };
            route.issue(kind, "", plan, act).described(Operation::Read, doc)
        }
        ("read", None) => route.read("", read).described(Operation::Read, doc),
        _ => {
            let route = route.upsert("", exists, write).described(Operation::Create, doc.clone());
            route.described(Operation::Update, doc)
        }
    }
}

async fn exists(call: Arc<Call>) -> Result<bool, EngineError> {
    Ok(REGION.get(&call.txn, &()).await?.is_some())
}

async fn read(call: Arc<Call>) -> Result<Reply, EngineError> {
    let region = REGION.get(&call.txn, &()).await?.ok_or(EngineError::NotFound)?;
    let swept = SWEPT.get(&call.txn, "sweep").await?.is_some();
    Reply::data(&json!({ "region": region.0, "swept": swept }))
}

async fn write(call: Arc<Call>) -> Result<(), EngineError> {
    let region = call.request.input.get("region").and_then(Value::as_str).unwrap_or_default();
    Ok(REGION.put(&call.txn, &(), Region(region.to_owned()))?)
}

async fn plan(call: Arc<Call>) -> Result<Plan<Account>, EngineError> {
    Ok(Plan::new(Account(call.params.first().cloned().unwrap_or_default())))
}

async fn make(
    what: String,
    line: Line,
    intent: Intent<Account>,
    request: Arc<Request>,
) -> Result<Issued<Value>, ActError> {
    intent.check()?;
    let made = line.ask(&what, &intent.payload.0, Map::clone(&request.input)).await;
    made.map(Issued::new).map_err(|error| ActError::Unanswered(EngineError::Internal(error)))
}

/// A server with the backend at `mine/`, and the way to its process.
async fn server() -> (Server, Line) {
    let (questions, asked) = mpsc::channel(4);
    tokio::spawn(process(asked));
    let line = Line(questions);
    let asks = line.clone();
    let server = Server::of(Setup::of(catalog).with(move || told(GREETING, &asks))).await;
    assert_eq!(server.write("sys/mounts/mine", json!({ "type": "cloud" })).await.status, 204);
    (server, line)
}

async fn accounts(line: &Line) -> Value {
    line.ask("accounts", "", Map::new()).await.unwrap()
}

#[tokio::test]
async fn it_is_mounted_and_described_like_any_other() {
    let (server, _line) = server().await;
    assert_eq!(server.read("sys/mounts/mine").await.data()["type"], "cloud");
    let refused =
        server.write("sys/mounts/other", json!({ "type": "cloud", "options": { "zone": "a" } })).await;
    assert_eq!(refused.error(), (400, "cloud has no zone a"));
    let help = server.ask(Verb::Help, "mine", json!({})).await.body["help"].to_string();
    assert!(help.contains("Accounts at a cloud.") && help.contains("Make an account."), "{help}");
    let help = server.ask(Verb::Help, "mine/account/a", json!({})).await.body["help"].to_string();
    assert!(help.contains("An account lives as long as its lease."), "{help}");

    let document = server.read("sys/internal/specs/openapi").await.body;
    let config = &document["paths"]["/mine/config"];
    assert_eq!(config["post"]["summary"], "Set the region.");
    assert_eq!(config["x-vault-createSupported"], true);
    let reference = config["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"].clone();
    let schema = &document["components"]["schemas"][reference.as_str().unwrap().rsplit('/').next().unwrap()];
    assert_eq!(schema["properties"]["region"]["description"], "Where accounts are made.");
    let generic =
        server.ask(Verb::Read, "sys/internal/specs/openapi", json!({ "generic_mount_paths": true })).await;
    assert!(generic.body["paths"]["/{cloud_mount_path}/account/{name}"]["get"].is_object());
}

#[tokio::test]
async fn policies_tell_what_may_be_done_with_it() {
    let (server, line) = server().await;
    let token = server.token_with("path \"mine/config\" { capabilities = [\"create\", \"read\"] }").await;
    let paths = json!({ "paths": ["mine/config", "mine/account/a"] });
    let told = server.ask_as(&token, Verb::Write, "sys/capabilities-self", paths).await;
    assert_eq!(told.data()["mine/config"], json!(["create", "read"]));
    assert_eq!(told.data()["mine/account/a"], json!(["deny"]));

    let write = |input| server.ask_as(&token, Verb::Write, "mine/config", input);
    let told = write(json!({ "region": "north", "colour": "red" })).await;
    assert_eq!(told.warnings(), ["Endpoint ignored these unrecognized parameters: [colour]"]);
    assert_eq!(
        write(json!({ "region": "south" })).await.status,
        403,
        "there is one, so that this is an update"
    );
    assert_eq!(server.ask_as(&token, Verb::Read, "mine/account/a", json!({})).await.status, 403);
    assert_eq!(accounts(&line).await, json!([]), "nobody asked the process");
    assert_eq!(server.read("mine/config").await.data()["region"], "north");
    assert_eq!(server.read("mine/nowhere").await.error().0, 404);
    assert_eq!(server.delete("mine/config").await.error().0, 405);
}

#[tokio::test]
async fn its_jobs_run_and_its_leases_end_outside() {
    let (server, line) = server().await;
    server.write("mine/config", json!({ "region": "north" })).await;
    server.core.background.run_jobs_once(true).await.unwrap();
    assert_eq!(server.read("mine/config").await.data()["swept"], true);

    let first = server.read("mine/account/a").await;
    assert_eq!(first.data()["account"], "a");
    let second = server.read("mine/account/b").await.body["lease_id"].clone();
    let first = first.body["lease_id"].clone();
    assert!(first.as_str().unwrap().starts_with("mine/account/a/"), "{first}");
    assert_eq!(accounts(&line).await, json!(["a", "b"]));
    let told = server.write("sys/leases/revoke", json!({ "lease_id": first })).await;
    assert!(told.status < 300, "{}", told.body);
    server.core.background.run_jobs_once(true).await.unwrap();
    assert_eq!(accounts(&line).await, json!(["b"]));
    assert!(second.as_str().unwrap().starts_with("mine/account/b/"), "{second}");

    assert_eq!(server.delete("sys/mounts/mine").await.status, 204);
    for _ in 0..8 {
        server.core.background.run_jobs_once(true).await.unwrap();
    }
    assert_eq!(accounts(&line).await, json!([]), "what is left ends with the mount");
}
