//! Headers that a listener adds to its responses.

use std::collections::BTreeMap;

use strongroom_hcl::{Object, Value};

use crate::fields::Fields;
use crate::{ConfigError, Place, convert};

/// The `custom_response_headers` of a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseHeaders {
    /// For each status or class of statuses the headers and their values, in no order.
    pub rules: BTreeMap<StatusPattern, BTreeMap<String, String>>,
}

/// The responses that get some headers; the more specific ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatusPattern {
    /// `default`: all.
    Default,
    /// `2xx`: those whose status begins with this digit, 1 to 5.
    Class(u16),
    /// `404`: those with this status.
    Status(u16),
}

impl StatusPattern {
    fn parse(text: &str) -> Option<StatusPattern> {
        if text == "default" {
            return Some(StatusPattern::Default);
        }
        if let Some(class) = text.strip_suffix("xx") {
            return class.parse().ok().filter(|class| (1..=5).contains(class)).map(StatusPattern::Class);
        }
        let status = text.parse().ok().filter(|status| (100..=599).contains(status));
        status.filter(|_| text.len() == 3).map(StatusPattern::Status)
    }

    fn matches(self, status: u16) -> bool {
        match self {
            StatusPattern::Default => true,
            StatusPattern::Class(class) => status / 100 == class,
            StatusPattern::Status(wanted) => status == wanted,
        }
    }
}

impl ResponseHeaders {
    /// The headers of a response. Of a header that several rules set, the most specific rule counts.
    pub fn for_status(&self, status: u16) -> BTreeMap<&str, &str> {
        // Later entries replace earlier ones, and the rules are in order from general to specific.
        let rules = self.rules.iter().filter(|(pattern, _)| pattern.matches(status));
        rules
            .flat_map(|(_, headers)| headers.iter().map(|(name, value)| (name.as_str(), value.as_str())))
            .collect()
    }

    /// Reads the `custom_response_headers` block.
    pub(crate) fn read(fields: &mut Fields<'_>) -> Result<ResponseHeaders, ConfigError> {
        let mut all = ResponseHeaders::default();
        for block in fields.blocks("custom_response_headers")? {
            for (place, item) in block.into_items() {
                let Some(pattern) = StatusPattern::parse(&item.key) else {
                    let message = format!(
                        "{:?} must be \"default\", a class such as \"2xx\" or a status such as \"404\"",
                        item.key
                    );
                    return Err(place.invalid(message));
                };
                let headers = all.rules.entry(pattern).or_default();
                for object in objects(&place, &item.key, &item.value)? {
                    add_headers(&place, object, headers, fields)?;
                }
            }
        }
        Ok(all)
    }
}

fn objects<'a>(place: &Place, key: &str, value: &'a Value) -> Result<Vec<&'a Object>, ConfigError> {
    let object = |value: &'a Value| match value {
        Value::Object(object) => Ok(object),
        other => Err(place.invalid(format!("{key:?} must be an object of headers, not {}", other.kind()))),
    };
    match value {
        Value::List(elements) => elements.iter().map(|element| object(&element.value)).collect(),
        value => Ok(vec![object(value)?]),
    }
}

fn add_headers(
    block: &Place,
    object: &Object,
    headers: &mut BTreeMap<String, String>,
    fields: &Fields<'_>,
) -> Result<(), ConfigError> {
    for item in &object.items {
        let place = Place { file: block.file.clone(), position: item.value_position };
        let refuse = |reason: &str| place.invalid(format!("{:?} {reason}", item.key));
        if !is_name(&item.key) {
            return Err(refuse("is not the name of an HTTP header"));
        }
        // Vault joins the values of one header so.
        let value = convert::texts(&item.value).map_err(|reason| refuse(&reason))?.join("; ");
        if !value.chars().all(|c| matches!(c, ' '..='~' | '\t')) {
            return Err(refuse("must consist of printable ASCII characters"));
        }
        let name = item.key.to_ascii_lowercase();
        if name.starts_with("x-vault-") {
            fields.warn_at(
                place,
                format!("the header {:?} is not accepted: \"X-Vault-\" is reserved", item.key),
            );
            continue;
        }
        headers.insert(name, value);
    }
    Ok(())
}

/// A token of RFC 9110, section 5.6.2.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
