//! The demands of a rule on a request beyond its capability: parameters and the TTL of response wrapping.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use strongroom_wire::Reading;

use crate::listed::Parameter;
use crate::parameters::{ParameterTypes, Parameters};

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

/// The demand that a request does not meet.
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
    pub(crate) fn check_parameters<'a>(&'a self, parameters: Parameters<'a>) -> Result<(), Fault<'a>> {
        if let Some(missing) = self.required.iter().find(|name| !is_given(name, parameters)) {
            return Err(Fault::MissingParameter(missing));
        }
        if self.allowed.is_empty() && self.denied.is_empty() {
            return Ok(());
        }
        for (name, value) in parameters.given {
            self.check_parameter(name, value, parameters.types)?;
        }
        Ok(())
    }

    fn check_parameter<'a>(
        &self,
        name: &'a str,
        value: &Value,
        types: &dyn ParameterTypes,
    ) -> Result<(), Fault<'a>> {
        let key = lower_case(name);
        if self.denied.contains_key(ANY_PARAMETER) {
            return Err(Fault::DeniedParameter(name));
        }
        let parameter = Parameter { name: &key, value, types };
        match values_of(&self.denied, &parameter) {
            Some(Values::Any) => return Err(Fault::DeniedParameter(name)),
            Some(Values::These(denied)) if parameter.has_denied(&denied) => {
                return Err(Fault::DeniedValue(name));
            }
            _ => {}
        }
        if self.allowed.is_empty() {
            return Ok(());
        }
        match values_of(&self.allowed, &parameter) {
            Some(Values::Any) => Ok(()),
            Some(Values::These(allowed)) if parameter.is_allowed(&allowed) => Ok(()),
            Some(Values::These(_)) => Err(Fault::UnlistedValue(name)),
            None if self.allowed.contains_key(ANY_PARAMETER) => Ok(()),
            None => Err(Fault::UnlistedParameter(name)),
        }
    }

    /// True if events of this type may be subscribed to.
    pub(crate) fn covers_event_type(&self, event_type: &str) -> bool {
        self.event_types.iter().any(|pattern| wildcards_match(pattern, event_type))
    }
}

/// True if a required parameter is given, by any of its names. Engines know their fields by their lower-case names only:
/// another spelling would be a way around it. What the handler does not read is not given.
fn is_given(name: &str, parameters: Parameters<'_>) -> bool {
    let Parameters { given, types } = parameters;
    let present = types.present_name(name);
    let is_it = |other: &str| other == name || types.present_name(other) == present;
    given.iter().any(|(other, value)| is_it(other) && types.read(other, value) != Reading::Unreadable)
}

/// The values that a rule lists for a parameter.
enum Values<'a> {
    /// Any value.
    Any,
    /// These values, and none besides.
    These(Vec<&'a Value>),
}

/// The values listed for a parameter, under any of its names; `None` where it is not listed.
fn values_of<'a>(listed: &'a BTreeMap<String, Vec<Value>>, parameter: &Parameter<'_>) -> Option<Values<'a>> {
    let present = parameter.types.present_name(parameter.name);
    let mut found = None;
    for (_, values) in listed.iter().filter(|(name, _)| parameter.types.present_name(name) == present) {
        if values.is_empty() {
            return Some(Values::Any);
        }
        found.get_or_insert_with(Vec::new).extend(values);
    }
    found.map(Values::These)
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

/// True if `*`, which stands for any characters wherever it is, lets the pattern fit.
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

#[cfg(test)]
mod tests;
