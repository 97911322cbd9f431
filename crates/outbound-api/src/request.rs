//! HTTP requests and their answers, whole.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
    PROXY_AUTHORIZATION, TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, StatusCode, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use strongroom_stdx::Secret;
use zeroize::Zeroizing;

use crate::{Error, Reason, Target};

/// Bytes of an answer that are taken unless the request says otherwise.
const MAX_ANSWER: usize = 8 << 20;
/// Headers that follow from the rest of a request.
const OURS: [HeaderName; 6] =
    [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, UPGRADE, PROXY_AUTHORIZATION];
/// The characters that are not escaped in a form (the URL standard's `application/x-www-form-urlencoded`).
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'*').remove(b' ');

/// A request. What is wrong with it is told when it is sent.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The full URL.
    pub url: String,
    /// The headers. Those that follow from the rest are none of a request's own.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Redirects that are followed, at most.
    pub max_redirects: u32,
    /// Bytes of an answer that are taken, at most.
    pub max_answer: usize,
    /// The error in it, reported when it is sent.
    unusable: Option<&'static str>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The rest may be secret.
        write!(f, "Request({} {})", self.method, self.shown())
    }
}

impl Request {
    /// A request without headers and body that follows no redirect.
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        Self {
            method,
            url: url.into(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            max_redirects: 0,
            max_answer: MAX_ANSWER,
            unusable: None,
        }
    }

    /// A `GET`.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new(Method::GET, url)
    }

    /// A `POST`.
    pub fn post(url: impl Into<String>) -> Self {
        Self::new(Method::POST, url)
    }

    /// A `DELETE`.
    pub fn delete(url: impl Into<String>) -> Self {
        Self::new(Method::DELETE, url)
    }

    /// Sets a header that is no secret.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        self.with(name, value, false)
    }

    /// Sets a header that is a secret.
    #[must_use]
    pub fn secret_header(self, name: &str, value: &Secret<String>) -> Self {
        self.with(name, value.expose(), true)
    }

    /// Shows a bearer token (RFC 6750).
    #[must_use]
    pub fn bearer(self, token: &Secret<String>) -> Self {
        let value = Zeroizing::new(format!("Bearer {}", token.expose()));
        self.with(AUTHORIZATION.as_str(), &value, true)
    }

    /// Shows a user name and a password (RFC 7617).
    #[must_use]
    pub fn basic(self, user: &str, password: &Secret<String>) -> Self {
        let plain = Zeroizing::new(format!("{user}:{}", password.expose()));
        let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(plain.as_bytes())));
        self.with(AUTHORIZATION.as_str(), &value, true)
    }

    /// Carries bytes of the type named.
    #[must_use]
    pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.with(CONTENT_TYPE.as_str(), content_type, false)
    }

    /// Carries a value in JSON.
    #[must_use]
    pub fn json(mut self, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => self.body("application/json", body),
            Err(_may_quote) => {
                self.unusable = Some("the body cannot be written as JSON");
                self
            }
        }
    }

    /// Carries a form, as tokens are asked for (RFC 6749).
    #[must_use]
    pub fn form(self, fields: &[(&str, &str)]) -> Self {
        let escaped = |text: &str| utf8_percent_encode(text, FORM).to_string().replace(' ', "+");
        let pairs: Vec<_> =
            fields.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
        self.body("application/x-www-form-urlencoded", pairs.join("&"))
    }

    /// Follows redirects, so many at most. To another host a redirect takes no headers but those that say which answers are
    /// understood, no body, and no client certificate; from HTTPS to HTTP none is followed.
    #[must_use]
    pub const fn follow(mut self, max_redirects: u32) -> Self {
        self.max_redirects = max_redirects;
        self
    }

    /// Takes an answer of so many bytes at most.
    #[must_use]
    pub const fn max_answer(mut self, bytes: usize) -> Self {
        self.max_answer = bytes;
        self
    }

    fn with(mut self, name: &str, value: &str, is_secret: bool) -> Self {
        match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            (Ok(name), Ok(mut value)) if !OURS.contains(&name) => {
                value.set_sensitive(is_secret);
                self.headers.insert(name, value);
            }
            _ => {
                let reason =
                    "a header cannot be sent: its name is reserved, or it has characters that must not be";
                self.unusable = Some(reason);
            }
        }
        self
    }

    /// The server, for people: scheme, host and port.
    pub fn shown(&self) -> String {
        let uri = self.url.parse::<Uri>().ok();
        let target = uri.and_then(|uri| Target::of(&uri).ok());
        target.map_or_else(|| "the request's URL".to_owned(), |target| target.shown())
    }

    /// The URL and the server that it names.
    ///
    /// # Errors
    ///
    /// [`Error::NotSent`]: it cannot be sent by anyone.
    pub fn target(&self) -> Result<(Uri, Target), Error> {
        let unusable =
            |reason: &str| Error::NotSent { to: self.shown(), reason: Reason::Unusable(reason.to_owned()) };
        if let Some(reason) = self.unusable {
            return Err(unusable(reason));
        }
        let uri: Uri = self.url.parse().map_err(|_may_quote| unusable("it is no URL"))?;
        let target = Target::of(&uri)?;
        Ok((uri, target))
    }
}

/// An answer.
pub struct Response {
    /// The status; an error status is an answer, too.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Response({}, {} bytes)", self.status, self.body.len())
    }
}

impl Response {
    /// The body read as JSON. The error says where it is wrong and repeats nothing of it.
    ///
    /// # Errors
    ///
    /// The body is something else.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_slice(&self.body).map_err(|error| {
            format!("the answer is not the JSON expected, at line {} column {}", error.line(), error.column())
        })
    }
}
