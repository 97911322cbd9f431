//! `lookup`, `lookup-self`, `lookup-accessor`.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{NamespaceId, View};
use strongroom_engine_api::lenient::Text;
use strongroom_engine_api::{
    Caller, Clock, Data, Engine, EngineError, Extension, Input, Moment, Mount, TokenKind, TokenSettings,
    bad_request,
};
use strongroom_identity::{Effective, Identity, IdentityId};
use strongroom_pipeline::RequestError;
use strongroom_tokens::{TokenEntry, TokenId, TokenStore};

pub(crate) fn routes(engine: Engine) -> Engine {
    engine
        .route("lookup", |r| r.read("Look up a token.", lookup).update("Look up a token.", lookup))
        .route("lookup-self", |r| {
            r.read("Look up the calling token.", lookup_self)
                .update("Look up the calling token.", lookup_self)
        })
        .route("lookup-accessor", |r| r.update("Look up a token by its accessor.", lookup_accessor))
}

#[derive(Deserialize, JsonSchema)]
struct TokenInput {
    /// Token to look up; the calling one where it is left out.
    token: Option<Text>,
}

#[derive(Deserialize, JsonSchema)]
struct AccessorInput {
    /// Accessor of the token.
    accessor: Option<Text>,
}

/// A token as shown.
#[derive(Serialize, JsonSchema)]
struct TokenView {
    /// The accessor; empty for batch tokens.
    accessor: String,
    /// Addresses that the token may be used from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bound_cidrs: Vec<String>,
    /// The time of its creation, in seconds since 1970.
    creation_time: u64,
    /// The TTL it was given at first, in seconds.
    creation_ttl: u64,
    /// Its display name.
    display_name: String,
    /// The identity entity.
    entity_id: String,
    /// Policies of the entity and its groups in other namespaces, by the ids of those.
    #[serde(skip_serializing_if = "Option::is_none")]
    external_namespace_policies: Option<BTreeMap<String, Vec<String>>>,
    /// The time at which it expires (RFC 3339); null: never.
    expire_time: Option<String>,
    /// A hard end after its creation, in seconds; zero: none.
    explicit_max_ttl: u64,
    /// The token; empty where it was looked up by its accessor.
    id: String,
    /// Policies of the entity and its groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    identity_policies: Option<Vec<String>>,
    /// The time of its creation (RFC 3339).
    issue_time: String,
    /// The time of its last renewal (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    last_renewal: Option<String>,
    /// The time of its last renewal, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_renewal_time: Option<u64>,
    /// The metadata that its maker gave it.
    meta: Option<std::collections::BTreeMap<String, String>>,
    /// The path of the namespace it belongs to, where that is not the root namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace_path: String,
    /// Uses left; zero: without limit.
    num_uses: u32,
    /// True if it has no parent.
    orphan: bool,
    /// The path that issued it.
    path: String,
    /// The period of its renewals, in seconds.
    #[serde(skip_serializing_if = "is_zero")]
    period: u64,
    /// Its policies.
    policies: Vec<String>,
    /// True if it may be renewed.
    renewable: bool,
    /// The token role it was made with.
    #[serde(skip_serializing_if = "String::is_empty")]
    role: String,
    /// Its remaining TTL, in seconds; zero if it has no end.
    ttl: u64,
    /// `service` or `batch`.
    #[serde(rename = "type")]
    kind: &'static str,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The services that a lookup asks.
struct Asked<'a> {
    tokens: &'a TokenStore,
    identity: &'a Identity,
}

impl Asked<'_> {
    /// A token as shown, with what follows from its entity.
    async fn show(&self, entry: &TokenEntry, id: &str, now: Moment) -> Result<TokenView, EngineError> {
        let mut view = TokenView::new(self.tokens.namespace_path(entry), entry, id, now);
        let Some(effective) = self.effective(entry).await? else { return Ok(view) };
        if !effective.policies.is_empty() {
            view.identity_policies = Some(effective.policies_of(entry.namespace).to_vec());
            let elsewhere = self.identity.policies_elsewhere(&effective, entry.namespace).await?;
            view.external_namespace_policies = Some(elsewhere);
        }
        Ok(view)
    }

    async fn effective(&self, entry: &TokenEntry) -> Result<Option<Arc<Effective>>, EngineError> {
        match entry.entity() {
            Some((home, id)) => Ok(self.identity.effective(home, IdentityId::of_bytes(id)).await?),
            None => Ok(None),
        }
    }
}

impl TokenView {
    fn new(namespace_path: String, entry: &TokenEntry, id: &str, now: Moment) -> Self {
        let blocks = TokenSettings { bound_cidrs: entry.bound_cidrs.clone(), ..TokenSettings::default() };
        Self {
            accessor: entry.accessor.clone(),
            bound_cidrs: blocks.bound_cidr_texts(),
            creation_time: entry.created.as_secs(),
            creation_ttl: entry.creation_ttl.as_secs(),
            display_name: entry.display_name.clone(),
            entity_id: entry.entity_id.clone(),
            external_namespace_policies: None,
            expire_time: entry.expires.map(Moment::rfc3339),
            explicit_max_ttl: entry.explicit_max_ttl.as_secs(),
            id: id.to_owned(),
            identity_policies: None,
            issue_time: entry.created.rfc3339(),
            last_renewal: entry.renewed.map(Moment::rfc3339),
            last_renewal_time: entry.renewed.map(Moment::as_secs),
            meta: (!entry.metadata.is_empty()).then(|| entry.metadata.clone()),
            namespace_path,
            num_uses: entry.num_uses,
            orphan: entry.is_orphan(),
            path: entry.path.clone(),
            period: entry.period.as_secs(),
            policies: entry.policies.clone(),
            renewable: entry.renewable,
            role: entry.role.clone(),
            ttl: entry.remaining(now).as_secs(),
            kind: entry.kind.name(),
        }
    }
}

async fn lookup(
    Extension(tokens): Extension<TokenStore>,
    Extension(identity): Extension<Identity>,
    Input(input): Input<TokenInput>,
    mount: Arc<Mount>,
    caller: Caller,
    view: View,
    clock: Clock,
) -> Result<Data<TokenView>, EngineError> {
    match input.token.map(|token| token.0).filter(|token| !token.is_empty() && token != caller.token.expose())
    {
        Some(token) => {
            let asked = Asked { tokens: &tokens, identity: &identity };
            told(&asked, &view, mount.namespace, &clock, &token).await
        }
        None => lookup_self(Extension(tokens), Extension(identity), caller, view, clock).await,
    }
}

async fn lookup_self(
    Extension(tokens): Extension<TokenStore>,
    Extension(identity): Extension<Identity>,
    caller: Caller,
    view: View,
    clock: Clock,
) -> Result<Data<TokenView>, EngineError> {
    let (now, token) = (clock.now(), caller.token.expose());
    let found = match caller.kind {
        TokenKind::Service => tokens.token_at(&view, &TokenId::from(&caller)).await?,
        TokenKind::Batch => tokens.principal(&view, token, now).await?.map(|found| found.entry),
    };
    let entry = found.ok_or_else(|| EngineError::Denied("bad token".to_owned()))?;
    let asked = Asked { tokens: &tokens, identity: &identity };
    let mut told = asked.show(&entry, token, now).await?;
    // This very request takes a use.
    told.num_uses = told.num_uses.saturating_sub(1);
    Ok(Data(told))
}

async fn told(
    asked: &Asked<'_>,
    view: &View,
    namespace: NamespaceId,
    clock: &Clock,
    token: &str,
) -> Result<Data<TokenView>, EngineError> {
    let now = clock.now();
    let found = asked.tokens.principal_in(view, namespace, token, now).await?;
    let found = found.ok_or_else(|| EngineError::Denied("bad token".to_owned()))?;
    Ok(Data(asked.show(&found.entry, token, now).await?))
}

async fn lookup_accessor(
    Extension(tokens): Extension<TokenStore>,
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    Input(input): Input<AccessorInput>,
    view: View,
    clock: Clock,
) -> Result<Data<TokenView>, EngineError> {
    let accessor = input.accessor.map(|accessor| accessor.0).filter(|accessor| !accessor.is_empty());
    let accessor = accessor.ok_or_else(|| bad_request(RequestError::list(&["missing accessor"])))?;
    let Some(key) = tokens.token_of_accessor(&view, mount.namespace, &accessor).await? else {
        return Err(bad_request(RequestError::list(&["invalid accessor"])));
    };
    let entry = tokens
        .token_at(&view, &key)
        .await?
        .ok_or_else(|| bad_request(RequestError::list(&["invalid accessor"])))?;
    let asked = Asked { tokens: &tokens, identity: &identity };
    Ok(Data(asked.show(&entry, "", clock.now()).await?))
}
