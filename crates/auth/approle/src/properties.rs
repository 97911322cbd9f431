//! The endpoints for single parts of a role (`role/{name}/policies`, …), each of which a policy can grant by itself.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use strongroom_engine_api::lenient::{Flag, Int, List, Names, Ttl};
use strongroom_engine_api::{
    Data, EngineError, Input, IntoReply, Path, Reply, Route, TokenSettingsInput, Txn, View, bad_request,
    parse_cidrs,
};

use crate::role::{self, Role};
use crate::{cidr, uses};

/// One part of a role.
pub(crate) trait Property: Send + 'static {
    /// The input of POST.
    type Input: DeserializeOwned + JsonSchema + Send + 'static;
    /// The answer of GET.
    type View: Serialize + JsonSchema + Send + 'static;
    /// One line for each of GET, POST and DELETE.
    const SUMMARIES: [&'static str; 3];
    /// A warning that goes with GET.
    const WARNING: Option<&'static str> = None;

    /// The value in the role.
    fn view(role: &Role) -> Self::View;

    /// Takes over what POST gives.
    fn set(role: &mut Role, given: Self::Input) -> Result<(), EngineError>;

    /// Puts the part back to what a new role has.
    fn reset(role: &mut Role);
}

/// The three operations of a part.
pub(crate) fn property<P: Property>(route: Route) -> Route {
    let [read_summary, write_summary, delete_summary] = P::SUMMARIES;
    route.read(read_summary, read::<P>).update(write_summary, write::<P>).delete(delete_summary, remove::<P>)
}

/// An answer with the warning that the part has.
struct Warned<T>(T, Option<&'static str>);

impl<T: Serialize + JsonSchema> IntoReply for Warned<T> {
    fn document(doc: &mut strongroom_engine_api::OperationDoc) {
        Data::<T>::document(doc);
    }

    fn into_reply(self) -> Result<Reply, EngineError> {
        let reply = Data(self.0).into_reply()?;
        Ok(match self.1 {
            Some(warning) => reply.warned(warning),
            None => reply,
        })
    }
}

async fn read<P: Property>(
    Path(name): Path<String>,
    view: View,
) -> Result<Option<Warned<P::View>>, EngineError> {
    Ok(role::find(&view, &name).await?.map(|role| Warned(P::view(&role), P::WARNING)))
}

async fn write<P: Property>(
    Path(name): Path<String>,
    Input(given): Input<P::Input>,
    txn: Txn,
) -> Result<(), EngineError> {
    let name = role::normal(&name);
    let mut role = role::to_change(&txn, &name).await?;
    P::set(&mut role, given)?;
    role.save(&txn, &name)
}

async fn remove<P: Property>(Path(name): Path<String>, txn: Txn) -> Result<(), EngineError> {
    let Some(found) = role::find(&txn, &name).await? else { return Ok(()) };
    let mut role = Role::clone(&found);
    P::reset(&mut role);
    role.save(&txn, &role::normal(&name))
}

fn required<T>(given: Option<T>, name: &str) -> Result<T, EngineError> {
    given.ok_or_else(|| bad_request(format!("missing {name}")))
}

/// The types of a part whose POST takes, and whose GET answers, one member.
macro_rules! members {
    ($property:ident, $input:ident, $view:ident, $(#[$reads:meta])* $field:ident: $given:ty => $answered:ty, $doc:literal) => {
        pub(crate) struct $property;

        #[derive(serde::Deserialize, JsonSchema)]
        pub(crate) struct $input {
            #[doc = $doc]
            $(#[$reads])*
            $field: Option<$given>,
        }

        #[derive(Serialize, JsonSchema)]
        pub(crate) struct $view {
            #[doc = $doc]
            $field: $answered,
        }
    };
}

members!(BindSecretId, BindSecretIdInput, BindSecretIdView, bind_secret_id: Flag => bool,
    "Impose `secret_id` to be presented when logging in using this role.");
members!(BoundCidrList, BoundCidrListInput, BoundCidrListView, #[schemars(extend("x-newer-name" = "secret_id_bound_cidrs", "x-meaning" = "cidr"))] bound_cidr_list: List => Option<Vec<String>>,
    "Deprecated: Please use \"secret_id_bound_cidrs\" instead. Comma separated string or list of CIDR blocks. If set, \
     specifies the blocks of IP addresses which can perform the login operation.");
members!(SecretIdBoundCidrs, SecretIdBoundCidrsInput, SecretIdBoundCidrsView,
    #[schemars(extend("x-meaning" = "cidr"))] secret_id_bound_cidrs: List => Option<Vec<String>>,
    "Comma separated string or list of CIDR blocks. If set, specifies the blocks of IP addresses which can perform the \
     login operation.");
members!(SecretIdNumUses, SecretIdNumUsesInput, SecretIdNumUsesView, secret_id_num_uses: Int => u32,
    "Number of times a secret ID can access the role, after which the secret ID will expire. Zero means unlimited.");
members!(SecretIdTtl, SecretIdTtlInput, SecretIdTtlView, secret_id_ttl: Ttl => u64,
    "Duration in seconds after which the issued secret ID should expire. Zero means no expiration.");
members!(TokenBoundCidrs, TokenBoundCidrsInput, TokenBoundCidrsView, #[schemars(extend("x-meaning" = "cidr"))] token_bound_cidrs: List => Option<Vec<String>>,
    "Comma separated string or JSON list of CIDR blocks. If set, specifies the blocks of IP addresses which are allowed \
     to use the generated token.");
members!(TokenMaxTtl, TokenMaxTtlInput, TokenMaxTtlView, token_max_ttl: Ttl => u64,
    "The maximum lifetime of the generated token, in seconds.");
members!(TokenNumUses, TokenNumUsesInput, TokenNumUsesView, token_num_uses: Int => u32,
    "The maximum number of times a token may be used, a value of zero means unlimited.");
members!(TokenTtl, TokenTtlInput, TokenTtlView, token_ttl: Ttl => u64,
    "The initial ttl of the token to generate, in seconds.");

impl Property for BindSecretId {
    type Input = BindSecretIdInput;
    type View = BindSecretIdView;
    const SUMMARIES: [&'static str; 3] = [
        "Read whether a login needs a secret id.",
        "Set whether a login needs a secret id.",
        "Put back that a login needs a secret id.",
    ];

    fn view(role: &Role) -> Self::View {
        BindSecretIdView { bind_secret_id: role.bind_secret_id }
    }

    fn set(role: &mut Role, given: Self::Input) -> Result<(), EngineError> {
        role.bind_secret_id = required(given.bind_secret_id, "bind_secret_id")?.0;
        Ok(())
    }

    fn reset(role: &mut Role) {
        role.bind_secret_id = true;
    }
}

impl Property for BoundCidrList {
    type Input = BoundCidrListInput;
    type View = BoundCidrListView;
    const SUMMARIES: [&'static str; 3] = [
        "Read the address blocks that logins may come from, by their older name.",
        "Set the address blocks that logins may come from, by their older name.",
        "Let logins come from anywhere, by the older name.",
    ];
    const WARNING: Option<&'static str> = Some(
        "The \"bound_cidr_list\" field is deprecated and will be removed. Please use \"secret_id_bound_cidrs\" instead.",
    );

    fn view(role: &Role) -> Self::View {
        BoundCidrListView { bound_cidr_list: role::bound_cidrs(role) }
    }

    fn set(role: &mut Role, given: Self::Input) -> Result<(), EngineError> {
        set_bound_cidrs(role, given.bound_cidr_list)
    }

    fn reset(role: &mut Role) {
        role.secret_id_bound_cidrs.clear();
    }
}

impl Property for SecretIdBoundCidrs {
    type Input = SecretIdBoundCidrsInput;
    type View = SecretIdBoundCidrsView;
    const SUMMARIES: [&'static str; 3] = [
        "Read the address blocks that logins may come from.",
        "Set the address blocks that logins may come from.",
        "Let logins come from anywhere.",
    ];

    fn view(role: &Role) -> Self::View {
        SecretIdBoundCidrsView { secret_id_bound_cidrs: role::bound_cidrs(role) }
    }

    fn set(role: &mut Role, given: Self::Input) -> Result<(), EngineError> {
        set_bound_cidrs(role, given.secret_id_bound_cidrs)
    }

    fn reset(role: &mut Role) {
        role.secret_id_bound_cidrs.clear();
    }
}

fn set_bound_cidrs(role: &mut Role, given: Option<List>) -> Result<(), EngineError> {
    let Some(blocks) = given else { return Ok(()) };
    if blocks.is_empty() {
        return Err(bad_request("missing bound_cidr_list"));
    }
    role.secret_id_bound_cidrs = cidr::parse(&blocks, "CIDR blocks")?;
    Ok(())
}

impl Property for SecretIdNumUses {
    type Input = SecretIdNumUsesInput;
    type View = SecretIdNumUsesView;
    const SUMMARIES: [&'static str; 3] = [
        "Read how often new secret ids may be used.",
        "Set how often new secret ids may be used.",
        "Put no limit on the use of new secret ids.",
    ];

    fn view(role: &Role) -> Self::View {
        SecretIdNumUsesView { secret_id_num_uses: role.secret_id_num_uses }
    }

    fn set(role: &mut Role, given: Self::Input) -> Result<(), EngineError> {
        let name = "secret_id_num_uses";
        role.secret_id_num_uses = uses(required(given.secret_id_num_uses, name)?.0, name)?;
        Ok(())
    }

    fn reset(role: &mut Role) {
        role.secret_id_num_uses = 0;
    }
}

impl Property for SecretIdTtl {
    type Input = SecretIdTtlInput;
    type View = SecretIdTtlView;
    const SUMMARIES: [&'static str; 3] = [
        "Read how long new secret ids live.",
        "Set how long new secret ids live.",
        "Let new secret ids live without end.",
    ];

    fn view(role: &Role) -> Self::View {
        SecretIdTtlView { secret_id_ttl: role.secret_id_ttl.as_secs() }
    }

    fn set(role: &mut Role, given: Self::Input) -> Result<(), EngineError> {
        role.secret_id_ttl = required(given.secret_id_ttl, "secret_id_ttl")?.0;
        Ok(())
    }

    fn reset(role: &mut Role) {
        role.secret_id_ttl = std::time::Duration::ZERO;
    }
}

impl Property for TokenBoundCidrs {
    type Input = TokenBoundCidrsInput;
    type View = TokenBoundCidrsView;
    const SUMMARIES: [&'static str; 3] = [
        "Read the address blocks that tokens may be used from.",
        "Set the address blocks that tokens may be used from.",
        "Let tokens be used from anywhere.",
    ];

    fn view(role: &Role) -> Self::View {
        let blocks = role.token.bound_cidr_texts();
        TokenBoundCidrsView { token_bound_cidrs: (!blocks.is_empty()).then_some(blocks) }
    }

    fn set(role: &mut Role, given: Self::Input) -> Result<(), EngineError> {
        let Some(blocks) = given.token_bound_cidrs else { return Ok(()) };
        role.token.bound_cidrs = parse_cidrs(&blocks)
            .map_err(|text| bad_request(format!("failed to parse token_bound_cidrs: {text}")))?;
        Ok(())
    }

    fn reset(role: &mut Role) {
        role.token.bound_cidrs.clear();
    }
}

impl Property for TokenMaxTtl {
    type Input = TokenMaxTtlInput;
    type View = TokenMaxTtlView;
    const SUMMARIES: [&'static str; 3] = [
        "Read the most that tokens can live.",
        "Set the most that tokens can live.",
        "Leave the most that tokens can live to the mount.",
    ];

    fn view(role: &Role) -> Self::View {
        TokenMaxTtlView { token_max_ttl: role.token.max_ttl.as_secs() }
    }

    fn set(role: &mut Role, given: Self::Input) -> Result<(), EngineError> {
        role.token.max_ttl = required(given.token_max_ttl, "token_max_ttl")?.0;
        if !role.token.max_ttl.is_zero() && role.token.ttl > role.token.max_ttl {
            return Err(bad_request("token_max_ttl should be greater than or equal to token_ttl"));
        }
        Ok(())
    }

    fn reset(role: &mut Role) {
        role.token.max_ttl = std::time::Duration::ZERO;
    }
}

impl Property for TokenNumUses {
    type Input = TokenNumUsesInput;
    type View = TokenNumUsesView;
    const SUMMARIES: [&'static str; 3] = [
        "Read how often tokens may be used.",
        "Set how often tokens may be used.",
        "Put no limit on the use of tokens.",
    ];

    fn view(role: &Role) -> Self::View {
        TokenNumUsesView { token_num_uses: role.token.num_uses }
    }

    fn set(role: &mut Role, given: Self::Input) -> Result<(), EngineError> {
        role.token.num_uses = uses(required(given.token_num_uses, "token_num_uses")?.0, "'token_num_uses'")?;
        Ok(())
    }

    fn reset(role: &mut Role) {
        role.token.num_uses = 0;
    }
}

impl Property for TokenTtl {
    type Input = TokenTtlInput;
    type View = TokenTtlView;
    const SUMMARIES: [&'static str; 3] = [
        "Read how long tokens live until renewed.",
        "Set how long tokens live until renewed.",
        "Leave to the mount how long tokens live until renewed.",
    ];

    fn view(role: &Role) -> Self::View {
        TokenTtlView { token_ttl: role.token.ttl.as_secs() }
    }

    fn set(role: &mut Role, given: Self::Input) -> Result<(), EngineError> {
        role.token.ttl = required(given.token_ttl, "token_ttl")?.0;
        if !role.token.max_ttl.is_zero() && role.token.ttl > role.token.max_ttl {
            return Err(bad_request("token_ttl should not be greater than token_max_ttl"));
        }
        Ok(())
    }

    fn reset(role: &mut Role) {
        role.token.ttl = std::time::Duration::ZERO;
    }
}

pub(crate) struct Policies;

#[derive(serde::Deserialize, JsonSchema)]
pub(crate) struct PoliciesInput {
    /// Use "`token_policies`" instead. If this and "`token_policies`" are both specified, only "`token_policies`" will be
    /// used.
    #[schemars(extend("x-newer-name" = "token_policies"))]
    policies: Option<Names>,
    /// Comma-separated list of policies.
    token_policies: Option<Names>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct PoliciesView {
    /// Deprecated: "`token_policies`" as given by this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    policies: Option<Vec<String>>,
    /// The policies of the generated tokens.
    token_policies: Vec<String>,
}

impl Property for Policies {
    type Input = PoliciesInput;
    type View = PoliciesView;
    const SUMMARIES: [&'static str; 3] = [
        "Read the policies of tokens.",
        "Set the policies of tokens.",
        "Grant tokens no policy but the default.",
    ];

    fn view(role: &Role) -> Self::View {
        PoliciesView { policies: role::older_policies(role), token_policies: role.token.policies.clone() }
    }

    fn set(role: &mut Role, given: Self::Input) -> Result<(), EngineError> {
        if given.policies.is_none() && given.token_policies.is_none() {
            return Err(bad_request("missing token_policies"));
        }
        let token =
            TokenSettingsInput { token_policies: given.token_policies, ..TokenSettingsInput::default() };
        role.apply_token(token, given.policies, None)
    }

    fn reset(role: &mut Role) {
        role.token.policies.clear();
        role.echoes.policies = false;
    }
}

pub(crate) struct Period;

#[derive(serde::Deserialize, JsonSchema)]
pub(crate) struct PeriodInput {
    /// Use "`token_period`" instead. If this and "`token_period`" are both specified, only "`token_period`" will be used.
    #[schemars(extend("x-newer-name" = "token_period"))]
    period: Option<Ttl>,
    /// If set, tokens created via this role will have no max lifetime; instead, their renewal period will be fixed to
    /// this value.
    token_period: Option<Ttl>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct PeriodView {
    /// Deprecated: "`token_period`" as given by this name, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    period: Option<u64>,
    /// The renewal period of the generated tokens, in seconds.
    token_period: u64,
}

impl Property for Period {
    type Input = PeriodInput;
    type View = PeriodView;
    const SUMMARIES: [&'static str; 3] =
        ["Read the period of tokens.", "Set the period of tokens.", "Make tokens not periodic."];

    fn view(role: &Role) -> Self::View {
        PeriodView { period: role::older_period(role), token_period: role.token.period.as_secs() }
    }

    fn set(role: &mut Role, given: Self::Input) -> Result<(), EngineError> {
        if given.period.is_none() && given.token_period.is_none() {
            return Err(bad_request("missing period"));
        }
        let token = TokenSettingsInput { token_period: given.token_period, ..TokenSettingsInput::default() };
        role.apply_token(token, None, given.period)
    }

    fn reset(role: &mut Role) {
        role.token.period = std::time::Duration::ZERO;
        role.echoes.period = false;
    }
}
