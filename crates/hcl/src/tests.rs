//! Tests of the crate as its users see it.

mod blocks;
mod format;
mod parse;
mod properties;

use crate::{Object, Value, parse};

/// Reads a text that must be right.
fn read(text: &str) -> Object {
    parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The value of the key `a` in a text.
fn value(text: &str) -> Value {
    read(text).get("a").unwrap().value.clone()
}

/// The message for a text that must be wrong.
fn error(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}
