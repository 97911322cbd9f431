//! `create`, `create-orphan`, `create/:role`.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use strongroom_barrier::Txn;
use strongroom_engine_api::lenient::{DurationText, Flag, Int, Names, Pairs, Text};
use strongroom_engine_api::{
    Call, Caller, Engine, EngineError, Extension, Input, Meaning, Path, Route, TokenKind, bad_request,
    parse_duration,
};
use strongroom_identity::{Identity, IdentityId, Placed};
use strongroom_mfa::Mfa;
use strongroom_mounts::Mounts;
use strongroom_pipeline::{ServerPart, ServerReply};
use strongroom_policies::Policies;
use strongroom_policy::ROOT_POLICY_NAME;
use strongroom_tokens::{NewToken, TokenEntry, TokenId, TokenRole, TokenStore};

use crate::issued_identity;
use crate::policies::{Wish, glob};

pub(crate) fn routes(engine: Engine) -> Engine {
    engine
        .route("create", |r| meant(r.update("Create a token, a child of the calling one.", create)))
        .route("create-orphan", |r| meant(r.update("Create a token without a parent.", create_orphan)))
        .route("create/{role_name}", |r| {
            meant(r.update("Create a token as a role has it.", create_with_role))
        })
}

/// The route, with what creating makes of texts.
fn meant(route: Route) -> Route {
    route
        .means("display_name", Meaning::Each(|text| Some(display_name(text))))
        .means("entity_alias", Meaning::Each(|text| Some(text.to_lowercase())))
}

/// The properties asked for.
#[derive(Deserialize, JsonSchema)]
struct CreateInput {
    /// Name to associate with this token.
    display_name: Option<Text>,
    /// Name of the entity alias to associate with this token; the role must allow it.
    entity_alias: Option<Text>,
    /// Explicit Max TTL of this token: a hard end, whatever changes later.
    explicit_max_ttl: Option<DurationText>,
    /// Value for the token; needs root or sudo.
    id: Option<Text>,
    /// Use 'ttl' instead.
    #[schemars(extend("x-newer-name" = "ttl"))]
    lease: Option<DurationText>,
    /// Arbitrary key=value metadata to associate with the token.
    meta: Option<Pairs>,
    /// Do not include default policy for this token.
    no_default_policy: Option<Flag>,
    /// Create the token with no parent; needs root or sudo.
    no_parent: Option<Flag>,
    /// Max number of uses for this token; zero means without limit.
    num_uses: Option<Int>,
    /// Renew period: the token can be renewed for ever, each time for this long; needs root or sudo.
    period: Option<DurationText>,
    /// List of policies for the token.
    policies: Option<Names>,
    /// Allow token to be renewed past its initial TTL up to system/mount maximum TTL.
    renewable: Option<Flag>,
    /// Time to live for this token.
    ttl: Option<DurationText>,
    /// Token type: service or batch.
    #[serde(rename = "type")]
    kind: Option<Text>,
}

async fn create(
    services: CreatingServices,
    Input(input): Input<CreateInput>,
    caller: Caller,
    call: Arc<Call>,
    txn: Txn,
) -> Result<ServerReply, EngineError> {
    make(&services, &call, &txn, &caller, input, None, false).await
}

async fn create_orphan(
    services: CreatingServices,
    Input(input): Input<CreateInput>,
    caller: Caller,
    call: Arc<Call>,
    txn: Txn,
) -> Result<ServerReply, EngineError> {
    make(&services, &call, &txn, &caller, input, None, true).await
}

async fn create_with_role(
    services: CreatingServices,
    Path(role_name): Path<String>,
    Input(input): Input<CreateInput>,
    caller: Caller,
    call: Arc<Call>,
    txn: Txn,
) -> Result<ServerReply, EngineError> {
    let role = services.tokens().token_role(&txn, call.mount.namespace, &role_name).await?;
    let role = role.ok_or_else(|| bad_request(format!("unknown role {role_name}")))?;
    make(&services, &call, &txn, &caller, input, Some((&role_name, &role)), false).await
}

/// Makes the token, as far as the caller may have it made.
async fn make(
    services: &CreatingServices,
    call: &Arc<Call>,
    txn: &Txn,
    caller: &Caller,
    input: CreateInput,
    role: Option<(&str, &TokenRole)>,
    without_parent: bool,
) -> Result<ServerReply, EngineError> {
    let (policy_store, tokens, identity) = (services.policies(), services.tokens(), services.identity());
    let parent = parent(tokens, txn, caller).await?;
    let sudo = caller.sudo || parent.is_root();
    let asked = Asked::read(input)?;
    let (role_name, role) = role.unzip();
    asked.check(role, sudo)?;
    // Names of policies mean those of the new token's namespace, so the caller's own are no measure there.
    let is_elsewhere = caller.namespace != call.mount.namespace;
    if is_elsewhere && !sudo {
        return Err(bad_request(
            "root or sudo privileges required to directly generate a token in a child namespace",
        ));
    }
    let policies = Wish {
        asked: &asked.policies,
        no_default: asked.no_default_policy || role.is_some_and(|role| role.no_default_policy),
        parent: if is_elsewhere { &[] } else { &parent.policies },
        role,
        sudo,
    }
    .grant()?;
    let orphan = role.map_or(asked.no_parent || without_parent, |role| role.orphan);
    let mut entry = TokenEntry {
        parent: (!orphan).then(|| TokenId::from(caller)),
        path: crate::full_path(call, &place(role_name, role)),
        display_name: asked.display_name.clone(),
        metadata: asked.metadata.clone(),
        kind: asked.kind(role),
        renewable: asked.renewable && role.is_none_or(|role| role.renewable),
        no_default_policy: asked.no_default_policy,
        role: role_name.unwrap_or_default().to_owned(),
        namespace: call.mount.namespace,
        policies,
        ..TokenEntry::default()
    };
    asked.limit(&mut entry, role, call);
    let entity = asked.entity(identity, txn, call, &parent, &mut entry).await?;
    if !asked.entity_alias.is_empty() {
        refuse_second_factor(services, txn, call, entity).await?;
    }
    let without_end = ends_never(&entry, asked.ttl, &parent)?;
    if entry.is_root() && !entry.namespace.is_root() {
        return Err(bad_request("root tokens may not be created from a non-root namespace"));
    }
    if entry.kind == TokenKind::Batch && entry.is_root() {
        return Err(bad_request("batch tokens cannot be root tokens"));
    }
    for policy in entry.policies.iter().filter(|policy| *policy != ROOT_POLICY_NAME) {
        if policy_store.policy_text(txn.peek(), call.mount.namespace, policy).await?.is_none() {
            call.warn(format!("Policy {policy:?} does not exist"));
        }
    }
    let new = NewToken { entry, ttl: asked.ttl, id: asked.id, without_end };
    let mut made = tokens.make_token(txn, call.mount.lifetimes, new).await?;
    if let Some(entity) = entity {
        made.identity = issued_identity(identity, txn, entity, call.mount.namespace).await?;
    }
    let made_root = made.entry.is_root();
    let part = ServerPart {
        auth: Some(made.auth_member()?),
        is_new_token: true,
        made_root,
        ..ServerPart::default()
    };
    Ok(ServerReply::of(part).warned(made.warnings.clone()))
}

/// Refuses a token of a chosen entity whose logins need a second factor: nobody is there to give one.
async fn refuse_second_factor(
    services: &CreatingServices,
    txn: &Txn,
    call: &Call,
    entity: Option<(Placed, bool, bool)>,
) -> Result<(), EngineError> {
    let ((mfa, mounts), Some(((namespace, entity), _, _))) = (services.second_factors(), entity) else {
        return Ok(());
    };
    let router = mounts.router().await?;
    let mounted = router.by_id(call.mount.namespace, call.mount.id).ok_or(EngineError::NotFound)?;
    let rights = services.identity().effective_in(txn, namespace, entity).await?;
    if mfa.required(txn, &mounted, rights.as_ref()).await?.is_empty() {
        return Ok(());
    }
    let text = "a login of this entity needs a second factor, so no token can be created for its alias";
    Err(EngineError::Denied(text.to_owned()))
}

/// The services that making a token takes.
type CreatingServices = (
    (Extension<Policies>, Extension<TokenStore>),
    (Extension<Identity>, (Extension<Mfa>, Extension<Mounts>)),
);

/// The services by name.
trait Creating {
    fn policies(&self) -> &Policies;
    fn tokens(&self) -> &TokenStore;
    fn identity(&self) -> &Identity;
    fn second_factors(&self) -> (&Mfa, &Mounts);
}

impl Creating for CreatingServices {
    fn policies(&self) -> &Policies {
        &self.0.0.0
    }

    fn tokens(&self) -> &TokenStore {
        &self.0.1.0
    }

    fn identity(&self) -> &Identity {
        &self.1.0.0
    }

    fn second_factors(&self) -> (&Mfa, &Mounts) {
        (&self.1.1.0.0, &self.1.1.1.0)
    }
}

/// The calling token, if it may make others.
async fn parent(tokens: &TokenStore, txn: &Txn, caller: &Caller) -> Result<Arc<TokenEntry>, EngineError> {
    if caller.ephemeral {
        return Err(bad_request("requests with inline authentication cannot create tokens"));
    }
    if caller.kind == TokenKind::Batch {
        return Err(bad_request("batch tokens cannot create more tokens"));
    }
    let parent = tokens.token_at(txn, &TokenId::from(caller)).await?;
    let parent = parent.ok_or_else(|| EngineError::Denied("permission denied".to_owned()))?;
    if parent.num_uses > 0 {
        return Err(bad_request("restricted use token cannot generate child tokens"));
    }
    Ok(parent)
}

/// The path below the mount that a token is noted to come from.
fn place(role_name: Option<&str>, role: Option<&TokenRole>) -> String {
    match (role_name, role.map_or("", |role| role.path_suffix.as_str())) {
        (None, _) => "create".to_owned(),
        (Some(name), "") => format!("create/{name}"),
        (Some(name), suffix) => format!("create/{name}/{suffix}"),
    }
}

/// True if the token is to have no end: a root token for which nothing else is asked. One that ends cannot make it.
fn ends_never(entry: &TokenEntry, ttl: Duration, parent: &TokenEntry) -> Result<bool, EngineError> {
    let bounded = !ttl.is_zero() || !entry.period.is_zero() || !entry.explicit_max_ttl.is_zero();
    if !entry.is_root() || bounded {
        return Ok(false);
    }
    if parent.expires.is_some() {
        return Err(bad_request("expiring root tokens cannot create non-expiring root tokens"));
    }
    Ok(true)
}

/// The parameters, read.
struct Asked {
    display_name: String,
    entity_alias: String,
    explicit_max_ttl: Duration,
    id: Option<String>,
    metadata: std::collections::BTreeMap<String, String>,
    no_default_policy: bool,
    no_parent: bool,
    num_uses: u32,
    period: Duration,
    policies: Vec<String>,
    renewable: bool,
    ttl: Duration,
    kind: Option<TokenKind>,
}

impl Asked {
    fn read(input: CreateInput) -> Result<Self, EngineError> {
        let flag = |flag: Option<Flag>| flag.is_some_and(|flag| flag.0);
        let text = |text: Option<Text>| text.map(|text| text.0).unwrap_or_default();
        let num_uses = match input.num_uses.map_or(0, |uses| uses.0) {
            ..0 => return Err(bad_request("number of uses cannot be negative")),
            uses => u32::try_from(uses).map_err(|_too_large| bad_request("number of uses is too large"))?,
        };
        let kind = match text(input.kind).as_str() {
            "" => None,
            "service" => Some(TokenKind::Service),
            "batch" => Some(TokenKind::Batch),
            _ => return Err(bad_request("invalid 'token_type' value")),
        };
        Ok(Self {
            display_name: display_name(&text(input.display_name)),
            entity_alias: text(input.entity_alias),
            explicit_max_ttl: span("explicit_max_ttl", input.explicit_max_ttl)?,
            id: input.id.map(|id| id.0).filter(|id| !id.is_empty()),
            metadata: input.meta.map(|meta| meta.0).unwrap_or_default(),
            no_default_policy: flag(input.no_default_policy),
            no_parent: flag(input.no_parent),
            num_uses,
            period: span("period", input.period)?,
            policies: input.policies.map(|policies| policies.0).unwrap_or_default(),
            renewable: input.renewable.is_none_or(|renewable| renewable.0),
            ttl: match input.ttl {
                Some(ttl) => span("ttl", Some(ttl))?,
                None => span("lease", input.lease)?,
            },
            kind,
        })
    }

    /// Refuses what the caller may not ask for, and what does not go together.
    fn check(&self, role: Option<&TokenRole>, sudo: bool) -> Result<(), EngineError> {
        let needs = |what: &str| bad_request(format!("root or sudo privileges required to {what}"));
        if self.no_parent && role.is_none() && !sudo {
            return Err(needs("create orphan token"));
        }
        if !self.period.is_zero() && !sudo {
            return Err(needs("create periodic token"));
        }
        if let Some(id) = &self.id {
            if !sudo {
                return Err(needs("specify token id"));
            }
            check_id(id)?;
        }
        self.check_alias(role)?;
        if self.kind(role) == TokenKind::Batch {
            let unfit = |name: &str| bad_request(format!("batch tokens cannot have {name:?} set"));
            let given = [
                ("num_uses", self.num_uses > 0),
                ("period", !self.period.is_zero()),
                ("explicit_max_ttl", !self.explicit_max_ttl.is_zero()),
            ];
            if let Some((name, _)) = given.into_iter().find(|(_, given)| *given) {
                return Err(unfit(name));
            }
        }
        Ok(())
    }

    fn check_alias(&self, role: Option<&TokenRole>) -> Result<(), EngineError> {
        if self.entity_alias.is_empty() {
            return Ok(());
        }
        let Some(role) = role else {
            return Err(bad_request("'entity_alias' is only allowed in combination with token role"));
        };
        let alias = self.entity_alias.to_lowercase();
        if !role.allowed_entity_aliases.iter().any(|pattern| glob(pattern, &alias)) {
            return Err(bad_request("invalid 'entity_alias' value"));
        }
        Ok(())
    }

    /// Sets the token's entity: that of the alias asked for, else its parent's. An orphan has none of its maker's. Answers it,
    /// and whether the alias has changed or made it.
    async fn entity(
        &self,
        identity: &Identity,
        txn: &Txn,
        call: &Call,
        parent: &TokenEntry,
        entry: &mut TokenEntry,
    ) -> Result<Option<(Placed, bool, bool)>, EngineError> {
        if !self.entity_alias.is_empty() {
            let found = identity.entity_for_alias(txn, &call.mount, &self.entity_alias).await?;
            entry.entity_id = found.entity.to_string();
            return Ok(Some(((call.mount.namespace, found.entity), found.changed, found.is_new)));
        }
        let Some((home, id)) = parent.entity().filter(|_| entry.parent.is_some()) else { return Ok(None) };
        entry.entity_id.clone_from(&parent.entity_id);
        entry.entity_namespace = Some(home).filter(|home| *home != entry.namespace);
        Ok(Some(((home, IdentityId::of_bytes(id)), false, false)))
    }

    fn kind(&self, role: Option<&TokenRole>) -> TokenKind {
        role.map_or(self.kind.unwrap_or_default(), |role| role.token_type.choose(self.kind))
    }

    /// Sets what bounds the token: the lesser of what is asked for and what the role says.
    fn limit(&self, entry: &mut TokenEntry, role: Option<&TokenRole>, call: &Call) {
        let none = TokenRole::default();
        let role = role.unwrap_or(&none);
        entry.bound_cidrs.clone_from(&role.bound_cidrs);
        entry.explicit_max_ttl =
            lesser(call, "Explicit max TTL", self.explicit_max_ttl, role.explicit_max_ttl);
        if entry.kind == TokenKind::Batch {
            return;
        }
        entry.period = lesser(call, "Period", self.period, role.period);
        entry.asked_period = self.period;
        entry.num_uses = match (self.num_uses, role.num_uses) {
            (0, uses) | (uses, 0) => uses,
            (asked, roles) => asked.min(roles),
        };
    }
}

/// The lesser of two spans, where zero is none; with Vault's warning where both are given.
fn lesser(call: &Call, what: &str, asked: Duration, roles: Duration) -> Duration {
    match (asked.is_zero(), roles.is_zero()) {
        (true, _) => roles,
        (_, true) => asked,
        _ => {
            let lesser = asked.min(roles);
            call.warn(format!(
                "{what} specified both during creation call and in role; using the lesser value of {} seconds",
                lesser.as_secs()
            ));
            lesser
        }
    }
}

fn span(name: &str, text: Option<DurationText>) -> Result<Duration, EngineError> {
    let Some(DurationText(text)) = text else { return Ok(Duration::ZERO) };
    if text.trim_start().starts_with('-') {
        return Err(bad_request(format!("{name} must be positive")));
    }
    parse_duration(&text).map_err(|error| bad_request(error.to_string()))
}

/// `token`, and what is asked for in letters, digits and hyphens.
fn display_name(asked: &str) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let cleaned: String = asked.chars().map(clean).collect();
    match cleaned.trim_end_matches('-') {
        "" => "token".to_owned(),
        name => format!("token-{name}"),
    }
}

/// A token's text chosen by an operator must not look like one that was made here.
fn check_id(id: &str) -> Result<(), EngineError> {
    for prefix in ["hvs.", "hvb.", "hvr.", "s.", "b.", "r."] {
        if id.starts_with(prefix) {
            return Err(bad_request(format!("custom token ID cannot have the '{prefix}' prefix")));
        }
    }
    if id.contains('.') {
        return Err(bad_request("custom token ID cannot have a '.' in the value"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_are_cleaned() {
        assert_eq!(display_name(""), "token");
        assert_eq!(display_name("hello World!!x"), "token-hello-World--x");
        assert_eq!(display_name("ci!!"), "token-ci");
        assert_eq!(display_name("!!"), "token");
    }
}
