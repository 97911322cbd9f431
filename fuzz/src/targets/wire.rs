//! Inputs of requests: JSON values taken leniently, and JSON kept as text.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use strongroom_wire::Json;
use strongroom_wire::lenient::{Flag, Int, Ints, List, Pairs, Text, Ttl};

use super::text;
use crate::Target;

const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "null",
    "true",
    "false",
    "1e400",
    "-0",
    "1.5",
    "=",
    "a=b",
    "1h",
    "-1s",
    "\"1h30m\"",
    "\"a,b\"",
    " ",
    "99999999999999999999",
    "0.",
    "\"0x10\"",
];

const SEEDS: &[&[u8]] = &[
    b"\"1h30m\"",
    b"3600",
    b"[\"a\", 1, true]",
    b"\"a, b,,c\"",
    b"{\"a\": 1, \"b\": \"x\"}",
    b"[\"a=1\", \"b=x=y\"]",
    b"\"{\\\"a\\\": \\\"1\\\"}\"",
    b"1.5e3",
    b"[1, \"2\", -9223372036854775808]",
    b"null",
];

pub(super) const LENIENT: Target =
    Target { name: "lenient", run: lenient, made: crate::no_inputs, seeds: SEEDS, words: WORDS };

pub(super) const JSON: Target =
    Target { name: "json", run: json, made: crate::no_inputs, seeds: SEEDS, words: WORDS };

/// Every lenient type takes any value or refuses it; what it has made of one it takes again as the same.
fn lenient(input: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(input) else { return };
    read_twice::<Text>(&value);
    read_twice::<Flag>(&value);
    read_twice::<Int>(&value);
    read_twice::<Ints>(&value);
    read_twice::<List>(&value);
    read_twice::<Pairs>(&value);
    if let Ok(ttl) = serde_json::from_value::<Ttl>(value) {
        let text = strongroom_stdx::format_duration(*ttl);
        assert_eq!(serde_json::from_value::<Ttl>(text.into()).ok(), Some(ttl), "a duration and its text");
    }
}

fn read_twice<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &Value) {
    if let Ok(read) = serde_json::from_value::<T>(value.clone()) {
        let written = serde_json::to_value(&read).expect("lenient values are JSON");
        let again = serde_json::from_value::<T>(written.clone()).expect("what was written can be read");
        assert_eq!(again, read, "by way of {written}");
    }
}

/// Text that is kept as JSON is JSON.
fn json(input: &[u8]) {
    let text = text(input);
    let Ok(kept) = Json::checked(text.clone().into_owned()) else {
        assert!(serde_json::from_str::<Value>(&text).is_err(), "JSON is refused");
        return;
    };
    assert_eq!(kept.as_str(), text);
    // A text may be well-formed and yet more than a tree can hold: half a surrogate pair, or too deep.
    if let Ok(value) = serde_json::from_str::<Value>(&text) {
        assert_eq!(kept.to_value(), value);
        assert_eq!(kept.to_map().is_empty(), value.as_object().is_none_or(serde_json::Map::is_empty));
    }
    let envelope = serde_json::to_string(&std::collections::BTreeMap::from([("data", &kept)]));
    assert!(envelope.is_ok_and(|envelope| envelope.contains(text.trim())), "written as it is");
}
