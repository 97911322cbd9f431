use serde_json::json;

use super::*;
use crate::Policy;

/// The constraints of a rule with these keys.
fn constraints(keys: &str) -> Constraints {
    let text = format!("path \"x\" {{ {keys} }}");
    Policy::parse("test", "", &text).unwrap().rules().next().unwrap().constraints().clone()
}

fn check(keys: &str, parameters: Value) -> Result<(), String> {
    let Value::Object(parameters) = parameters else { panic!("not an object") };
    constraints(keys).check_parameters(Parameters::untyped(&parameters)).map_err(|fault| match fault {
        Fault::WrappingTtl => "ttl".to_owned(),
        Fault::MissingParameter(name) => format!("missing {name}"),
        Fault::DeniedParameter(name) => format!("denied {name}"),
        Fault::DeniedValue(name) => format!("denied value {name}"),
        Fault::UnlistedParameter(name) => format!("unlisted {name}"),
        Fault::UnlistedValue(name) => format!("unlisted value {name}"),
    })
}

/// Holds each request against the keys; `None` means it is let through.
fn table(keys: &str, requests: &[(Value, Option<&str>)]) {
    for (parameters, fault) in requests {
        let found = check(keys, parameters.clone()).err();
        assert_eq!(found.as_deref(), *fault, "{keys} with {parameters}");
    }
}

#[test]
fn allowed_parameters_shut_out_the_rest() {
    table(
        r#"allowed_parameters = { foo = [] bar = ["zip", "zap"] }"#,
        &[
            (json!({}), None),
            (json!({"foo": "anything"}), None),
            (json!({"foo": {"deep": [1]}}), None),
            (json!({"bar": "zip"}), None),
            (json!({"foo": 1, "bar": "zap"}), None),
            (json!({"FOO": 1, "Bar": "zap"}), None),
            (json!({"bar": "zop"}), Some("unlisted value bar")),
            (json!({"bar": ""}), Some("unlisted value bar")),
            (json!({"bar": null}), Some("unlisted value bar")),
            (json!({"baz": 1}), Some("unlisted baz")),
            (json!({"bar": "zip", "baz": 1}), Some("unlisted baz")),
        ],
    );
    table(r"allowed_parameters = {}", &[(json!({"any": 1}), None)]);
}

#[test]
fn a_star_parameter_allows_the_rest() {
    table(
        r#"allowed_parameters = { bar = ["zip"] "*" = [] }"#,
        &[
            (json!({"other": 1}), None),
            (json!({"bar": "zip"}), None),
            (json!({"bar": "zap"}), Some("unlisted value bar")),
        ],
    );
}

#[test]
fn denied_parameters_come_first() {
    table(
        r#"denied_parameters = { foo = [] bar = ["zip", "z*"] }"#,
        &[
            (json!({}), None),
            (json!({"other": 1}), None),
            (json!({"foo": ""}), Some("denied foo")),
            (json!({"Foo": ""}), Some("denied Foo")),
            (json!({"bar": "no"}), None),
            (json!({"bar": "zip"}), Some("denied value bar")),
            (json!({"bar": "zoo"}), Some("denied value bar")),
        ],
    );
    table(
        r#"denied_parameters = { a = ["x"] } allowed_parameters = { a = ["x", "y"] }"#,
        &[
            (json!({"a": "x"}), Some("denied value a")),
            (json!({"a": "y"}), None),
            (json!({"b": "y"}), Some("unlisted b")),
        ],
    );
    for star in [r#"denied_parameters = { "*" = [] }"#, r#"denied_parameters = { "*" = ["a"] }"#] {
        table(star, &[(json!({}), None), (json!({"any": 1}), Some("denied any"))]);
    }
}

#[test]
fn required_parameters_must_be_spelt_in_lower_case() {
    table(
        r#"required_parameters = ["name", "TTL"]"#,
        &[
            (json!({"name": "", "ttl": null}), None),
            (json!({"name": 1}), Some("missing ttl")),
            (json!({"name": 1, "TTL": 1}), Some("missing ttl")),
            (json!({}), Some("missing name")),
        ],
    );
}

#[test]
fn values_may_have_a_star_at_either_end() {
    table(
        r#"allowed_parameters = { head = ["foo-*"] tail = ["*-z"] mid = ["*m*"] any = ["*"] none = [""] }"#,
        &[
            (json!({"head": "foo-"}), None),
            (json!({"head": "foo-1"}), None),
            (json!({"head": "a foo-1"}), Some("unlisted value head")),
            (json!({"tail": "a-z"}), None),
            (json!({"tail": "a-zz"}), Some("unlisted value tail")),
            (json!({"mid": "m"}), None),
            (json!({"mid": "amb"}), None),
            (json!({"mid": "ab"}), Some("unlisted value mid")),
            (json!({"any": "thing"}), None),
            (json!({"any": 5}), Some("unlisted value any")),
            (json!({"none": ""}), None),
            (json!({"none": "x"}), Some("unlisted value none")),
        ],
    );
}

#[test]
fn values_are_compared_by_type_and_numbers_by_amount() {
    table(
        r#"allowed_parameters = { a = [1, true, "q", 1.5, 0x10] s = ["1", "true"] l = [["x", "y"]] o = [{ k = "v" }] }"#,
        &[
            (json!({"a": 1}), None),
            (json!({"a": 1.0}), None),
            (json!({"a": 16}), None),
            (json!({"a": 1.5}), None),
            (json!({"a": true}), None),
            (json!({"a": "1"}), Some("unlisted value a")),
            (json!({"a": "true"}), Some("unlisted value a")),
            (json!({"a": false}), Some("unlisted value a")),
            (json!({"s": "1"}), None),
            (json!({"s": 1}), Some("unlisted value s")),
            (json!({"s": true}), Some("unlisted value s")),
            (json!({"l": ["x", "y"]}), None),
            (json!({"l": ["y", "x"]}), Some("unlisted value l")),
            (json!({"l": "x"}), Some("unlisted value l")),
            (json!({"o": {"k": "v"}}), None),
            (json!({"o": {"k": "w"}}), Some("unlisted value o")),
            (json!({"o": {"k": "v", "more": 1}}), Some("unlisted value o")),
        ],
    );
}

/// Vault 1.21 and later: "List parameter evaluation".
#[test]
fn lists_are_checked_as_a_whole_and_by_element() {
    table(
        r#"allowed_parameters = { x = ["A", "B"] }"#,
        &[
            (json!({"x": ["A", "B"]}), None),
            (json!({"x": ["B", "A"]}), None),
            (json!({"x": ["A"]}), None),
            (json!({"x": "A,B"}), None),
            (json!({"x": "B, A"}), None),
            (json!({"x": ["A", "C"]}), Some("unlisted value x")),
            (json!({"x": "A,C"}), Some("unlisted value x")),
            (json!({"x": "A,"}), Some("unlisted value x")),
            (json!({"x": []}), Some("unlisted value x")),
        ],
    );
    table(
        r#"denied_parameters = { x = ["C", "D"] }"#,
        &[
            (json!({"x": ["A", "C"]}), Some("denied value x")),
            (json!({"x": ["D"]}), Some("denied value x")),
            (json!({"x": "A, C"}), Some("denied value x")),
            (json!({"x": ["A"]}), None),
            (json!({"x": "A,B"}), None),
        ],
    );
    // A glob may match the list as a whole, as documented.
    table(r#"allowed_parameters = { x = ["baz/*"] }"#, &[(json!({"x": "baz/quux,wibble"}), None)]);
}

#[test]
fn wrapping_bounds_make_wrapping_mandatory() {
    let secs = Duration::from_secs;
    for (keys, accepted, refused) in [
        ("", vec![None, Some(secs(1))], vec![]),
        (r"min_wrapping_ttl = 5", vec![Some(secs(5)), Some(secs(61))], vec![None, Some(secs(4))]),
        (r#"max_wrapping_ttl = "1m""#, vec![Some(secs(4)), Some(secs(60))], vec![None, Some(secs(61))]),
        (
            r#"min_wrapping_ttl = "5s" max_wrapping_ttl = "5""#,
            vec![Some(secs(5))],
            vec![None, Some(secs(4)), Some(secs(6))],
        ),
        (r#"min_wrapping_ttl = "0s""#, vec![None, Some(secs(1))], vec![]),
    ] {
        let constraints = constraints(keys);
        for ttl in accepted {
            assert_eq!(constraints.check_wrapping(ttl), Ok(()), "{keys} {ttl:?}");
        }
        for ttl in refused {
            assert_eq!(constraints.check_wrapping(ttl), Err(Fault::WrappingTtl), "{keys} {ttl:?}");
        }
    }
}

#[test]
fn merging_unites_parameters_and_takes_the_lower_ttls() {
    let merged = |a: &str, b: &str| {
        let mut merged = constraints(a);
        merged.merge(&constraints(b));
        let mut reverse = constraints(b);
        reverse.merge(&constraints(a));
        let sorted = |map: &BTreeMap<String, Vec<Value>>| {
            let mut map = map.clone();
            for values in map.values_mut() {
                values.sort_by_key(ToString::to_string);
            }
            map
        };
        assert_eq!(sorted(&merged.allowed), sorted(&reverse.allowed));
        assert_eq!(sorted(&merged.denied), sorted(&reverse.denied));
        assert_eq!(merged.required, reverse.required);
        assert_eq!(merged.min_wrapping_ttl, reverse.min_wrapping_ttl);
        merged
    };
    // A rule without demands does not lift those of another.
    let one_sided = r#"allowed_parameters = { a = ["1"] } denied_parameters = { b = [] } required_parameters = ["a"] min_wrapping_ttl = 10"#;
    assert_eq!(merged(one_sided, ""), constraints(one_sided));

    let both = merged(
        r#"allowed_parameters = { a = ["1"] c = ["2"] } max_wrapping_ttl = 20 required_parameters = ["a"]"#,
        r#"allowed_parameters = { A = ["2", "1"] b = [] c = [] } max_wrapping_ttl = 10 required_parameters = ["b"]"#,
    );
    assert_eq!(json!(both.allowed), json!({"a": ["1", "2"], "b": [], "c": []}));
    assert_eq!(both.max_wrapping_ttl, Some(Duration::from_secs(10)));
    assert_eq!(both.required.iter().collect::<Vec<_>>(), ["a", "b"]);

    let denied = merged(r#"denied_parameters = { a = ["1"] }"#, r"denied_parameters = { a = [] }");
    assert_eq!(json!(denied.denied), json!({"a": []}));
}

#[test]
fn event_types_may_have_stars_anywhere() {
    for (pattern, matching, other) in [
        ("*", vec!["", "kv-v2/data-write"], vec![]),
        ("kv-v2/data-write", vec!["kv-v2/data-write"], vec!["kv-v2/data-writes", "kv-v2/data"]),
        ("kv-v2/data-*", vec!["kv-v2/data-write", "kv-v2/data-"], vec!["kv-v1/write"]),
        ("kv*/*-delete", vec!["kv-v2/data-delete"], vec!["kv-v2/delete", "kv-v2/data-deleted"]),
        ("a*b*b", vec!["abb", "axbxb"], vec!["ab", "abx"]),
    ] {
        for text in matching {
            assert!(wildcards_match(pattern, text), "{pattern} {text}");
        }
        for text in other {
            assert!(!wildcards_match(pattern, text), "{pattern} {text}");
        }
    }
}
