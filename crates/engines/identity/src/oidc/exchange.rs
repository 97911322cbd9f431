//! `oidc/provider/:name/token`: a client gives a code and gets an ID token and an access token. Source: OIDC Core, section
//! 3.1.3; RFC 6749, sections 2.3.1 and 5; RFC 7636, section 4.6.
//!
//! A code is used up by the first client that has authenticated and shows it, whatever comes of it, in the transaction that gives
//! its tokens. Shown again, it makes void what was given for it. Until a client has authenticated, nothing is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use percent_encoding::percent_decode_str;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use strongroom_barrier::Txn;
use strongroom_engine_api::lenient::Text;
use strongroom_engine_api::{
    Clock, Engine, EngineError, Extension, Input, Moment, Mount, Path, Reply, Request, Secret, TokenKind,
    same_bytes,
};
use strongroom_identity::{Effective, Identity};
use strongroom_oidc::{Challenge, Client, Grant, GrantState, Hash, NamedKey, Oidc, Provider, code_hash};
use strongroom_tokens::{NewToken, TokenEntry, TokenStore};

use super::assignments::is_assigned;
use super::claims::Base;
use super::clients::by_id;
use super::document;
use super::failing::Failure;
use super::providers::{allows, issuer_of, provider};
use super::scopes;

/// The name of the provider in an access token.
pub(super) const OF_PROVIDER: &str = "oidc_provider";
/// The client's ID in an access token.
pub(super) const OF_CLIENT: &str = "oidc_client_id";
/// The grant in an access token: the hash of its code.
pub(super) const OF_GRANT: &str = "oidc_grant";

pub(super) fn routes(engine: Engine) -> Engine {
    engine.route("oidc/provider/{name}/token", |r| {
        r.open()
            .owns(&["Pragma", "WWW-Authenticate"])
            .reads_headers(&["Authorization"])
            .update("Get the tokens for an authorization code.", exchange)
    })
}

#[derive(Deserialize, JsonSchema)]
struct ExchangeInput {
    /// The ID of the requesting client.
    client_id: Option<Text>,
    /// The secret of the requesting client.
    client_secret: Option<Text>,
    /// The authorization code received from the provider's authorization endpoint.
    code: Option<Text>,
    /// The code verifier associated with the authorization code.
    code_verifier: Option<Text>,
    /// The authorization grant type. The following grant types are supported: `authorization_code`.
    grant_type: Option<Text>,
    /// The callback location where the authentication response was sent.
    redirect_uri: Option<Text>,
}

/// The services that an exchange takes.
type Services = (Extension<Oidc>, (Extension<Identity>, Extension<TokenStore>));

async fn exchange(
    (Extension(oidc), (Extension(identity), Extension(tokens))): Services,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    Input(input): Input<ExchangeInput>,
    request: Arc<Request>,
    clock: Clock,
    txn: Txn,
) -> Result<Reply, EngineError> {
    let asked = Asked::read(input);
    let invalid = |text: &str| Failure::new("invalid_request", text);
    let provider = provider(&txn, mount.namespace, &name).await?;
    let provider = provider.ok_or_else(|| invalid("provider not found"))?;
    let client = authenticate(&txn, &mount, &asked, &request).await?;
    if !allows(&provider, &client.client_id) {
        return Err(Failure::client("client is not authorized to use the provider").into());
    }
    let key = oidc.key(&txn, mount.namespace, &client.key).await?;
    let key = key.ok_or_else(|| EngineError::Internal("the client's key is gone".to_owned()))?;
    if !key.allows(&client.client_id) {
        return Err(Failure::client("client is not authorized to use the key").into());
    }
    asked.check()?;
    let unknown = || Failure::new("invalid_grant", "authorization grant is invalid or expired");
    let hash = code_hash(asked.code.expose());
    let grant = oidc.grant(&txn, mount.namespace, &hash).await?.ok_or_else(unknown)?;
    let now = clock.now();
    let of = Exchange { oidc: &oidc, identity: &identity, tokens: &tokens, mount: &mount, txn: &txn, now };
    let made = match grant.state {
        GrantState::Code if now < grant.code_expires => {
            let refused = asked.refusal(&name, &client, &grant);
            match refused {
                None => of.tokens(&name, &provider, &client, &key, &grant, &asked, &hash).await?,
                Some(failure) => Err(failure),
            }
        }
        _ => Err(unknown()),
    };
    match made {
        Ok(reply) => Ok(reply),
        Err(failure) => {
            oidc.note_use(
                &txn,
                mount.namespace,
                &hash,
                &grant,
                GrantState::Revoked { until: grant.until() },
            )?;
            Ok(failure.into_reply())
        }
    }
}

/// The client that asks: by its secret, or by its id alone where it has none.
async fn authenticate(
    txn: &Txn,
    mount: &Mount,
    asked: &Asked,
    request: &Request,
) -> Result<Arc<Client>, EngineError> {
    let failed = || Failure::client("client failed to authenticate");
    let basic = match request.headers.get("authorization").and_then(|given| given.first()) {
        Some(header) => basic(header),
        None => None,
    };
    let (id, secret) = match basic {
        Some((id, _)) if !asked.client_id.is_empty() && asked.client_id != id => {
            return Err(Failure::new("invalid_request", "client_id differs from the header's").into());
        }
        Some((id, secret)) => (id, secret),
        None if asked.client_id.is_empty() => return Err(failed().into()),
        None => (asked.client_id.clone(), asked.client_secret.clone()),
    };
    let client = by_id(txn, mount.namespace, &id).await?.ok_or_else(failed)?;
    match &client.client_secret {
        Some(kept) if *kept != secret => Err(failed().into()),
        _ => Ok(client),
    }
}

/// The id and secret of a `Basic` header, each encoded as in a form (RFC 6749, section 2.3.1).
fn basic(header: &str) -> Option<(String, Secret<String>)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = Secret::new(String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?);
    let (id, secret) = decoded.expose().split_once(':')?;
    let text = |text: &str| percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned);
    Some((text(id)?, Secret::new(text(secret)?)))
}

/// The request, read.
struct Asked {
    client_id: String,
    client_secret: Secret<String>,
    code: Secret<String>,
    verifier: Secret<String>,
    grant_type: String,
    redirect_uri: String,
}

impl Asked {
    fn read(input: ExchangeInput) -> Self {
        let text = |text: Option<Text>| text.map(|text| text.0).unwrap_or_default();
        Self {
            client_id: text(input.client_id),
            client_secret: Secret::new(text(input.client_secret)),
            code: Secret::new(text(input.code)),
            verifier: Secret::new(text(input.code_verifier)),
            grant_type: text(input.grant_type),
            redirect_uri: text(input.redirect_uri),
        }
    }

    /// Refuses what lacks a parameter.
    fn check(&self) -> Result<(), Failure> {
        let invalid = |text: &str| Err(Failure::new("invalid_request", text));
        match self.grant_type.as_str() {
            "" => return invalid("grant_type parameter is required"),
            "authorization_code" => {}
            _ => return Err(Failure::new("unsupported_grant_type", "unsupported grant_type value")),
        }
        if self.code.expose().is_empty() {
            return invalid("code parameter is required");
        }
        if self.redirect_uri.is_empty() {
            return invalid("redirect_uri parameter is required");
        }
        Ok(())
    }

    /// The reason why a grant is not what this request may have; `None` where there is none.
    fn refusal(&self, provider: &str, client: &Client, grant: &Grant) -> Option<Failure> {
        let no_grant = |text: &str| Some(Failure::new("invalid_grant", text));
        if grant.client_id != client.client_id {
            return no_grant("authorization code was not issued to the client");
        }
        if grant.provider != provider {
            return no_grant("authorization code was not issued by the provider");
        }
        if grant.redirect_uri != self.redirect_uri {
            return no_grant(
                "redirect_uri does not match the redirect_uri used in the authorization request",
            );
        }
        let verifier = self.verifier.expose();
        let (challenge, proof) = match &grant.challenge {
            // A verifier for nothing: somebody has taken the challenge out of the request (RFC 9700, section 2.1.1).
            None if !verifier.is_empty() => {
                return no_grant("the code was not asked for with a code_challenge");
            }
            None => return None,
            Some(_) if verifier.is_empty() => {
                return Some(Failure::new("invalid_request", "code_verifier parameter is required"));
            }
            Some(Challenge::Plain(challenge)) => (challenge, verifier.clone()),
            Some(Challenge::S256(challenge)) => {
                (challenge, URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes())))
            }
        };
        if same_bytes(challenge.as_bytes(), proof.as_bytes()) {
            return None;
        }
        no_grant("invalid code_verifier")
    }
}

/// An exchange of which the client and the code are known.
struct Exchange<'a> {
    oidc: &'a Oidc,
    identity: &'a Identity,
    tokens: &'a TokenStore,
    mount: &'a Mount,
    txn: &'a Txn,
    now: Moment,
}

impl Exchange<'_> {
    /// Gives the tokens, and notes that the code is used.
    #[allow(clippy::too_many_arguments, reason = "the facts of one exchange, each looked up once")]
    async fn tokens(
        &self,
        name: &str,
        provider: &Provider,
        client: &Client,
        key: &NamedKey,
        grant: &Grant,
        asked: &Asked,
        hash: &Hash,
    ) -> Result<Result<Reply, Failure>, EngineError> {
        let invalid = |text: &str| Ok(Err(Failure::new("invalid_request", text)));
        let entity = self.identity.effective_in(self.txn, grant.entity_namespace, grant.entity).await?;
        let Some(entity) = entity.filter(|entity| !entity.entity.disabled) else {
            return invalid("identity entity associated with the request not found");
        };
        if !is_assigned(self.txn, self.mount.namespace, client, &entity).await? {
            return invalid("identity entity not authorized by client assignment");
        }
        let namespace = self.mount.namespace;
        let claims = scopes::claims(self.txn, namespace, &grant.scopes, &entity, self.now).await?;
        let Some(templated) = claims else { return invalid("the scopes have conflicting claims") };
        let entry = self.access_token(name, client, &entity, hash);
        let new = NewToken { entry, ttl: client.access_token_ttl, ..NewToken::default() };
        let access = self.tokens.make_token(self.txn, self.mount.lifetimes, new).await?;
        let issuer = issuer_of(self.oidc, self.mount, name, provider)?;
        let base = Base {
            issuer: &issuer,
            subject: &entity,
            audience: &client.client_id,
            issued: self.now,
            ttl: client.id_token_ttl,
            namespace: &self.identity.short_id(namespace).await?,
        };
        let mut claims = base.with(templated);
        let algorithm = Oidc::signs_with(key);
        let mut add = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        add("at_hash", algorithm.half_hash(access.token.expose()).into());
        add("c_hash", algorithm.half_hash(asked.code.expose()).into());
        if !grant.nonce.is_empty() {
            add("nonce", grant.nonce.clone().into());
        }
        if let Some(at) = grant.auth_time {
            add("auth_time", at.as_secs().into());
        }
        let until = self.now.after(access.ttl).as_secs().saturating_add(1);
        self.oidc.note_use(self.txn, namespace, hash, grant, GrantState::Used { until })?;
        let answer = json!({
            "access_token": access.token.expose(),
            "expires_in": access.ttl.as_secs(),
            "id_token": self.oidc.sign(key, &claims)?,
            "token_type": "Bearer",
        });
        Ok(Ok(document(200, &answer).header("Pragma", "no-cache")))
    }

    /// A token that no policy lets do anything: what it is good for is its provider's userinfo, which asks for it.
    fn access_token(&self, name: &str, client: &Client, entity: &Effective, hash: &Hash) -> TokenEntry {
        let namespace = self.mount.namespace;
        let internal = [
            (OF_PROVIDER, name.to_owned()),
            (OF_CLIENT, client.client_id.clone()),
            (OF_GRANT, URL_SAFE_NO_PAD.encode(hash)),
        ];
        let internal: BTreeMap<String, String> =
            internal.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        TokenEntry {
            path: format!("{}oidc/provider/{name}/token", self.mount.path),
            display_name: "oidc-provider".to_owned(),
            no_default_policy: true,
            kind: TokenKind::Batch,
            entity_id: entity.id.to_string(),
            entity_namespace: Some(entity.namespace).filter(|home| *home != namespace),
            namespace,
            internal,
            ..TokenEntry::default()
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn a_header_names_a_client_and_its_secret() {
        let header = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let read = |text: &str| basic(text).map(|(id, secret)| (id, secret.expose().clone()));
        let pair = |id: &str, secret: &str| Some((id.to_owned(), secret.to_owned()));
        assert_eq!(read(&header("id:hvo_secret")), pair("id", "hvo_secret"));
        assert_eq!(read(&header("id:hvo%5Fsecret:x")), pair("id", "hvo_secret:x"));
        assert_eq!(read(&header("id:").replace("Basic", "basic")), pair("id", ""));
        for other in ["", "Basic", "Basic ", "Basic !", "Bearer x", &header("id")] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
