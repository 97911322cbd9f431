//! The `token_*` parameters that every auth method's roles share. Source: Vault's API documentation, the
//! "Parameters" of any auth method's role (`token_ttl`, `token_policies`, …).

use std::time::Duration;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use strongroom_wire::lenient::{Flag, Int, List, Text, Ttl};

use crate::{AuthGrant, EngineError, TokenKind, bad_request};

/// What a role says of the tokens it grants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenSettings {
    /// How long tokens live until renewed; zero: the mount's default.
    pub ttl: Duration,
    /// The most they can live; zero: the mount's.
    pub max_ttl: Duration,
    /// A hard end, whatever changes later; zero: none.
    pub explicit_max_ttl: Duration,
    /// Renewable for ever in steps of this length; zero: not periodic.
    pub period: Duration,
    /// Policies.
    pub policies: Vec<String>,
    /// Leaves the `default` policy out.
    pub no_default_policy: bool,
    /// Addresses that logins and the tokens are bound to.
    pub bound_cidrs: Vec<IpNet>,
    /// How often a token may be used; zero: without limit.
    pub num_uses: u32,
    /// The kind of token; `None`: the mount's choice (`default`).
    pub kind: Option<TokenKind>,
}

/// The parameters as requests give them; what is absent stays as it was.
#[derive(Clone, Default, Deserialize, JsonSchema)]
pub struct TokenSettingsInput {
    /// Comma separated string or JSON list of CIDR blocks. If set, specifies the blocks of IP addresses which are
    /// allowed to use the generated token.
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
    pub token_policies: Option<List>,
    /// The initial TTL of the token to generate.
    pub token_ttl: Option<Ttl>,
    /// The type of token to generate: service, batch or default.
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
                uses => u32::try_from(uses).map_err(|_| bad_request("'token_num_uses' is too large"))?,
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

    /// Whether the settings go together.
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
        let cidrs: Vec<String> = self.bound_cidrs.iter().map(ToString::to_string).collect();
        for (name, value) in [
            ("token_bound_cidrs", json!(cidrs)),
            ("token_explicit_max_ttl", json!(self.explicit_max_ttl.as_secs())),
            ("token_max_ttl", json!(self.max_ttl.as_secs())),
            ("token_no_default_policy", json!(self.no_default_policy)),
            ("token_num_uses", json!(self.num_uses)),
            ("token_period", json!(self.period.as_secs())),
            ("token_policies", json!(self.policies)),
            ("token_ttl", json!(self.ttl.as_secs())),
            ("token_type", json!(self.kind.map_or("default", TokenKind::name))),
        ] {
            into.insert(name.to_owned(), value);
        }
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

/// `default` leaves the choice to the mount.
fn token_kind(text: &str) -> Result<Option<TokenKind>, EngineError> {
    match text {
        "" | "default" | "default-service" => Ok(None),
        "service" => Ok(Some(TokenKind::Service)),
        "batch" | "default-batch" => Ok(Some(TokenKind::Batch)),
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

/// Address blocks; a bare address is a block of one.
pub fn parse_cidrs(texts: &[String]) -> Result<Vec<IpNet>, String> {
    let parse = |text: &String| {
        text.parse::<IpNet>().or_else(|error| text.parse::<std::net::IpAddr>().map(IpNet::from).map_err(|_| error))
    };
    texts.iter().map(|text| parse(text).map_err(|_| format!("invalid CIDR block {text:?}"))).collect()
}
