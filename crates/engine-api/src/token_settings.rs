//! The `token_*` parameters that every auth method's roles share. Source: Vault's API documentation, the
//! "Parameters" of any auth method's role (`token_ttl`, `token_policies`, …).

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use strongroom_wire::lenient::{Flag, Int, List, Names, Text, Ttl};

use crate::doc::fields_of;
use crate::{AuthGrant, EngineError, OperationDoc, TokenKind, bad_request};

/// The settings of the tokens that a role grants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenSettings {
    /// The TTL of tokens until renewed; zero: the mount's default.
    pub ttl: Duration,
    /// The most they can live; zero: the mount's.
    pub max_ttl: Duration,
    /// A hard end, whatever changes later; zero: none.
    pub explicit_max_ttl: Duration,
    /// Renewable without limit in steps of this length; zero: not periodic.
    pub period: Duration,
    /// Policies.
    pub policies: Vec<String>,
    /// Leaves the `default` policy out.
    pub no_default_policy: bool,
    /// Addresses that logins and the tokens are bound to.
    pub bound_cidrs: Vec<IpNet>,
    /// The number of uses of a token; zero: without limit.
    pub num_uses: u32,
    /// The kind of token; `None`: the mount's choice (`default`).
    pub kind: Option<TokenKind>,
}

/// The parameters as requests give them; what is absent stays as it was.
#[derive(Clone, Default, Deserialize, JsonSchema)]
pub struct TokenSettingsInput {
    /// Comma separated string or JSON list of CIDR blocks. If set, specifies the blocks of IP addresses which are
    /// allowed to use the generated token.
    #[schemars(extend("x-meaning" = "cidr"))]
    pub token_bound_cidrs: Option<List>,
    /// If set, tokens created via this role carry an explicit maximum TTL, which later changes do not move.
    pub token_explicit_max_ttl: Option<Ttl>,
    /// The maximum lifetime of the generated token.
    pub token_max_ttl: Option<Ttl>,
    /// If true, the 'default' policy will not automatically be added to generated tokens.
    pub token_no_default_policy: Option<Flag>,
    /// The maximum number of times a token may be used; zero means unlimited.
    pub token_num_uses: Option<Int>,
    /// If set, tokens created via this role have no max lifetime; their renewal period is fixed to this value.
    pub token_period: Option<Ttl>,
    /// Comma-separated list of policies.
    pub token_policies: Option<Names>,
    /// The initial TTL of the token to generate.
    pub token_ttl: Option<Ttl>,
    /// The type of token to generate: service, batch or default.
    #[schemars(extend("x-meaning" = "token-type"))]
    pub token_type: Option<Text>,
}

impl TokenSettings {
    /// Takes over what `input` gives, and checks the whole.
    pub fn apply(&mut self, input: TokenSettingsInput) -> Result<(), EngineError> {
        if let Some(cidrs) = input.token_bound_cidrs {
            self.bound_cidrs = parse_cidrs(&cidrs).map_err(bad_request)?;
        }
        if let Some(policies) = input.token_policies {
            self.policies = normal_policies(&policies);
        }
        if let Some(kind) = input.token_type {
            self.kind = token_kind(&kind)?;
        }
        if let Some(uses) = input.token_num_uses {
            self.num_uses = match uses.0 {
                ..0 => return Err(bad_request("'token_num_uses' cannot be negative")),
                uses => u32::try_from(uses).map_err(|_above| bad_request("'token_num_uses' is too large"))?,
            };
        }
        let span = |given: Option<Ttl>, current| given.map_or(current, |given| given.0);
        self.ttl = span(input.token_ttl, self.ttl);
        self.max_ttl = span(input.token_max_ttl, self.max_ttl);
        self.explicit_max_ttl = span(input.token_explicit_max_ttl, self.explicit_max_ttl);
        self.period = span(input.token_period, self.period);
        self.no_default_policy = input.token_no_default_policy.map_or(self.no_default_policy, |flag| flag.0);
        self.check()
    }

    /// Checks that the settings go together.
    pub fn check(&self) -> Result<(), EngineError> {
        if !self.ttl.is_zero() && !self.max_ttl.is_zero() && self.ttl > self.max_ttl {
            return Err(bad_request("'token_ttl' cannot be greater than 'token_max_ttl'"));
        }
        if self.kind == Some(TokenKind::Batch) && !self.period.is_zero() {
            return Err(bad_request(
                "'token_type' cannot be 'batch' or 'default_batch' when set to generate periodic tokens",
            ));
        }
        if self.kind == Some(TokenKind::Batch) && self.num_uses > 0 {
            return Err(bad_request(
                "'token_type' cannot be 'batch' or 'default_batch' when set to generate tokens with limited use count",
            ));
        }
        Ok(())
    }

    /// Adds the `token_*` members that reading a role answers.
    pub fn describe(&self, into: &mut Map<String, Value>) {
        let view = TokenSettingsView {
            token_bound_cidrs: self.bound_cidr_texts(),
            token_explicit_max_ttl: self.explicit_max_ttl.as_secs(),
            token_max_ttl: self.max_ttl.as_secs(),
            token_no_default_policy: self.no_default_policy,
            token_num_uses: self.num_uses,
            token_period: self.period.as_secs(),
            token_policies: self.policies.clone(),
            token_ttl: self.ttl.as_secs(),
            token_type: self.kind.map_or("default", TokenKind::name),
        };
        // A struct of texts, numbers and flags always becomes an object.
        if let Ok(Value::Object(members)) = serde_json::to_value(view) {
            into.extend(members);
        }
    }

    /// Documents what [`TokenSettings::describe`] adds to an operation's answer.
    pub fn document_answer(doc: &mut OperationDoc) {
        doc.response.extend(fields_of::<TokenSettingsView>());
    }

    /// The bound address blocks as Vault shows them: a block of one as its bare address.
    pub fn bound_cidr_texts(&self) -> Vec<String> {
        let text = |block: &IpNet| {
            if block.prefix_len() == block.max_prefix_len() {
                block.addr().to_string()
            } else {
                block.to_string()
            }
        };
        self.bound_cidrs.iter().map(text).collect()
    }

    /// True if `remote` is an address that a caller may have: with no blocks any, else only one in them. An IPv4
    /// address that came in IPv6 form counts as what it is; an unknown address is in no block.
    pub fn is_within(blocks: &[IpNet], remote: Option<IpAddr>) -> bool {
        let holds = |address: IpAddr| blocks.iter().any(|block| block.contains(&address));
        blocks.is_empty() || remote.is_some_and(|address| holds(address.to_canonical()))
    }

    /// A grant as these settings have it; the method adds names and metadata.
    pub fn grant(&self) -> AuthGrant {
        AuthGrant {
            policies: self.policies.clone(),
            no_default_policy: self.no_default_policy,
            ttl: self.ttl,
            max_ttl: self.max_ttl,
            explicit_max_ttl: self.explicit_max_ttl,
            period: self.period,
            num_uses: self.num_uses,
            kind: self.kind.unwrap_or_default(),
            bound_cidrs: self.bound_cidrs.clone(),
            renewable: true,
            ..AuthGrant::default()
        }
    }
}

/// The `token_*` members of a role as reads answer them.
#[derive(Serialize, JsonSchema)]
#[allow(clippy::struct_field_names, reason = "the API's names")]
struct TokenSettingsView {
    /// CIDR blocks that the generated tokens may be used from.
    token_bound_cidrs: Vec<String>,
    /// The explicit maximum TTL of the generated tokens, in seconds; zero means none.
    token_explicit_max_ttl: u64,
    /// The maximum lifetime of the generated tokens, in seconds; zero means the mount's.
    token_max_ttl: u64,
    /// True if the 'default' policy is left out of the generated tokens.
    token_no_default_policy: bool,
    /// The number of uses of a generated token; zero means unlimited.
    token_num_uses: u32,
    /// The renewal period of the generated tokens, in seconds; zero means not periodic.
    token_period: u64,
    /// The policies of the generated tokens.
    token_policies: Vec<String>,
    /// The initial TTL of the generated tokens, in seconds; zero means the mount's.
    token_ttl: u64,
    /// The type of the generated tokens: service, batch or default.
    token_type: &'static str,
}

impl TokenSettingsInput {
    /// Works in a parameter's `older` name (`policies` for `token_policies`): the newer one counts where both are
    /// given. `echoed` says whether reads answer the older name too: they do once it was given, until the newer one
    /// is given alone.
    pub fn accept_older<T>(newer: &mut Option<T>, older: Option<T>, echoed: &mut bool) {
        if newer.is_some() || older.is_some() {
            *echoed = older.is_some();
        }
        if newer.is_none() {
            *newer = older;
        }
    }
}

/// `default` leaves the choice to the mount.
fn token_kind(text: &str) -> Result<Option<TokenKind>, EngineError> {
    match text {
        "" | "default" => Ok(None),
        "service" => Ok(Some(TokenKind::Service)),
        "batch" => Ok(Some(TokenKind::Batch)),
        other => Err(bad_request(format!("invalid 'token_type' value {other:?}"))),
    }
}

/// Policy names as they are kept: lower case, sorted, each once.
pub fn normal_policies(names: &[String]) -> Vec<String> {
    let mut names: Vec<String> = names.iter().map(|name| name.trim().to_lowercase()).collect();
    names.retain(|name| !name.is_empty());
    names.sort();
    names.dedup();
    names
}

/// Address blocks; a bare address is a block of one. The error is Vault's text.
pub fn parse_cidrs(texts: &[String]) -> Result<Vec<IpNet>, String> {
    let parse = |text: &String| {
        parse_cidr(text).ok_or_else(|| {
            format!(
                "error parsing address {text:?}: Unable to convert {text:?} to an IPv4 or IPv6 address, or a UNIX Socket"
            )
        })
    };
    texts.iter().map(parse).collect()
}

fn parse_cidr(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()
}

/// An address block in the form that is the same for all texts of the same addresses.
pub(crate) fn cidr_in_one_form(text: &str) -> Option<String> {
    parse_cidr(text).map(|block| block.trunc().to_string())
}

/// A type of token in the form that is the same for all texts that grant the same tokens: methods read `default-batch`
/// as `batch`, or refuse it.
pub(crate) fn token_type_in_one_form(text: &str) -> Option<String> {
    let kind = match text.strip_prefix("default-").unwrap_or(text) {
        "" | "default" => "default",
        kind @ ("service" | "batch") => kind,
        _ => return None,
    };
    Some(kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn applied(input: Value) -> Result<TokenSettings, EngineError> {
        let mut settings = TokenSettings::default();
        settings.apply(serde_json::from_value(input).expect("readable input"))?;
        Ok(settings)
    }

    fn shown(settings: &TokenSettings) -> Value {
        let mut members = Map::new();
        settings.describe(&mut members);
        Value::Object(members)
    }

    #[test]
    fn what_is_set_is_shown() {
        let settings = applied(json!({
            "token_bound_cidrs": "1.2.3.4/8,5.5.5.5,5.5.5.5/32,::1/64", "token_policies": "B,a,a", "token_ttl": "1h",
            "token_max_ttl": 7200, "token_type": "service", "token_num_uses": "3", "token_no_default_policy": true,
        }));
        let expected = json!({
            "token_bound_cidrs": ["1.2.3.4/8", "5.5.5.5", "5.5.5.5", "::1/64"], "token_explicit_max_ttl": 0,
            "token_max_ttl": 7200, "token_no_default_policy": true, "token_num_uses": 3, "token_period": 0,
            "token_policies": ["a", "b"], "token_ttl": 3600, "token_type": "service",
        });
        assert_eq!(shown(&settings.unwrap()), expected);
    }

    #[test]
    fn every_input_is_answered_and_documented() {
        let mut doc = OperationDoc::default();
        TokenSettings::document_answer(&mut doc);
        let names =
            |fields: &[crate::Field]| fields.iter().map(|field| field.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&doc.response), names(&fields_of::<TokenSettingsInput>()));
        assert!(doc.response.iter().all(|field| !field.description.is_empty()));
        assert!(names(&doc.response).iter().all(|name| shown(&TokenSettings::default()).get(name).is_some()));
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (input, text) in [
            (
                json!({"token_ttl": "2h", "token_max_ttl": "1h"}),
                "'token_ttl' cannot be greater than 'token_max_ttl'",
            ),
            (json!({"token_num_uses": -1}), "'token_num_uses' cannot be negative"),
            (json!({"token_type": "bogus"}), "invalid 'token_type' value \"bogus\""),
            (json!({"token_type": "default-batch"}), "invalid 'token_type' value \"default-batch\""),
            (
                json!({"token_type": "batch", "token_num_uses": 3}),
                "'token_type' cannot be 'batch' or 'default_batch' when set to generate tokens with limited use count",
            ),
            (
                json!({"token_type": "batch", "token_period": 3}),
                "'token_type' cannot be 'batch' or 'default_batch' when set to generate periodic tokens",
            ),
            (
                json!({"token_bound_cidrs": "bogus"}),
                "error parsing address \"bogus\": Unable to convert \"bogus\" to an IPv4 or IPv6 address, or a UNIX \
                 Socket",
            ),
        ] {
            assert_eq!(applied(input).unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn an_older_name_yields_to_the_newer() {
        let mut echoed = false;
        let mut take = |mut newer: Option<u8>, older| {
            TokenSettingsInput::accept_older(&mut newer, older, &mut echoed);
            (newer, echoed)
        };
        assert_eq!(take(None, Some(1)), (Some(1), true));
        assert_eq!(take(None, None), (None, true));
        assert_eq!(take(Some(2), Some(1)), (Some(2), true));
        assert_eq!(take(Some(2), None), (Some(2), false));
        assert_eq!(take(None, None), (None, false));
    }

    #[test]
    fn blocks_hold_addresses_in_either_form() {
        let blocks = parse_cidrs(&["10.1.2.3/8".to_owned(), "fe80::1".to_owned()]).unwrap();
        let within = |address: &str| TokenSettings::is_within(&blocks, Some(address.parse().unwrap()));
        assert!(within("10.255.0.1"));
        assert!(within("::ffff:10.0.0.1"));
        assert!(within("fe80::1"));
        assert!(!within("fe80::2"));
        assert!(!within("11.0.0.1"));
        assert!(!TokenSettings::is_within(&blocks, None));
        assert!(TokenSettings::is_within(&[], None));
    }
}
