//! `roles/:name`.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{Txn, View};
use strongroom_engine_api::lenient::{Flag, Int, List, Names, Text, Ttl};
use strongroom_engine_api::{
    Call, Data, Engine, EngineError, Extension, Input, Meaning, Mount, Paging, Path, Reply, TokenSettings,
    TokenSettingsInput, bad_request, normal_policies, parse_cidrs,
};
use strongroom_tokens::{RoleTokenType, TokenRole, TokenStore};

pub(crate) fn routes(engine: Engine) -> Engine {
    engine.route("roles", |r| r.list("List token roles.", list)).route("roles/{role_name}", |r| {
        r.read("Read a token role.", read)
            .upsert("Write a token role; what is left out stays as it was.", exists, write)
            .delete("Delete a token role; its tokens stay and cannot be renewed.", delete)
            .means("token_type", Meaning::Each(token_type_in_one_form))
    })
}

/// The parameters; what is left out stays as it was.
#[derive(Deserialize, JsonSchema)]
struct RoleInput {
    /// String or JSON list of allowed entity aliases. If set, specifies the entity aliases which are allowed to be
    /// used during token generation. Supports globbing.
    allowed_entity_aliases: Option<Names>,
    /// If set, tokens can be created with any subset of the policies in this list, rather than the normal semantics
    /// of tokens being a subset of the calling token's policies.
    allowed_policies: Option<Names>,
    /// If set, tokens can be created with any subset of glob matched policies in this list.
    allowed_policies_glob: Option<Names>,
    /// Use `token_bound_cidrs` instead.
    #[schemars(extend("x-newer-name" = "token_bound_cidrs", "x-meaning" = "cidr"))]
    bound_cidrs: Option<List>,
    /// If set, successful token creation via this role will require that no policies in the given list are requested.
    disallowed_policies: Option<Names>,
    /// The same with globs.
    disallowed_policies_glob: Option<Names>,
    /// Use `token_explicit_max_ttl` instead.
    #[schemars(extend("x-newer-name" = "token_explicit_max_ttl"))]
    explicit_max_ttl: Option<Ttl>,
    /// If true, tokens created via this role will be orphan tokens (have no parent).
    orphan: Option<Flag>,
    /// If set, tokens created via this role will contain the given suffix as a part of their path.
    path_suffix: Option<Text>,
    /// Use `token_period` instead.
    #[schemars(extend("x-newer-name" = "token_period"))]
    period: Option<Ttl>,
    /// Tokens created via this role will be renewable or not according to this value. Defaults to true.
    renewable: Option<Flag>,
    /// Comma separated string or JSON list of CIDR blocks that tokens may be used from.
    #[schemars(extend("x-meaning" = "cidr"))]
    token_bound_cidrs: Option<List>,
    /// If set, tokens created via this role carry an explicit maximum TTL.
    token_explicit_max_ttl: Option<Ttl>,
    /// If true, the 'default' policy will not automatically be added to generated tokens.
    token_no_default_policy: Option<Flag>,
    /// The maximum number of times a token may be used; zero means unlimited.
    token_num_uses: Option<Int>,
    /// If set, tokens created via this role will have no max lifetime; their renewal period is fixed to this value.
    token_period: Option<Ttl>,
    /// The type of token to generate: service, batch, default-service or default-batch.
    token_type: Option<Text>,
}

/// A role as it is read.
#[derive(Serialize, JsonSchema)]
struct RoleView {
    /// Entity aliases that may be asked for.
    allowed_entity_aliases: Option<Vec<String>>,
    /// Policies that tokens may be given.
    allowed_policies: Vec<String>,
    /// The same with globs.
    allowed_policies_glob: Vec<String>,
    /// As given under the older name.
    #[serde(skip_serializing_if = "Option::is_none")]
    bound_cidrs: Option<Vec<String>>,
    /// Policies that tokens may not be given.
    disallowed_policies: Vec<String>,
    /// The same with globs.
    disallowed_policies_glob: Vec<String>,
    /// As given under the older name, in seconds.
    explicit_max_ttl: u64,
    /// The role's name.
    name: String,
    /// True if tokens have no parent.
    orphan: bool,
    /// A suffix for the path of the tokens.
    path_suffix: String,
    /// As given under the older name, in seconds.
    period: u64,
    /// True if tokens may be renewed.
    renewable: bool,
    /// CIDR blocks that tokens may be used from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    token_bound_cidrs: Vec<String>,
    /// The explicit maximum TTL of tokens, in seconds; zero: none.
    token_explicit_max_ttl: u64,
    /// True if the 'default' policy is left out.
    token_no_default_policy: bool,
    /// The number of times a token may be used.
    #[serde(skip_serializing_if = "is_zero")]
    token_num_uses: u32,
    /// The renewal period of tokens, in seconds; zero: not periodic.
    token_period: u64,
    /// The type of tokens.
    token_type: &'static str,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl RoleView {
    fn new(name: String, role: &TokenRole) -> Self {
        let blocks = TokenSettings { bound_cidrs: role.bound_cidrs.clone(), ..TokenSettings::default() };
        let older = |given: bool, span: Duration| if given { span.as_secs() } else { 0 };
        let aliases = role.allowed_entity_aliases.clone();
        Self {
            allowed_entity_aliases: (!aliases.is_empty()).then_some(aliases),
            allowed_policies: role.allowed_policies.clone(),
            allowed_policies_glob: role.allowed_policies_glob.clone(),
            bound_cidrs: role.older.bound_cidrs.then(|| blocks.bound_cidr_texts()),
            disallowed_policies: role.disallowed_policies.clone(),
            disallowed_policies_glob: role.disallowed_policies_glob.clone(),
            explicit_max_ttl: older(role.older.explicit_max_ttl, role.explicit_max_ttl),
            name,
            orphan: role.orphan,
            path_suffix: role.path_suffix.clone(),
            period: older(role.older.period, role.period),
            renewable: role.renewable,
            token_bound_cidrs: blocks.bound_cidr_texts(),
            token_explicit_max_ttl: role.explicit_max_ttl.as_secs(),
            token_no_default_policy: role.no_default_policy,
            token_num_uses: role.num_uses,
            token_period: role.period.as_secs(),
            token_type: role.token_type.name(),
        }
    }
}

async fn list(
    Extension(tokens): Extension<TokenStore>,
    mount: Arc<Mount>,
    paging: Paging,
    view: View,
) -> Result<Reply, EngineError> {
    Reply::keys(
        &tokens.token_role_names(&view, mount.namespace, paging.after.as_deref(), paging.limit).await?,
    )
}

async fn read(
    Extension(tokens): Extension<TokenStore>,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    view: View,
) -> Result<Option<Data<RoleView>>, EngineError> {
    let role = tokens.token_role(&view, mount.namespace, &name).await?;
    Ok(role.map(|role| Data(RoleView::new(name, &role))))
}

async fn exists(
    Extension(tokens): Extension<TokenStore>,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    txn: Txn,
) -> Result<bool, EngineError> {
    Ok(tokens.token_role(&txn, mount.namespace, &name).await?.is_some())
}

async fn write(
    Extension(tokens): Extension<TokenStore>,
    call: Arc<Call>,
    Path(name): Path<String>,
    Input(input): Input<RoleInput>,
    txn: Txn,
) -> Result<(), EngineError> {
    let namespace = call.mount.namespace;
    let kept = tokens.token_role(&txn, namespace, &name).await?;
    let mut role = kept.map_or_else(TokenRole::default, |role| (*role).clone());
    apply(&mut role, input, &call)?;
    check(&role)?;
    let max = call.mount.lifetimes.max;
    if role.explicit_max_ttl > max {
        call.warn(format!(
            "Given explicit max TTL of {} is greater than system/mount allowed value of {} seconds; tokens created \
             against this role end at the latter",
            role.explicit_max_ttl.as_secs(),
            max.as_secs()
        ));
    }
    Ok(tokens.put_token_role(&txn, namespace, &name, role)?)
}

async fn delete(
    Extension(tokens): Extension<TokenStore>,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    txn: Txn,
) -> Result<(), EngineError> {
    tokens.delete_token_role(&txn, mount.namespace, &name);
    Ok(())
}

/// Takes over what is given.
fn apply(role: &mut TokenRole, mut input: RoleInput, call: &Call) -> Result<(), EngineError> {
    warn_of_both(call, "period", input.token_period.is_some() && input.period.is_some());
    warn_of_both(
        call,
        "explicit_max_ttl",
        input.token_explicit_max_ttl.is_some() && input.explicit_max_ttl.is_some(),
    );
    warn_of_both(call, "bound_cidrs", input.token_bound_cidrs.is_some() && input.bound_cidrs.is_some());
    older(&mut input.token_period, input.period, &mut role.older.period);
    older(&mut input.token_explicit_max_ttl, input.explicit_max_ttl, &mut role.older.explicit_max_ttl);
    older(&mut input.token_bound_cidrs, input.bound_cidrs, &mut role.older.bound_cidrs);
    let policies = |given: Option<Names>, kept: &mut Vec<String>| {
        if let Some(Names(names)) = given {
            *kept = normal_policies(&names);
        }
    };
    policies(input.allowed_policies, &mut role.allowed_policies);
    policies(input.allowed_policies_glob, &mut role.allowed_policies_glob);
    policies(input.disallowed_policies, &mut role.disallowed_policies);
    policies(input.disallowed_policies_glob, &mut role.disallowed_policies_glob);
    policies(input.allowed_entity_aliases, &mut role.allowed_entity_aliases);
    let span = |given: Option<Ttl>, kept: Duration| given.map_or(kept, |given| given.0);
    role.period = span(input.token_period, role.period);
    role.explicit_max_ttl = span(input.token_explicit_max_ttl, role.explicit_max_ttl);
    let flag = |given: Option<Flag>, kept: bool| given.map_or(kept, |given| given.0);
    role.orphan = flag(input.orphan, role.orphan);
    role.renewable = flag(input.renewable, role.renewable);
    role.no_default_policy = flag(input.token_no_default_policy, role.no_default_policy);
    if let Some(List(blocks)) = input.token_bound_cidrs {
        role.bound_cidrs = parse_cidrs(&blocks).map_err(bad_request)?;
    }
    if let Some(Int(uses)) = input.token_num_uses {
        role.num_uses = match uses {
            ..0 => return Err(bad_request("'token_num_uses' cannot be negative")),
            uses => u32::try_from(uses).map_err(|_too_large| bad_request("'token_num_uses' is too large"))?,
        };
    }
    if let Some(Text(suffix)) = input.path_suffix {
        check_suffix(&suffix)?;
        role.path_suffix = suffix;
    }
    if let Some(Text(kind)) = input.token_type {
        role.token_type = match kind.as_str() {
            "" => RoleTokenType::default(),
            kind => RoleTokenType::from_name(kind)
                .ok_or_else(|| bad_request(format!("invalid 'token_type' value {kind:?}")))?,
        };
    }
    Ok(())
}

/// Works in a parameter's older name; the newer one counts where both are given, and reads then do not answer the
/// older one.
fn older<T>(newer: &mut Option<T>, given: Option<T>, echoed: &mut bool) {
    let given = given.filter(|_| newer.is_none());
    TokenSettingsInput::accept_older(newer, given, echoed);
}

fn warn_of_both(call: &Call, name: &str, both: bool) {
    if both {
        call.warn(format!(
            "Both 'token_{name}' and deprecated '{name}' value supplied, ignoring the deprecated value"
        ));
    }
}

/// A type of token by the name it is kept under.
fn token_type_in_one_form(text: &str) -> Option<String> {
    if text.is_empty() {
        return Some(RoleTokenType::default().name().to_owned());
    }
    RoleTokenType::from_name(text).map(|kind| kind.name().to_owned())
}

/// Refuses settings that do not go together: what a batch token cannot have.
fn check(role: &TokenRole) -> Result<(), EngineError> {
    let makes_batch = matches!(role.token_type, RoleTokenType::Batch | RoleTokenType::DefaultBatch);
    if role.token_type == RoleTokenType::Batch {
        let given = [
            ("non-orphan tokens", !role.orphan),
            ("periodic tokens", !role.period.is_zero()),
            ("renewable tokens", role.renewable),
            ("tokens with an explicit max TTL", !role.explicit_max_ttl.is_zero()),
        ];
        if let Some((what, _)) = given.into_iter().find(|(_, given)| *given) {
            let text = format!("'token_type' cannot be 'batch' when role is set to generate {what}");
            return Err(bad_request(text));
        }
    }
    let given =
        [("periodic tokens", !role.period.is_zero()), ("tokens with limited use count", role.num_uses > 0)];
    match given.into_iter().find(|(_, given)| makes_batch && *given) {
        Some((what, _)) => Err(bad_request(format!(
            "'token_type' cannot be 'batch' or 'default_batch' when set to generate {what}"
        ))),
        None => Ok(()),
    }
}

/// At least three letters, digits, `_`, `-` and `.`, the first and last none of the last two.
fn check_suffix(suffix: &str) -> Result<(), EngineError> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let whole = suffix.chars().all(|c| word(c) || matches!(c, '-' | '.'));
    let good = suffix.is_empty()
        || (suffix.len() >= 3 && whole && suffix.starts_with(word) && suffix.ends_with(word));
    if good {
        return Ok(());
    }
    Err(bad_request("given role path suffix contains invalid characters; must match \\w[\\w-.]+\\w"))
}
