#![allow(clippy::arithmetic_side_effects, reason = "an overflow fails the test")]

mod reference;
mod speed;

use serde_json::json;

use serde_json::{Map, Value};

use super::*;

pub(super) fn policies(texts: &[&str]) -> Vec<Arc<Policy>> {
    texts
        .iter()
        .enumerate()
        .map(|(index, text)| Arc::new(Policy::parse(&format!("p{index}"), "", text).unwrap()))
        .collect()
}

fn vault_like(texts: &[&str]) -> CompiledAcl {
    CompiledAcl::compile(&policies(texts), DenyMode::MostSpecific)
}

fn deny_wins(texts: &[&str]) -> CompiledAcl {
    CompiledAcl::compile(&policies(texts), DenyMode::DenyWins)
}

fn allows(acl: &CompiledAcl, operation: Operation, path: &str) -> bool {
    acl.authorize(path, operation, &Map::new(), None).is_allowed()
}

/// Paths and the capabilities they have, in the mode that is Vault's.
#[track_caller]
fn capabilities(text: &str, expected: &[(&str, &[&str])]) {
    let acl = vault_like(&[text]);
    for (path, names) in expected {
        assert_eq!(acl.capabilities(*path), *names, "{path} with {text}");
    }
}

#[test]
fn wildcards_match_as_in_vault() {
    const R: &[&str] = &["read"];
    const L: &[&str] = &["list"];
    const D: &[&str] = &["deny"];
    capabilities(
        r#"path "/x" { policy = "deny" } path "y" { capabilities = ["read"] }"#,
        &[("x", D), ("y", R)],
    );
    capabilities(
        r#"
        path "a*b" { capabilities = ["read"] }
        path "c/**" { capabilities = ["read"] }
        path "d+e/*" { capabilities = ["read"] }
        "#,
        &[("a*b", R), ("axb", D), ("c/x", D), ("c/*x", R), ("d+e/q", R), ("dxe/q", D)],
    );
    capabilities(
        r#"
        path "a/+" { capabilities = ["read"] }
        path "b/+/" { capabilities = ["list"] }
        path "c/+/*" { capabilities = ["list"] }
        "#,
        &[("a/x", R), ("a/", R), ("a/x/", R), ("a", D), ("a/x/y", D), ("b/x/", L), ("b/x", D), ("b//", L)],
    );
    capabilities(
        r#"path "c/+/*" { capabilities = ["list"] }"#,
        &[("c/x", D), ("c/x/", L), ("c//", L), ("c/x/y", L), ("c/x/y/z", L)],
    );
    capabilities(
        r#"path "a/+/b*" { capabilities = ["read"] }"#,
        &[("a/x/b", R), ("a/x/bc", R), ("a/x/bc/d", R), ("a/x/c", D), ("a/b", D)],
    );
    capabilities(r#"path "*" { capabilities = ["read"] }"#, &[("", R), ("x", R), ("x/y", R)]);
}

#[test]
fn the_most_specific_rule_decides() {
    capabilities(
        r#"
        path "*" { capabilities = ["read"] }
        path "a/+/c" { capabilities = ["list"] }
        path "a/b*" { capabilities = ["update"] }
        "#,
        &[("a/b/c", &["update"]), ("a/bb", &["update"]), ("a/x/c", &["list"]), ("b", &["read"])],
    );
    capabilities(
        r#"
        path "a/+/+/d" { capabilities = ["read"] }
        path "a/+/c/d" { capabilities = ["list"] }
        path "a/*" { capabilities = ["update"] }
        path "a/+/c/*" { capabilities = ["delete"] }
        "#,
        &[("a/b/c/d", &["list"]), ("a/b/x/d", &["read"]), ("a/b/c/z", &["update"])],
    );
    capabilities(
        r#"path "secret/*" { policy = "deny" } path "secret/x" { capabilities = ["read"] }"#,
        &[("secret/x", &["read"]), ("secret/y", &["deny"])],
    );
}

#[test]
fn a_deny_anywhere_wins_by_default() {
    let texts = [
        r#"path "secret/*" { policy = "deny" }"#,
        r#"path "secret/x" { capabilities = ["read"] } path "other/*" { capabilities = ["read"] }"#,
    ];
    let acl = deny_wins(&texts);
    assert_eq!(acl.capabilities("secret/x"), ["deny"]);
    assert!(!allows(&acl, Operation::Read, "secret/x"));
    assert!(allows(&acl, Operation::Read, "other/x"));
    assert!(allows(&vault_like(&texts), Operation::Read, "secret/x"));

    let decision = acl.authorize("secret/x", Operation::Read, empty(), None);
    assert_eq!(
        decision.denial.unwrap().to_string(),
        r#"rule "secret/*" of policy "p0" denies the path, though the more specific rule "secret/x" of policy "p1" would allow it"#
    );
    // The rule overruled would not have allowed this.
    let decision = acl.authorize("secret/x", Operation::Update, empty(), None);
    assert_eq!(decision.denial.unwrap().to_string(), r#"rule "secret/*" of policy "p0" denies the path"#);
}

fn empty() -> &'static Map<String, Value> {
    static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    &EMPTY
}

#[test]
fn the_same_path_in_several_policies_is_one_rule() {
    for mode in [DenyMode::DenyWins, DenyMode::MostSpecific] {
        let compile = |texts: &[&str]| CompiledAcl::compile(&policies(texts), mode);
        let acl = compile(&[
            r#"path "a/+/*" { capabilities = ["read"] allowed_parameters = { v = ["1"] } }"#,
            r#"path "b" { policy = "deny" }"#,
            r#"path "a/+/*" { capabilities = ["update", "sudo"] }"#,
        ]);
        assert_eq!(acl.rules().len(), 2);
        assert_eq!(acl.capabilities("a/b/c"), ["read", "sudo", "update"]);
        let rule = acl.rules().iter().find(|rule| rule.path() == "a/+/*").unwrap();
        assert_eq!(rule.to_string(), r#"rule "a/+/*" of policies "p0", "p2""#);
        let refused = json!({"v": "2"});
        assert!(!acl.authorize("a/b/c", Operation::Update, refused.as_object().unwrap(), None).is_allowed());

        let acl = compile(&[
            r#"path "a" { capabilities = ["read"] }"#,
            r#"path "a" { policy = "deny" }"#,
            r#"path "a" { capabilities = ["update"] }"#,
        ]);
        let decision = acl.authorize("a", Operation::Read, empty(), None);
        assert_eq!(decision.denial.unwrap().to_string(), r#"rule "a" of policy "p1" denies the path"#);
        assert!(!decision.sudo);
    }
}

#[test]
fn listing_tries_the_path_with_and_without_the_slash() {
    let list = |text: &str, path: &str| allows(&vault_like(&[text]), Operation::List, path);
    for (text, path, allowed) in [
        (r#"path "a/x" { capabilities = ["list"] }"#, "a/x/", true),
        (r#"path "a/x" { capabilities = ["list"] }"#, "a/x", true),
        (r#"path "a/x/" { capabilities = ["list"] }"#, "a/x/", true),
        (r#"path "a/x/" { capabilities = ["list"] }"#, "a/x", true),
        (r#"path "a" { capabilities = ["list"] }"#, "a/", true),
        (r#"path "a/+" { capabilities = ["list"] }"#, "a/x/", true),
        (r#"path "a/+" { capabilities = ["list"] }"#, "a/", true),
        (r#"path "a/+/" { capabilities = ["list"] }"#, "a/x/", true),
        (r#"path "a/+/" { capabilities = ["list"] }"#, "a/", false),
        (r#"path "a/x*" { capabilities = ["list"] }"#, "a/x/", true),
        (r#"path "a/x*" { capabilities = ["list"] }"#, "a/", false),
        (r#"path "a/x/*" { capabilities = ["list"] }"#, "a/x/", true),
        // An exact rule decides first, the one with the slash before the other.
        (r#"path "a/x" { policy = "read" } path "a/x/" { policy = "deny" }"#, "a/x/", false),
        (r#"path "a/x" { policy = "deny" } path "a/x/" { policy = "read" }"#, "a/x/", true),
        (r#"path "a/x" { policy = "deny" } path "a/x/*" { policy = "read" }"#, "a/x/", false),
        (r#"path "a/x" { policy = "read" } path "a/+/" { policy = "deny" }"#, "a/x/", true),
        // Then wildcard rules for the path with the slash before those for the other.
        (r#"path "a/+" { policy = "read" } path "a/+/*" { policy = "deny" }"#, "a/x/", false),
        (r#"path "a/+" { policy = "deny" } path "a/+/*" { policy = "read" }"#, "a/x/", true),
        (r#"path "a/+" { policy = "deny" } path "+/x/" { policy = "read" }"#, "a/x/", true),
    ] {
        assert_eq!(list(text, path), allowed, "{path} with {text}");
    }
    let scan = r#"path "a/x" { capabilities = ["scan"] }"#;
    assert!(allows(&vault_like(&[scan]), Operation::Scan, "a/x/"));
    assert!(!allows(&vault_like(&[scan]), Operation::List, "a/x/"));
    // Other operations mind the slash.
    let read = r#"path "a/x" { capabilities = ["read"] } path "a/+" { capabilities = ["read"] }"#;
    assert!(allows(&vault_like(&[read]), Operation::Read, "a/x"));
    assert!(!allows(&vault_like(&[read]), Operation::Read, "a/x/"));
    // Where deny wins, a deny on either form counts.
    let either = r#"path "a/x" { policy = "deny" } path "a/x/" { policy = "read" }"#;
    assert!(!allows(&deny_wins(&[either]), Operation::List, "a/x/"));
}

#[test]
fn operations_need_their_capability() {
    use Operation as O;
    for (operation, capability) in [
        (O::Create, "create"),
        (O::Read, "read"),
        (O::Update, "update"),
        (O::Delete, "delete"),
        (O::List, "list"),
        (O::Scan, "scan"),
        (O::Patch, "patch"),
        (O::Recover, "recover"),
        (O::Renew, "update"),
        (O::Revoke, "update"),
        (O::Rollback, "update"),
    ] {
        let others: Vec<_> = Capability::ALL
            .iter()
            .map(|c| c.name())
            .filter(|name| *name != capability && *name != "deny")
            .collect();
        let acl = vault_like(&[
            &format!(r#"path "x" {{ capabilities = ["{capability}"] }}"#),
            &format!(r#"path "y" {{ capabilities = {others:?} }}"#),
        ]);
        assert!(allows(&acl, operation, "x"), "{operation:?}");
        let decision = acl.authorize("y", operation, empty(), None);
        assert!(decision.sudo);
        assert_eq!(
            decision.denial.unwrap().to_string(),
            format!(r#"rule "y" of policy "p1" does not grant "{capability}""#)
        );
        assert!(allows(&acl, O::Help, "nowhere"));
    }
}

#[test]
fn root_may_do_anything() {
    let acl = CompiledAcl::root();
    let decision = acl.authorize("sys/seal", Operation::Update, empty(), None);
    assert!(decision.is_allowed() && decision.root && decision.sudo);
    assert_eq!(acl.capabilities("x"), ["root"]);
    assert!(acl.authorize_event("x", "kv-v2/data-write").is_allowed());
}

#[test]
fn parameters_are_checked_where_there_are_some() {
    use Operation as O;
    let acl = vault_like(&[r#"path "x" {
        capabilities = ["create", "read", "update", "patch", "delete", "list", "recover"]
        required_parameters = ["a"]
        allowed_parameters = { a = ["1"] }
    }"#]);
    let good = json!({"a": "1"});
    let bad = json!({"a": "1", "b": "2"});
    for operation in [O::Create, O::Read, O::Update, O::Patch, O::Recover] {
        let denial = |parameters: &Value| {
            let decision = acl.authorize("x", operation, parameters.as_object().unwrap(), None);
            decision.denial.map(|denial| denial.to_string())
        };
        assert_eq!(denial(&good), None);
        assert_eq!(denial(&json!({})).unwrap(), r#"rule "x" of policy "p0" requires parameter "a""#);
        assert_eq!(denial(&bad).unwrap(), r#"rule "x" of policy "p0" does not allow parameter "b""#);
        assert_eq!(
            denial(&json!({"a": "2"})).unwrap(),
            r#"rule "x" of policy "p0" does not allow this value of parameter "a""#
        );
    }
    for operation in [O::Delete, O::List] {
        assert!(acl.authorize("x", operation, bad.as_object().unwrap(), None).is_allowed(), "{operation:?}");
    }
}

#[test]
fn wrapping_is_checked_for_every_operation() {
    let acl = vault_like(&[r#"path "x" {
        capabilities = ["read", "list", "delete"] min_wrapping_ttl = "5s" max_wrapping_ttl = "1m"
    }"#]);
    for operation in [Operation::Read, Operation::List, Operation::Delete] {
        let decide = |ttl: Option<u64>| acl.authorize("x", operation, empty(), ttl.map(Duration::from_secs));
        assert!(decide(Some(5)).is_allowed());
        assert!(!decide(Some(61)).is_allowed());
        assert_eq!(
            decide(None).denial.unwrap().to_string(),
            r#"rule "x" of policy "p0" demands that the response be wrapped for 5s to 1m0s"#
        );
    }
}

#[test]
fn events_need_both_capabilities_and_their_type() {
    let acl = deny_wins(&[r#"
        path "secret/*" { capabilities = ["list", "subscribe"] subscribe_event_types = ["kv-v2/*"] }
        path "silent/*" { capabilities = ["list", "subscribe"] }
        path "listed/*" { capabilities = ["list"] subscribe_event_types = ["*"] }
    "#]);
    let allowed = |path, event_type| acl.authorize_event(path, event_type).is_allowed();
    assert!(allowed("secret/data/x", "kv-v2/data-write"));
    assert!(!allowed("secret/data/x", "kv-v1/write"));
    assert!(!allowed("silent/x", "kv-v2/data-write"));
    assert!(!allowed("listed/x", "kv-v2/data-write"));
    assert!(!allowed("other", "kv-v2/data-write"));
}

#[test]
fn no_rule_no_access() {
    let acl = deny_wins(&[]);
    let decision = acl.authorize("x", Operation::Read, empty(), None);
    assert_eq!(decision.denial.unwrap().to_string(), "no rule matches the path");
    assert_eq!(acl.capabilities("x"), ["deny"]);
}

#[test]
fn policies_of_a_namespace_reach_no_further() {
    let inner = Policy::parse("inner", "ns1/", r#"path "*" { policy = "write" }"#).unwrap();
    let acl = CompiledAcl::compile(&[Arc::new(inner)], DenyMode::DenyWins);
    assert!(allows(&acl, Operation::Read, "ns1/secret/x"));
    assert!(!allows(&acl, Operation::Read, "ns11/secret/x"));
    assert!(!allows(&acl, Operation::Read, "secret/x"));
}

/// Names in any case: `users/ALICE` comes as `users/alice`, of which the name is compared regardless of case.
mod names_in_any_case {
    use super::*;

    fn decided(policy: &str, path: &str, name: std::ops::Range<usize>, operation: Operation) -> bool {
        let policy = Arc::new(Policy::parse("p", "", policy).unwrap());
        let acl = CompiledAcl::compile(&[policy], DenyMode::DenyWins);
        acl.authorize(RequestPath::with_caseless(path, name), operation, &Map::new(), None).is_allowed()
    }

    #[test]
    fn a_rule_counts_in_any_case() {
        let all = r#"path "auth/u/users/*" { capabilities = ["read", "list"] }"#;
        let read = |policy: &str| decided(policy, "auth/u/users/alice", 13..18, Operation::Read);
        assert!(read(all));
        for deny in ["users/ALICE", "users/Alice", "users/alice", "users/AL*", "+/users/ALICE"] {
            let path = if deny.starts_with('+') { format!("auth/{deny}") } else { format!("auth/u/{deny}") };
            assert!(!read(&format!("{all}\npath \"{path}\" {{ capabilities = [\"deny\"] }}")), "{deny}");
        }
        for other in ["auth/U/users/alice", "auth/u/USERS/alice", "auth/u/users/alic", "auth/u/users/ALICEX"]
        {
            assert!(read(&format!("{all}\npath \"{other}\" {{ capabilities = [\"deny\"] }}")), "{other}");
        }
        assert!(read(r#"path "auth/u/users/ALICE" { capabilities = ["read"] }"#), "a grant counts, too");
        assert!(!read(r#"path "auth/u/users/ALICE/x" { capabilities = ["read"] }"#));
    }

    #[test]
    fn lists_and_other_letters_count_in_any_case() {
        let policy =
            r#"path "a/*" { capabilities = ["list"] } path "a/\u00c4RGER/b" { capabilities = ["deny"] }"#;
        assert!(!decided(policy, "a/\u{e4}rger/b/", 2..8, Operation::List));
        assert!(decided(policy, "a/\u{e4}rger/c/", 2..8, Operation::List));
    }
}
