//! `sys/policies/explain`: whether a token may do something, and why. The answer has what a refused client is not told:
//! the token's state, the rule that decides, and the capability that is missing.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use strongroom_barrier::View;
use strongroom_engine_api::lenient::{Text, Ttl};
use strongroom_engine_api::{
    Access, Caller, Clock, Data, Endpoint, Engine, EngineError, Extension, Input, Moment, Mount, Operation,
    bad_request,
};
use strongroom_identity::Identity;
use strongroom_mounts::Mounts;
use strongroom_pipeline::{ParametersOf, PolicyPath, Settings, Verb};
use strongroom_policies::Policies;
use strongroom_policy::{CompiledAcl, CompiledRule, Denial, Operation as Asked, Parameters};
use strongroom_tokens::{TokenEntry, TokenStore};

use crate::capabilities::{acl_of_token, rights_of};
use crate::policy_paths::{Led, lead};

pub(super) fn routes(engine: Engine) -> Engine {
    engine.route("policies/explain", |r| {
        r.update("Say whether a token may do something on a path, and why.", explain)
    })
}

#[derive(Deserialize, JsonSchema)]
struct ExplainInput {
    /// Accessor of the token that is asked about.
    accessor: Option<Text>,
    /// The operation: create, read, update, patch, delete, list or scan. Defaults to read.
    operation: Option<Text>,
    /// The parameters that come with the request.
    parameters: Option<Map<String, Value>>,
    /// The full path, without `v1/`.
    path: Option<Text>,
    /// The token that is asked about; the calling one where neither it nor an accessor is given.
    token: Option<Text>,
    /// The TTL of response wrapping in the request.
    wrap_ttl: Option<Ttl>,
}

/// The decision, and its reason.
#[derive(Serialize, JsonSchema)]
struct Explanation {
    /// True if the request would be allowed.
    allowed: bool,
    /// The capability that is missing, where one is.
    missing_capability: Option<&'static str>,
    /// The path of the mount that the request leads to, where there is one.
    mount: Option<String>,
    /// The operation.
    operation: &'static str,
    /// The path as policies see it.
    path: String,
    /// A sentence that says why.
    reason: String,
    /// The rule that decides, where one matches.
    rule: Option<RuleView>,
    /// The token.
    token: TokenView,
}

/// The rule that results for a path from all policies of a token.
#[derive(Serialize, JsonSchema)]
struct RuleView {
    /// The capabilities that it grants.
    capabilities: Vec<&'static str>,
    /// The path it is written for.
    path: String,
    /// The policies it comes from.
    policies: Vec<String>,
}

/// The token that is asked about.
#[derive(Default, Serialize, JsonSchema)]
struct TokenView {
    /// Its accessor.
    accessor: String,
    /// Its display name.
    display_name: String,
    /// The time at which it expires (RFC 3339); null: never.
    expire_time: Option<String>,
    /// Those of its policies that do not exist.
    missing_policies: Vec<String>,
    /// Uses left; zero: without limit.
    num_uses: u32,
    /// Its policies.
    policies: Vec<String>,
    /// `in force`, or why it is not.
    state: &'static str,
}

/// The request that is asked about.
struct Question {
    path: String,
    operation: Operation,
    parameters: Map<String, Value>,
    wrap_ttl: Option<Duration>,
}

async fn explain(
    ((Extension(mounts), Extension(policies)), Extension(settings)): (
        (Extension<Mounts>, Extension<Policies>),
        Extension<Settings>,
    ),
    (Extension(tokens), Extension(identity)): (Extension<TokenStore>, Extension<Identity>),
    mount: Arc<Mount>,
    Input(mut input): Input<ExplainInput>,
    caller: Caller,
    view: View,
    clock: Clock,
) -> Result<Data<Explanation>, EngineError> {
    let question = question(&mut input)?;
    let entry = entry(&tokens, &mount, &view, clock.now(), &input, &caller).await?;
    let router = mounts.router().await?;
    let namespace = mounts.namespace(mount.namespace).ok_or(EngineError::NotFound)?;
    let led = lead(&router, &namespace, &question.path, Some(verb_of(question.operation)));
    let endpoint = endpoint_of(&led, question.operation);
    let access = endpoint.map(|endpoint| endpoint.access.opened_by(&settings.unauthenticated));
    let mut explanation = match &entry {
        Some(entry) => match rights_of(&identity, entry).await {
            Ok(rights) => {
                let own = (entry.namespace, entry.policies.as_slice());
                let acl = acl_of_token(&policies, &view, own, &rights).await?;
                decided(&acl, &question, &led.seen, (endpoint, access))
            }
            Err(EngineError::Denied(_)) => {
                let text = "the token's entity is disabled, revoked or gone";
                Explanation::of(&question, false, text.to_owned())
            }
            Err(error) => return Err(error),
        },
        None => {
            Explanation::of(&question, false, "the token is unknown, has expired or was revoked".to_owned())
        }
    };
    if access.is_some_and(Access::is_open) {
        explanation = Explanation::of(&question, true, "the path is open: no token is needed".to_owned());
    }
    explanation.mount = led.mount.as_ref().map(|mounted| mounted.path.clone());
    explanation.token = token_view(&policies, &view, entry.as_deref()).await?;
    Ok(Data(explanation))
}

fn question(input: &mut ExplainInput) -> Result<Question, EngineError> {
    let path = input.path.take().map(|path| path.0).unwrap_or_default();
    let path = path.trim_start_matches('/').to_owned();
    if path.is_empty() {
        return Err(bad_request("path must be specified"));
    }
    let operation = match input.operation.as_deref().map_or("read", String::as_str) {
        "create" => Operation::Create,
        "read" => Operation::Read,
        "update" => Operation::Update,
        "patch" => Operation::Patch,
        "delete" => Operation::Delete,
        "list" => Operation::List,
        "scan" => Operation::Scan,
        other => return Err(bad_request(format!("unknown operation {other:?}"))),
    };
    let lists = matches!(operation, Operation::List | Operation::Scan);
    let path = if lists && !path.ends_with('/') { format!("{path}/") } else { path };
    let parameters = input.parameters.take().unwrap_or_default();
    Ok(Question { path, operation, parameters, wrap_ttl: input.wrap_ttl.take().map(|ttl| ttl.0) })
}

/// The token that is asked about, if it is in force.
async fn entry(
    tokens: &TokenStore,
    mount: &Mount,
    view: &View,
    now: Moment,
    input: &ExplainInput,
    caller: &Caller,
) -> Result<Option<Arc<TokenEntry>>, EngineError> {
    if let Some(accessor) = input.accessor.as_deref().filter(|accessor| !accessor.is_empty()) {
        let found = tokens.token_of_accessor(view, mount.namespace, accessor).await?;
        let Some(id) = found else { return Ok(None) };
        return Ok(tokens.token_at(view, &id).await?);
    }
    let found = match input.token.as_deref().filter(|token| !token.is_empty()) {
        Some(token) => tokens.principal_in(view, mount.namespace, token, now).await?,
        None => tokens.principal(view, caller.token.expose(), now).await?,
    };
    Ok(found.map(|found| found.entry))
}

const fn verb_of(operation: Operation) -> Verb {
    match operation {
        Operation::Create | Operation::Update => Verb::Write,
        Operation::Read => Verb::Read,
        Operation::Patch => Verb::Patch,
        Operation::Delete => Verb::Delete,
        Operation::List => Verb::List,
        Operation::Scan => Verb::Scan,
        Operation::Help => Verb::Help,
    }
}

/// The endpoint of what is asked about. A write may create and update: either is the other's where there is one of them.
fn endpoint_of(led: &Led, operation: Operation) -> Option<&Endpoint> {
    let found = led.found.as_ref()?;
    verb_of(operation).operations().iter().find_map(|operation| found.endpoint(*operation).ok())
}

fn decided(
    acl: &CompiledAcl,
    question: &Question,
    path: &PolicyPath<'_>,
    (endpoint, access): (Option<&Endpoint>, Option<Access>),
) -> Explanation {
    let operation = match question.operation {
        Operation::Create => Asked::Create,
        Operation::Read => Asked::Read,
        Operation::Update => Asked::Update,
        Operation::Patch => Asked::Patch,
        Operation::Delete => Asked::Delete,
        Operation::List => Asked::List,
        Operation::Scan => Asked::Scan,
        Operation::Help => Asked::Help,
    };
    let types = ParametersOf::endpoint(endpoint);
    let parameters = Parameters::new(&question.parameters, &types);
    let decision = acl.authorize(path.as_request(), operation, parameters, question.wrap_ttl);
    let lacks_sudo = access == Some(Access::Sudo) && !decision.sudo;
    let (reason, missing) = match (&decision.denial, decision.rule) {
        (Some(denial @ Denial::MissingCapability { capability, .. }), _) => {
            (denial.to_string(), Some(capability.name()))
        }
        (Some(denial), _) => (denial.to_string(), None),
        (None, Some(rule)) if lacks_sudo => {
            (format!("the path needs \"sudo\" besides, which {rule} does not grant"), Some("sudo"))
        }
        (None, Some(rule)) => (format!("{rule} allows it"), None),
        (None, None) => ("a root token may do anything".to_owned(), None),
    };
    Explanation {
        missing_capability: missing,
        rule: decision.rule.map(RuleView::of),
        ..Explanation::of(question, decision.is_allowed() && !lacks_sudo, reason)
    }
}

impl Explanation {
    fn of(question: &Question, allowed: bool, reason: String) -> Self {
        Self {
            allowed,
            missing_capability: None,
            mount: None,
            operation: question.operation.name(),
            path: question.path.clone(),
            reason,
            rule: None,
            token: TokenView::default(),
        }
    }
}

impl RuleView {
    fn of(rule: &CompiledRule) -> Self {
        Self {
            capabilities: rule.capabilities().names(),
            path: rule.path().to_owned(),
            policies: rule.sources().iter().map(|source| source.policy.to_string()).collect(),
        }
    }
}

async fn token_view(
    policy_store: &Policies,
    view: &View,
    entry: Option<&TokenEntry>,
) -> Result<TokenView, EngineError> {
    let Some(entry) = entry else {
        return Ok(TokenView { state: "unknown, expired or revoked", ..TokenView::default() });
    };
    let mut missing_policies = Vec::new();
    for policy in &entry.policies {
        if policy_store.policy_text(view, entry.namespace, policy).await?.is_none() {
            missing_policies.push(policy.clone());
        }
    }
    Ok(TokenView {
        accessor: entry.accessor.clone(),
        display_name: entry.display_name.clone(),
        expire_time: entry.expires.map(Moment::rfc3339),
        missing_policies,
        num_uses: entry.num_uses,
        policies: entry.policies.clone(),
        state: "in force",
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use strongroom_pipeline::Verb;

    use crate::testing::Server;

    const EXPLAIN: &str = "sys/policies/explain";
    const POLICY: &str = r#"
        path "secret/*" { capabilities = ["read"] }
        path "secret/no" { capabilities = ["deny"] }
        path "sys/leases/lookup/*" { capabilities = ["list"] }
    "#;

    #[tokio::test]
    async fn it_says_why() {
        let server = Server::new().await;
        server.write("sys/policies/acl/dev", json!({"policy": POLICY})).await;
        let token = server.token(&["dev", "gone"]).await;
        let ask = async |path: &str, operation: &str| {
            let told =
                server.write(EXPLAIN, json!({"path": path, "operation": operation, "token": token})).await;
            let data = told.data();
            (data["allowed"].as_bool().unwrap(), data["reason"].as_str().unwrap().to_owned(), data.clone())
        };
        let (allowed, reason, data) = ask("secret/a", "read").await;
        assert_eq!((allowed, reason.as_str()), (true, "rule \"secret/*\" of policy \"dev\" allows it"));
        assert_eq!(data["rule"], json!({"path": "secret/*", "capabilities": ["read"], "policies": ["dev"]}));
        assert_eq!(data["token"]["missing_policies"], json!(["gone"]));
        assert_eq!(data["token"]["state"], "in force");
        let (allowed, reason, data) = ask("secret/a", "update").await;
        assert_eq!(
            (allowed, reason.as_str()),
            (false, "rule \"secret/*\" of policy \"dev\" does not grant \"update\"")
        );
        assert_eq!(data["missing_capability"], "update");
        let (allowed, reason, _) = ask("secret/no", "read").await;
        assert!(!allowed && reason.contains("denies the path"), "{reason}");
        let (allowed, reason, _) = ask("elsewhere", "read").await;
        assert_eq!((allowed, reason.as_str()), (false, "no rule matches the path"));
        let (allowed, _, data) = ask("sys/leases/lookup/x", "list").await;
        assert_eq!(
            (allowed, &data["missing_capability"], &data["mount"]),
            (false, &json!("sudo"), &json!("sys/"))
        );
        assert_eq!(data["path"], "sys/leases/lookup/x/");
        let (allowed, reason, _) = ask("sys/wrapping/lookup", "update").await;
        assert_eq!((allowed, reason.as_str()), (true, "the path is open: no token is needed"));
    }

    #[tokio::test]
    async fn it_knows_tokens_by_any_handle() {
        let server = Server::new().await;
        let told = server.write(EXPLAIN, json!({"path": "x"})).await;
        assert_eq!(told.data()["reason"], "a root token may do anything");
        let accessor = told.data()["token"]["accessor"].clone();
        let told = server.write(EXPLAIN, json!({"path": "x", "accessor": accessor})).await;
        assert_eq!(told.data()["allowed"], true);
        for handle in ["token", "accessor"] {
            let told = server.write(EXPLAIN, json!({"path": "x", handle: "nope"})).await;
            assert_eq!(told.data()["allowed"], false);
            assert_eq!(told.data()["token"]["state"], "unknown, expired or revoked");
        }
        assert_eq!(server.write(EXPLAIN, json!({})).await.error(), (400, "path must be specified"));
        let told = server.write(EXPLAIN, json!({"path": "x", "operation": "bogus"})).await;
        assert_eq!(told.error(), (400, "unknown operation \"bogus\""));
    }

    /// Names in any case and slashes at the end are read as the request itself is: what is told is what is decided.
    #[tokio::test]
    async fn what_is_told_of_a_path_is_what_is_decided() {
        const RULES: &str = r#"
            path "sys/*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }
            path "sys/policies/acl/admin" { capabilities = ["deny"] }
            path "sys/policies/password/OPS*" { capabilities = ["deny"] }
            path "sys/config/auditing/request-headers/x-secret" { capabilities = ["deny"] }
            path "sys/audit/file" { capabilities = ["deny"] }
        "#;
        let server = Server::new().await;
        let token = server.token_with(RULES).await;
        for (path, asked, operation) in [
            ("sys/policies/acl/admin", Verb::Read, "read"),
            ("sys/policies/acl/ADMIN", Verb::Read, "read"),
            ("sys/policies/acl/Admin/", Verb::Delete, "delete"),
            ("sys/policies/acl/admin2", Verb::Read, "read"),
            ("sys/policies/password/ops-1", Verb::Read, "read"),
            ("sys/policies/password/OPS-1", Verb::Read, "read"),
            ("sys/config/auditing/request-headers/x-secret", Verb::Write, "update"),
            ("sys/config/auditing/request-headers/X-SECRET", Verb::Write, "update"),
            ("sys/config/auditing/request-headers/X-Secret", Verb::Delete, "delete"),
            ("sys/config/auditing/request-headers/X-Other", Verb::Write, "update"),
            ("sys/audit/file/", Verb::Delete, "delete"),
            ("sys/audit/FILE", Verb::Delete, "delete"),
        ] {
            let decided = server.ask_as(&token, asked, path, json!({})).await.status != 403;
            let input = json!({"path": path, "operation": operation, "token": token});
            let explained = server.write(EXPLAIN, input).await;
            assert_eq!(explained.data()["allowed"], decided, "{path} {operation}: {}", explained.body);
            let told = server.write("sys/capabilities", json!({"token": token, "paths": [path]})).await;
            let capabilities = told.data()[path].as_array().unwrap().clone();
            assert_eq!(capabilities.contains(&json!(operation)), decided, "{path}: {capabilities:?}");
        }
    }
}
