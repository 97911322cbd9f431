//! Inputs as Vault takes them: numbers as text, lists as comma-separated text, durations as seconds or with units.
//!
//! Vault decodes request fields "weakly" by their declared type; each type here is one of those declarations. They
//! deserialize from a JSON value and describe themselves to the OpenAPI document.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::num::IntErrorKind;
use std::ops::Deref;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use strongroom_stdx::{LONGEST, parse_duration};

/// The type of this JSON value, as Vault names it: in messages, which must not repeat the value itself.
#[must_use]
pub const fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(_) => "json.Number",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

macro_rules! lenient {
    ($(#[$doc:meta])* $name:ident($inner:ty), $schema_name:literal, $schema:tt, $parse:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl Deref for $name {
            type Target = $inner;
            fn deref(&self) -> &$inner {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = Value::deserialize(deserializer)?;
                let parse: fn(Value) -> Result<$inner, String> = $parse;
                parse(value).map($name).map_err(D::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                $schema_name.into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

lenient!(
    /// Text; numbers and booleans become their JSON text.
    Text(String), "Text", { "type": "string" }, text
);
lenient!(
    /// A truth value: a boolean, 0 or 1 or empty, or `"true"`, `"false"`, `"1"`, `"0"`, `"t"`, `"f"` in Go's spellings.
    Flag(bool), "Flag", { "type": "boolean" }, flag
);
lenient!(
    /// A span of time as [`Ttl`] has it, kept as the text it was given as: for handlers with words of their own for what
    /// is wrong with it.
    DurationText(String), "DurationText", { "type": "string", "x-reads": "duration" }, text
);
lenient!(
    /// A mount's lease TTL, as the text it was given as: a span of time, or `"system"` for the server's.
    LeaseTtl(String), "LeaseTtl", { "type": "string", "x-reads": "lease-ttl" }, text
);
lenient!(
    /// A whole number, as a number or as text.
    Int(i64), "Int", { "type": "integer" }, int
);
lenient!(
    /// A span of time: seconds as a number or as text, or text with units (`"1h30m"`). Below zero is refused.
    Ttl(Duration), "Ttl", { "type": "string", "format": "seconds" }, ttl
);
lenient!(
    /// A list of texts: a list, or one text with commas. Items are trimmed; empty ones are left out.
    List(Vec<String>), "List", { "type": "array", "items": { "type": "string" } }, list
);
lenient!(
    /// A [`List`] of names that mean the same in upper and lower case, such as those of policies: in lower case.
    Names(Vec<String>), "Names", { "type": "array", "items": { "type": "string" }, "x-reads": "names" }, names
);
lenient!(
    /// Names and texts: an object, a list of `name=text`, or one such text with commas.
    Pairs(BTreeMap<String, String>), "Pairs", { "type": "object", "format": "kvpairs" }, pairs
);
lenient!(
    /// Whole numbers: a list, a single number, or a text with commas.
    Ints(Vec<i64>), "Ints", { "type": "array", "items": { "type": "integer" } }, ints
);

impl DurationText {
    /// The span; `None` where the text is none.
    pub fn span(&self) -> Option<Duration> {
        parse_duration(&self.0).ok()
    }
}

impl LeaseTtl {
    /// The word for the server's own lease TTL.
    pub const SYSTEM: &'static str = "system";

    /// The span, zero for the server's; `None` where the text is none.
    pub fn span(&self) -> Option<Duration> {
        if self.0 == Self::SYSTEM { Some(Duration::ZERO) } else { parse_duration(&self.0).ok() }
    }
}

fn expected(name: &str, value: &Value) -> String {
    format!("expected type '{name}', got unconvertible type '{}'", type_name(value))
}

/// The error of a value that stands by itself.
fn itself(reason: &str) -> String {
    format!("'' {reason}")
}

/// The error of the value at a place in a list.
fn item(at: usize, reason: &str) -> String {
    format!("decoding failed due to the following error(s):\n\n'[{at}]' {reason}")
}

fn text(value: Value) -> Result<String, String> {
    scalar(value).map_err(|reason| itself(&reason))
}

fn scalar(value: Value) -> Result<String, String> {
    match value {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(true) => Ok("1".to_owned()),
        Value::Bool(false) => Ok("0".to_owned()),
        other => Err(expected("string", &other)),
    }
}

fn flag(value: Value) -> Result<bool, String> {
    let text = match value {
        Value::Bool(flag) => return Ok(flag),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text,
        other => return Err(itself(&expected("bool", &other))),
    };
    match text.as_str() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(itself("cannot parse value as 'bool': strconv.ParseBool: invalid syntax")),
    }
}

fn int(value: Value) -> Result<i64, String> {
    whole(value).map_err(|reason| itself(&reason))
}

fn whole(value: Value) -> Result<i64, String> {
    let text = match value {
        Value::Bool(flag) => return Ok(i64::from(flag)),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text,
        other => return Err(expected("int", &other)),
    };
    let text = text.trim();
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|error: std::num::ParseIntError| {
        let reason = match error.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("cannot parse value as 'int': strconv.ParseInt: {reason}")
    })
}

fn ttl(value: Value) -> Result<Duration, String> {
    match value {
        Value::String(text) => parse_duration(&text).map_err(|error| error.to_string()),
        Value::Number(number) => parse_duration(&number.to_string()).or_else(|error| {
            let secs = number.as_f64().filter(|secs| secs.is_finite() && *secs >= 0.0);
            let span = secs.and_then(|secs| Duration::try_from_secs_f64(secs).ok());
            span.filter(|span| *span <= LONGEST).ok_or_else(|| error.to_string())
        }),
        _ => Err("could not parse duration from input".to_owned()),
    }
}

fn split(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// Reads every item; the error names the first that cannot be read, with its place.
fn each<T>(
    items: impl IntoIterator<Item = Value>,
    read: impl Fn(Value) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let numbered = items.into_iter().enumerate();
    numbered.map(|(at, value)| read(value).map_err(|reason| item(at, &reason))).collect()
}

fn list(value: Value) -> Result<Vec<String>, String> {
    let items = match value {
        Value::String(joined) => return Ok(split(&joined)),
        Value::Array(items) => items,
        other => vec![other],
    };
    let items = each(items, scalar)?;
    Ok(items.iter().map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect())
}

fn names(value: Value) -> Result<Vec<String>, String> {
    Ok(list(value)?.iter().map(|name| name.to_lowercase()).collect())
}

fn ints(value: Value) -> Result<Vec<i64>, String> {
    match value {
        Value::Array(items) => each(items, whole),
        Value::String(joined) => each(split(&joined).into_iter().map(Value::String), whole),
        other => each([other], whole),
    }
}

fn pairs(value: Value) -> Result<BTreeMap<String, String>, String> {
    match value {
        Value::Null => Ok(BTreeMap::new()),
        Value::Object(members) => {
            let read = |(name, value)| scalar(value).map(|value| (name, value));
            // As Vault tells it, which then takes the object for an item of a list.
            let refused = |_reason| item(0, &expected("string", &Value::Object(Map::new())));
            members.into_iter().map(read).collect::<Result<_, _>>().map_err(refused)
        }
        Value::String(json) if json.trim_start().starts_with('{') => {
            serde_json::from_str(&json).map_err(|_error| "not a JSON object".to_owned()).and_then(pairs)
        }
        other => list(other)?
            .into_iter()
            .map(|item| match item.split_once('=') {
                Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
                None => Err("invalid key pair".to_owned()),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn takes_what_vault_takes() {
        assert_eq!(read(json!("1h")), Ok(Ttl(Duration::from_secs(3600))));
        assert_eq!(read(json!(3600)), Ok(Ttl(Duration::from_secs(3600))));
        assert_eq!(read(json!("3600")), Ok(Ttl(Duration::from_secs(3600))));
        assert_eq!(read(json!(1.5)), Ok(Ttl(Duration::from_millis(1500))));
        assert_eq!(read(json!("a, b,,c")), Ok(List(vec!["a".into(), "b".into(), "c".into()])));
        assert_eq!(read(json!(["a", 1])), Ok(List(vec!["a".into(), "1".into()])));
        assert_eq!(read(json!("5")), Ok(Int(5)));
        assert_eq!(read(json!("true")), Ok(Flag(true)));
        assert_eq!(read(json!(0)), Ok(Flag(false)));
        assert_eq!(read(json!(5)), Ok(Text("5".into())));
        assert_eq!(read(json!("1,2")), Ok(Ints(vec![1, 2])));
        let expected = Pairs(BTreeMap::from([("a".into(), "1".into()), ("b".into(), "x".into())]));
        assert_eq!(read(json!({"a": 1, "b": "x"})), Ok(expected.clone()));
        assert_eq!(read(json!(["a=1", "b=x"])), Ok(expected.clone()));
        assert_eq!(read(json!("{\"a\":\"1\",\"b\":\"x\"}")), Ok(expected));
    }

    #[test]
    fn refuses_without_repeating_the_value() {
        for refused in [
            read::<Int>(json!("hunter2")).unwrap_err(),
            read::<Flag>(json!("hunter2")).unwrap_err(),
            read::<Text>(json!({"hunter2": 1})).unwrap_err(),
            read::<Pairs>(json!(["hunter2"])).unwrap_err(),
        ] {
            assert!(!refused.contains("hunter2"), "{refused}");
        }
        assert!(read::<Ttl>(json!(-5)).is_err());
        assert!(
            read::<Ttl>(json!(9_223_372_036_854_775_808_u64)).is_err(),
            "as text it is out of range, too"
        );
        assert!(read::<Int>(json!(1.5)).is_err());
    }

    #[test]
    fn refuses_in_the_words_of_vault() {
        let string = |kind: &str| format!("expected type 'string', got unconvertible type '{kind}'");
        let int = |reason: &str| format!("cannot parse value as 'int': strconv.ParseInt: {reason}");
        let listed =
            |at, reason: &str| format!("decoding failed due to the following error(s):\n\n'[{at}]' {reason}");
        let map = "map[string]interface {}";
        assert_eq!(read::<Text>(json!({})).unwrap_err(), format!("'' {}", string(map)));
        assert_eq!(read::<Text>(json!([1])).unwrap_err(), format!("'' {}", string("[]interface {}")));
        assert_eq!(read::<Int>(json!("x")).unwrap_err(), format!("'' {}", int("invalid syntax")));
        let huge = json!("99999999999999999999");
        assert_eq!(read::<Int>(huge).unwrap_err(), format!("'' {}", int("value out of range")));
        for bad in [json!("maybe"), json!(2), json!(1.0)] {
            let told = "'' cannot parse value as 'bool': strconv.ParseBool: invalid syntax";
            assert_eq!(read::<Flag>(bad).unwrap_err(), told);
        }
        assert_eq!(read::<List>(json!({})).unwrap_err(), listed(0, &string(map)));
        assert_eq!(read::<List>(json!(["a", [1]])).unwrap_err(), listed(1, &string("[]interface {}")));
        assert_eq!(read::<Ints>(json!("1,x")).unwrap_err(), listed(1, &int("invalid syntax")));
        assert_eq!(read::<Ints>(json!([1.5])).unwrap_err(), listed(0, &int("invalid syntax")));
        assert_eq!(read::<Pairs>(json!({"a": [1]})).unwrap_err(), listed(0, &string(map)));
        assert_eq!(read::<Pairs>(json!(["x"])).unwrap_err(), "invalid key pair");
        assert_eq!(read::<Ttl>(json!([1])).unwrap_err(), "could not parse duration from input");
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC*".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("\\PC*", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_value_panics(value in any_json()) {
            let _ = read::<Ttl>(value.clone());
            let _ = read::<List>(value.clone());
            let _ = read::<Pairs>(value.clone());
            let _ = read::<Ints>(value.clone());
            let _ = read::<Flag>(value.clone());
            let _ = read::<Text>(value);
        }

        #[test]
        fn a_list_reads_the_same_from_its_joined_text(items in prop::collection::vec("[a-z0-9_-]{1,8}", 0..6)) {
            let joined = read::<List>(json!(items.join(", ")));
            prop_assert_eq!(joined, read::<List>(json!(items)));
        }
    }
}
