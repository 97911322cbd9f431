use proptest::prelude::*;
use serde_json::{Map, Value};
use strongroom_stdx::Secret;

use super::*;
use crate::record::RawJson;

fn salt() -> Salt {
    Salt::new(&Secret::new(b"salt".to_vec()))
}

fn transcode(text: &str, rule: &Redaction<'_>) -> Result<String, AuditError> {
    let mut out = Vec::new();
    rule.push_text(&mut out, RawJson::new(text))?;
    Ok(String::from_utf8(out).unwrap())
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any_key(), inner, 0..6).prop_map(object),
        ]
    })
}

fn any_key() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), Just("clear".to_owned()), Just("cl\"ear".to_owned())]
}

fn object(members: std::collections::BTreeMap<String, Value>) -> Value {
    Value::Object(members.into_iter().collect())
}

fn any_object() -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::btree_map(any_key(), any_value(), 0..8).prop_map(|map| map.into_iter().collect())
}

proptest! {
    /// A request's data and a response's take different ways; they must hide the same.
    #[test]
    fn text_and_tree_are_hidden_alike(map in any_object()) {
        let salt = salt();
        let clear_keys = ["clear".to_owned(), "cl\"ear".to_owned()];
        for salt in [Some(&salt), None] {
            let rule = Redaction { salt, clear_keys: &clear_keys, elide_lists: false };
            let mut tree = Vec::new();
            rule.push_map(&mut tree, &map);
            let tree: Value = serde_json::from_slice(&tree).unwrap();
            for text in [serde_json::to_string(&map).unwrap(), serde_json::to_string_pretty(&map).unwrap()] {
                let out = transcode(&text, &rule).unwrap();
                prop_assert!(!out.contains('\n'));
                prop_assert_eq!(&serde_json::from_str::<Value>(&out).unwrap(), &tree);
            }
        }
    }

    #[test]
    fn raw_is_a_copy(map in any_object()) {
        let out = transcode(&serde_json::to_string_pretty(&map).unwrap(), &Redaction::RAW).unwrap();
        prop_assert_eq!(serde_json::from_str::<Map<String, Value>>(&out).unwrap(), map);
    }

    #[test]
    fn any_text_is_one_line_or_refused(text in any::<String>()) {
        if let Ok(out) = transcode(&text, &Redaction::RAW) {
            prop_assert!(!out.contains('\n'));
        }
    }

    #[test]
    fn any_text_like_json_is_one_line_or_refused(text in r#"[ \n{}\[\]",:\\a1ntrue-]{0,40}"#) {
        let salt = salt();
        let rule = Redaction { salt: Some(&salt), clear_keys: &[], elide_lists: true };
        if let Ok(out) = transcode(&format!("{{{text}}}"), &rule) {
            prop_assert!(!out.contains('\n'));
        }
    }
}

#[test]
fn strings_are_hashed_and_nothing_else() {
    let salt = salt();
    let rule = Redaction { salt: Some(&salt), clear_keys: &[], elide_lists: false };
    let out =
        transcode(r#" { "a" : "x", "b": [1.50, 1e40, true, null, "x\n"] , "": {"c": ""} } "#, &rule).unwrap();
    let (x, line, empty) = (salt.hash("x"), salt.hash("x\n"), salt.hash(""));
    assert_eq!(out, format!(r#"{{"a":"{x}","b":[1.50,1e40,true,null,"{line}"],"":{{"c":"{empty}"}}}}"#));
}

/// As observed: the key right above decides, through arrays, at any depth.
#[test]
fn clear_keys_apply_to_the_strings_right_under_them() {
    let salt = salt();
    let clear_keys = ["foo".to_owned(), "nest".to_owned()];
    let rule = Redaction { salt: Some(&salt), clear_keys: &clear_keys, elide_lists: false };
    let text = r#"{"bar":["w",{"foo":["x"]}],"nest":[{"other":"q"},"s",["t",{"foo":"u"},["v"]]]}"#;
    let (w, q) = (salt.hash("w"), salt.hash("q"));
    let expected = format!(
        r#"{{"bar":["{w}",{{"foo":["x"]}}],"nest":[{{"other":"{q}"}},"s",["t",{{"foo":"u"}},["v"]]]}}"#
    );
    assert_eq!(transcode(text, &rule).unwrap(), expected);
    assert_eq!(transcode(r#"{"f\u006fo":"x"}"#, &rule).unwrap(), r#"{"f\u006fo":"x"}"#);
}

#[test]
fn lists_are_elided_only_where_and_as_they_should_be() {
    let salt = salt();
    let rule = Redaction { salt: Some(&salt), clear_keys: &[], elide_lists: true };
    let elided = |text| transcode(text, &rule).unwrap();
    assert_eq!(
        elided(r#"{"keys":["a","b",["c"]],"key_info":{"a":{"keys":[1]},"b":2},"more":[1]}"#),
        r#"{"keys":3,"key_info":2,"more":[1]}"#
    );
    assert_eq!(elided(r#"{"keys":[],"key_info":{}}"#), r#"{"keys":0,"key_info":0}"#);
    assert_eq!(elided(r#"{"keys":{"a":1},"key_info":[1]}"#), r#"{"keys":{"a":1},"key_info":[1]}"#);
    assert_eq!(elided(r#"{"data":{"keys":[1,2]}}"#), r#"{"data":{"keys":[1,2]}}"#);
}

#[test]
fn half_a_surrogate_pair_is_hashed_as_it_stands() {
    let salt = salt();
    let rule = Redaction { salt: Some(&salt), clear_keys: &[], elide_lists: false };
    let expected = format!(r#"{{"a":"{}"}}"#, salt.hash(r"\ud800"));
    assert_eq!(transcode(r#"{"a":"\ud800"}"#, &rule).unwrap(), expected);
}

#[test]
fn what_is_not_an_object_is_refused() {
    let cases = [
        "",
        "null",
        "[]",
        "1",
        "\"a\"",
        "{",
        "}",
        "{}}",
        "{} x",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r#"{,"a":1}"#,
        r#"{"a":[1,]}"#,
        r#"{"a":[1 2]}"#,
        r#"{"a":nul}"#,
        r#"{"a":x}"#,
        "{a:1}",
        r#"{"a":"b}"#,
        "{\"a\":\"\n\"}",
        "{\"a\":\"\\\n\"}",
        r#"{"a":1]"#,
        r#"{"a":"\"#,
    ];
    for text in cases {
        assert!(matches!(transcode(text, &Redaction::RAW), Err(AuditError::MalformedData(_))), "{text}");
    }
}

#[test]
fn deep_nesting_is_refused_before_the_stack_is() {
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(transcode(&nested(200), &Redaction::RAW).is_ok());
    assert!(matches!(transcode(&nested(100_000), &Redaction::RAW), Err(AuditError::MalformedData(_))));
}
