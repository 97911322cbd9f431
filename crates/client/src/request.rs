//! A request before it is sent.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde::Serialize;
use strongroom_outbound::Body;

use crate::error::Error;

/// The content of a request.
pub enum Payload {
    /// Nothing.
    Empty,
    /// Bytes, of JSON unless a header says otherwise. Can be sent again.
    Bytes(Bytes),
    /// A body that is produced while it is sent, so that it is sent once and never retried.
    Stream(Body),
}

/// A request: method, API path and what goes with it.
pub struct Request {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) payload: Payload,
    pub(crate) wrap_ttl: Option<Duration>,
    pub(crate) without_token: bool,
    pub(crate) unlimited: bool,
}

impl Request {
    /// A request of any method; `path` is the API path without `/v1`.
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            query: Vec::new(),
            headers: Vec::new(),
            payload: Payload::Empty,
            wrap_ttl: None,
            without_token: false,
            unlimited: false,
        }
    }

    /// Reads a path.
    pub fn read(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    /// Lists the names below a path. Sent as `GET …?list=true`, which passes proxies that know no `LIST`.
    pub fn list(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path).query("list", "true")
    }

    /// Lists all names below a path, folder by folder. Sent as `GET …?scan=true`.
    pub fn scan(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path).query("scan", "true")
    }

    /// Writes to a path with `PUT`.
    pub fn write(path: impl Into<String>) -> Self {
        Self::new(Method::PUT, path)
    }

    /// Writes to a path with `POST`, as the `sys` endpoints document it.
    pub fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    /// Changes single fields with a JSON merge patch (RFC 7396).
    pub fn patch(path: impl Into<String>) -> Self {
        Self::new(Method::PATCH, path).header("Content-Type", "application/merge-patch+json")
    }

    /// Deletes a path.
    pub fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// Adds a query parameter.
    #[must_use]
    pub fn query(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.query.push((key.into(), value.into()));
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sends `body` as JSON.
    pub fn json(mut self, body: &impl Serialize) -> Result<Self, Error> {
        let bytes = serde_json::to_vec(body).map_err(|error| Error::Request(error.to_string()))?;
        self.payload = Payload::Bytes(bytes.into());
        Ok(self)
    }

    /// Sends `payload` as it is.
    #[must_use]
    pub fn body(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }

    /// Asks for the answer to be wrapped for this long.
    #[must_use]
    pub fn wrap(mut self, ttl: Duration) -> Self {
        self.wrap_ttl = Some(ttl);
        self
    }

    /// Sends no token, as logins do.
    #[must_use]
    pub fn without_token(mut self) -> Self {
        self.without_token = true;
        self
    }

    /// Lifts the client's time limit, for answers that stream for as long as they take.
    #[must_use]
    pub fn unlimited(mut self) -> Self {
        self.unlimited = true;
        self
    }

    /// The API path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its content.
    pub const fn payload(&self) -> &Payload {
        &self.payload
    }

    /// The HTTP method.
    pub const fn method(&self) -> &Method {
        &self.method
    }

    /// True if this asks for names rather than content (`LIST`, `SCAN`).
    pub fn is_listing(&self) -> bool {
        self.query.iter().any(|(key, value)| matches!(key.as_str(), "list" | "scan") && value == "true")
    }
}
