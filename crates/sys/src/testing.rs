//! A whole server with the system engine and small engines beside it, for this crate's tests.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use strongroom_engine_api::{
    AuthGrant, Body, Data, Engine, EngineError, Input, LeaseGrant, Leased, Paging, Path, Peer, Reply,
    RevokeError, Secret, Stored,
};
use strongroom_mounts::Catalog;
use strongroom_pipeline::{Answer, Inbound, Settings, Verb};
use strongroom_storage::Store;
use strongroom_testkit::Setup;
use strongroom_tokens::{NewToken, TokenEntry};

pub(crate) use strongroom_testkit::server::START;

/// A server of the test kit, with this build of the system engine and small engines beside it.
pub(crate) struct Server(strongroom_testkit::Server);

impl Deref for Server {
    type Target = strongroom_testkit::Server;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// The answer to a request.
#[derive(Debug, PartialEq)]
pub(crate) struct Told {
    pub(crate) status: u16,
    /// `null` where there is no body.
    pub(crate) body: Value,
}

impl Told {
    /// The answer's `data`; the request must have succeeded.
    pub(crate) fn data(&self) -> &Value {
        assert!(self.status < 300, "{} {}", self.status, self.body);
        &self.body["data"]
    }

    /// The first error; the request must have failed.
    pub(crate) fn error(&self) -> (u16, &str) {
        (self.status, self.body["errors"][0].as_str().unwrap_or_default())
    }

    /// The warnings.
    pub(crate) fn warnings(&self) -> Vec<&str> {
        self.body["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }
}

impl Server {
    /// Not initialized.
    pub(crate) fn blank(settings: Settings) -> Self {
        Self(Setup::of(catalog).settings(settings).blank())
    }

    /// Over this storage; not initialized.
    pub(crate) fn over(store: Arc<dyn Store>, settings: Settings) -> Self {
        Self(Setup::of(catalog).settings(settings).over(store))
    }

    /// Initialized and sealed.
    pub(crate) async fn sealed(settings: Settings, parts: u8, required: u8) -> Self {
        Self(Setup::of(catalog).settings(settings).sealed(parts, required).await)
    }

    /// Initialized with one key part, and unsealed.
    pub(crate) async fn with(settings: Settings) -> Self {
        Self::of(Setup::of(catalog).settings(settings)).await
    }

    /// Initialized and unsealed, with default settings.
    pub(crate) async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    /// Initialized and unsealed, as set up.
    pub(crate) async fn of(setup: Setup) -> Self {
        Self(setup.start().await)
    }

    /// Asks something with a token (empty: without).
    pub(crate) async fn ask_as(&self, token: &str, asked: Verb, path: &str, input: Value) -> Told {
        self.send(inbound(token, asked, path, &input)).await
    }

    /// Asks something in a namespace.
    pub(crate) async fn ask_in(
        &self,
        namespace: &str,
        token: &str,
        asked: Verb,
        path: &str,
        input: Value,
    ) -> Told {
        self.send(Inbound { namespace: namespace.to_owned(), ..inbound(token, asked, path, &input) }).await
    }

    /// POST as root in a namespace.
    pub(crate) async fn write_in(&self, namespace: &str, path: &str, input: Value) -> Told {
        self.ask_in(namespace, &self.root, Verb::Write, path, input).await
    }

    /// GET as root in a namespace.
    pub(crate) async fn read_in(&self, namespace: &str, path: &str) -> Told {
        self.ask_in(namespace, &self.root, Verb::Read, path, json!({})).await
    }

    /// Asks something as root, for a wrapped answer.
    pub(crate) async fn ask_wrapped(&self, asked: Verb, path: &str, input: Value, ttl: Duration) -> Told {
        self.send(Inbound { wrap_ttl: Some(ttl), ..inbound(&self.root, asked, path, &input) }).await
    }

    /// Asks something prepared.
    pub(crate) async fn send(&self, inbound: Inbound) -> Told {
        let Answer { status, body, .. } = self.core.pipeline.handle(inbound).await;
        Told {
            status,
            body: match body.at_hand() {
                [] => Value::Null,
                body => serde_json::from_slice(body).expect("JSON"),
            },
        }
    }

    /// Asks something as root.
    pub(crate) async fn ask(&self, asked: Verb, path: &str, input: Value) -> Told {
        self.ask_as(&self.root, asked, path, input).await
    }

    /// GET as root.
    pub(crate) async fn read(&self, path: &str) -> Told {
        self.ask(Verb::Read, path, json!({})).await
    }

    /// LIST as root.
    pub(crate) async fn list(&self, path: &str) -> Told {
        self.ask(Verb::List, path, json!({})).await
    }

    /// POST as root.
    pub(crate) async fn write(&self, path: &str, input: Value) -> Told {
        self.ask(Verb::Write, path, input).await
    }

    /// DELETE as root.
    pub(crate) async fn delete(&self, path: &str) -> Told {
        self.ask(Verb::Delete, path, json!({})).await
    }

    /// A service token with a policy of its own that has this text.
    pub(crate) async fn token_with(&self, policy: &str) -> String {
        let random = self.services().environment.entropy.base62(8).expect("random");
        let name = format!("test-{}", random.to_lowercase());
        self.policy(&name, policy).await;
        self.token(&["default", &name]).await
    }

    /// A service token with these policies.
    pub(crate) async fn token(&self, policies: &[&str]) -> String {
        let entry = TokenEntry {
            policies: policies.iter().map(|name| (*name).to_owned()).collect(),
            path: "auth/token/create".to_owned(),
            display_name: "token".to_owned(),
            renewable: true,
            ..TokenEntry::default()
        };
        self.token_of(entry).await
    }

    /// A service token with this entry.
    pub(crate) async fn token_of(&self, entry: TokenEntry) -> String {
        let new = NewToken { entry, ttl: Duration::from_hours(1), ..NewToken::default() };
        self.make_token(new).await.0
    }
}

strongroom_barrier::tables! {
    /// The table of the substitute for the cubbyhole: entries that end with a token.
    HOLE: strongroom_barrier::Table<strongroom_barrier::MountLocal, ([u8; 16], &str), String> = 1;
}

/// A request from this machine; without a token where it is empty.
fn inbound(token: &str, asked: Verb, path: &str, input: &Value) -> Inbound {
    Inbound {
        input: Arc::new(input.as_object().cloned().unwrap_or_default()),
        token: (!token.is_empty()).then(|| Arc::new(Secret::new(token.to_owned()))),
        peer: Peer::at(([127, 0, 0, 1], 1234)),
        ..Inbound::new("a-request", asked, path)
    }
}

/// The system engine, and engines that are as small as can be.
pub(crate) fn catalog() -> Catalog {
    Catalog::new()
        .with(crate::engine())
        .with(
            Engine::system("cubbyhole", "A stand-in for the cubbyhole.")
                .kept_by_token(HOLE.id())
                .route("{path..}", |r| r.read("Read", nothing).list("List", nothing)),
        )
        .with(
            Engine::auth("token", "A stand-in for tokens.")
                .route("lookup-self", |r| r.read("Look up", nothing)),
        )
        .with(open_auth())
        .with(password_auth())
        .with(values())
        .with(versioned_values())
        .with(loans())
        .with(outside())
        .with(crate::derived_tests::engine())
        .with(crate::outside_tests::engine())
}

async fn nothing() -> Result<(), EngineError> {
    Ok(())
}

/// `kv` version 1: answers what it is asked with.
fn values() -> Engine {
    Engine::new("kv", "A stand-in for key and value.")
        .generic_name("kv_v1")
        .alias("kv-v1", "version", "1")
        .alias("generic", "version", "1")
        .check_change(check_upgrade)
        .check_options(check_version)
        .route("{path..}", |r| {
            r.read("Read a secret", echo)
                .update("Write a secret", echo)
                .delete("Delete a secret", nothing)
                .list("List secrets", listed)
        })
}

type Options = BTreeMap<String, String>;

fn check_version(options: &Options) -> Result<(), String> {
    match options.get("version").map(String::as_str) {
        None | Some("" | "1" | "2") => Ok(()),
        Some(other) => Err(format!("unsupported KV version {other:?}")),
    }
}

fn check_upgrade(before: &Options, given: &Options) -> Result<(), String> {
    let Some(version) = given.get("version") else { return Ok(()) };
    match (before.get("version").map_or("1", String::as_str), version.as_str()) {
        ("2", "1" | "") => Err("cannot downgrade mount from version 2".to_owned()),
        (_, "1" | "2" | "") => Ok(()),
        (_, other) => Err(format!("invalid version provided: {other}")),
    }
}

/// `kv` version 2.
fn versioned_values() -> Engine {
    Engine::new("kv", "A stand-in for versioned key and value.")
        .generic_name("kv_v2")
        .alias("kv-v2", "version", "2")
        .serving("version", "2")
        .check_change(check_upgrade)
        .check_options(check_version)
        .route("config", |r| r.read("Read the configuration", nothing))
        .route("data/{path..}", |r| r.read("Read a secret", echo).update("Write a secret", echo))
        .route("metadata/{path..}", |r| r.read("Read metadata", echo).list("List secrets", listed))
}

async fn echo(Path(path): Path<String>, Body(body): Body) -> Result<Reply, EngineError> {
    Reply::data(&json!({ "path": path, "body": body }))
}

async fn listed(Path(_path): Path<String>, _paging: Paging) -> Result<Reply, EngineError> {
    Reply::keys(&["a".to_owned(), "b/".to_owned()])
}

/// The input of a loan.
#[derive(serde::Deserialize, schemars::JsonSchema)]
struct LoanInput {
    /// The TTL of the loan.
    ttl: Option<strongroom_engine_api::lenient::Ttl>,
}

/// The answer to a request for a loan.
#[derive(serde::Serialize, schemars::JsonSchema)]
struct Loan {
    /// The name of the borrower.
    name: String,
}

/// Lends secrets: reading `creds/{name}` makes a lease.
fn loans() -> Engine {
    Engine::new("loans", "Lends secrets.")
        .route("creds/{name}", |r| r.read("Lend", lend))
        .route("roles/{name}", |r| r.update("Describe a loan", describe_loan))
}

async fn lend(Path(name): Path<String>, Input(input): Input<LoanInput>) -> Result<Reply, EngineError> {
    let lease = LeaseGrant {
        ttl: input.ttl.map_or(Duration::ZERO, |ttl| ttl.0),
        renewable: true,
        ..LeaseGrant::default()
    };
    Ok(Reply::data(&json!({ "name": name }))?.lent(lease))
}

async fn describe_loan(
    Path(name): Path<String>,
    Input(_): Input<LoanInput>,
) -> Result<Data<Loan>, EngineError> {
    Ok(Data(Loan { name }))
}

/// The payload of a lease of `outside`: its name determines how the external system answers its revocation.
#[derive(serde::Serialize, serde::Deserialize)]
struct User {
    name: String,
}

impl Stored for User {}

/// Lends users of a system outside: `refused` cannot be dropped, `down` cannot be reached.
fn outside() -> Engine {
    Engine::new("outside", "Lends users of a system outside.")
        .lease("user", |l| l.revoke(drop_user))
        .route("creds/{name}", |r| r.read("Lend", lend_user))
}

async fn lend_user(Path(name): Path<String>) -> Result<Reply, EngineError> {
    Ok(Reply::data(&json!({ "name": name }))?.lent(LeaseGrant::of_kind("user", &User { name })?))
}

async fn drop_user(user: Leased<User>) -> Result<(), RevokeError> {
    match user.payload.name.as_str() {
        "refused" => Err(RevokeError::Refused("no such privilege".to_owned())),
        "down" => Err(RevokeError::Unreachable("no route to host".to_owned())),
        _ => Ok(()),
    }
}

/// Lets everyone in: `login/{name}` makes a token.
fn open_auth() -> Engine {
    Engine::auth("open", "Lets everyone in.")
        .route("login/{name}", |r| r.open().update("Log in", log_in))
        .route("config", |r| r.sudo().read("Read the configuration", nothing))
}

/// Everyone's password is `right`.
fn password_auth() -> Engine {
    Engine::auth("userpass", "Lets those in who know the password.")
        .locks_users_out()
        .route("login/{name}", |r| r.login(|call| call.params.first().cloned()).update("Log in", log_in_with))
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct PasswordInput {
    /// The password.
    password: String,
}

async fn log_in_with(
    Path(name): Path<String>,
    Input(input): Input<PasswordInput>,
) -> Result<AuthGrant, EngineError> {
    if input.password != "right" {
        return Err(EngineError::Credentials("invalid username or password".to_owned()));
    }
    log_in(Path(name)).await
}

async fn log_in(Path(name): Path<String>) -> Result<AuthGrant, EngineError> {
    Ok(AuthGrant { display_name: name, renewable: true, ..AuthGrant::default() })
}
