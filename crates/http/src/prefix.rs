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

/// A page for a person whose browser has come to the server's address, and what belongs to it. Programs, which do not ask for a
/// page, get a 404.
pub(crate) fn page(parts: &Parts) -> Option<Answer> {
    let (prefix, rest) = Prefix::of(parts.uri.path());
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return None;
    }
    let script = "text/javascript; charset=utf-8";
    let asset = match (prefix, rest) {
        (Prefix::Ui, "assets/login.js") => Some((script, LOGIN_JS)),
        (Prefix::Ui, "assets/authorize.js") => Some((script, AUTHORIZE_JS)),
        (Prefix::Ui, "assets/mfa.js") => Some((script, MFA_JS)),
        (Prefix::Ui, "assets/authorize.css") => Some(("text/css; charset=utf-8", AUTHORIZE_CSS)),
        _ => None,
    };
    if let Some((content_type, body)) = asset {
        return Some(answer(200, content_type, body, WITHOUT_SCRIPTS));
    }
    if !wants_a_page(&parts.headers) {
        return None;
    }
    let html = "text/html; charset=utf-8";
    match prefix {
        Prefix::Home => Some(answer(200, html, PAGE, WITHOUT_SCRIPTS)),
        // Where a provider of identities sends people to log in: the path of its endpoint, which only the page's script reads.
        Prefix::Ui if rest.starts_with("vault/") && rest.ends_with("/authorize") => {
            Some(answer(200, html, AUTHORIZE, WITH_OWN_SCRIPTS))
        }
        // Where people register their passkeys.
        Prefix::Ui if matches!(rest, "mfa" | "mfa/") => Some(answer(200, html, MFA, WITH_OWN_SCRIPTS)),
        Prefix::Ui => Some(answer(404, html, PAGE, WITHOUT_SCRIPTS)),
        Prefix::Api | Prefix::Nothing => None,
    }
}

fn answer(status: u16, content_type: &'static str, body: &'static str, policy: &str) -> Answer {
    let fixed = [
        ("Content-Security-Policy", policy),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
    ];
    let headers = fixed.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Answer { status, content_type: content_type.into(), body: body.into(), headers }
}

/// The policy of a page that does nothing by itself.
const WITHOUT_SCRIPTS: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
/// The policy of a page whose script is the server's and talks to the server alone.
const WITH_OWN_SCRIPTS: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                                form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

fn wants_a_page(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|kind| kind.trim().starts_with("text/html"))
}

const PAGE: &str = include_str!("page.html");
const AUTHORIZE: &str = include_str!("ui/authorize.html");
const AUTHORIZE_JS: &str = include_str!("ui/authorize.js");
const LOGIN_JS: &str = include_str!("ui/login.js");
const MFA: &str = include_str!("ui/mfa.html");
const MFA_JS: &str = include_str!("ui/mfa.js");
const AUTHORIZE_CSS: &str = include_str!("ui/authorize.css");

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
        assert_eq!(asked("GET", "/ui/vault/identity/oidc/provider/p/authorize", browser), Some(200));
        assert_eq!(asked("GET", "/ui/vault/team/identity/oidc/provider/p/authorize", browser), Some(200));
        assert_eq!(asked("POST", "/ui/vault/identity/oidc/provider/p/authorize", browser), None);
        assert_eq!(asked("GET", "/ui/vault/identity/oidc/provider/p/authorize", "*/*"), None);
        assert_eq!(asked("GET", "/ui/vault/secrets", browser), Some(404));
        for page in ["/ui/mfa", "/ui/mfa/"] {
            assert_eq!(asked("GET", page, browser), Some(200));
            assert_eq!(asked("POST", page, browser), None);
        }
        assert_eq!(asked("GET", "/ui/mfa/x", browser), Some(404));
        for script in ["login", "authorize", "mfa"] {
            assert_eq!(asked("GET", &format!("/ui/assets/{script}.js"), "*/*"), Some(200));
        }
        assert_eq!(asked("GET", "/ui/assets/authorize.css", "*/*"), Some(200));
        assert_eq!(asked("GET", "/ui/assets/../page.html", "*/*"), None);
    }

    #[test]
    fn pages_have_no_scripts_of_their_own() {
        let inline = ["<script>", "<style", " style=", " onclick=", " onsubmit=", "javascript:"];
        for page in [AUTHORIZE, MFA] {
            assert!(inline.iter().all(|text| !page.contains(text)));
        }
        for script in [LOGIN_JS, AUTHORIZE_JS, MFA_JS] {
            assert!(!script.contains("innerHTML") && !script.contains("localStorage"));
        }
    }
}
