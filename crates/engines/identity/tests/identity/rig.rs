//! A server with an auth method that grants what it is asked for.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use strongroom_engine_api::lenient::{Flag, Int, List, Pairs, Text};
use strongroom_engine_api::{AuthGrant, Engine, EngineError, Input, Renewal, TokenKind};
use strongroom_pipeline::Verb;
use strongroom_testkit::{Request, Response, Server, Setup};

/// A login that says what it is granted.
#[derive(Deserialize, JsonSchema)]
struct DoorInput {
    /// The name.
    name: Option<Text>,
    /// The groups in the method's directory.
    groups: Option<List>,
    /// The alias's metadata.
    metadata: Option<Pairs>,
    /// Policies of the token.
    policies: Option<List>,
    /// True for a batch token.
    batch: Option<Flag>,
    /// Uses.
    num_uses: Option<Int>,
}

async fn enter(Input(input): Input<DoorInput>) -> Result<AuthGrant, EngineError> {
    let groups = input.groups.map(|groups| groups.0);
    Ok(AuthGrant {
        alias: input.name.map(|name| name.0).unwrap_or_default(),
        alias_metadata: input.metadata.map(|metadata| metadata.0).unwrap_or_default(),
        internal: groups.iter().map(|groups| ("groups".to_owned(), groups.join(","))).collect(),
        groups,
        policies: input.policies.map(|policies| policies.0).unwrap_or_default(),
        kind: if input.batch.is_some_and(|batch| batch.0) { TokenKind::Batch } else { TokenKind::Service },
        num_uses: input.num_uses.map_or(0, |uses| u32::try_from(uses.0).unwrap()),
        renewable: true,
        ..AuthGrant::default()
    })
}

/// At renewal the method's directory has lost the last group.
async fn renew(renewal: Renewal) -> Result<AuthGrant, EngineError> {
    let kept = renewal.internal.get("groups").map(|groups| {
        let mut groups: Vec<String> = groups.split(',').map(str::to_owned).collect();
        groups.pop();
        groups
    });
    Ok(AuthGrant { groups: kept, policies: renewal.policies, renewable: true, ..AuthGrant::default() })
}

pub(crate) fn door() -> Engine {
    Engine::auth("door", "Lets anybody in.")
        .route("login", |r| r.open().update("Log in.", enter))
        .on_renew(renew)
}

/// A server with the doors `auth/door/` and `auth/gate/`, a secret engine's stand-in, and policies named after what they allow.
pub(crate) async fn server() -> Server {
    let server = Setup::default().with(door).start().await;
    server.enable("auth/door/", "door").await;
    server.enable("auth/gate/", "door").await;
    for name in ["mounts", "audit", "policies/acl"] {
        let text = format!("path \"sys/{name}\" {{ capabilities = [\"read\", \"list\", \"sudo\"] }}");
        server.policy(name.split('/').next().unwrap(), &text).await;
    }
    server
}

pub(crate) async fn login(server: &Server, input: Value) -> Response {
    server.ask(Request::new("", Verb::Write, "auth/door/login", input)).await
}

pub(crate) async fn token(server: &Server, name: &str) -> String {
    login(server, json!({ "name": name })).await.token()
}

/// The entity of a login.
pub(crate) async fn entity(server: &Server, name: &str) -> String {
    login(server, json!({ "name": name })).await.auth()["entity_id"].as_str().unwrap().to_owned()
}

pub(crate) async fn accessor(server: &Server, path: &str) -> String {
    server.mounted(path).await.mount.accessor.clone()
}

/// Makes a group, and answers its id.
pub(crate) async fn group(server: &Server, input: Value) -> String {
    server.write("identity/group", input).await.data()["id"].as_str().unwrap().to_owned()
}

pub(crate) const DENIED: (u16, &str) = (403, "1 error occurred:\n\t* permission denied\n\n");
