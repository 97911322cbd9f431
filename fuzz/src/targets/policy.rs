//! Policies, and the decisions they lead to.

use std::sync::Arc;

use serde_json::{Map, Value};
use strongroom_policy::{
    CompiledAcl, DenyMode, Operation, Parameters, Policy, SlashesInValues, TemplateReference, TemplateValues,
};

use super::{parts, text};
use crate::Target;

const WORDS: &[&str] = &[
    "path \"",
    "\" {",
    "}",
    "capabilities = [",
    "\"read\"",
    "\"list\"",
    "\"deny\"",
    "\"sudo\"",
    "\"create\"",
    "\"update\"",
    "\"patch\"",
    "]",
    ",",
    "policy = \"write\"",
    "*",
    "+",
    "/",
    "+/",
    "{{identity.entity.id}}",
    "{{",
    "}}",
    "{{identity.groups.names.x.id}}",
    "allowed_parameters = {",
    "denied_parameters = {",
    "required_parameters = [",
    "\"*\" = []",
    "\"a\" = [\"b*\"]",
    "min_wrapping_ttl = \"1s\"",
    "max_wrapping_ttl = 90",
    "subscribe_event_types = [",
    "\n",
    "\0",
    "\"",
    "{\"path\":{",
    "a",
    "b",
    "secret",
];

const POLICY: &[u8] = b"path \"secret/*\" { capabilities = [\"read\", \"list\"] }\npath \"secret/+/b\" { capabilities = [\"deny\"] }\n\
    path \"secret/a\" { capabilities = [\"create\",\"update\"] allowed_parameters = { \"a\" = [\"x*\"] \"*\" = [] } required_parameters = [\"a\"] \
    denied_parameters = { \"z\" = [] } min_wrapping_ttl = \"1s\" max_wrapping_ttl = \"90s\" }\n\
    path \"u/{{identity.entity.id}}/*\" { policy = \"write\" }\0secret/a/b\0{\"a\": \"xy\"}";

const JSON_POLICY: &[u8] = b"{\"path\": {\"secret/+/x/*\": {\"capabilities\": [\"sudo\", \"read\"]}, \"+\": {\"capabilities\": [\"deny\"]}}}\0secret/q/x/\0{}";

pub(super) const PARSE: Target = Target {
    name: "policy",
    run: parse_any,
    made: crate::no_inputs,
    seeds: &[POLICY, JSON_POLICY],
    words: WORDS,
};

pub(super) const AUTHORIZE: Target = Target {
    name: "authorize",
    run: authorize_any,
    made: crate::no_inputs,
    seeds: &[AUTHORIZE_SEED],
    words: PATTERN_WORDS,
};

const AUTHORIZE_SEED: &[u8] = b"secret/*\nsecret/+/b\n!secret/a/*\n+/a\n\0secret/a/b";

const PATTERN_WORDS: &[&str] = &["a", "b", "/", "+", "*", "+/", "/+", "!", "\n", "\0", "//", "a/b/"];

const OPERATIONS: [Operation; 12] = [
    Operation::Create,
    Operation::Read,
    Operation::Update,
    Operation::Delete,
    Operation::List,
    Operation::Scan,
    Operation::Patch,
    Operation::Recover,
    Operation::Help,
    Operation::Renew,
    Operation::Revoke,
    Operation::Rollback,
];

/// An identity whose every value is the same text.
struct Everywhere(String);

impl TemplateValues for Everywhere {
    fn value(&self, _reference: &TemplateReference) -> Option<String> {
        Some(self.0.clone())
    }
}

/// Policy, path, parameters.
fn parse_any(input: &[u8]) {
    let [policy, path, parameters] = parts(input);
    let (policy, path) = (text(policy), text(path));
    let policy = match Policy::parse("fuzzed", "", &policy) {
        Ok(policy) => policy,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let parameters: Map<String, Value> = serde_json::from_slice(parameters).unwrap_or_default();
    for slashes in [SlashesInValues::Allow, SlashesInValues::Deny] {
        let resolved = Arc::new(policy.resolve(&Everywhere(path.to_string()), slashes));
        decide(&resolved, &path, &parameters);
    }
}

/// What must hold of every decision.
fn decide(policy: &Arc<Policy>, path: &str, parameters: &Map<String, Value>) {
    let once = CompiledAcl::compile(std::slice::from_ref(policy), DenyMode::DenyWins);
    let twice = CompiledAcl::compile(&[policy.clone(), policy.clone()], DenyMode::DenyWins);
    let specific = CompiledAcl::compile(std::slice::from_ref(policy), DenyMode::MostSpecific);
    for operation in OPERATIONS {
        let decision = once.authorize(path, operation, Parameters::untyped(parameters), None);
        let allowed = decision.is_allowed();
        assert_eq!(
            twice.authorize(path, operation, Parameters::untyped(parameters), None).is_allowed(),
            allowed,
            "the same policy twice decides otherwise on {operation:?} {path:?}"
        );
        if allowed {
            assert!(
                specific.authorize(path, operation, Parameters::untyped(parameters), None).is_allowed(),
                "allowed only where denials count for more: {operation:?} {path:?}"
            );
            if let Some(capability) = operation.required_capability().filter(|_| !operation.is_listing()) {
                let names = once.capabilities(path);
                // A path that ends in a slash is one to list for `capabilities`.
                assert!(
                    path.ends_with('/') || names.contains(&capability.name()),
                    "{capability:?} on {path:?} is granted and not listed: {names:?}"
                );
            }
        }
    }
    let _ = once.authorize_event(path, path);
    let _ = once.has_any_access_under(path);
    assert!(once.resultant().is_object());
}

/// Patterns, one a line (`!` before one that denies), and a path: the compiled rules find what comparing one rule after the
/// other finds.
fn authorize_any(input: &[u8]) {
    let [patterns, path] = parts(input);
    let (patterns, path) = (text(patterns), text(path));
    if path.ends_with('/') {
        return;
    }
    let mut written = Map::new();
    for line in patterns.lines().take(50) {
        let (pattern, right) = line.strip_prefix('!').map_or((line, "read"), |pattern| (pattern, "deny"));
        written.insert(pattern.to_owned(), serde_json::json!({ "capabilities": [right] }));
    }
    let policy = serde_json::json!({ "path": written }).to_string();
    let Ok(policy) = Policy::parse("fuzzed", "", &policy) else { return };
    let acl = CompiledAcl::compile(&[Arc::new(policy)], DenyMode::DenyWins);
    let matching: Vec<(&String, &Value)> =
        written.iter().filter(|(pattern, _)| !pattern.contains("{{") && matches(pattern, &path)).collect();
    let denied = matching.iter().any(|(_, rule)| rule["capabilities"][0] == "deny");
    let allowed = acl.authorize(&*path, Operation::Read, Parameters::untyped(&Map::new()), None).is_allowed();
    assert_eq!(allowed, !matching.is_empty() && !denied, "{path:?} matches {matching:?}");
}

/// Whether a pattern covers a path, in the simplest way. Source: Vault's "Policies" page: `+` is any one segment, `*` at the
/// end any rest; a leading slash means nothing.
fn matches(pattern: &str, path: &str) -> bool {
    let pattern = pattern.strip_prefix('/').unwrap_or(pattern);
    let (pattern, open) = pattern.strip_suffix('*').map_or((pattern, false), |pattern| (pattern, true));
    let (pattern, path): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), path.split('/').collect());
    if path.len() < pattern.len() || (!open && path.len() != pattern.len()) {
        return false;
    }
    pattern.iter().zip(&path).enumerate().all(|(at, (written, given))| {
        let last = at + 1 == pattern.len();
        *written == "+" || written == given || (open && last && given.starts_with(written))
    })
}
