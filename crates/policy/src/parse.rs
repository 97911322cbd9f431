//! Parses a policy's text into its rules.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use strongroom_hcl::{Block, Element, Item, Object, ParseError, Position, Value};
use strongroom_stdx::parse_duration;

use crate::capability::{Capabilities, Capability};
use crate::constraints::{Constraints, add_parameter, lower_case};
use crate::error::{InvalidKey, PolicyError};
use crate::pattern::{Pattern, Piece};
use crate::policy::{Rule, RulePath};
use crate::template::Template;

/// The keys a rule may have. `comment` is for readers.
const RULE_KEYS: [&str; 9] = [
    "allowed_parameters",
    "capabilities",
    "comment",
    "denied_parameters",
    "max_wrapping_ttl",
    "min_wrapping_ttl",
    "policy",
    "required_parameters",
    "subscribe_event_types",
];

/// Keys that Vault Enterprise knows and that make a rule stricter.
const UNSUPPORTED_KEYS: [&str; 2] = ["control_group", "mfa_methods"];

/// The number of `+` that a path may have. Looking up a path may follow each.
const MAX_WILDCARD_SEGMENTS: usize = 64;

/// Reads the rules of a policy within a namespace.
pub(crate) fn rules(namespace: &str, text: &str) -> Result<Vec<Rule>, PolicyError> {
    let document = strongroom_hcl::parse(text)?;
    check_keys(&document, None, &["name", "path"])?;
    if let Some(name) = document.get("name")
        && scalar_text(&name.value).is_none()
    {
        return Err(expected("name", "a string", &name.value, name.value_position).into());
    }
    document.blocks("path", 1)?.iter().map(|block| rule(namespace, block)).collect()
}

fn rule(namespace: &str, block: &Block<'_>) -> Result<Rule, PolicyError> {
    let written = block.labels.first().copied().unwrap_or_default();
    let body = block.body;
    if let Some(item) = body.items.iter().find(|item| UNSUPPORTED_KEYS.contains(&item.key.as_str())) {
        let (path, key) = (written.to_owned(), item.key.clone());
        return Err(PolicyError::Unsupported { path, key, position: item.position });
    }
    check_keys(body, Some(written), &RULE_KEYS)?;
    let path = rule_path(namespace, written, block.position)?;
    let wrong_type = |error| PolicyError::WrongType { path: written.to_owned(), error };

    let mut capabilities = level(written, body)?;
    for (name, position) in texts(body, "capabilities").map_err(wrong_type)? {
        let Some(capability) = Capability::from_name(&name) else {
            return Err(PolicyError::InvalidCapability {
                path: written.to_owned(),
                capability: name,
                position,
            });
        };
        capabilities = capabilities.merge([capability].into_iter().collect());
    }

    let constraints = Constraints {
        allowed: parameters(body, "allowed_parameters").map_err(wrong_type)?,
        denied: parameters(body, "denied_parameters").map_err(wrong_type)?,
        required: names(body, "required_parameters", |name| lower_case(&name).into_owned())
            .map_err(wrong_type)?,
        min_wrapping_ttl: duration(body, "min_wrapping_ttl")?,
        max_wrapping_ttl: duration(body, "max_wrapping_ttl")?,
        event_types: names(body, "subscribe_event_types", |name| name).map_err(wrong_type)?,
    };
    if let (Some(min), Some(max)) = (constraints.min_wrapping_ttl, constraints.max_wrapping_ttl)
        && max < min
    {
        return Err(PolicyError::ContradictoryTtls { position: block.position });
    }
    Ok(Rule { path, capabilities, constraints })
}

/// Refuses unknown keys and keys set twice.
fn check_keys(object: &Object, path: Option<&str>, known: &[&str]) -> Result<(), PolicyError> {
    let invalid: Vec<_> = object
        .items
        .iter()
        .filter(|item| !known.contains(&item.key.as_str()))
        .map(|item| InvalidKey {
            path: path.map(str::to_owned),
            key: item.key.clone(),
            position: item.position,
        })
        .collect();
    if !invalid.is_empty() {
        return Err(PolicyError::InvalidKeys(invalid));
    }
    match object.duplicates().next() {
        Some(item) => Err(PolicyError::DuplicateKey { key: item.key.clone(), position: item.position }),
        None => Ok(()),
    }
}

fn rule_path(namespace: &str, written: &str, position: Position) -> Result<RulePath, PolicyError> {
    let path = written.strip_prefix('/').unwrap_or(written);
    if path.contains("+*") {
        return Err(PolicyError::ForbiddenWildcards { path: written.to_owned(), position });
    }
    if path.split('/').filter(|segment| *segment == "+").count() > MAX_WILDCARD_SEGMENTS {
        let (path, limit) = (written.to_owned(), MAX_WILDCARD_SEGMENTS);
        return Err(PolicyError::TooManyWildcards { path, limit, position });
    }
    match Template::parse(path) {
        Ok(Some(template)) => Ok(RulePath::Templated(template)),
        Ok(None) => Ok(RulePath::Plain(Pattern::new(namespace, &[Piece::Written(path)]))),
        Err(_) => Err(PolicyError::UnbalancedTemplate { position }),
    }
}

/// The capabilities that the old key `policy` stands for.
fn level(path: &str, body: &Object) -> Result<Capabilities, PolicyError> {
    use Capability::{Create, Delete, Deny, List, Read, Sudo, Update};
    let Some(item) = body.get("policy") else { return Ok(Capabilities::NONE) };
    let capabilities: &[Capability] = match scalar_text(&item.value).as_deref() {
        Some("deny") => &[Deny],
        Some("read") => &[Read, List],
        Some("write") => &[Create, Read, Update, Delete, List],
        Some("sudo") => &[Create, Read, Update, Delete, List, Sudo],
        Some(level) => {
            let (path, level) = (path.to_owned(), level.to_owned());
            return Err(PolicyError::InvalidLevel { path, level, position: item.value_position });
        }
        None => {
            let error = expected("policy", "a string", &item.value, item.value_position);
            return Err(PolicyError::WrongType { path: path.to_owned(), error });
        }
    };
    Ok(capabilities.iter().copied().collect())
}

/// A key whose value is an object of lists: parameter names to values.
fn parameters(body: &Object, key: &str) -> Result<BTreeMap<String, Vec<serde_json::Value>>, ParseError> {
    let mut parameters = BTreeMap::new();
    for Item { value, value_position, .. } in body.all(key) {
        match value {
            Value::Object(object) => add_parameters(&mut parameters, object)?,
            // JSON may wrap an object into a list.
            Value::List(elements) => {
                for Element { value, position } in elements {
                    let Value::Object(object) = value else {
                        return Err(expected(key, "an object", value, *position));
                    };
                    add_parameters(&mut parameters, object)?;
                }
            }
            other => return Err(expected(key, "an object", other, *value_position)),
        }
    }
    Ok(parameters)
}

fn add_parameters(
    parameters: &mut BTreeMap<String, Vec<serde_json::Value>>,
    object: &Object,
) -> Result<(), ParseError> {
    for item in &object.items {
        let Value::List(values) = &item.value else {
            return Err(expected(&item.key, "a list of values", &item.value, item.value_position));
        };
        let values = values.iter().map(|element| element.value.to_json()).collect();
        add_parameter(parameters, &lower_case(&item.key), values);
    }
    Ok(())
}

/// A key whose value is a list of names.
fn names(body: &Object, key: &str, tidy: impl Fn(String) -> String) -> Result<BTreeSet<String>, ParseError> {
    Ok(texts(body, key)?.into_iter().map(|(name, _)| tidy(name)).collect())
}

/// The strings of a list, with their places. Numbers and booleans are taken
/// as their text, as in Vault.
fn texts(body: &Object, key: &str) -> Result<Vec<(String, Position)>, ParseError> {
    let Some(item) = body.get(key) else { return Ok(Vec::new()) };
    let Value::List(elements) = &item.value else {
        return Err(expected(key, "a list of strings", &item.value, item.value_position));
    };
    elements
        .iter()
        .map(|Element { value, position }| match scalar_text(value) {
            Some(text) => Ok((text, *position)),
            None => Err(expected(key, "a list of strings", value, *position)),
        })
        .collect()
}

fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::List(_) | Value::Object(_) | Value::Null => None,
    }
}

/// A duration in seconds or with units; zero means none.
fn duration(body: &Object, key: &'static str) -> Result<Option<Duration>, PolicyError> {
    let Some(item) = body.get(key) else { return Ok(None) };
    let parsed = match &item.value {
        Value::String(text) => parse_duration(text).map_err(|error| error.to_string()),
        Value::Number(number) => parse_duration(number.as_str()).map_err(|error| error.to_string()),
        _ => Err("could not parse duration from input".to_owned()),
    };
    match parsed {
        Ok(duration) => Ok(Some(duration).filter(|duration| !duration.is_zero())),
        Err(reason) => Err(PolicyError::InvalidDuration { key, reason, position: item.value_position }),
    }
}

fn expected(key: &str, what: &str, found: &Value, position: Position) -> ParseError {
    ParseError::new(position, format!("{key:?} must be {what}, not {}", found.kind()))
}

#[cfg(test)]
mod tests;
