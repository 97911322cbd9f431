//! From an HTTP request to the core's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::HOST;
use http::request::Parts;
use http::{HeaderMap, Method, Version};
use percent_encoding::percent_decode;
use serde_json::{Map, Value};
use strongroom_core::{Asked, Inbound};
use strongroom_engine_api::{Secret, parse_duration};

use crate::body::{self, Refusal};
use crate::json::JsonLimits;

/// What the line and the query of a request ask for.
pub(crate) struct Line {
    pub(crate) asked: Asked,
    pub(crate) path: String,
    pub(crate) query: Map<String, Value>,
}

impl Line {
    /// Reads method, path and query. Paths are decoded, `%2F` included, as Vault decodes them.
    pub(crate) fn read(parts: &Parts) -> Result<Self, Refusal> {
        let raw = parts.uri.path();
        let raw = raw.strip_prefix("/v1/").ok_or_else(|| Refusal(404, String::new()))?;
        if !has_whole_escapes(raw) {
            return Err(Refusal(400, "path has an invalid URL escape".to_owned()));
        }
        let path = percent_decode(raw.as_bytes()).decode_utf8();
        let path = path.map_err(|_error| Refusal(400, "path is not valid UTF-8".to_owned()))?.into_owned();
        if path.is_empty() {
            return Err(Refusal(404, String::new()));
        }
        let mut query = body::query(parts.uri.query().unwrap_or_default());
        let asked = match parts.method.as_str() {
            "GET" | "HEAD" => get_or_list(&mut query)?,
            "POST" | "PUT" => Asked::Write,
            "DELETE" => Asked::Delete,
            "PATCH" => Asked::Patch,
            "LIST" => Asked::List,
            "SCAN" => Asked::Scan,
            _ => return Err(Refusal(405, "unsupported operation".to_owned())),
        };
        Ok(Self { asked, path, query })
    }
}

/// Whether each `%` stands before two hexadecimal digits. Half an escape is not another path.
fn has_whole_escapes(path: &str) -> bool {
    path.split('%').skip(1).all(|rest| {
        matches!(rest.as_bytes(), [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
    })
}

/// Whom the request is for must be said once (RFC 9112, section 3.2).
pub(crate) fn check_host(parts: &Parts) -> Result<(), Refusal> {
    let given = parts.headers.get_all(HOST).iter().count();
    if parts.version == Version::HTTP_11 && given != 1 {
        return Err(Refusal(400, "missing or repeated Host header".to_owned()));
    }
    Ok(())
}

/// GET is a read unless its query makes it a list, a scan or a question for help.
fn get_or_list(query: &mut Map<String, Value>) -> Result<Asked, Refusal> {
    let mut is_set =
        |name: &str| match query.remove(name).as_ref().map(|value| value.as_str().unwrap_or_default()) {
            None | Some("" | "0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
            Some(_) => Err(Refusal(400, format!("query parameter {name:?} is not a boolean"))),
        };
    let (help, list, scan) = (is_set("help")?, is_set("list")?, is_set("scan")?);
    Ok(match (help, list, scan) {
        (true, _, _) => Asked::Help,
        (_, true, _) => Asked::List,
        (_, _, true) => Asked::Scan,
        _ => Asked::Read,
    })
}

/// Puts the core's request together.
pub(crate) fn inbound(
    line: Line,
    parts: Parts,
    bytes: &[u8],
    id: Arc<str>,
    remote: Option<SocketAddr>,
    certificate_serial: String,
    limits: &JsonLimits,
) -> Result<Inbound, Refusal> {
    let headers = parts.headers;
    let content_type = header(&headers, "content-type").unwrap_or_default().to_owned();
    if line.asked == Asked::Patch && !content_type.starts_with("application/merge-patch+json") {
        return Err(Refusal(415, "PATCH requires Content-Type of application/merge-patch+json".to_owned()));
    }
    let input = match line.asked {
        Asked::Write | Asked::Patch => body::parse(bytes, &content_type, limits)?,
        _ => line.query,
    };
    Ok(Inbound {
        id,
        asked: line.asked,
        path: line.path,
        input: Arc::new(input),
        token: token(&headers).map(Arc::new),
        namespace: header(&headers, "x-vault-namespace").unwrap_or_default().trim_matches('/').to_owned(),
        wrap_ttl: wrap_ttl(&headers)?,
        policy_override: header(&headers, "x-vault-policy-override") == Some("true"),
        headers,
        remote,
        certificate_serial,
        upload: None,
    })
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// `X-Vault-Token`, or a bearer token.
fn token(headers: &HeaderMap) -> Option<Secret<String>> {
    let given = header(headers, "x-vault-token").or_else(|| {
        header(headers, "authorization")
            .and_then(|text| text.strip_prefix("Bearer ").or_else(|| text.strip_prefix("bearer ")))
    });
    given.map(str::trim).filter(|token| !token.is_empty()).map(|token| Secret::new(token.to_owned()))
}

fn wrap_ttl(headers: &HeaderMap) -> Result<Option<Duration>, Refusal> {
    if let Some(format) = header(headers, "x-vault-wrap-format").filter(|format| !format.is_empty())
        && header(headers, "x-vault-wrap-ttl").is_some()
    {
        return Err(Refusal(400, format!("response wrapping format {format:?} is not supported")));
    }
    let Some(text) = header(headers, "x-vault-wrap-ttl").filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let ttl = parse_duration(text)
        .map_err(|error| Refusal(400, format!("error parsing X-Vault-Wrap-TTL header: {error}")))?;
    if !ttl.is_zero() && ttl < Duration::from_secs(1) {
        return Err(Refusal(400, "error parsing X-Vault-Wrap-TTL header: below one second".to_owned()));
    }
    Ok(Some(Duration::from_secs(ttl.as_secs())))
}

/// Whether a request of this method has a body that is read.
pub(crate) fn reads_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}
