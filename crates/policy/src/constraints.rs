//! What a rule demands of a request beyond its capability: parameters and the
//! TTL of response wrapping.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Map, Number, Value};

/// The demands of a rule. Parameter names are in lower case; requests may
/// write them in any case.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Constraints {
    /// `allowed_parameters`: name to values, where no values means any.
    pub(crate) allowed: BTreeMap<String, Vec<Value>>,
    /// `denied_parameters`: name to values, where no values means any.
    pub(crate) denied: BTreeMap<String, Vec<Value>>,
    /// `required_parameters`.
    pub(crate) required: BTreeSet<String>,
    /// `min_wrapping_ttl`.
    pub(crate) min_wrapping_ttl: Option<Duration>,
    /// `max_wrapping_ttl`.
    pub(crate) max_wrapping_ttl: Option<Duration>,
    /// `subscribe_event_types`, which may hold `*` anywhere.
    pub(crate) event_types: BTreeSet<String>,
}

/// Which demand a request does not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault<'a> {
    WrappingTtl,
    MissingParameter(&'a str),
    DeniedParameter(&'a str),
    DeniedValue(&'a str),
    UnlistedParameter(&'a str),
    UnlistedValue(&'a str),
}

/// The name in `allowed_parameters` and `denied_parameters` that stands for all.
const ANY_PARAMETER: &str = "*";

impl Constraints {
    /// `allowed_parameters`: lower-case name to values; no values means any.
    pub fn allowed_parameters(&self) -> &BTreeMap<String, Vec<Value>> {
        &self.allowed
    }

    /// `denied_parameters`: lower-case name to values; no values means any.
    pub fn denied_parameters(&self) -> &BTreeMap<String, Vec<Value>> {
        &self.denied
    }

    /// `required_parameters`: lower-case names.
    pub fn required_parameters(&self) -> &BTreeSet<String> {
        &self.required
    }

    /// `min_wrapping_ttl`, if one is demanded.
    pub fn min_wrapping_ttl(&self) -> Option<Duration> {
        self.min_wrapping_ttl
    }

    /// `max_wrapping_ttl`, if one is demanded.
    pub fn max_wrapping_ttl(&self) -> Option<Duration> {
        self.max_wrapping_ttl
    }

    /// `subscribe_event_types`.
    pub fn subscribe_event_types(&self) -> &BTreeSet<String> {
        &self.event_types
    }

    /// Adds the demands of another rule for the same path, as Vault does: all
    /// values, of each TTL the lower. A rule that demands nothing does not
    /// lift the demands of the other.
    pub(crate) fn merge(&mut self, other: &Constraints) {
        merge_parameters(&mut self.allowed, &other.allowed);
        merge_parameters(&mut self.denied, &other.denied);
        self.required.extend(other.required.iter().cloned());
        self.event_types.extend(other.event_types.iter().cloned());
        self.min_wrapping_ttl = lower(self.min_wrapping_ttl, other.min_wrapping_ttl);
        self.max_wrapping_ttl = lower(self.max_wrapping_ttl, other.max_wrapping_ttl);
    }

    /// Checks the TTL that the client asked its response to be wrapped for.
    /// A bound makes wrapping mandatory.
    pub(crate) fn check_wrapping(&self, ttl: Option<Duration>) -> Result<(), Fault<'static>> {
        let fits = match (ttl, self.min_wrapping_ttl, self.max_wrapping_ttl) {
            (_, None, None) => true,
            (None, _, _) => false,
            (Some(ttl), min, max) => min.is_none_or(|min| ttl >= min) && max.is_none_or(|max| ttl <= max),
        };
        if fits { Ok(()) } else { Err(Fault::WrappingTtl) }
    }

    /// Checks the parameters of a request.
    pub(crate) fn check_parameters<'a>(
        &'a self,
        parameters: &'a Map<String, Value>,
    ) -> Result<(), Fault<'a>> {
        // Engines know their fields by their lower-case names only: another
        // spelling of a required parameter would be a way around it.
        if let Some(missing) = self.required.iter().find(|name| !parameters.contains_key(*name)) {
            return Err(Fault::MissingParameter(missing));
        }
        if self.allowed.is_empty() && self.denied.is_empty() {
            return Ok(());
        }
        for (name, value) in parameters {
            self.check_parameter(name, value)?;
        }
        Ok(())
    }

    fn check_parameter<'a>(&self, name: &'a str, value: &Value) -> Result<(), Fault<'a>> {
        let key = lower_case(name);
        if self.denied.contains_key(ANY_PARAMETER) {
            return Err(Fault::DeniedParameter(name));
        }
        match self.denied.get(&*key) {
            Some(values) if values.is_empty() => return Err(Fault::DeniedParameter(name)),
            Some(values) if any_part_listed(value, values) => return Err(Fault::DeniedValue(name)),
            _ => {}
        }
        if self.allowed.is_empty() {
            return Ok(());
        }
        match self.allowed.get(&*key) {
            Some(values) if values.is_empty() || fully_listed(value, values) => Ok(()),
            Some(_) => Err(Fault::UnlistedValue(name)),
            None if self.allowed.contains_key(ANY_PARAMETER) => Ok(()),
            None => Err(Fault::UnlistedParameter(name)),
        }
    }

    /// Whether events of this type may be subscribed to.
    pub(crate) fn covers_event_type(&self, event_type: &str) -> bool {
        self.event_types.iter().any(|pattern| wildcards_match(pattern, event_type))
    }
}

fn merge_parameters(into: &mut BTreeMap<String, Vec<Value>>, from: &BTreeMap<String, Vec<Value>>) {
    for (name, values) in from {
        add_parameter(into, name, values.clone());
    }
}

/// Adds values to a parameter's; "any value" swallows the rest.
pub(crate) fn add_parameter(into: &mut BTreeMap<String, Vec<Value>>, name: &str, values: Vec<Value>) {
    let Some(known) = into.get_mut(name) else {
        into.insert(name.to_owned(), values);
        return;
    };
    if known.is_empty() || values.is_empty() {
        known.clear();
        return;
    }
    for value in values {
        if !known.contains(&value) {
            known.push(value);
        }
    }
}

fn lower(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// The name in lower case, copied only if it is not already.
pub(crate) fn lower_case(name: &str) -> Cow<'_, str> {
    if name.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(name.to_lowercase())
    }
}

/// Whether the value, or one of the elements it lists, is among `listed`.
fn any_part_listed(value: &Value, listed: &[Value]) -> bool {
    is_listed(value, listed)
        || match value {
            Value::Array(elements) => elements.iter().any(|element| is_listed(element, listed)),
            Value::String(text) if text.contains(',') => {
                text.split(',').any(|part| is_listed_text(part.trim(), listed))
            }
            _ => false,
        }
}

/// Whether the value, or each of the elements it lists, is among `listed`.
fn fully_listed(value: &Value, listed: &[Value]) -> bool {
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

fn is_listed(value: &Value, listed: &[Value]) -> bool {
    match value {
        Value::String(text) => is_listed_text(text, listed),
        other => listed.iter().any(|entry| equal(entry, other)),
    }
}

fn is_listed_text(text: &str, listed: &[Value]) -> bool {
    listed.iter().any(|entry| entry.as_str().is_some_and(|glob| glob_matches(glob, text)))
}

/// Whether a text fits a listed value, which may have a `*` at either end.
fn glob_matches(glob: &str, text: &str) -> bool {
    match (glob.strip_prefix('*'), glob.strip_suffix('*')) {
        (Some(""), _) => true,
        (Some(tail), None) => text.ends_with(tail),
        (None, Some(head)) => text.starts_with(head),
        (Some(tail), Some(_)) => text.contains(tail.strip_suffix('*').unwrap_or(tail)),
        (None, None) => glob == text,
    }
}

/// Whether `*`, which stands for any characters wherever it is, lets the pattern fit.
fn wildcards_match(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(head) = parts.next() else { return false };
    let Some(mut rest) = text.strip_prefix(head) else { return false };
    let Some(tail) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(tail)
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
