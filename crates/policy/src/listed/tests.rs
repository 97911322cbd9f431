use proptest::prelude::*;
use serde_json::{Map, json};
use strongroom_wire::FieldType;

use crate::parameters::Parameters;
use crate::{CompiledAcl, DenyMode};
use crate::{Policy, capability::Operation};

use super::*;

/// A field `f` of one type, with `g` for an older name.
struct Typed(FieldType);

impl ParameterTypes for Typed {
    fn present_name<'a>(&'a self, name: &'a str) -> &'a str {
        if name == "g" { "f" } else { name }
    }

    fn read(&self, _name: &str, value: &Value) -> Reading {
        self.0.read(value)
    }

    fn pattern(&self, _name: &str, pattern: &str) -> String {
        self.0.pattern(pattern)
    }
}

/// True if a request with `name = value` passes `rules`, which are JSON.
fn passes(kind: &FieldType, rules: &Value, name: &str, value: &Value) -> bool {
    let mut rule = json!({ "capabilities": ["update"] });
    rule.as_object_mut().unwrap().extend(rules.as_object().unwrap().clone());
    let text = json!({ "path": { "x": rule } }).to_string();
    let policy = Policy::parse("p", "", &text).unwrap();
    let acl = CompiledAcl::compile(&[policy.into()], DenyMode::default());
    let given: Map<String, Value> = [(name.to_owned(), value.clone())].into_iter().collect();
    let types = Typed(kind.clone());
    acl.authorize("x", Operation::Update, Parameters::new(&given, &types), None).is_allowed()
}

#[test]
fn denied_wholes_deny_what_contains_them_and_allowed_wholes_are_exact() {
    let deny = |listed: Value, value: Value| {
        !passes(&FieldType::List, &json!({"denied_parameters": {"f": listed}}), "f", &value)
    };
    let allow = |listed: Value, value: Value| {
        passes(&FieldType::List, &json!({"allowed_parameters": {"f": listed}}), "f", &value)
    };
    assert!(deny(json!([["a", "b"]]), json!("c,b,a")));
    assert!(deny(json!(["a,b"]), json!("c,b,a")));
    assert!(!deny(json!([["a", "b"]]), json!("a")));
    assert!(deny(json!([""]), json!([])));
    assert!(!deny(json!([""]), json!("a")));
    assert!(deny(json!(["*"]), json!("")));
    assert!(deny(json!(["x, pre*"]), json!("prefix")));
    assert!(allow(json!([["a", "b"]]), json!("b,a")));
    assert!(!allow(json!([["a", "b"]]), json!("a")));
    assert!(!allow(json!([["a"], "b"]), json!("a,b")));
    assert!(allow(json!(["a", "b"]), json!("b,a")));
    assert!(allow(json!([[]]), json!("")));
    assert!(!allow(json!(["a"]), json!("")));
    assert!(allow(json!(["*"]), json!("")));
    assert!(!allow(json!(["base/*"]), json!("base/a,other")));
}

#[test]
fn spans_have_no_patterns() {
    let rules = |key: &str, listed: &str| json!({key: {"f": [listed]}});
    assert!(!passes(&FieldType::Duration, &rules("denied_parameters", "*h"), "f", &json!("1s")));
    assert!(!passes(&FieldType::Duration, &rules("allowed_parameters", "*h"), "f", &json!("1h")));
    assert!(passes(&FieldType::Duration, &rules("allowed_parameters", "*"), "f", &json!("1h")));
}

/// Types, each with values that it reads, many of them spellings of the same.
fn types() -> Vec<(FieldType, Vec<Value>)> {
    let json = |text: &str| serde_json::from_str::<Vec<Value>>(text).unwrap();
    vec![
        (FieldType::Text, json(r#"["1", 1, true, "true", "a", "A", "", "*", "a*"]"#)),
        (FieldType::Flag, json(r#"[true, false, 1, 0, "1", "0", "", "t", "F", "True", "yes", [true]]"#)),
        (FieldType::Int, json(r#"[0, 1, "1", "01", "+1", " 1 ", true, false, "", 16, "16", "0x10", 1.0]"#)),
        (
            FieldType::Duration,
            json(r#"["1h", "60m", 3600, "3600", " 3600s", "1d", "24h", "1440m", 0, "", "x", "1500ms", 1]"#),
        ),
        (FieldType::DurationText, json(r#"["1h", "60m", 3600, "3600", "-1h", "x", "", 0]"#)),
        (FieldType::LeaseTtl, json(r#"["system", 0, "0", "0s", "", "1h", 3600]"#)),
        (
            FieldType::List,
            json(
                r#"["a", "a,b", ["b", "a"], ["a"], " a ", "b , a,", "A", [], "", "c", ["a", "c"], {"a": 1}]"#,
            ),
        ),
        (
            FieldType::Names,
            json(
                r#"["a", "A, b", ["B", "a"], ["a"], "b , a,", "A", [], "", "c", ["a", "C"], "pre-x", "PRE-x"]"#,
            ),
        ),
        (FieldType::Ints, json(r#"[1, "1", [1], "1,2", [2, "01"], true, [], "", "x"]"#)),
        (
            FieldType::Pairs,
            json(
                r#"["a=1", {"a": 1}, {"a": "1"}, ["a=1"], "{\"a\": 1}", "a = 1, b=2", {"b": "2", "a": 1}, {}, "", "x"]"#,
            ),
        ),
    ]
}

fn two_spellings() -> impl Strategy<Value = (FieldType, Vec<Value>, Value, Value)> {
    prop::sample::select(types()).prop_flat_map(|(kind, values)| {
        let mut entries = values.clone();
        entries.extend(["*", "a*", "*b", "pre-*", "a=*", "1*"].map(Value::from));
        let one = prop::sample::select(values);
        (Just(kind), prop::collection::vec(prop::sample::select(entries), 1..4), one.clone(), one)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn values_that_are_read_alike_are_decided_alike((kind, listed, a, b) in two_spellings()) {
        for key in ["denied_parameters", "allowed_parameters"] {
            let rules = json!({ key: { "f": listed } });
            let decided = passes(&kind, &rules, "f", &a);
            prop_assert_eq!(passes(&kind, &rules, "g", &a), decided, "an older name");
            prop_assert_eq!(passes(&kind, &json!({ key: { "g": listed } }), "f", &a), decided, "a rule's older name");
            if kind.read(&a) == kind.read(&b) {
                prop_assert_eq!(passes(&kind, &rules, "f", &b), decided, "{} and {}", a, b);
            }
        }
    }

    #[test]
    fn a_rule_means_what_its_values_are_read_as((kind, _, a, b) in two_spellings()) {
        let is_pattern = |value: &Value| is_pattern(value);
        if !is_pattern(&a) && kind.read(&a) != Reading::Unreadable && kind.read(&a) == kind.read(&b) {
            let rules = json!({"denied_parameters": {"f": [a]}});
            prop_assert!(!passes(&kind, &rules, "f", &b));
            let rules = json!({"allowed_parameters": {"f": [a]}});
            prop_assert!(passes(&kind, &rules, "f", &b));
        }
    }

    #[test]
    fn what_cannot_be_read_is_never_let_through((kind, listed, a, _) in two_spellings()) {
        if kind.read(&a) == Reading::Unreadable {
            let rules = json!({"denied_parameters": {"f": listed}});
            prop_assert!(!passes(&kind, &rules, "f", &a));
            let rules = json!({"allowed_parameters": {"f": listed}});
            prop_assert!(!passes(&kind, &rules, "f", &a));
        }
    }
}
