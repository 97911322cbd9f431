//! The answer of a server.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use strongroom_outbound::Incoming;
use zeroize::Zeroizing;

use crate::client::Prepared;
use crate::error::{ApiError, Error};
use crate::reply::Reply;

/// An answer whose body is still to be read.
pub struct Response {
    status: StatusCode,
    headers: HeaderMap,
    body: Incoming,
    prepared: Prepared,
    namespace: String,
}

impl Response {
    /// Turns an error status into an error, but for `404`.
    pub(crate) async fn new(
        answer: http::Response<Incoming>,
        prepared: Prepared,
        namespace: String,
    ) -> Result<Self, Error> {
        let (head, body) = answer.into_parts();
        let response = Self { status: head.status, headers: head.headers, body, prepared, namespace };
        let code = response.status.as_u16();
        if code < 400 || code == 404 {
            return Ok(response);
        }
        Err(response.into_error().await)
    }

    /// HTTP status code.
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// The answer's headers.
    pub const fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The next piece of the body; `None` at its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| Error::Transport {
                method: self.prepared.method.to_string(),
                url: self.prepared.url.clone(),
                reason: error.to_string(),
            })?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// The whole body, wiped from memory when dropped. `404` is an error.
    pub async fn bytes(self) -> Result<Zeroizing<Vec<u8>>, Error> {
        if self.status == StatusCode::NOT_FOUND {
            return Err(self.into_error().await);
        }
        self.collect().await
    }

    /// The body read as JSON of a type of its own. `404` is an error.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        let body = self.bytes().await?;
        serde_json::from_slice(&body).map_err(|error| decode(&body, &error))
    }

    /// The envelope; `None` for an empty body. `404` is an error.
    pub async fn reply(self) -> Result<Option<Reply>, Error> {
        let body = self.bytes().await?;
        Reply::parse(&body).map_err(|error| decode(&body, &error))
    }

    /// The envelope. `404` is `None`, unless it carries data or warnings: a deleted version of a secret is answered
    /// with `404` and its metadata.
    pub async fn reply_or_none(self) -> Result<Option<Reply>, Error> {
        if self.status != StatusCode::NOT_FOUND {
            return self.reply().await;
        }
        let body = self.collect().await?;
        let reply = Reply::parse(&body).ok().flatten();
        let telling = |reply: &Reply| {
            !reply.warnings().is_empty() || reply.data.as_ref().is_some_and(|data| !data.is_empty())
        };
        Ok(reply.filter(telling))
    }

    async fn collect(mut self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let mut body = Zeroizing::new(Vec::new());
        while let Some(chunk) = self.chunk().await? {
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// The answer as the error that its status says it is.
    pub async fn into_error(self) -> Error {
        let status = self.status.as_u16();
        let (method, url) = (self.prepared.method.to_string(), self.prepared.url.clone());
        let namespace = self.namespace.clone();
        match self.collect().await {
            Ok(body) => ApiError::parse(status, &method, &url, &namespace, &body).into(),
            Err(error) => error,
        }
    }
}

/// Words a decoding error as Go's JSON decoder does for the common case of an answer that is no JSON at all.
fn decode(body: &[u8], error: &serde_json::Error) -> Error {
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => Error::Decode("EOF".to_owned()),
        Some(first) if !matches!(first, b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
            Error::Decode(format!(
                "invalid character {:?} looking for beginning of value",
                char::from(*first)
            ))
        }
        Some(_) => Error::Decode(error.to_string()),
    }
}
