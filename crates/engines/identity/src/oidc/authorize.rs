//! `oidc/provider/:name/authorize`: the caller grants a client to know who it is, and gets a code for it. Source: OIDC
//! Core, section 3.1.2; RFC 7636, section 4.3.
//!
//! The caller is a person whose browser holds a token of the server, and who was sent by the client. What the client asks for is
//! checked before anything is granted; nothing is sent to an address that the client has not registered, since the answer goes
//! to the caller.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use strongroom_barrier::Txn;
use strongroom_engine_api::lenient::{Int, Text};
use strongroom_engine_api::{
    Call, Caller, Engine, EngineError, Environment, Extension, Input, Moment, Mount, Path, Reply,
};
use strongroom_identity::Identity;
use strongroom_oidc::{Challenge, Client, Grant, GrantState, Oidc, Provider, code_hash};
use strongroom_tokens::TokenStore;

use super::assignments::is_assigned;
use super::clients::by_id;
use super::failing::Failure;
use super::providers::{allows, provider};
use super::redirect;
use super::scopes::OPENID;
use super::{document, entity_of};

/// Characters of a code.
const CODE_LEN: usize = 32;
/// The life of a code.
const CODE_TTL: Duration = Duration::from_secs(5 * 60);
/// The characters that a challenge may have (RFC 7636, section 4.1).
const CHALLENGE_LEN: std::ops::RangeInclusive<usize> = 43..=128;

pub(super) fn routes(engine: Engine) -> Engine {
    engine.route("oidc/provider/{name}/authorize", |r| {
        r.owns(&["Pragma"])
            .read("Grant a client to know who the caller is.", authorize)
            .update("Grant a client to know who the caller is.", authorize)
    })
}

#[derive(Deserialize, JsonSchema)]
struct AuthorizeInput {
    /// The ID of the requesting client.
    client_id: Option<Text>,
    /// The code challenge derived from the code verifier.
    code_challenge: Option<Text>,
    /// The method that was used to derive the code challenge. The following methods are supported: 'S256', 'plain'. Defaults to
    /// 'plain'.
    code_challenge_method: Option<Text>,
    /// The allowable elapsed time in seconds since the last time the end-user was actively authenticated.
    max_age: Option<Int>,
    /// The value that will be returned in the ID token nonce claim after a token exchange.
    nonce: Option<Text>,
    /// The redirection URI to which the response will be sent.
    redirect_uri: Option<Text>,
    /// A request object, which is not supported.
    request: Option<Text>,
    /// The address of a request object, which is not supported.
    request_uri: Option<Text>,
    /// The OIDC authentication flow to be used. The following response types are supported: 'code'
    response_type: Option<Text>,
    /// A space-delimited, case-sensitive list of scopes to be requested. The 'openid' scope is required.
    scope: Option<Text>,
    /// The value used to maintain state between the authentication request and client.
    state: Option<Text>,
}

/// The services that granting takes.
type Services = (Extension<Oidc>, (Extension<Identity>, Extension<TokenStore>));

async fn authorize(
    (Extension(oidc), (Extension(identity), Extension(tokens))): Services,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    Input(input): Input<AuthorizeInput>,
    caller: Caller,
    call: Arc<Call>,
    txn: Txn,
) -> Result<Reply, EngineError> {
    let Environment { clock, entropy } = &call.environment;
    let asked = Asked::read(input);
    let fail = |code: &'static str, text: &str| Err(Failure::new(code, text).with_state(&asked.state).into());
    let Some(provider) = provider(&txn, mount.namespace, &name).await? else {
        return fail("invalid_request", "provider not found");
    };
    let client = by_id(&txn, mount.namespace, &asked.client_id).await?;
    let (client, challenge) = asked.check(&provider, client).map_err(|at| at.with_state(&asked.state))?;
    if caller.entity_id.is_empty() {
        return fail("access_denied", "identity entity must be associated with the request");
    }
    let Some(entity) = entity_of(&identity, &caller).await? else {
        return fail("access_denied", "identity entity associated with the request not found");
    };
    if !is_assigned(&txn, mount.namespace, &client, &entity).await? {
        return fail("access_denied", "identity entity not authorized by client assignment");
    }
    let now = clock.now();
    let login = tokens.principal(txn.peek(), caller.token.expose(), now).await?;
    let login = login.map_or(Moment::default(), |login| login.entry.created);
    if asked.max_age.is_some_and(|max_age| now.since(login) > max_age) {
        return fail("max_age_violation", "active re-authentication is required by max_age");
    }
    let code = entropy.base62(CODE_LEN)?;
    let grant = Grant {
        provider: name,
        client_id: client.client_id.clone(),
        redirect_uri: asked.redirect_uri,
        entity: entity.id,
        entity_namespace: entity.namespace,
        scopes: asked.scopes.into_iter().filter(|scope| provider.scopes_supported.contains(scope)).collect(),
        nonce: asked.nonce,
        auth_time: asked.max_age.map(|_| login),
        challenge,
        code_expires: now.after(CODE_TTL),
        state: GrantState::Code,
    };
    oidc.keep_grant(&txn, mount.namespace, &code_hash(&code), grant)?;
    let mut answer = json!({ "code": code });
    if let Some(members) = answer.as_object_mut().filter(|_| !asked.state.is_empty()) {
        members.insert("state".to_owned(), asked.state.into());
    }
    Ok(document(200, &answer))
}

/// The request, read.
struct Asked {
    client_id: String,
    challenge: String,
    challenge_method: String,
    /// `None` where none is given, or one that is no span.
    max_age: Option<Duration>,
    max_age_is_wrong: bool,
    nonce: String,
    redirect_uri: String,
    has_request: bool,
    has_request_uri: bool,
    response_type: String,
    scopes: Vec<String>,
    state: String,
}

impl Asked {
    fn read(input: AuthorizeInput) -> Self {
        let text = |text: Option<Text>| text.map(|text| text.0).unwrap_or_default();
        let max_age = input.max_age.map(|age| u64::try_from(age.0).ok().filter(|age| *age > 0));
        let mut scopes: Vec<String> = text(input.scope).split_ascii_whitespace().map(str::to_owned).collect();
        scopes.dedup();
        Self {
            client_id: text(input.client_id),
            challenge: text(input.code_challenge),
            challenge_method: text(input.code_challenge_method),
            max_age_is_wrong: max_age.is_some_and(|age| age.is_none()),
            max_age: max_age.flatten().map(Duration::from_secs),
            nonce: text(input.nonce),
            redirect_uri: text(input.redirect_uri),
            has_request: input.request.is_some_and(|request| !request.0.is_empty()),
            has_request_uri: input.request_uri.is_some_and(|uri| !uri.0.is_empty()),
            response_type: text(input.response_type),
            scopes: super::each_once(scopes),
            state: text(input.state),
        }
    }

    /// Checks what the client asks for, in the order of Vault's.
    fn check(
        &self,
        provider: &Provider,
        client: Option<Arc<Client>>,
    ) -> Result<(Arc<Client>, Option<Challenge>), Failure> {
        let invalid = |text: &str| Failure::new("invalid_request", text);
        if !self.scopes.iter().any(|scope| scope == OPENID) {
            return Err(invalid("openid scope must be requested"));
        }
        match self.response_type.as_str() {
            "" => return Err(invalid("response_type parameter is required")),
            "code" => {}
            _ => return Err(Failure::new("unsupported_response_type", "unsupported response_type value")),
        }
        if self.client_id.is_empty() {
            return Err(invalid("client_id parameter is required"));
        }
        let unknown = || Failure::new("invalid_client_id", "client with client_id not found");
        let client = client.ok_or_else(unknown)?;
        if !allows(provider, &client.client_id) {
            let text = "client is not authorized to use the provider";
            return Err(Failure::new("unauthorized_client", text));
        }
        if self.redirect_uri.is_empty() {
            return Err(invalid("redirect_uri parameter is required"));
        }
        if !redirect::is_allowed(&client.redirect_uris, &self.redirect_uri) {
            let text = "redirect_uri is not allowed for the client";
            return Err(Failure::new("invalid_redirect_uri", text));
        }
        if self.has_request {
            return Err(Failure::new("request_not_supported", "request parameter is not supported"));
        }
        if self.has_request_uri {
            return Err(Failure::new("request_uri_not_supported", "request_uri parameter is not supported"));
        }
        if self.max_age_is_wrong {
            return Err(invalid("max_age must be greater than zero"));
        }
        let challenge = self.challenge()?;
        if client.client_secret.is_none() && challenge.is_none() {
            return Err(invalid("PKCE is required for public clients"));
        }
        Ok((client, challenge))
    }

    fn challenge(&self) -> Result<Option<Challenge>, Failure> {
        if self.challenge.is_empty() && self.challenge_method.is_empty() {
            return Ok(None);
        }
        let challenge = match self.challenge_method.as_str() {
            "" | "plain" => Challenge::Plain(self.challenge.clone()),
            "S256" => Challenge::S256(self.challenge.clone()),
            _ => return Err(Failure::new("invalid_request", "invalid code_challenge_method")),
        };
        if !CHALLENGE_LEN.contains(&self.challenge.len()) {
            return Err(Failure::new("invalid_request", "invalid code_challenge"));
        }
        Ok(Some(challenge))
    }
}
