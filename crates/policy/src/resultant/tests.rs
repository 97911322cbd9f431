use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::Policy;

fn acl(text: &str, mode: DenyMode) -> CompiledAcl {
    CompiledAcl::compile(&[Arc::new(Policy::parse("test", "", text).unwrap())], mode)
}

#[test]
fn the_resultant_rights_have_the_shape_clients_know() {
    let acl = acl(
        r#"
        path "a/*" { capabilities = ["read", "list"] }
        path "b/+/c" { capabilities = ["read"] }
        path "b/+/d/*" { capabilities = ["deny"] allowed_parameters = { a = [] } }
        path "e" {
          capabilities = ["update"]
          allowed_parameters = { a = ["x", 1] }
          denied_parameters = { b = [] }
          required_parameters = ["c"]
          min_wrapping_ttl = "5s"
          max_wrapping_ttl = 90
        }
        path "z/" { capabilities = [] }
        "#,
        DenyMode::DenyWins,
    );
    assert_eq!(
        acl.resultant(),
        json!({
            "root": false,
            "exact_paths": {
                "e": {
                    "capabilities": ["update"],
                    "allowed_parameters": {"a": ["x", 1]},
                    "denied_parameters": {"b": []},
                    "required_parameters": ["c"],
                    "min_wrapping_ttl": 5,
                    "max_wrapping_ttl": 90,
                },
                "z/": {"capabilities": ["deny"]},
            },
            "glob_paths": {
                "a/": {"capabilities": ["list", "read"]},
                "b/+/c": {"capabilities": ["read"]},
                "b/+/d/": {"capabilities": ["deny"]},
            },
        })
    );
    assert_eq!(CompiledAcl::root().resultant(), json!({"root": true}));
}

#[test]
fn a_mount_is_seen_if_anything_under_it_may_be_used() {
    use DenyMode::{DenyWins, MostSpecific};
    for (text, deny_wins, most_specific) in [
        (r#"path "kv/a/b" { capabilities = ["read"] }"#, true, true),
        (r#"path "kv/" { capabilities = ["list"] }"#, true, true),
        (r#"path "+/q" { capabilities = ["read"] }"#, true, true),
        (r#"path "k*" { capabilities = ["sudo"] }"#, true, true),
        (r#"path "kv/a" { capabilities = ["deny"] }"#, false, false),
        (r#"path "kv/a" { capabilities = [] }"#, false, false),
        (r#"path "other/*" { capabilities = ["read"] }"#, false, false),
        ("", false, false),
        // Part of it denied.
        (r#"path "kv/*" { policy = "read" } path "kv/x/*" { policy = "deny" }"#, true, true),
        // All of it denied, by a rule less, equally or more specific.
        (r#"path "*" { policy = "deny" } path "kv/a" { policy = "read" }"#, false, true),
        (r#"path "kv/*" { policy = "deny" } path "kv/*" { policy = "read" }"#, false, false),
        (r#"path "kv/*" { policy = "deny" } path "k*" { policy = "read" }"#, false, false),
    ] {
        assert_eq!(acl(text, DenyWins).has_any_access_under("kv/"), deny_wins, "{text}");
        assert_eq!(acl(text, MostSpecific).has_any_access_under("kv/"), most_specific, "{text}");
    }
    assert!(CompiledAcl::root().has_any_access_under("kv/"));
}
