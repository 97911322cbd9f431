//! Inputs as Vault takes them: numbers as text, lists as comma-separated text, durations as seconds or with units.
//!
//! Vault decodes request fields "weakly" by their declared type; each type here is one of those declarations. They
//! deserialize from a JSON value and describe themselves to the OpenAPI document.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use strongroom_stdx::parse_duration;

/// What kind of JSON value this is, for messages that must not repeat the value itself.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
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
    /// A truth value: a boolean, 0 or 1, or `"true"`, `"false"`, `"1"`, `"0"`, `"t"`, `"f"` in Go's spellings.
    Flag(bool), "Flag", { "type": "boolean" }, flag
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
    /// Names and texts: an object, a list of `name=text`, or one such text with commas.
    Pairs(BTreeMap<String, String>), "Pairs", { "type": "object", "format": "kvpairs" }, pairs
);
lenient!(
    /// Whole numbers: a list, a single number, or a text with commas.
    Ints(Vec<i64>), "Ints", { "type": "array", "items": { "type": "integer" } }, ints
);

fn text(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(true) => Ok("1".to_owned()),
        Value::Bool(false) => Ok("0".to_owned()),
        other => Err(format!("expected type 'string', got {}", kind(&other))),
    }
}

fn flag(value: Value) -> Result<bool, String> {
    match value {
        Value::Bool(flag) => Ok(flag),
        Value::Number(number) => number.as_f64().map(|n| n != 0.0).ok_or_else(|| "not a boolean".to_owned()),
        Value::String(text) => match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err("cannot parse as bool: invalid syntax".to_owned()),
        },
        other => Err(format!("expected type 'bool', got {}", kind(&other))),
    }
}

fn int(value: Value) -> Result<i64, String> {
    match value {
        Value::Number(number) => {
            number.as_i64().ok_or_else(|| "expected a whole number of at most 64 bits".to_owned())
        }
        Value::String(text) if text.trim().is_empty() => Ok(0),
        Value::String(text) => {
            text.trim().parse().map_err(|_error| "cannot parse as int: invalid syntax".to_owned())
        }
        Value::Bool(flag) => Ok(i64::from(flag)),
        other => Err(format!("expected type 'int', got {}", kind(&other))),
    }
}

fn ttl(value: Value) -> Result<Duration, String> {
    match value {
        Value::String(text) => parse_duration(&text).map_err(|error| error.to_string()),
        Value::Number(number) => {
            parse_duration(&number.to_string()).or_else(|error| {
                let secs = number.as_f64().filter(|secs| secs.is_finite() && *secs >= 0.0);
                let span = secs.and_then(|secs| Duration::try_from_secs_f64(secs).ok());
                // The bound is that of the same duration as text.
                span.filter(|span| u64::try_from(span.as_nanos()).is_ok()).ok_or_else(|| error.to_string())
            })
        }
        other => Err(format!("expected a duration in seconds or with units, got {}", kind(&other))),
    }
}

fn split(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

fn list(value: Value) -> Result<Vec<String>, String> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::String(joined) => Ok(split(&joined)),
        Value::Array(items) => {
            let items = items.into_iter().map(text).collect::<Result<Vec<_>, _>>()?;
            Ok(items.iter().map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect())
        }
        other => text(other).map(|item| vec![item]),
    }
}

fn ints(value: Value) -> Result<Vec<i64>, String> {
    match value {
        Value::Array(items) => items.into_iter().map(int).collect(),
        Value::String(joined) => split(&joined).into_iter().map(|item| int(Value::String(item))).collect(),
        other => int(other).map(|number| vec![number]),
    }
}

fn pairs(value: Value) -> Result<BTreeMap<String, String>, String> {
    match value {
        Value::Null => Ok(BTreeMap::new()),
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| text(value).map(|value| (name, value))).collect()
        }
        Value::String(json) if json.trim_start().starts_with('{') => {
            serde_json::from_str(&json).map_err(|_error| "not a JSON object".to_owned()).and_then(pairs)
        }
        other => list(other)?
            .into_iter()
            .map(|item| match item.split_once('=') {
                Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
                None => Err("expected name=value".to_owned()),
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
