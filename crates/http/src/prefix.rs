//! The parts of a server's paths: the API under `/v1`, and a few others beside it.

use http::header::ACCEPT;
use http::request::Parts;
use http::{HeaderMap, Method};
use strongroom_pipeline::Answer;

/// The beginnings of paths that mean something, and what they mean. A beginning ends where a segment does.
const PREFIXES: [(&str, Prefix); 4] = [
    ("/v1", Prefix::Api),
    ("/ui", Prefix::Ui),
    // Addresses that other standards fix (RFC 8615), such as those of EST and of OpenID providers.
    ("/.well-known", Prefix::Nothing),
    ("/metrics", Prefix::Nothing),
];

/// The purpose of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prefix {
    /// The API.
    Api,
    /// People, at the server's own address.
    Home,
    /// People.
    Ui,
    /// Nothing is served there yet, or there is nothing.
    Nothing,
}

impl Prefix {
    /// The purpose of a path, and what follows the prefix and its slash.
    pub(crate) fn of(path: &str) -> (Self, &str) {
        if path.is_empty() || path == "/" {
            return (Self::Home, "");
        }
        PREFIXES
            .iter()
            .find_map(|(beginning, prefix)| {
                let rest = path.strip_prefix(beginning)?;
                let rest = if rest.is_empty() { Some("") } else { rest.strip_prefix('/') };
                rest.map(|rest| (*prefix, rest))
            })
            .unwrap_or((Self::Nothing, ""))
    }
}

/// A page for a person whose browser has come to the server's address. Programs, which do not ask for a page, get a 404.
pub(crate) fn page(parts: &Parts) -> Option<Answer> {
    let status = match Prefix::of(parts.uri.path()).0 {
        Prefix::Home => 200,
        Prefix::Ui => 404,
        Prefix::Api | Prefix::Nothing => return None,
    };
    if !matches!(parts.method, Method::GET | Method::HEAD) || !wants_a_page(&parts.headers) {
        return None;
    }
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    let fixed = [
        ("Content-Security-Policy", policy),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
    ];
    let headers = fixed.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Some(Answer { status, content_type: "text/html; charset=utf-8".into(), body: PAGE.into(), headers })
}

fn wants_a_page(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|kind| kind.trim().starts_with("text/html"))
}

const PAGE: &str = include_str!("page.html");

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn a_beginning_ends_with_a_segment() {
        assert_eq!(Prefix::of("/"), (Prefix::Home, ""));
        assert_eq!(Prefix::of("/v1/kv/a//b"), (Prefix::Api, "kv/a//b"));
        assert_eq!(Prefix::of("/v1"), (Prefix::Api, ""));
        assert_eq!(Prefix::of("/ui/vault/secrets"), (Prefix::Ui, "vault/secrets"));
        for nothing in
            ["/v1sys/health", "/v2/kv", "/uix", "/favicon.ico", "/.well-known/est", "/metrics", "//v1/a"]
        {
            assert_eq!(Prefix::of(nothing).0, Prefix::Nothing, "{nothing}");
        }
    }

    #[test]
    fn only_browsers_are_shown_a_page() {
        let asked = |method: &str, path: &str, accept: &str| {
            let request =
                Request::builder().method(method).uri(path).header("accept", accept).body(()).unwrap();
            page(&request.into_parts().0).map(|answer| answer.status)
        };
        let browser = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8";
        assert_eq!(asked("GET", "/", browser), Some(200));
        assert_eq!(asked("HEAD", "/", browser), Some(200));
        assert_eq!(asked("GET", "/ui/", browser), Some(404));
        assert_eq!(asked("GET", "/", "*/*"), None);
        assert_eq!(asked("POST", "/", browser), None);
        assert_eq!(asked("GET", "/v1/sys/health", browser), None);
    }
}
