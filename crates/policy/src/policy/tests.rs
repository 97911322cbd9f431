use std::collections::HashMap;

use super::*;
use crate::{CompiledAcl, DEFAULT_POLICY, DenyMode, Operation, RESPONSE_WRAPPING_POLICY, TemplateReference};

struct Identity(HashMap<&'static str, &'static str>);

impl TemplateValues for Identity {
    fn value(&self, reference: &TemplateReference) -> Option<String> {
        let key = match reference {
            TemplateReference::EntityId => "id",
            TemplateReference::EntityName => "name",
            TemplateReference::EntityMetadata { key } => key,
            _ => return None,
        };
        self.0.get(key).map(|value| (*value).to_owned())
    }
}

fn paths(text: &str, values: &[(&'static str, &'static str)], slashes: SlashesInValues) -> Vec<String> {
    let policy = Policy::parse("test", "", text).unwrap();
    let resolved = policy.resolve(&Identity(values.iter().copied().collect()), slashes);
    assert!(!resolved.is_templated());
    resolved.rules().map(|rule| rule.path().unwrap().to_owned()).collect()
}

const ALLOW: SlashesInValues = SlashesInValues::Allow;

#[test]
fn values_are_put_into_paths() {
    let text = r#"
        path "secret/{{identity.entity.id}}/*" { policy = "read" }
        path "a/{{ identity.entity.name }}/b/{{identity.entity.metadata.team}}" { policy = "read" }
        path "plain" { policy = "read" }
    "#;
    assert!(Policy::parse("test", "", text).unwrap().is_templated());
    assert_eq!(
        paths(text, &[("id", "0c8f"), ("name", "bob"), ("team", "x")], ALLOW),
        ["secret/0c8f/*", "a/bob/b/x", "plain"]
    );
}

#[test]
fn a_rule_without_its_value_is_dropped() {
    let text = r#"
        path "{{identity.entity.id}}" { policy = "read" }
        path "{{identity.entity.metadata.team}}" { policy = "deny" }
        path "{{no.such.name}}" { policy = "read" }
        path "plain" { policy = "read" }
    "#;
    assert_eq!(paths(text, &[("id", "0c8f")], ALLOW), ["0c8f", "plain"]);
    assert_eq!(paths(text, &[], ALLOW), ["plain"]);
}

#[test]
fn unresolved_templates_grant_nothing() {
    let policy = Policy::parse("test", "", r#"path "{{identity.entity.id}}*" { policy = "read" }"#).unwrap();
    let acl = CompiledAcl::compile(&[Arc::new(policy)], DenyMode::DenyWins);
    assert!(acl.rules().is_empty());
}

#[test]
fn nobody_gains_access_by_a_clever_name() {
    let text = r#"
        path "a/{{identity.entity.name}}" { policy = "read" }
        path "b/{{identity.entity.name}}" { policy = "deny" }
    "#;
    for (name, slashes, expected) in [
        ("bob", SlashesInValues::Deny, vec!["a/bob", "b/bob"]),
        ("+", ALLOW, vec!["b/+"]),
        ("x*", ALLOW, vec!["b/x*"]),
        ("bob+1@example.com", ALLOW, vec!["b/bob+1@example.com"]),
        ("x/y", ALLOW, vec!["a/x/y", "b/x/y"]),
        ("x/y", SlashesInValues::Deny, vec!["b/x/y"]),
    ] {
        assert_eq!(paths(text, &[("name", name)], slashes), expected, "{name}");
    }
}

#[test]
fn a_name_in_a_denied_path_is_taken_literally() {
    let text = r#"
        path "a/*" { policy = "read" }
        path "a/{{identity.entity.name}}" { policy = "deny" }
    "#;
    let policy = Policy::parse("test", "", text).unwrap().resolve(&Identity([("name", "+")].into()), ALLOW);
    let acl = CompiledAcl::compile(&[Arc::new(policy)], DenyMode::DenyWins);
    assert_eq!(acl.capabilities("a/+"), ["deny"]);
    assert_eq!(acl.capabilities("a/x"), ["list", "read"]);
}

#[test]
fn the_default_policy_lets_a_token_mind_itself() {
    let identity = Identity([("id", "e-1"), ("name", "bob")].into());
    let policy = Policy::parse("default", "", DEFAULT_POLICY).unwrap().resolve(&identity, ALLOW);
    let acl = CompiledAcl::compile(&[Arc::new(policy)], DenyMode::DenyWins);
    for (path, names) in [
        ("auth/token/lookup-self", vec!["read"]),
        ("auth/token/renew-self", vec!["update"]),
        ("auth/token/revoke-self", vec!["update"]),
        ("sys/capabilities-self", vec!["update"]),
        ("sys/internal/ui/resultant-acl", vec!["read"]),
        ("identity/entity/id/e-1", vec!["read"]),
        ("identity/entity/id/e-2", vec!["deny"]),
        ("identity/entity/name/bob", vec!["read"]),
        ("sys/renew", vec!["update"]),
        ("sys/leases/renew", vec!["update"]),
        ("sys/leases/lookup", vec!["update"]),
        ("cubbyhole/a/b", vec!["create", "delete", "list", "read", "update"]),
        ("cubbyhole/", vec!["create", "delete", "list", "read", "update"]),
        ("sys/wrapping/wrap", vec!["update"]),
        ("sys/wrapping/lookup", vec!["update"]),
        ("sys/wrapping/unwrap", vec!["update"]),
        ("sys/wrapping/rewrap", vec!["deny"]),
        ("sys/tools/hash", vec!["update"]),
        ("sys/tools/hash/sha2-512", vec!["update"]),
        ("sys/control-group/request", vec!["update"]),
        ("identity/oidc/provider/mine/authorize", vec!["read", "update"]),
        ("auth/token/create", vec!["deny"]),
        ("secret/data/x", vec!["deny"]),
    ] {
        assert_eq!(acl.capabilities(path), names, "{path}");
    }
    // Without an entity the token still has the rest.
    let bare =
        Policy::parse("default", "", DEFAULT_POLICY).unwrap().resolve(&Identity(HashMap::new()), ALLOW);
    assert_eq!(bare.rules().count() + 2, acl.rules().len());
}

#[test]
fn the_response_wrapping_policy_opens_one_box() {
    let policy = Policy::parse("response-wrapping", "", RESPONSE_WRAPPING_POLICY).unwrap();
    let acl = CompiledAcl::compile(&[Arc::new(policy)], DenyMode::DenyWins);
    assert_eq!(acl.capabilities("cubbyhole/response"), ["create", "read"]);
    assert!(
        acl.authorize("sys/wrapping/unwrap", Operation::Update, &serde_json::Map::new(), None).is_allowed()
    );
    assert_eq!(acl.rules().len(), 2);
}

#[test]
fn rights_are_filled_for_an_identity_where_a_template_may_match() {
    let text = r#"
        path "secret/{{identity.entity.name}}/*" { capabilities = ["read"] }
        path "secret/shared/*" { capabilities = ["list"] }
        path "secret/bob/x" { capabilities = ["delete"] }
        path "+/teams/{{identity.entity.id}}" { capabilities = ["update"] }
    "#;
    let policy = Arc::new(Policy::parse("p", "ns/", text).unwrap());
    let acl = CompiledAcl::compile(&[policy], DenyMode::DenyWins);
    assert!(acl.is_templated());
    for (path, expected) in [
        ("ns/secret/bob/y", true),
        ("NS/Secret/BOB/y", true),
        ("ns/a/teams/e-1", true),
        ("other/secret/bob", false),
        ("ns", false),
    ] {
        assert_eq!(acl.has_template_for(path), expected, "{path}");
    }
    let identity = Identity([("id", "e-1"), ("name", "bob")].into());
    let filled = acl.filled(&identity, SlashesInValues::Deny);
    assert!(!filled.is_templated());
    for (path, expected) in [
        ("ns/secret/bob/y", vec!["read"]),
        ("ns/secret/ann/y", vec!["deny"]),
        ("ns/secret/shared/y", vec!["list"]),
        ("ns/secret/bob/x", vec!["delete"]),
        ("ns/a/teams/e-1", vec!["update"]),
    ] {
        assert_eq!(filled.capabilities(path), expected, "{path}");
    }
    let wide = Identity([("id", "e-2"), ("name", "a/b")].into());
    assert_eq!(acl.filled(&wide, SlashesInValues::Deny).capabilities("ns/secret/a/b/c"), ["deny"]);
    assert!(!CompiledAcl::root().has_template_for("secret/bob"));
}
