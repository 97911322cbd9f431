//! `sys/wrapping/*`. Source: Vault's documentation, "Response wrapping", and the API pages `sys/wrapping/*`.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{NamespaceId, Txn, View};
use strongroom_engine_api::lenient::Text;
use strongroom_engine_api::{
    Body, Caller, Class, Data, Engine, EngineError, Extension, Input, Members, Mount, Reply, Request,
    bad_request,
};
use strongroom_mounts::Mounts;
use strongroom_pipeline::{Envelope, ParametersOf, ServerPart, ServerReply};
use strongroom_policies::Policies;
use strongroom_policy::{Operation as PolicyOperation, Parameters};
use strongroom_tokens::{TokenStore, Wrapped};
use strongroom_wrapping::{Wrapping, not_wrapping};

pub(crate) fn routes(engine: Engine) -> Engine {
    engine
        .route("wrapping/wrap", |r| r.update("Wrap what is given under a token that can be used once.", wrap))
        // Open to any holder of a wrapping token, so that one that was used before gets an error that says so.
        .route("wrapping/unwrap", |r| {
            r.open_counting().update("Hand out what a wrapping token holds.", unwrap)
        })
        .route("wrapping/lookup", |r| {
            r.open()
                .read("Look up the properties of a wrapping token.", lookup)
                .update("Look up the properties of a wrapping token.", lookup)
        })
        .route("wrapping/rewrap", |r| r.update("Move what a wrapping token holds to a new one.", rewrap))
}

#[derive(Deserialize, JsonSchema)]
struct TokenInput {
    /// The wrapping token; the client token where it is left out.
    token: Option<Text>,
}

impl TokenInput {
    /// The wrapping token that is meant: the one given, else the client token.
    fn token(self, caller: Option<&Caller>) -> Result<String, EngineError> {
        match self.token {
            Some(Text(token)) if token.is_empty() => {
                let text = "error validating wrapping token: empty token in request body";
                Err(EngineError::Denied(text.to_owned()))
            }
            Some(Text(token)) => Ok(token),
            // A client token that is not good is not passed on.
            None => caller.map(|caller| caller.token.expose().clone()).ok_or_else(not_wrapping),
        }
    }
}

/// The properties of a wrapping token.
#[derive(Serialize, JsonSchema)]
struct Properties {
    /// The path whose response is wrapped.
    #[serde(rename = "creation_path")]
    path: String,
    /// The time of its creation (RFC 3339).
    #[serde(rename = "creation_time")]
    time: String,
    /// The TTL at its creation, in seconds.
    #[serde(rename = "creation_ttl")]
    ttl: u64,
}

async fn wrap(request: Arc<Request>, Body(body): Body) -> Result<Reply, EngineError> {
    if request.wrap_ttl.is_none_or(|ttl| ttl.is_zero()) {
        return Err(bad_request("endpoint requires response wrapping to be used"));
    }
    Reply::data(&body)
}

async fn lookup(
    Extension(tokens): Extension<TokenStore>,
    Extension(wrapping): Extension<Wrapping>,
    request: Arc<Request>,
    mount: Arc<Mount>,
    Input(input): Input<TokenInput>,
    view: View,
) -> Result<Data<Properties>, EngineError> {
    let token = input.token(request.caller().as_ref())?;
    check_namespace(&tokens, &mount, request.caller().as_ref(), &token)?;
    let (_, wrapped) = wrapping.wrapped(&view, &token).await?.ok_or_else(not_wrapping)?;
    Ok(Data(Properties {
        path: wrapped.creation_path.clone(),
        time: wrapped.creation_time.clone(),
        ttl: wrapped.ttl,
    }))
}

async fn unwrap(
    (Extension(mounts), Extension(policies)): (Extension<Mounts>, Extension<Policies>),
    Extension(tokens): Extension<TokenStore>,
    Extension(wrapping): Extension<Wrapping>,
    request: Arc<Request>,
    mount: Arc<Mount>,
    Input(input): Input<TokenInput>,
    txn: Txn,
) -> Result<ServerReply, EngineError> {
    let token = input.token(request.caller().as_ref())?;
    check_namespace(&tokens, &mount, request.caller().as_ref(), &token)?;
    let wrapped = wrapping.unwrap(&txn, &token).await?;
    check_policies(&mounts, &policies, mount.namespace, &request, &txn, &token).await?;
    restored(&wrapped)
}

/// A wrapping token of another namespace is unknown, unless it makes the request itself, which a token may below its own.
fn check_namespace(
    tokens: &TokenStore,
    mount: &Mount,
    caller: Option<&Caller>,
    token: &str,
) -> Result<(), EngineError> {
    let asks = caller.is_some_and(|caller| caller.token.expose() == token);
    if asks || tokens.token_id(token)?.namespace == mount.namespace { Ok(()) } else { Err(not_wrapping()) }
}

/// Checks that the caller may unwrap: the wrapping token itself may, any other token where its policies grant it.
async fn check_policies(
    mounts: &Mounts,
    policies: &Policies,
    namespace: NamespaceId,
    request: &Request,
    txn: &Txn,
    token: &str,
) -> Result<(), EngineError> {
    let denied = || EngineError::Denied("permission denied".to_owned());
    let caller = request.caller().ok_or_else(denied)?;
    if caller.token.expose() == token {
        return Ok(());
    }
    let acl = policies.acl_of(txn.peek(), &caller).await?;
    let path = mounts.full_path(namespace, "sys/wrapping/unwrap").ok_or_else(denied)?;
    let system = mounts.catalog().engine(Class::System, "system", &BTreeMap::new());
    let found = system.as_ref().and_then(|engine| engine.find("wrapping/unwrap", &[request.operation]).ok());
    let endpoint = found.as_ref().and_then(|found| found.endpoint(request.operation).ok());
    let types = ParametersOf::endpoint(endpoint);
    let parameters = Parameters::new(&request.input, &types);
    let decision = acl.authorize(&path, PolicyOperation::Update, parameters, request.wrap_ttl);
    if decision.is_allowed() { Ok(()) } else { Err(denied()) }
}

/// The answer as it was before it was wrapped.
fn restored(wrapped: &Wrapped) -> Result<ServerReply, EngineError> {
    let envelope = Envelope::from_kept(wrapped.envelope.expose())?;
    let lease = envelope.held_lease();
    let members = Members { data: envelope.data, warnings: envelope.warnings, grant: None };
    let part = ServerPart { lease, auth: envelope.auth, ..ServerPart::default() };
    Ok(ServerReply { reply: members.into(), part })
}

async fn rewrap(
    Extension(tokens): Extension<TokenStore>,
    Extension(wrapping): Extension<Wrapping>,
    caller: Caller,
    mount: Arc<Mount>,
    Input(input): Input<TokenInput>,
    txn: Txn,
) -> Result<ServerReply, EngineError> {
    let token = input.token(Some(&caller))?;
    check_namespace(&tokens, &mount, Some(&caller), &token)?;
    let wrap = Some(Box::new(wrapping.rewrap(&txn, &token).await?));
    Ok(ServerReply::of(ServerPart { wrap, ..ServerPart::default() }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};
    use strongroom_pipeline::Verb;
    use strongroom_tokens::TokenEntry;

    use crate::testing::{Server, Told};

    const UNKNOWN: (u16, &str) = (400, "wrapping token is not valid or does not exist");
    const UNWRAP: &str = "sys/wrapping/unwrap";

    async fn wrapped(server: &Server, asked: Verb, path: &str, input: Value) -> String {
        let told = server.ask_wrapped(asked, path, input, Duration::from_mins(1)).await;
        assert_eq!(told.body["data"], Value::Null, "{}", told.body);
        told.body["wrap_info"]["token"].as_str().expect("a wrapping token").to_owned()
    }

    async fn wrap(server: &Server) -> String {
        wrapped(server, Verb::Write, "sys/wrapping/wrap", json!({"a": {"b": [1, 2]}})).await
    }

    async fn post(server: &Server, token: &str, path: &str, input: Value) -> Told {
        server.ask_as(token, Verb::Write, path, input).await
    }

    #[tokio::test]
    async fn a_wrapping_token_unwraps_itself_once() {
        let server = Server::new().await;
        let token = wrap(&server).await;
        let told = post(&server, &token, UNWRAP, json!({})).await;
        assert_eq!(told.data(), &json!({"a": {"b": [1, 2]}}));
        assert_eq!(post(&server, &token, UNWRAP, json!({})).await.error(), UNKNOWN);
        let root = server.write(UNWRAP, json!({"token": token})).await;
        assert_eq!(root.error(), UNKNOWN);
        assert_eq!(server.write(UNWRAP, json!({})).await.error(), UNKNOWN, "the client token is none");
    }

    #[tokio::test]
    async fn another_token_unwraps_where_its_policies_say_so() {
        let server = Server::new().await;
        let token = wrap(&server).await;
        let without = server.token_with("path \"secret/*\" { capabilities = [\"read\"] }").await;
        let txn = server
            .core
            .services
            .barrier
            .transaction(server.core.services.barrier.pinned_view().await.unwrap());
        server
            .core
            .services
            .policies
            .write_policy(&txn, strongroom_barrier::NamespaceId::ROOT, "default", "")
            .unwrap();
        txn.commit().await.unwrap();
        let body = json!({"token": token});
        assert_eq!(post(&server, &without, UNWRAP, body.clone()).await.error(), (403, "permission denied"));
        assert_eq!(post(&server, "nobody", UNWRAP, body.clone()).await.error(), (403, "permission denied"));
        assert_eq!(post(&server, "", UNWRAP, body.clone()).await.error(), (403, "permission denied"));
        assert_eq!(server.write(UNWRAP, body.clone()).await.data(), &json!({"a": {"b": [1, 2]}}));
        assert_eq!(post(&server, "nobody", UNWRAP, body).await.error(), UNKNOWN);
        let token = wrap(&server).await;
        let told = post(&server, &token, UNWRAP, json!({"token": token})).await;
        assert_eq!(told.status, 200, "giving it twice is no mistake");
        let empty = server.write(UNWRAP, json!({"token": ""})).await;
        assert_eq!(empty.error(), (403, "error validating wrapping token: empty token in request body"));
    }

    #[tokio::test]
    async fn unwrapping_takes_a_use_off_the_client_token() {
        let server = Server::new().await;
        let entry = TokenEntry { policies: vec!["default".to_owned()], num_uses: 2, ..TokenEntry::default() };
        let limited = server.token_of(entry).await;
        for _ in 0..2 {
            let token = wrap(&server).await;
            assert_eq!(post(&server, &limited, UNWRAP, json!({"token": token})).await.status, 200);
        }
        let token = wrap(&server).await;
        let told = post(&server, &limited, UNWRAP, json!({"token": token})).await;
        assert_eq!(told.error(), (403, "permission denied"), "its uses are over");
        assert_eq!(server.write(UNWRAP, json!({"token": token})).await.status, 200, "and nothing was taken");
    }

    #[tokio::test]
    async fn a_denied_unwrapping_takes_a_use_as_well() {
        let server = Server::new().await;
        let entry = TokenEntry { policies: vec!["none".to_owned()], num_uses: 2, ..TokenEntry::default() };
        let limited = server.token_of(entry).await;
        let token = wrap(&server).await;
        let told = post(&server, &limited, UNWRAP, json!({"token": token})).await;
        assert_eq!(told.error(), (403, "permission denied"));
        assert_eq!(server.principal(&limited).await.entry.num_uses, 1);
        let told = post(&server, &limited, UNWRAP, json!({"token": "hvs.none"})).await;
        assert_eq!(told.error(), UNKNOWN);
        let told = post(&server, &limited, UNWRAP, json!({"token": token})).await;
        assert_eq!(told.error(), (403, "permission denied"), "its uses are over");
        assert_eq!(server.write(UNWRAP, json!({"token": token})).await.status, 200, "nothing was taken");
    }

    #[tokio::test]
    async fn what_is_wrapped_is_not_kept_for_ever() {
        let server = Server::new().await;
        let asked = Duration::from_secs(3600 * 24 * 3650);
        let told = server.ask_wrapped(Verb::Write, "sys/wrapping/wrap", json!({"a": 1}), asked).await;
        assert_eq!(told.body["wrap_info"]["ttl"], 2_764_800, "max_lease_ttl");
    }

    #[tokio::test]
    async fn what_was_wrapped_comes_back_whole() {
        let server = Server::new().await;
        server.write("sys/auth/open", json!({"type": "open"})).await;
        server.write("sys/mounts/loans", json!({"type": "loans"})).await;
        let token = wrapped(&server, Verb::Write, "auth/open/login/alice", json!({})).await;
        let told = post(&server, &token, UNWRAP, json!({})).await;
        assert_eq!(told.body["auth"]["token_type"], "service");
        assert!(told.body["auth"]["client_token"].as_str().is_some_and(|token| token.starts_with("hvs.")));
        let token = wrapped(&server, Verb::Read, "loans/creds/web", json!({"ttl": "10m"})).await;
        let told = post(&server, &token, UNWRAP, json!({})).await;
        assert_eq!(told.data(), &json!({"name": "web"}));
        assert_eq!(told.body["lease_duration"], 600);
        assert!(told.body["lease_id"].as_str().is_some_and(|id| id.starts_with("loans/creds/web/")));
    }

    #[tokio::test]
    async fn properties_are_open_to_who_holds_the_token() {
        let server = Server::new().await;
        let token = wrap(&server).await;
        let expected = json!({
            "creation_path": "sys/wrapping/wrap", "creation_time": "2023-11-14T22:13:20Z", "creation_ttl": 60,
        });
        for client in ["", "nobody", server.root.as_str()] {
            let told = post(&server, client, "sys/wrapping/lookup", json!({"token": token})).await;
            assert_eq!(told.data(), &expected);
        }
        let told = server.ask_as("", Verb::Read, "sys/wrapping/lookup", json!({"token": token})).await;
        assert_eq!(told.data(), &expected);
        assert_eq!(server.read("sys/wrapping/lookup").await.error(), UNKNOWN);
        assert_eq!(post(&server, "", "sys/wrapping/lookup", json!({"token": "x"})).await.error(), UNKNOWN);
        server.clock.advance(Duration::from_mins(1));
        assert_eq!(post(&server, "", "sys/wrapping/lookup", json!({"token": token})).await.error(), UNKNOWN);
    }

    #[tokio::test]
    async fn rewrapping_moves_what_is_held() {
        let server = Server::new().await;
        let old = wrap(&server).await;
        server.clock.advance(Duration::from_secs(30));
        let told = server.write("sys/wrapping/rewrap", json!({"token": old})).await;
        let info = &told.body["wrap_info"];
        assert_eq!(info["ttl"], 60);
        assert_eq!(info["creation_path"], "sys/wrapping/wrap");
        assert_eq!(server.write("sys/wrapping/rewrap", json!({"token": old})).await.error(), UNKNOWN);
        server.clock.advance(Duration::from_secs(59));
        let told = post(&server, info["token"].as_str().unwrap(), UNWRAP, json!({})).await;
        assert_eq!(told.data(), &json!({"a": {"b": [1, 2]}}));
    }

    #[tokio::test]
    async fn wrapping_needs_a_ttl() {
        let server = Server::new().await;
        let told = server.write("sys/wrapping/wrap", json!({"a": 1})).await;
        assert_eq!(told.error(), (400, "endpoint requires response wrapping to be used"));
    }
}
