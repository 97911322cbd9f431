//! Turns an HTTP request into the core's.

use std::sync::Arc;

use bytes::Bytes;
use http::header::HOST;
use http::request::Parts;
use http::{Method, Version};
use percent_encoding::percent_decode;
use serde_json::{Map, Value};
use strongroom_engine_api::{RequestBody, UpgradeOffer, Upload};
use strongroom_pipeline::{Destination, Inbound, Inline, Verb};

use crate::body::{self, EdgeError};
use crate::context::Context;
use crate::header::{Field, Fields};
use crate::inline_auth;
use crate::prefix::Prefix;

/// Bytes of a path at most, as it is sent. Work on a path grows with it, before anyone knows who asks.
const MAX_PATH_BYTES: usize = 8 << 10;

/// The operation that the line and the query of a request ask for.
pub(crate) struct Line {
    pub(crate) asked: Verb,
    pub(crate) path: String,
    pub(crate) query: Map<String, Value>,
    /// Where it leads, as far as that is made out.
    pub(crate) destination: Option<Destination>,
}

impl Line {
    /// Reads method, path and query. Paths are decoded, `%2F` included, as Vault decodes them.
    pub(crate) fn read(parts: &Parts) -> Result<Self, EdgeError> {
        let (Prefix::Api, raw) = Prefix::of(parts.uri.path()) else {
            return Err(EdgeError(404, String::new()));
        };
        if raw.len() > MAX_PATH_BYTES {
            return Err(EdgeError(414, "request path is too long".to_owned()));
        }
        if !has_whole_escapes(raw) {
            return Err(EdgeError(400, "path has an invalid URL escape".to_owned()));
        }
        let path = percent_decode(raw.as_bytes()).decode_utf8();
        let path = path.map_err(|_error| EdgeError(400, "path is not valid UTF-8".to_owned()))?.into_owned();
        if path.is_empty() {
            return Err(EdgeError(404, String::new()));
        }
        let mut query = body::query(parts.uri.query().unwrap_or_default());
        let asked = match parts.method.as_str() {
            "GET" | "HEAD" => get_or_list(&mut query)?,
            "POST" | "PUT" => Verb::Write,
            "DELETE" => Verb::Delete,
            "PATCH" => Verb::Patch,
            "LIST" => Verb::List,
            "SCAN" => Verb::Scan,
            _ => return Err(EdgeError(405, "unsupported operation".to_owned())),
        };
        Ok(Self { asked, path, query, destination: None })
    }
}

/// The one form of a path that has others: without empty segments and without `.`. `None` where it is in that form.
pub(crate) fn canonical(path: &str) -> Option<String> {
    let (body, slash) = path.strip_suffix('/').map_or((path, ""), |body| (body, "/"));
    let stays = |segment: &&str| !segment.is_empty() && *segment != ".";
    // Every request passes here, and nearly all are in their one form: bytes are looked at for less than texts.
    let is_canonical = |segment: &[u8]| !segment.is_empty() && segment != b".";
    if path.is_empty() || body.as_bytes().split(|byte| *byte == b'/').all(is_canonical) {
        return None;
    }
    let segments: Vec<&str> = body.split('/').filter(stays).collect();
    let slash = if segments.is_empty() { "" } else { slash };
    Some(format!("{}{slash}", segments.join("/")))
}

/// True if each `%` stands before two hexadecimal digits. Half an escape is not another path.
fn has_whole_escapes(path: &str) -> bool {
    path.as_bytes()
        .split(|byte| *byte == b'%')
        .skip(1)
        .all(|rest| matches!(rest, [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit()))
}

/// Checks that the host is given once (RFC 9112, section 3.2).
pub(crate) fn check_host(parts: &Parts) -> Result<(), EdgeError> {
    let given = parts.headers.get_all(HOST).iter().count();
    if parts.version == Version::HTTP_11 && given != 1 {
        return Err(EdgeError(400, "missing or repeated Host header".to_owned()));
    }
    Ok(())
}

/// GET is a read unless its query makes it a list, a scan or a question for help.
fn get_or_list(query: &mut Map<String, Value>) -> Result<Verb, EdgeError> {
    let mut is_set =
        |name: &str| match query.remove(name).as_ref().map(|value| value.as_str().unwrap_or_default()) {
            None | Some("" | "0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
            Some(_) => Err(EdgeError(400, format!("query parameter {name:?} is not a boolean"))),
        };
    let (help, list, scan) = (is_set("help")?, is_set("list")?, is_set("scan")?);
    Ok(match (help, list, scan) {
        (true, _, _) => Verb::Help,
        (_, true, _) => Verb::List,
        (_, _, true) => Verb::Scan,
        _ => Verb::Read,
    })
}

/// The content type of a request; empty where it has none.
pub(crate) fn content_type(parts: &Parts) -> Result<&str, EdgeError> {
    Ok(Fields::of(&parts.headers).single(Field::ContentType)?.unwrap_or_default())
}

/// The body of a request, read as its operation wants it.
pub(crate) enum Received {
    /// All of it, to be read as JSON or a form.
    Json(Bytes),
    /// All of it, parsed already.
    Members(Map<String, Value>),
    /// All of it, as it is.
    Bytes(Bytes),
    /// As it comes.
    Stream(Upload),
}

/// Puts the core's request together.
pub(crate) fn inbound(
    line: Line,
    parts: Parts,
    received: Received,
    id: Arc<str>,
    context: &Context,
    upgrade: Option<Arc<UpgradeOffer>>,
) -> Result<Inbound, EdgeError> {
    let mut headers = parts.headers;
    let rules = &context.rules;
    let fields = Fields::of(&headers);
    let content_type = fields.single(Field::ContentType)?.unwrap_or_default();
    let has_body = matches!(line.asked, Verb::Write | Verb::Patch);
    let is_patch = line.asked == Verb::Patch && matches!(received, Received::Json(_) | Received::Members(_));
    if is_patch {
        check_patch_type(&line, content_type)?;
    }
    let (input, body) = match received {
        Received::Json(bytes) if has_body => {
            (body::parse(&bytes, content_type, &rules.json)?, RequestBody::Parsed)
        }
        Received::Members(members) if has_body => (members, RequestBody::Parsed),
        Received::Json(_) | Received::Members(_) => (line.query, RequestBody::Parsed),
        Received::Bytes(bytes) => (line.query, RequestBody::Bytes(content_type.into(), bytes)),
        Received::Stream(upload) => (line.query, RequestBody::Stream(upload)),
    };
    fields.check()?;
    let token = fields.token(rules.max_token_size)?.map(Arc::new);
    let wrap_ttl = fields.wrap_ttl()?;
    let policy_override = fields.single(Field::PolicyOverride)? == Some("true");
    let inline = inline_auth::read(&fields, &headers, context)?.map(Inline::carrying).unwrap_or_default();
    if inline.is_carried() {
        inline_auth::strip(&mut headers);
    }
    Ok(Inbound {
        input: Arc::new(input),
        token,
        namespace: context.namespace.clone(),
        destination: line.destination,
        wrap_ttl,
        policy_override,
        headers,
        peer: context.peer.clone(),
        body,
        target: parts.uri,
        redactions: rules.redactions,
        upgrade,
        inline,
        ..Inbound::new(id, line.asked, line.path)
    })
}

/// Checks that a PATCH is one that its route reads: a merge patch, or one of the protocol that the route is part of.
fn check_patch_type(line: &Line, content_type: &str) -> Result<(), EdgeError> {
    let Some(own) = line.destination.as_ref().map_or(Some(&[][..]), Destination::patch_types) else {
        return Ok(());
    };
    let is_own = || {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        own.iter().any(|own| own.eq_ignore_ascii_case(kind)) || !own.is_empty() && kind.is_empty()
    };
    if content_type.starts_with("application/merge-patch+json") || is_own() {
        return Ok(());
    }
    let wanted = own.first().unwrap_or(&"application/merge-patch+json");
    Err(EdgeError(415, format!("PATCH requires Content-Type of {wanted}")))
}

/// True if a request of this method has a body that is read.
pub(crate) fn reads_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::canonical;

    #[test]
    fn a_path_has_one_form() {
        for path in ["", "a", "a/", "secret/data/a", "secret/data/a/", "a/..b", "a/.b"] {
            assert_eq!(canonical(path), None, "{path}");
        }
        for (path, form) in [
            ("/a", "a"),
            ("a//b", "a/b"),
            ("a///b//", "a/b/"),
            ("a/./b", "a/b"),
            ("./a", "a"),
            ("a//", "a/"),
            ("/", ""),
            ("//.", ""),
        ] {
            assert_eq!(canonical(path).as_deref(), Some(form), "{path}");
        }
    }

    proptest! {
        #[test]
        fn the_one_form_has_no_other(path in "[a./]{0,12}") {
            if let Some(form) = canonical(&path) {
                prop_assert_eq!(canonical(&form), None);
            }
        }
    }
}
