//! A client's request, and the answer to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use serde_json::Value;
use strongroom_engine_api::{CertificateChain, Peer, RequestBody, Secret};
use strongroom_pipeline::{Answer, Inbound, Verb};

/// A request as a client makes it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its token; empty: none.
    pub token: String,
    /// What is asked.
    pub asked: Verb,
    /// The namespace's header.
    pub namespace: String,
    /// The path.
    pub path: String,
    /// The body's members.
    pub input: Value,
    /// The wrapping asked for.
    pub wrap_ttl: Option<Duration>,
    /// The certificates shown.
    pub certificates: CertificateChain,
    /// A body that is no JSON, with its type.
    pub bytes: Option<(&'static str, Bytes)>,
    /// The address it comes from.
    pub from: SocketAddr,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
}

impl Request {
    /// A request in the root namespace.
    pub fn new(token: &str, asked: Verb, path: impl Into<String>, input: Value) -> Self {
        let (token, path) = (token.to_owned(), path.into());
        Self {
            token,
            asked,
            namespace: String::new(),
            path,
            input,
            wrap_ttl: None,
            certificates: CertificateChain::default(),
            bytes: None,
            from: ([127, 0, 0, 1], 1).into(),
            headers: Vec::new(),
        }
    }

    /// The same in a namespace.
    #[must_use]
    pub fn within(self, namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..self }
    }

    /// The same with its answer wrapped.
    #[must_use]
    pub fn wrapped(self, ttl: Duration) -> Self {
        Self { wrap_ttl: Some(ttl), ..self }
    }

    /// The same from a client that has shown certificates.
    #[must_use]
    pub fn showing(self, certificates: impl IntoIterator<Item = Bytes>) -> Self {
        Self { certificates: certificates.into_iter().collect(), ..self }
    }

    /// The same with a body of bytes.
    #[must_use]
    pub fn sending(self, content_type: &'static str, bytes: impl Into<Bytes>) -> Self {
        Self { bytes: Some((content_type, bytes.into())), ..self }
    }

    /// The same from another address.
    #[must_use]
    pub fn from(self, address: [u8; 4]) -> Self {
        Self { from: (address, 1).into(), ..self }
    }

    /// The same with one more header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The request as the pipeline takes it.
    pub fn inbound(&self) -> Inbound {
        let body = match &self.bytes {
            Some((content_type, bytes)) => RequestBody::Bytes((*content_type).into(), bytes.clone()),
            None => RequestBody::Parsed,
        };
        let token = (!self.token.is_empty()).then(|| Arc::new(Secret::new(self.token.clone())));
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(*name, HeaderValue::from_str(value).expect("a header's value"));
        }
        Inbound {
            headers,
            input: Arc::new(self.input.as_object().cloned().unwrap_or_default()),
            token,
            namespace: self.namespace.clone(),
            wrap_ttl: self.wrap_ttl,
            peer: Peer::at(self.from).with(self.certificates.clone()),
            body,
            ..Inbound::new("a-request", self.asked, self.path.clone())
        }
    }
}

/// An answer as a client sees it.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The body; null where there is none, or it is no JSON.
    pub body: Value,
    /// The body as it is.
    pub bytes: Bytes,
    /// Its type.
    pub content_type: String,
    /// Further headers.
    pub headers: Vec<(String, String)>,
}

impl From<Answer> for Response {
    fn from(answer: Answer) -> Self {
        let bytes = Bytes::copy_from_slice(answer.body.at_hand());
        let content_type = answer.content_type.into_owned();
        let of_json = content_type.starts_with("application/json") || content_type.ends_with("+json");
        let is_json = !bytes.is_empty() && of_json;
        let body = if is_json { serde_json::from_slice(&bytes).expect("JSON") } else { Value::Null };
        Self { status: answer.status, body, bytes, content_type, headers: answer.headers }
    }
}

impl Response {
    /// The `data` of a success.
    pub fn data(&self) -> &Value {
        assert_eq!(self.status, 200, "{}", self.body);
        &self.body["data"]
    }

    /// A text anywhere in the body.
    pub fn text(&self, pointer: &str) -> String {
        self.body.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The first error.
    pub fn error(&self) -> String {
        self.text("/errors/0")
    }

    /// The status and the first error.
    pub fn refusal(&self) -> (u16, &str) {
        (self.status, self.body.pointer("/errors/0").and_then(Value::as_str).unwrap_or_default())
    }

    /// The `auth` of a success.
    pub fn auth(&self) -> &Value {
        assert_eq!(self.status, 200, "{}", self.body);
        &self.body["auth"]
    }

    /// The token that a success hands out.
    pub fn token(&self) -> String {
        self.auth()["client_token"].as_str().expect("a token").to_owned()
    }
}
