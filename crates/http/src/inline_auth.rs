//! Headers of inline authentication: a login that a request carries with it. Source: OpenBao's documentation,
//! "Authentication", "Inline Authentication".
//!
//! They are read here and taken off the request, since they contain what somebody logs in with: engines and audited headers
//! do not see them. Nothing is decided here: the pipeline logs in.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};
use strongroom_pipeline::{InlineLogin, Verb};

use crate::body::{self, EdgeError};
use crate::context::Context;
use crate::header::{self, Field, Fields};
use crate::request::canonical;

/// The beginning of the names of all of them.
const ALL: &str = "x-vault-inline-auth-";
/// The beginning of the names of parameters.
const PARAMETER: &str = "x-vault-inline-auth-parameter-";
/// The namespace of the login.
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-inline-auth-namespace");

/// The login that a request carries with it, if it does. Headers that say more of a login are nothing without its path.
pub(crate) fn read(
    fields: &Fields<'_>,
    headers: &HeaderMap,
    context: &Context,
) -> Result<Option<InlineLogin>, EdgeError> {
    let Some(path) = fields.text(Field::InlinePath)? else { return Ok(None) };
    let path = path.trim_start_matches('/');
    if path.is_empty() || canonical(path).is_some() {
        return Err(refused(Field::InlinePath, "is not a path in its canonical form"));
    }
    let asked = match fields.single(Field::InlineOperation)?.unwrap_or_default() {
        "" | "create" | "update" => Verb::Write,
        "read" => Verb::Read,
        _ => return Err(refused(Field::InlineOperation, "is not one of create, update and read")),
    };
    let namespace = match fields.single(Field::InlineNamespace)? {
        Some(given) => header::within(given, &context.chroot),
        None => context.namespace.clone(),
    };
    let mut input = Map::new();
    for (name, value) in headers {
        if name.as_str().starts_with(PARAMETER) {
            parameter(name, value, context, &mut input)?;
        }
    }
    Ok(Some(InlineLogin { asked, namespace, path: path.to_owned(), input }))
}

/// Reads a parameter: base64 of a JSON object with its name, whose case a header's name would lose, and its value.
fn parameter(
    name: &HeaderName,
    value: &HeaderValue,
    context: &Context,
    input: &mut Map<String, Value>,
) -> Result<(), EdgeError> {
    // The value may be a password: errors name the header only.
    let wrong = |what: &str| EdgeError(400, format!("header {name} {what}"));
    let decoded = URL_SAFE_NO_PAD.decode(value.as_bytes());
    let decoded = decoded.map_err(|_error| wrong("is not URL-safe base64 without padding"))?;
    let mut members = body::parse(&decoded, "application/json", &context.rules.json)
        .map_err(|_error| wrong("does not contain a JSON object"))?;
    let (key, given) = (members.remove("key"), members.remove("value"));
    let (Some(Value::String(key)), Some(given)) = (key, given) else {
        return Err(wrong("does not contain a \"key\" that is a string and a \"value\""));
    };
    if !members.is_empty() {
        return Err(wrong("contains more than \"key\" and \"value\""));
    }
    match input.insert(key, given) {
        None => Ok(()),
        Some(_) => Err(wrong("gives a parameter again")),
    }
}

/// Takes the headers off a request.
pub(crate) fn strip(headers: &mut HeaderMap) {
    let names = headers.keys().filter(|name| name.as_str().starts_with(ALL)).cloned();
    for name in names.collect::<Vec<_>>() {
        headers.remove(name);
    }
}

/// Says the namespace of the login from the root on, for the node that a request is forwarded to: it does not know the
/// listener's own namespace.
pub(crate) fn forwarded(headers: &mut HeaderMap, chroot: &str) -> Result<(), EdgeError> {
    if chroot.is_empty() {
        return Ok(());
    }
    let Some(given) = Fields::of(headers).single(Field::InlineNamespace)?.map(str::to_owned) else {
        return Ok(());
    };
    let whole = HeaderValue::try_from(header::within(&given, chroot));
    let whole = whole.map_err(|_error| refused(Field::InlineNamespace, "names no namespace"))?;
    headers.insert(NAMESPACE, whole);
    Ok(())
}

fn refused(field: Field, what: &str) -> EdgeError {
    EdgeError(400, format!("header {} {what}", field.shown()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use strongroom_engine_api::{Peer, Redactions};

    use super::*;
    use crate::context::Rules;
    use crate::json::JsonLimits;

    fn context(namespace: &str, chroot: &str) -> Context {
        let rules = Rules {
            max_request_size: 100,
            max_request_duration: Duration::from_secs(1),
            max_token_size: 100,
            json: JsonLimits::default(),
            redactions: Redactions::default(),
        };
        Context { peer: Peer::default(), namespace: namespace.to_owned(), chroot: chroot.to_owned(), rules }
    }

    fn parameter(key: &str, value: &Value) -> String {
        encoded(&json!({ "key": key, "value": value }).to_string())
    }

    fn encoded(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn read_in(
        fields: &[(&'static str, &str)],
        (namespace, chroot): (&str, &str),
    ) -> Result<Option<InlineLogin>, EdgeError> {
        let headers = headers(fields);
        read(&Fields::of(&headers), &headers, &context(namespace, chroot))
    }

    const PATH: (&str, &str) = ("x-vault-inline-auth-path", "auth/userpass/login/änn");

    #[test]
    fn a_login_is_read_from_headers() {
        let (one, two) = (parameter("Password", &json!("s3cret")), parameter("n", &json!({"a": [1]})));
        let login = read_in(
            &[PATH, ("x-vault-inline-auth-parameter-a", &one), ("x-vault-inline-auth-parameter-b", &two)],
            ("team", ""),
        );
        let login = login.unwrap().unwrap();
        assert_eq!((login.asked, login.path.as_str()), (Verb::Write, PATH.1));
        assert_eq!(login.namespace, "team", "that of the request");
        assert_eq!(Value::Object(login.input), json!({"Password": "s3cret", "n": {"a": [1]}}));
        let read_with = ("x-vault-inline-auth-operation", "read");
        assert_eq!(read_in(&[PATH, read_with], ("", "")).unwrap().unwrap().asked, Verb::Read);
        let parameter = ("x-vault-inline-auth-parameter-a", one.as_str());
        assert!(read_in(&[parameter], ("", "")).unwrap().is_none(), "without a path there is no login");
    }

    #[test]
    fn the_namespace_of_a_login_is_its_own_and_within_the_listeners() {
        for (given, chroot, expected) in [
            ("a", "", "a"),
            ("/a/", "team", "team/a"),
            ("", "team", "team"),
            ("root", "team", "team"),
            ("root", "", "root"),
        ] {
            let field = ("x-vault-inline-auth-namespace", given);
            let login = read_in(&[PATH, field], ("x", chroot)).unwrap().unwrap();
            assert_eq!(login.namespace, expected);
            let mut sent = headers(&[PATH, field]);
            forwarded(&mut sent, chroot).unwrap();
            let arrived = read(&Fields::of(&sent), &sent, &context("x", "")).unwrap().unwrap();
            assert_eq!(arrived.namespace, expected, "on the active node");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_without_its_value() {
        let twice = parameter("a", &json!(1));
        let more = encoded("{\"key\": \"a\", \"value\": 1, \"s3cret\": 2}");
        for fields in [
            vec![("x-vault-inline-auth-path", "")],
            vec![("x-vault-inline-auth-path", "a//s3cret")],
            vec![PATH, PATH],
            vec![PATH, ("x-vault-inline-auth-operation", "s3cret")],
            vec![PATH, ("x-vault-inline-auth-namespace", "a"), ("x-vault-inline-auth-namespace", "b")],
            vec![PATH, ("x-vault-inline-auth-parameter-a", "s3cret=")],
            vec![PATH, ("x-vault-inline-auth-parameter-a", "czNjcmV0")],
            vec![PATH, ("x-vault-inline-auth-parameter-a", &more)],
            vec![
                PATH,
                ("x-vault-inline-auth-parameter-a", &twice),
                ("x-vault-inline-auth-parameter-b", &twice),
            ],
            vec![
                PATH,
                ("x-vault-inline-auth-parameter-a", &twice),
                ("x-vault-inline-auth-parameter-a", &twice),
            ],
        ] {
            let Err(EdgeError(status, text)) = read_in(&fields, ("", "")) else {
                panic!("{fields:?} was taken")
            };
            assert_eq!(status, 400, "{text}");
            assert!(
                text.to_lowercase().contains("x-vault-inline-auth-") && !text.contains("s3cret"),
                "{text}"
            );
        }
    }

    #[test]
    fn the_headers_are_taken_off() {
        let one = parameter("a", &json!(1));
        let mut sent = headers(&[PATH, ("x-vault-inline-auth-parameter-a", &one), ("x-other", "1")]);
        strip(&mut sent);
        assert_eq!(sent, headers(&[("x-other", "1")]));
    }
}
