//! Compares values of a request with those that a rule lists.
//!
//! Both are read as the field's type has it, so that no other spelling of a denied value passes and none of an allowed one
//! is refused. What cannot be read fails closed: it is denied where values are denied, and not among those allowed.

use std::collections::BTreeSet;

use serde_json::{Number, Value};
use strongroom_wire::Reading;

use crate::parameters::ParameterTypes;

/// A parameter of a request.
pub(crate) struct Parameter<'a> {
    /// The name, in lower case.
    pub(crate) name: &'a str,
    pub(crate) value: &'a Value,
    pub(crate) types: &'a dyn ParameterTypes,
}

impl Parameter<'_> {
    /// True if it has, or contains, one of the values that a rule denies.
    pub(crate) fn has_denied(&self, listed: &[&Value]) -> bool {
        match self.read(self.value) {
            Reading::Unreadable => true,
            Reading::Untyped => any_part_listed(self.value, listed),
            Reading::Text(text) => self.lists_text(&text, listed),
            // A span has no text that a pattern could be held against.
            Reading::Span(span) => listed.iter().any(|entry| {
                is_pattern(entry)
                    || matches!(self.read(entry), Reading::Span(denied) if denied.as_secs() == span.as_secs())
            }),
            Reading::Items(items) => listed.iter().any(|entry| self.denies_items(entry, &items)),
        }
    }

    /// True if it has a value that a rule allows; a list, whether it is allowed as a whole or each of its items is.
    pub(crate) fn is_allowed(&self, listed: &[&Value]) -> bool {
        match self.read(self.value) {
            Reading::Unreadable => false,
            Reading::Untyped => fully_listed(self.value, listed),
            Reading::Text(text) => self.lists_text(&text, listed),
            Reading::Span(span) => {
                listed.iter().any(|entry| *entry == "*" || self.read(entry) == Reading::Span(span))
            }
            Reading::Items(items) => self.allows_items(listed, items),
        }
    }

    fn read(&self, value: &Value) -> Reading {
        self.types.read(self.name, value)
    }

    /// The pattern that a listed value is, in the form that readings have.
    fn pattern(&self, entry: &Value) -> Option<String> {
        let text = entry.as_str().filter(|_| is_pattern(entry))?;
        Some(self.types.pattern(self.name, text))
    }

    fn lists_text(&self, text: &str, listed: &[&Value]) -> bool {
        listed.iter().any(|entry| match self.pattern(entry) {
            Some(pattern) => glob_matches(&pattern, text),
            None => matches!(self.read(entry), Reading::Text(entry) if entry == text),
        })
    }

    fn denies_items(&self, entry: &Value, items: &BTreeSet<String>) -> bool {
        if let Some(pattern) = self.pattern(entry) {
            let mut parts = pattern.split(',').map(str::trim);
            return pattern == "*" || parts.any(|part| items.iter().any(|item| glob_matches(part, item)));
        }
        match self.read(entry) {
            // Where all items are denied together, more of them do not help.
            Reading::Items(denied) if denied.is_empty() => items.is_empty(),
            Reading::Items(denied) => denied.is_subset(items),
            _ => false,
        }
    }

    fn allows_items(&self, listed: &[&Value], mut items: BTreeSet<String>) -> bool {
        let was_empty = items.is_empty();
        for entry in listed {
            if let Some(pattern) = self.pattern(entry) {
                if pattern == "*" {
                    return true;
                }
                items.retain(|item| !glob_matches(&pattern, item));
                continue;
            }
            let Reading::Items(allowed) = self.read(entry) else { continue };
            if self.read(self.value) == Reading::Items(allowed.clone()) {
                return true;
            }
            // A list in a rule is allowed as a whole only.
            let is_item = !entry.is_array() && !entry.is_object() && allowed.len() == 1;
            if is_item {
                items.retain(|item| !allowed.contains(item));
            }
        }
        !was_empty && items.is_empty()
    }
}

/// True if a listed value is a pattern: a text with `*` at either end.
fn is_pattern(entry: &Value) -> bool {
    entry.as_str().is_some_and(|text| text.starts_with('*') || text.ends_with('*'))
}

/// True if the value, or one of the elements it lists, is among `listed`; of an object, whether one that is listed is
/// part of it.
fn any_part_listed(value: &Value, listed: &[&Value]) -> bool {
    is_listed(value, listed)
        || match value {
            Value::Array(elements) => elements.iter().any(|element| is_listed(element, listed)),
            Value::String(text) if text.contains(',') => {
                text.split(',').any(|part| is_listed_text(part.trim(), listed))
            }
            Value::Object(members) => {
                let holds =
                    |(name, part): (&String, &Value)| members.get(name).is_some_and(|own| equal(own, part));
                listed
                    .iter()
                    .filter_map(|denied| denied.as_object())
                    .any(|denied| !denied.is_empty() && denied.iter().all(holds))
            }
            _ => false,
        }
}

/// True if the value, or each of the elements it lists, is among `listed`.
fn fully_listed(value: &Value, listed: &[&Value]) -> bool {
    is_listed(value, listed)
        || match value {
            Value::Array(elements) => {
                !elements.is_empty() && elements.iter().all(|element| is_listed(element, listed))
            }
            Value::String(text) if text.contains(',') => {
                text.split(',').all(|part| is_listed_text(part.trim(), listed))
            }
            _ => false,
        }
}

fn is_listed(value: &Value, listed: &[&Value]) -> bool {
    match value {
        Value::String(text) => is_listed_text(text, listed),
        other => listed.iter().any(|entry| equal(entry, other)),
    }
}

fn is_listed_text(text: &str, listed: &[&Value]) -> bool {
    listed.iter().any(|entry| entry.as_str().is_some_and(|glob| glob_matches(glob, text)))
}

/// True if a text fits a listed value, which may have a `*` at either end.
fn glob_matches(glob: &str, text: &str) -> bool {
    match (glob.strip_prefix('*'), glob.strip_suffix('*')) {
        (Some(""), _) => true,
        (Some(tail), None) => text.ends_with(tail),
        (None, Some(head)) => text.starts_with(head),
        (Some(tail), Some(_)) => text.contains(tail.strip_suffix('*').unwrap_or(tail)),
        (None, None) => glob == text,
    }
}

/// Equality of values; numbers by what they amount to, not by how they are written.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => equal_numbers(a, b),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        (a, b) => a == b,
    }
}

fn equal_numbers(a: &Number, b: &Number) -> bool {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b || (a.as_f64().is_some() && a.as_f64() == b.as_f64()),
    }
}

#[cfg(test)]
mod tests;
