//! Values as a field's type reads them, so that two spellings of one value can be told to be the same.
//!
//! Policies restrict parameters by value, and a handler takes many spellings for one value: `"1440m"` and `"24h"`, `1`
//! and `true`, `"dev, ADMIN"` and `["admin", "dev"]`. Here each type of [`lenient`](crate::lenient) reads a value as it
//! does for the handler, and the outcome is what policies compare. A value that the type does not read is
//! [`Reading::Unreadable`]: nothing is assumed of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::lenient::{DurationText, Flag, Int, Ints, LeaseTtl, List, Names, Pairs, Text, Ttl};

/// The keyword in a field's schema that names a type which the schema alone does not tell.
pub const READS: &str = "x-reads";

/// A value as its field's type reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The field has no type: the value is compared as the JSON that it is.
    Untyped,
    /// A single value as text: numbers in decimal, booleans as `true` and `false`.
    Text(String),
    /// A span of time.
    Span(Duration),
    /// A set of items: those of a list, or the members of a map as [`Reading::member`] writes them.
    Items(BTreeSet<String>),
    /// A value that the type does not read.
    Unreadable,
}

impl Reading {
    /// The members of a map.
    pub fn members<'a>(members: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        Self::Items(members.into_iter().map(|(name, value)| Self::member(name, value)).collect())
    }

    /// A member of a map as an item, `name=value`. No two members have one text: `=` in a name is written as another
    /// character.
    pub fn member(name: &str, value: &str) -> String {
        format!("{}={value}", name.replace('\0', "\0\0").replace('=', "\0:"))
    }

    /// As one text, for a member of a map.
    fn flat(self) -> Option<String> {
        match self {
            Self::Untyped | Self::Unreadable => None,
            Self::Text(text) => Some(text),
            Self::Span(span) => Some(span.as_nanos().to_string()),
            Self::Items(items) => Some(items.into_iter().collect::<Vec<_>>().join("\0,")),
        }
    }
}

/// The types of fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FieldType {
    /// Any JSON.
    #[default]
    Untyped,
    /// [`Text`].
    Text,
    /// [`Flag`].
    Flag,
    /// [`Int`].
    Int,
    /// [`Ttl`].
    Duration,
    /// [`DurationText`].
    DurationText,
    /// [`LeaseTtl`].
    LeaseTtl,
    /// [`List`].
    List,
    /// [`Names`].
    Names,
    /// [`Ints`].
    Ints,
    /// [`Pairs`].
    Pairs,
    /// An object of fields, each with its type.
    Object(BTreeMap<String, FieldType>),
}

impl FieldType {
    /// The type that a field's schema describes.
    pub fn of_schema(schema: &Value) -> Self {
        let text = |key: &str| schema.get(key).and_then(Value::as_str);
        match (text(READS), kind(schema), text("format")) {
            (Some("names"), ..) => Self::Names,
            (Some("duration"), ..) => Self::DurationText,
            (Some("lease-ttl"), ..) => Self::LeaseTtl,
            (_, "string", Some("seconds")) => Self::Duration,
            (_, "string", _) => Self::Text,
            (_, "boolean", _) => Self::Flag,
            (_, "integer", _) => Self::Int,
            (_, "array", _) => match schema.get("items").map_or("", kind) {
                "string" => Self::List,
                "integer" => Self::Ints,
                _ => Self::Untyped,
            },
            (_, "object", Some("kvpairs")) => Self::Pairs,
            (_, "object", _) => match schema.get("properties").and_then(Value::as_object) {
                Some(members) => {
                    let member = |(name, schema): (&String, _)| (name.clone(), Self::of_schema(schema));
                    Self::Object(members.iter().map(member).collect())
                }
                None => Self::Untyped,
            },
            _ => Self::Untyped,
        }
    }

    /// Reads a value.
    pub fn read(&self, value: &Value) -> Reading {
        match self {
            Self::Untyped => Some(Reading::Untyped),
            Self::Text => Text::deserialize(value).ok().map(|text| Reading::Text(text.0)),
            Self::Flag => Flag::deserialize(value).ok().map(|flag| Reading::Text(flag.0.to_string())),
            Self::Int => Int::deserialize(value).ok().map(|int| Reading::Text(int.0.to_string())),
            Self::Duration => Ttl::deserialize(value).ok().map(|span| Reading::Span(span.0)),
            Self::DurationText => {
                DurationText::deserialize(value).ok().and_then(|text| text.span()).map(Reading::Span)
            }
            Self::LeaseTtl => LeaseTtl::deserialize(value).ok().and_then(|text| {
                // An empty text changes nothing, and so is no span.
                if text.is_empty() { Some(Reading::Text(text.0)) } else { text.span().map(Reading::Span) }
            }),
            Self::List => List::deserialize(value).ok().map(|list| items(list.0)),
            Self::Names => Names::deserialize(value).ok().map(|names| items(names.0)),
            Self::Ints => Ints::deserialize(value)
                .ok()
                .map(|ints| Reading::Items(ints.iter().map(ToString::to_string).collect())),
            Self::Pairs => Pairs::deserialize(value).ok().map(|pairs| Reading::members(pairs.iter())),
            Self::Object(fields) => object(fields, value),
        }
        .unwrap_or(Reading::Unreadable)
    }

    /// A pattern with `*` in the form that texts and items of this type have.
    pub fn pattern(&self, pattern: &str) -> String {
        match self {
            Self::Names => pattern.to_lowercase(),
            _ => pattern.to_owned(),
        }
    }
}

/// The type that a schema names; of several, the one beside `null`.
fn kind(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) => {
            kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or_default()
        }
        _ => "",
    }
}

fn items(list: Vec<String>) -> Reading {
    Reading::Items(list.into_iter().collect())
}

/// The members that the fields know; handlers do not see others, nor what is null.
fn object(fields: &BTreeMap<String, FieldType>, value: &Value) -> Option<Reading> {
    let given = value.as_object()?.iter().filter(|(_, value)| !value.is_null());
    let known = given.filter_map(|(name, value)| Some((name, value, fields.get(name)?)));
    let member = |(name, value, field): (&String, &Value, &FieldType)| {
        let text = match field.read(value) {
            Reading::Untyped => value.to_string(),
            reading => reading.flat()?,
        };
        Some(Reading::member(name, &text))
    };
    known.map(member).collect::<Option<_>>().map(Reading::Items)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use schemars::generate::SchemaSettings;
    use schemars::{JsonSchema, SchemaGenerator};
    use serde_json::json;

    use super::*;

    fn type_of<T: JsonSchema>() -> FieldType {
        let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
        FieldType::of_schema(&SchemaGenerator::new(settings).into_root_schema_for::<T>().to_value())
    }

    fn set(items: &[&str]) -> Reading {
        Reading::Items(items.iter().map(|item| (*item).to_owned()).collect())
    }

    #[test]
    fn types_are_told_from_their_schemas() {
        assert_eq!(type_of::<Text>(), FieldType::Text);
        assert_eq!(type_of::<Option<Text>>(), FieldType::Text);
        assert_eq!(type_of::<Flag>(), FieldType::Flag);
        assert_eq!(type_of::<Int>(), FieldType::Int);
        assert_eq!(type_of::<Ttl>(), FieldType::Duration);
        assert_eq!(type_of::<Option<Ttl>>(), FieldType::Duration);
        assert_eq!(type_of::<DurationText>(), FieldType::DurationText);
        assert_eq!(type_of::<LeaseTtl>(), FieldType::LeaseTtl);
        assert_eq!(type_of::<List>(), FieldType::List);
        assert_eq!(type_of::<Names>(), FieldType::Names);
        assert_eq!(type_of::<Ints>(), FieldType::Ints);
        assert_eq!(type_of::<Pairs>(), FieldType::Pairs);
        assert_eq!(type_of::<Value>(), FieldType::Untyped);
        assert_eq!(type_of::<serde_json::Map<String, Value>>(), FieldType::Untyped);
    }

    #[test]
    fn spellings_of_one_value_read_alike() {
        let seconds = |secs| Reading::Span(Duration::from_secs(secs));
        for (field, values, reading) in [
            (
                FieldType::Flag,
                vec![json!(true), json!("1"), json!(1), json!("t")],
                Reading::Text("true".into()),
            ),
            (FieldType::Int, vec![json!(16), json!("16"), json!(" +016 ")], Reading::Text("16".into())),
            (
                FieldType::Duration,
                vec![json!("24h"), json!("1440m"), json!(86400), json!("1d"), json!("86400"), json!(" 24h ")],
                seconds(86_400),
            ),
            (FieldType::DurationText, vec![json!("24h"), json!("1440m"), json!(86400)], seconds(86_400)),
            (FieldType::LeaseTtl, vec![json!("0"), json!("system"), json!(0)], seconds(0)),
            (
                FieldType::List,
                vec![json!("a, b"), json!(["b", "a", "a"]), json!([" a", "b", ""])],
                set(&["a", "b"]),
            ),
            (FieldType::Names, vec![json!("dev, ADMIN"), json!(["admin", "Dev"])], set(&["admin", "dev"])),
            (FieldType::Ints, vec![json!("1,2"), json!([2, "1"])], set(&["1", "2"])),
            (
                FieldType::Pairs,
                vec![json!({"a": 1, "b": "x"}), json!("a=1,b=x"), json!("{\"b\":\"x\",\"a\":\"1\"}")],
                set(&["a=1", "b=x"]),
            ),
        ] {
            for value in values {
                assert_eq!(field.read(&value), reading, "{field:?} {value}");
            }
        }
    }

    #[test]
    fn what_a_handler_refuses_is_unreadable() {
        for (field, value) in [
            (FieldType::Flag, json!("yes")),
            (FieldType::Int, json!("0x10")),
            (FieldType::Int, json!(1.5)),
            (FieldType::Duration, json!("soon")),
            (FieldType::Duration, json!(-1)),
            (FieldType::DurationText, json!("-1h")),
            (FieldType::Text, json!(["a"])),
            (FieldType::List, json!([["a"]])),
            (FieldType::Pairs, json!("a")),
            (FieldType::Object(BTreeMap::new()), json!("a")),
        ] {
            assert_eq!(field.read(&value), Reading::Unreadable, "{field:?} {value}");
        }
    }

    #[test]
    fn objects_read_by_member() {
        let fields = [("ttl".to_owned(), FieldType::Duration), ("kind".to_owned(), FieldType::Text)];
        let object = FieldType::Object(fields.into());
        let read = |value: Value| object.read(&value);
        let expected = read(json!({"ttl": "1h", "kind": "a"}));
        assert_eq!(read(json!({"kind": "a", "ttl": 3600, "unknown": 1, "more": null})), expected);
        assert_ne!(read(json!({"kind": "a"})), expected);
        assert_eq!(read(json!({"ttl": "x"})), Reading::Unreadable);
    }

    proptest! {
        #[test]
        fn no_two_members_have_one_text(a in "[ab=\0:]{0,4}", b in "[ab=\0:]{0,4}", c in "[ab=\0:]{0,4}", d in "[ab=\0:]{0,4}") {
            prop_assert_eq!(Reading::member(&a, &b) == Reading::member(&c, &d), (a, b) == (c, d));
        }
    }
}
