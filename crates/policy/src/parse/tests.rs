use proptest::prelude::*;

use crate::{Policy, PolicyError, Rule};

fn parse(text: &str) -> Result<Policy, PolicyError> {
    Policy::parse("test", "", text)
}

fn shown(rule: &Rule) -> (Option<&str>, Vec<&'static str>) {
    (rule.path(), rule.capabilities().names())
}

fn rules(text: &str) -> Vec<(String, Vec<&'static str>)> {
    parse(text).unwrap().rules().map(shown).map(|(path, names)| (path.unwrap().to_owned(), names)).collect()
}

#[track_caller]
fn refused(text: &str, message: &str, place: &str) {
    let error = parse(text).unwrap_err();
    assert_eq!(error.to_string(), message, "{text}");
    assert_eq!(error.position().to_string(), place, "{text}");
}

#[test]
fn hcl_and_json_say_the_same() {
    let hcl = r#"
        name = "dev"
        path "secret/*" {
          capabilities = ["create", "read"]
          allowed_parameters = { "foo" = [] "Bar" = ["zip", 1, true] }
          denied_parameters { baz = [] }
          required_parameters = ["foo"]
          min_wrapping_ttl = "1s"
          max_wrapping_ttl = 90
          subscribe_event_types = ["kv*"]
          comment = "for the developers"
        }
        path "/sys/+/x" { policy = "write" }
    "#;
    let json = r#"{
        "name": "dev",
        "path": {
            "secret/*": {
                "capabilities": ["create", "read"],
                "allowed_parameters": {"foo": [], "Bar": ["zip", 1, true]},
                "denied_parameters": {"baz": []},
                "required_parameters": ["foo"],
                "min_wrapping_ttl": "1s",
                "max_wrapping_ttl": 90,
                "subscribe_event_types": ["kv*"],
                "comment": "for the developers"
            },
            "/sys/+/x": {"policy": "write"}
        }
    }"#;
    let list =
        r#"{"path": [{"secret/*": {"capabilities": ["create", "read"]}}, {"sys/+/x": {"policy": "write"}}]}"#;
    let (hcl, json, list) = (parse(hcl).unwrap(), parse(json).unwrap(), parse(list).unwrap());
    assert_eq!(hcl.rules().count(), 2);
    for ((a, b), c) in hcl.rules().zip(json.rules()).zip(list.rules()) {
        assert_eq!(shown(a), shown(b));
        assert_eq!(shown(a), shown(c));
        assert_eq!(a.constraints(), b.constraints());
    }
    let first = hcl.rules().next().unwrap().constraints();
    assert_eq!(first.allowed_parameters().keys().collect::<Vec<_>>(), ["bar", "foo"]);
    assert_eq!(first.max_wrapping_ttl().unwrap().as_secs(), 90);
}

#[test]
fn capabilities_and_the_old_levels() {
    assert_eq!(
        rules(r#"path "x" { capabilities = ["update", "sudo", "list"] }"#)[0].1,
        ["list", "sudo", "update"]
    );
    assert_eq!(rules(r#"path "x" { capabilities = ["read", "deny"] }"#)[0].1, ["deny"]);
    assert_eq!(rules(r#"path "x" {}"#)[0].1, ["deny"]);
    assert_eq!(
        rules(r#"path "x" { capabilities = ["scan", "recover", "subscribe", "patch"] }"#)[0].1,
        ["patch", "recover", "scan", "subscribe"]
    );
    assert_eq!(rules(r#"path "x" { policy = "read" }"#)[0].1, ["list", "read"]);
    assert_eq!(
        rules(r#"path "x" { policy = "write" }"#)[0].1,
        ["create", "delete", "list", "read", "update"]
    );
    assert_eq!(
        rules(r#"path "x" { policy = "sudo" }"#)[0].1,
        ["create", "delete", "list", "read", "sudo", "update"]
    );
    assert_eq!(rules(r#"path "x" { policy = "deny" }"#)[0].1, ["deny"]);
    assert_eq!(
        rules(r#"path "x" { policy = "read" capabilities = ["update"] }"#)[0].1,
        ["list", "read", "update"]
    );
}

#[test]
fn one_leading_slash_is_dropped() {
    let paths = |text: &str| rules(text).into_iter().map(|(path, _)| path).collect::<Vec<_>>();
    assert_eq!(paths(r#"path "/x" {} path "//y" {} path "z" {}"#), ["x", "/y", "z"]);
}

#[test]
fn paths_are_relative_to_the_namespace() {
    let policy = Policy::parse("p", "ns1/ns2/", r#"path "/secret/*" { capabilities = ["read"] }"#).unwrap();
    assert_eq!(policy.rules().next().unwrap().path(), Some("ns1/ns2/secret/*"));
    assert_eq!(policy.namespace(), "ns1/ns2/");
}

#[test]
fn an_empty_text_is_an_empty_policy() {
    assert!(rules("").is_empty());
    assert!(rules("  # nothing\n").is_empty());
    assert!(rules("{}").is_empty());
}

#[test]
fn unknown_words_are_named() {
    refused(
        r#"path "x" { capabilities = ["bogus"] }"#,
        r#"path "x": invalid capability "bogus" at 1:28"#,
        "1:28",
    );
    refused(
        "path \"x\" {\n  capabilities = [\"read\", \"Read\"]\n}",
        r#"path "x": invalid capability "Read" at 2:27"#,
        "2:27",
    );
    refused(r#"path "x" { capabilities = [1] }"#, r#"path "x": invalid capability "1" at 1:28"#, "1:28");
    refused(
        r#"{"path": {"x": {"capabilities": ["root"]}}}"#,
        r#"path "x": invalid capability "root" at 1:34"#,
        "1:34",
    );
    refused(r#"path "x" { policy = "bogus" }"#, r#"path "x": invalid policy "bogus" at 1:21"#, "1:21");
}

#[test]
fn unknown_keys_are_listed() {
    refused(
        r#"path "x" { foo = 1 }"#,
        "1 error occurred:\n\t* path \"x\": invalid key \"foo\" on line 1, column 12\n\n",
        "1:12",
    );
    refused(
        "path \"x\" {\n foo = 1\n bar = 2\n}",
        "2 errors occurred:\n\t* path \"x\": invalid key \"foo\" on line 2, column 2\n\t* path \"x\": invalid key \"bar\" on line 3, column 2\n\n",
        "2:2",
    );
    refused(
        "path \"x\" { foo = 1 }\nbar = 1",
        "1 error occurred:\n\t* invalid key \"bar\" on line 2, column 1\n\n",
        "2:1",
    );
}

#[test]
fn conditions_that_could_not_be_enforced_are_refused() {
    refused(
        r#"path "x" { control_group = { factor "a" {} } }"#,
        r#"path "x": "control_group" at 1:12 is not supported"#,
        "1:12",
    );
    refused(
        r#"path "x" { mfa_methods = ["a"] }"#,
        r#"path "x": "mfa_methods" at 1:12 is not supported"#,
        "1:12",
    );
}

#[test]
fn a_key_may_be_set_once() {
    refused(
        r#"path "x" { capabilities = ["read"] capabilities = ["list"] }"#,
        r#"The argument "capabilities" at 1:36 was already set. Each argument can only be defined once"#,
        "1:36",
    );
    // Several blocks for a path are no repetition.
    assert_eq!(rules(r#"path "x" { policy = "read" } path "x" { policy = "deny" }"#).len(), 2);
}

#[test]
fn values_of_the_wrong_type_are_refused() {
    refused(
        r#"path "x" { capabilities = "read" }"#,
        r#"path "x": At 1:27: "capabilities" must be a list of strings, not a string"#,
        "1:27",
    );
    refused(
        r#"path "x" { capabilities = [["read"]] }"#,
        r#"path "x": At 1:28: "capabilities" must be a list of strings, not a list"#,
        "1:28",
    );
    refused(
        r#"path "x" { allowed_parameters = ["a"] }"#,
        r#"path "x": At 1:34: "allowed_parameters" must be an object, not a string"#,
        "1:34",
    );
    refused(
        r#"path "x" { denied_parameters = { a = "b" } }"#,
        r#"path "x": At 1:38: "a" must be a list of values, not a string"#,
        "1:38",
    );
    refused(
        r#"path "x" { required_parameters = "a" }"#,
        r#"path "x": At 1:34: "required_parameters" must be a list of strings, not a string"#,
        "1:34",
    );
    refused(r#"name = ["a"]"#, r#"At 1:8: "name" must be a string, not a list"#, "1:8");
    assert!(parse(r"path = 1").is_err());
    assert!(parse(r#"path { capabilities = ["read"] }"#).is_err());
    assert!(parse(r#"path "a" "b" { capabilities = ["read"] }"#).is_err());
    assert!(parse(r#"path "a" {"#).is_err());
    assert!(parse(r#"{"path":"#).is_err());
}

#[test]
fn wrapping_ttls_are_checked() {
    refused(
        r#"path "x" { min_wrapping_ttl = "5s" max_wrapping_ttl = "1s" }"#,
        "max_wrapping_ttl cannot be less than min_wrapping_ttl",
        "1:1",
    );
    refused(
        r#"path "x" { min_wrapping_ttl = "zz" }"#,
        r#"error parsing min_wrapping_ttl: time: invalid duration "zz""#,
        "1:31",
    );
    refused(
        r#"path "x" { max_wrapping_ttl = "-5s" }"#,
        "error parsing max_wrapping_ttl: cannot provide negative value '-5'",
        "1:31",
    );
    refused(
        r#"path "x" { min_wrapping_ttl = true }"#,
        "error parsing min_wrapping_ttl: could not parse duration from input",
        "1:31",
    );
}

#[test]
fn ambiguous_or_endless_paths_are_refused() {
    for path in ["+*", "a/+*", "x+*", "+*/c"] {
        refused(
            &format!("path \"{path}\" {{}}"),
            &format!("path \"{path}\": invalid use of wildcards ('+*' is forbidden)"),
            "1:1",
        );
    }
    let endless = "+/".repeat(65);
    refused(
        &format!("path \"{endless}\" {{}}"),
        &format!("path \"{endless}\": more than 64 wildcard segments"),
        "1:1",
    );
    for path in ["secret/{{identity.entity.id", "secret/identity.entity.id}}"] {
        refused(
            &format!("path \"{path}\" {{}}"),
            "failed to validate policy templating: unbalanced templating characters",
            "1:1",
        );
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn nothing_like_a_policy_panics(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "path", "\"a/+/b*\"", "{", "}", "[", "]", "=", "capabilities", "\"deny\"", "policy", "\n", ",", "1",
                "allowed_parameters", "\"{{x}}\"", "min_wrapping_ttl", "\"5s\"", ":", "\"path\"",
            ]),
            0..40,
        ),
    ) {
        let _ = parse(&words.join(" "));
    }
}
