//! Redirects: where an answer leads, and what may go there.

use http::header::{ACCEPT, ACCEPT_LANGUAGE, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, LOCATION, USER_AGENT};
use http::{Method, StatusCode, Uri};

use strongroom_outbound_api::{Reason, Request, Response, Target};

/// The headers that are sent to another host: none that could authenticate.
const HARMLESS: [http::HeaderName; 3] = [ACCEPT, ACCEPT_LANGUAGE, USER_AGENT];

/// A request to send next.
#[derive(Debug)]
pub(crate) struct Next {
    pub(crate) request: Request,
    /// It goes to another scheme, host or port.
    pub(crate) is_elsewhere: bool,
}

/// The request that follows an answer; none where the answer is final.
pub(crate) fn next(
    request: &Request,
    from: &Target,
    response: &Response,
    has_identity: bool,
) -> Result<Option<Next>, Reason> {
    let is_redirect = matches!(response.status.as_u16(), 301 | 302 | 303 | 307 | 308);
    if !is_redirect || request.max_redirects == 0 {
        return Ok(None);
    }
    let Some(location) = response.headers.get(LOCATION) else { return Ok(None) };
    let refused = |reason: &str| Reason::Redirect(format!("a redirect is not followed: {reason}"));
    let location = location.to_str().map_err(|_unreadable| refused("it leads to no URL"))?;
    let url = joined(&request.url, location).ok_or_else(|| refused("it leads to no URL"))?;
    let uri: Uri = url.parse().map_err(|_may_quote| refused("it leads to no URL"))?;
    let to = Target::of(&uri).map_err(|error| refused(&error.reason().to_string()))?;
    if from.https && !to.https {
        return Err(refused("it leads from HTTPS to HTTP"));
    }
    let is_elsewhere = (from.https, &from.host, from.port()) != (to.https, &to.host, to.port());
    let mut next = request.clone();
    next.url = url;
    let turns_to_get = match response.status {
        StatusCode::SEE_OTHER => next.method != Method::HEAD,
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => next.method == Method::POST,
        _ => false,
    };
    if turns_to_get {
        next.method = Method::GET;
        next.body.clear();
        next.headers.remove(CONTENT_TYPE);
        next.headers.remove(CONTENT_LENGTH);
    }
    if is_elsewhere {
        if !next.body.is_empty() {
            return Err(refused("what the request carries would go to another host"));
        }
        if has_identity {
            return Err(refused("it would show a client certificate to another host"));
        }
        next.headers = harmless(&next.headers);
    }
    Ok(Some(Next { request: next, is_elsewhere }))
}

fn harmless(headers: &HeaderMap) -> HeaderMap {
    let kept = headers.iter().filter(|(name, value)| HARMLESS.contains(name) && !value.is_sensitive());
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The URL that a reference names, seen from `base` (RFC 3986, section 5.2, without dots taken out of paths).
fn joined(base: &str, reference: &str) -> Option<String> {
    let reference = reference.split('#').next().unwrap_or_default();
    let (scheme, rest) = base.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    if let Some(elsewhere) = reference.strip_prefix("//") {
        return Some(format!("{scheme}://{elsewhere}"));
    }
    if reference.starts_with('/') {
        return Some(format!("{scheme}://{authority}{reference}"));
    }
    let has_scheme = reference.split_once(':').is_some_and(|(before, _)| !before.contains(['/', '?']));
    if has_scheme {
        return Some(reference.to_owned());
    }
    let path = rest.strip_prefix(authority)?.split(['?', '#']).next()?;
    let path = if path.is_empty() { "/" } else { path };
    if reference.is_empty() || reference.starts_with('?') {
        return Some(format!("{scheme}://{authority}{path}{reference}"));
    }
    let (folder, _) = path.rsplit_once('/')?;
    Some(format!("{scheme}://{authority}{folder}/{reference}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_joined() {
        for (reference, wanted) in [
            ("/x?y", "https://h:1/x?y"),
            ("//o/x", "https://o/x"),
            ("http://o/x#f", "http://o/x"),
            ("c", "https://h:1/a/c"),
            ("?q=/:", "https://h:1/a/b?q=/:"),
            ("", "https://h:1/a/b"),
            ("ftp:x", "ftp:x"),
        ] {
            assert_eq!(joined("https://h:1/a/b?c#d", reference).as_deref(), Some(wanted), "{reference}");
        }
        assert_eq!(joined("https://h", "c").as_deref(), Some("https://h/c"));
    }
}
