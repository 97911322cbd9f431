//! Bodies and queries as parameters.

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use strongroom_pipeline::Share;

use crate::intake::used_up;
use crate::json::JsonLimits;

/// A refusal by the edge itself: a status and a text.
#[derive(Debug)]
pub(crate) struct EdgeError(pub(crate) u16, pub(crate) String);

/// Reads a whole body of at most `limit` bytes; `too_large` is said of a larger one. Its bytes are taken from the share as
/// they come: one that is announced and does not come takes nothing from others.
pub(crate) async fn read(
    body: Incoming,
    limit: usize,
    too_large: &str,
    share: &mut Share,
) -> Result<Bytes, EdgeError> {
    let mut body = Limited::new(body, limit);
    let (mut first, mut whole) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            if error.is::<LengthLimitError>() {
                EdgeError(413, too_large.to_owned())
            } else {
                EdgeError(400, format!("error reading request body: {error}"))
            }
        })?;
        let Ok(piece) = frame.into_data() else { continue };
        if !share.grow(piece.len()) {
            return Err(used_up());
        }
        // Most bodies are one piece, which is taken as it is.
        if first.is_empty() && whole.is_empty() {
            first = piece;
        } else {
            if whole.is_empty() {
                whole.extend_from_slice(&std::mem::take(&mut first));
            }
            whole.extend_from_slice(&piece);
        }
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

/// The members of a JSON object, or of a form; nothing for an empty body.
pub(crate) fn parse(
    bytes: &[u8],
    content_type: &str,
    limits: &JsonLimits,
) -> Result<Map<String, Value>, EdgeError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    if content_type.starts_with("application/x-www-form-urlencoded") && !looks_like_json(bytes) {
        let text =
            std::str::from_utf8(bytes).map_err(|_error| EdgeError(400, "form is not UTF-8".to_owned()))?;
        return form(text, limits).map_err(|text| EdgeError(400, text.to_owned()));
    }
    let within = || limits.check(bytes).map_err(|text| EdgeError(400, text.to_owned()));
    if limits.may_exceed(bytes.len()) {
        within()?;
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(_) => Err(EdgeError(400, "failed to parse JSON input: expected an object".to_owned())),
        Err(error) => {
            // The parser's own limit of depth is no matter of syntax.
            within()?;
            // The position, never the text: it may hold secrets.
            let (line, column) = (error.line(), error.column());
            let text =
                format!("failed to parse JSON input: {} at line {line} column {column}", reason(&error));
            Err(EdgeError(400, text))
        }
    }
}

/// True if a body is JSON whatever its content type says: `curl -d` calls everything a form.
fn looks_like_json(bytes: &[u8]) -> bool {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    matches!(first, Some(b'{' | b'[' | b'"'))
}

fn reason(error: &serde_json::Error) -> &'static str {
    if error.is_eof() {
        "unexpected end of input"
    } else if error.is_data() {
        "value of the wrong kind"
    } else {
        "invalid syntax"
    }
}

/// The members of a form, within the limits that hold for JSON: a form is nothing but an object of texts and lists of texts.
fn form(text: &str, limits: &JsonLimits) -> Result<Map<String, Value>, &'static str> {
    if pairs(text).nth(limits.max_token).is_some() {
        return Err("form exceeds allowed token count");
    }
    let too_long = |side: &str| {
        // Escapes are three bytes for one.
        side.len() > limits.max_string_value_length && decoded(side).len() > limits.max_string_value_length
    };
    if pairs(text).any(|(name, value)| too_long(name) || too_long(value)) {
        return Err("form value exceeds allowed length");
    }
    let mut members = Map::new();
    for (name, value) in pairs(text) {
        let most = add(&mut members, name, value);
        if members.len() > limits.max_object_entry_count {
            return Err("form exceeds allowed entry count");
        }
        if most > limits.max_array_element_count {
            return Err("form list exceeds allowed element count");
        }
    }
    Ok(members)
}

/// The parameters of a query: text, or a list where a name occurs several times.
pub(crate) fn query(text: &str) -> Map<String, Value> {
    let mut members = Map::new();
    for (name, value) in pairs(text) {
        add(&mut members, name, value);
    }
    members
}

/// The names and values of a form or query, as they were sent.
fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Adds a parameter; returns how many values it has now.
fn add(members: &mut Map<String, Value>, name: &str, value: &str) -> usize {
    let (name, value) = (decoded(name), Value::String(decoded(value)));
    match members.get_mut(&name) {
        Some(Value::Array(values)) => {
            values.push(value);
            values.len()
        }
        Some(first) => {
            *first = Value::Array(vec![first.take(), value]);
            2
        }
        None => {
            members.insert(name, value);
            1
        }
    }
}

fn decoded(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(bytes: &[u8], content_type: &str) -> Result<Map<String, Value>, EdgeError> {
        super::parse(bytes, content_type, &JsonLimits::default())
    }

    #[test]
    fn queries_become_members() {
        assert_eq!(
            Value::Object(query("a=1&b=x%20y+z&c&a=2&a=3")),
            json!({"a": ["1", "2", "3"], "b": "x y z", "c": ""})
        );
    }

    #[test]
    fn bodies_are_objects_and_errors_do_not_repeat_them() {
        assert_eq!(Value::Object(parse(b" {\"a\": 1} ", "").unwrap()), json!({"a": 1}));
        assert!(parse(b" \n", "").unwrap().is_empty());
        for bad in [&b"[1]"[..], b"{\"hunter2\"", b"hunter2", b"{\"a\":hunter2}", b"\"hunter2\""] {
            let EdgeError(status, text) = parse(bad, "application/json").unwrap_err();
            assert_eq!(status, 400);
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn json_beyond_a_limit_is_refused_in_vaults_words() {
        let deep = |depth: usize| format!("{{\"a\":{}1{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(parse(deep(JsonLimits::MAX_DEPTH).as_bytes(), "").is_ok());
        for depth in [JsonLimits::MAX_DEPTH + 1, 5000] {
            let EdgeError(status, text) = parse(deep(depth).as_bytes(), "").unwrap_err();
            assert_eq!((status, &*text), (400, "JSON input exceeds allowed nesting depth"));
        }
        let few = JsonLimits { max_array_element_count: 2, ..JsonLimits::default() };
        assert!(super::parse(b"{\"a\":[1,2]}", "", &few).is_ok());
        let EdgeError(status, text) = super::parse(b"{\"a\":[1,2,3]}", "", &few).unwrap_err();
        assert_eq!((status, &*text), (400, "JSON array exceeds allowed element count"));
        let EdgeError(status, text) = super::parse(b"{\"a\":[1,2}", "", &few).unwrap_err();
        assert!(status == 400 && text.starts_with("failed to parse"), "wrong before it is too long: {text}");
    }

    #[test]
    fn forms_keep_the_limits_of_json() {
        let few = JsonLimits {
            max_token: 4,
            max_object_entry_count: 3,
            max_array_element_count: 2,
            max_string_value_length: 5,
            ..JsonLimits::default()
        };
        let parse = |text: &str| super::parse(text.as_bytes(), "application/x-www-form-urlencoded", &few);
        for fits in ["a=1&b=2&c=3", "a=1&a=2&b=3", "a=12345", "&&&&&&&&a=1", "a=%31%32%33%34%35"] {
            assert!(parse(fits).is_ok(), "{fits}");
        }
        for (beyond, said) in [
            ("a&a&b&c&d", "form exceeds allowed token count"),
            ("a&b&c&d", "form exceeds allowed entry count"),
            ("a=1&a=2&a=3", "form list exceeds allowed element count"),
            ("a=123456", "form value exceeds allowed length"),
            ("%31%32%33%34%35%36", "form value exceeds allowed length"),
        ] {
            let EdgeError(status, text) = parse(beyond).unwrap_err();
            assert_eq!((status, &*text), (400, said), "{beyond}");
        }
    }

    #[test]
    fn forms_are_taken_where_they_say_so() {
        let form = parse(b"role_id=x&secret_id=y", "application/x-www-form-urlencoded").unwrap();
        assert_eq!(Value::Object(form), json!({"role_id": "x", "secret_id": "y"}));
        let json = parse(b" \n{\"a\": 1}", "application/x-www-form-urlencoded").unwrap();
        assert_eq!(Value::Object(json), json!({"a": 1}));
        assert!(parse(b"[1]", "application/x-www-form-urlencoded").is_err());
    }
}
