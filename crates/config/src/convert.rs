//! Converts values to types. Each function says in its error what the value must be; the key goes before it.
//!
//! Values are as weakly typed as Vault's: numbers and booleans may be quoted, a list may be a text with commas. Source: Vault's
//! `parseutil`, whose rules its documentation shows by example.

use std::ops::RangeInclusive;
use std::time::Duration;

use strongroom_hcl::Value;

/// The length of a refused text that an error repeats, in characters.
const SHOWN_CHARS: usize = 60;

/// A refused value as an error shows it.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.chars().count() > SHOWN_CHARS => {
            format!("{:?} and so on", text.chars().take(SHOWN_CHARS).collect::<String>())
        }
        Value::String(text) => format!("{text:?}"),
        Value::Number(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        other => other.kind().to_owned(),
    }
}

/// A string, or a number as it was written.
pub(crate) fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(format!("must be a string, not {}", other.kind())),
    }
}

pub(crate) fn flag(value: &Value) -> Result<bool, String> {
    let written = match value {
        Value::Bool(flag) => return Ok(*flag),
        Value::String(text) => text.to_ascii_lowercase(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    };
    match written.as_str() {
        "1" | "t" | "true" => Ok(true),
        "0" | "f" | "false" => Ok(false),
        _ => Err(format!("must be true or false, not {}", shown(value))),
    }
}

/// A whole number within a range.
pub(crate) fn integer<T: TryFrom<i64>>(value: &Value, range: &RangeInclusive<i64>) -> Result<T, String> {
    let number = match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number| range.contains(number)).and_then(|number| T::try_from(number).ok()).ok_or_else(
        || {
            let expected = match (*range.start(), *range.end()) {
                (i64::MIN, i64::MAX) => "a whole number".to_owned(),
                (start, i64::MAX) => format!("a whole number of at least {start}"),
                (start, end) => format!("a whole number from {start} to {end}"),
            };
            format!("must be {expected}, not {}", shown(value))
        },
    )
}

/// A number of seconds or a text such as `"1h30m"`.
pub(crate) fn duration(value: &Value) -> Result<Duration, String> {
    let read = match value {
        Value::String(text) => strongroom_stdx::parse_duration(text).ok(),
        Value::Number(number) if number.is_integer() => number.as_u64().map(Duration::from_secs),
        Value::Number(number) => number.as_f64().and_then(|secs| Duration::try_from_secs_f64(secs).ok()),
        _ => None,
    };
    read.ok_or_else(|| {
        format!("must be a duration such as \"30s\", \"1h\" or a number of seconds, not {}", shown(value))
    })
}

/// A list of texts, or one text in which commas stand between them; blanks around them are dropped.
pub(crate) fn list(value: &Value) -> Result<Vec<String>, String> {
    let elements = match value {
        Value::String(text) => text.split(',').map(str::to_owned).collect(),
        _ => texts(value)?,
    };
    Ok(elements.iter().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).collect())
}

/// A list of texts, or one text for a list of one.
pub(crate) fn texts(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::List(elements) => elements
            .iter()
            .map(|element| text(&element.value))
            .collect::<Result<_, _>>()
            .map_err(|reason| format!("must be a list of strings: an element {reason}")),
        Value::String(_) | Value::Number(_) => Ok(vec![text(value)?]),
        other => Err(format!("must be a list of strings, not {}", other.kind())),
    }
}

/// One of some words, in upper or lower case.
pub(crate) fn choice<T: Copy>(value: &Value, options: &[(&'static str, T)]) -> Result<T, String> {
    let written = text(value).ok();
    let chosen =
        written.and_then(|written| options.iter().find(|(name, _)| name.eq_ignore_ascii_case(&written)));
    chosen.map(|(_, option)| *option).ok_or_else(|| {
        let names: Vec<String> = options.iter().map(|(name, _)| format!("{name:?}")).collect();
        format!("must be one of {}, not {}", names.join(", "), shown(value))
    })
}

/// A URL with a scheme and a host, as addresses for other nodes and clients are given.
pub(crate) fn url(value: &Value) -> Result<String, String> {
    let text = text(value)?;
    refuse_template(&text)?;
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    if host.is_none_or(|host| host.is_empty() || host.contains(char::is_whitespace)) {
        return Err(format!("must be a URL such as \"https://10.0.0.5:8200\", not {}", shown(value)));
    }
    if host_and_port(&text).1.is_some_and(|port| port.parse::<u16>().unwrap_or_default() == 0) {
        return Err(format!("must have a port from 1 to 65535, not {}", shown(value)));
    }
    Ok(text)
}

/// Host and port of a URL, which may have neither.
fn host_and_port(url: &str) -> (&str, Option<&str>) {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest).split(['/', '?', '#']).next();
    let authority = authority.unwrap_or_default();
    match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => authority.rsplit_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    }
}

/// True of a URL whose host means all addresses of a machine, which is where to listen and not where to connect to.
pub(crate) fn means_all_addresses(url: &str) -> bool {
    host_and_port(url).0.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_unspecified())
}

/// A URL of another machine.
pub(crate) fn others_url(value: &Value) -> Result<String, String> {
    let text = url(value)?;
    if means_all_addresses(&text) {
        return Err(format!("must be the address of another node, not {}", shown(value)));
    }
    Ok(text)
}

/// A URL at which others reach this machine: not one that means all of its addresses.
pub(crate) fn reachable_url(value: &Value) -> Result<String, String> {
    let text = url(value)?;
    if means_all_addresses(&text) {
        return Err(format!(
            "must be an address at which other nodes reach this one, not {}; where to listen is \"cluster_address\" of \
             the listener",
            shown(value)
        ));
    }
    Ok(text)
}

/// Refuses go-sockaddr templates, which would otherwise be taken for host names.
pub(crate) fn refuse_template(text: &str) -> Result<(), String> {
    if text.contains("{{") {
        return Err(format!("must be an address; templates such as {text:?} are not supported"));
    }
    Ok(())
}

/// A value as JSON in the shape that HCL1 gives it in Vault: an object within is a list of objects.
pub(crate) fn as_hcl1_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Object(object) => {
            let mut map = serde_json::Map::new();
            for item in &object.items {
                let value = as_hcl1_json(&item.value);
                match (map.get_mut(&item.key), value) {
                    (Some(serde_json::Value::Array(all)), serde_json::Value::Array(more)) => all.extend(more),
                    (_, value) => {
                        map.insert(item.key.clone(), value);
                    }
                }
            }
            serde_json::Value::Array(vec![map.into()])
        }
        Value::List(elements) => elements
            .iter()
            .flat_map(|element| match as_hcl1_json(&element.value) {
                // A list of objects is the same as a repeated block.
                serde_json::Value::Array(objects) if matches!(element.value, Value::Object(_)) => objects,
                other => vec![other],
            })
            .collect(),
        other => other.to_json(),
    }
}
