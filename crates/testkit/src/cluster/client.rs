//! A client's request, and a client that goes away.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use serde_json::Value;
use strongroom_core::{Answer, Asked, Inbound};
use strongroom_engine_api::{Peer, Secret};

/// A request as a client makes it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its token; empty: none.
    pub token: String,
    /// What is asked.
    pub asked: Asked,
    /// The namespace's header.
    pub namespace: String,
    /// The path.
    pub path: String,
    /// The body's members.
    pub input: Value,
    /// The wrapping asked for.
    pub wrap_ttl: Option<Duration>,
}

impl Request {
    /// A request in the root namespace.
    pub fn new(token: &str, asked: Asked, path: impl Into<String>, input: Value) -> Self {
        let (token, path) = (token.to_owned(), path.into());
        Self { token, asked, namespace: String::new(), path, input, wrap_ttl: None }
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

    pub(super) fn inbound(&self) -> Inbound {
        let token = (!self.token.is_empty()).then(|| Arc::new(Secret::new(self.token.clone())));
        Inbound {
            input: Arc::new(self.input.as_object().cloned().unwrap_or_default()),
            token,
            namespace: self.namespace.clone(),
            wrap_ttl: self.wrap_ttl,
            peer: Peer::at(([127, 0, 0, 1], 1)),
            ..Inbound::new("a-request", self.asked, self.path.clone())
        }
    }
}

/// An answer as a client sees it.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The body; null where there is none.
    pub body: Value,
}

impl From<Answer> for Response {
    fn from(answer: Answer) -> Self {
        let bytes = answer.body.at_hand();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(bytes).expect("JSON") };
        Self { status: answer.status, body }
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

    /// The first error.
    pub fn error(&self) -> String {
        self.text("/errors/0")
    }
}

/// A future whose owner goes away after so many looks at it.
pub(super) struct Impatient<F> {
    pub(super) inner: Pin<Box<F>>,
    pub(super) looks: usize,
}

impl<F: Future> Future for Impatient<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.looks == 0 {
            return Poll::Ready(None);
        }
        self.looks -= 1;
        self.inner.as_mut().poll(context).map(Some)
    }
}
