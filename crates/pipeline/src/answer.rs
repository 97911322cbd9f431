//! Answers as the edge sends them.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::json;
use strongroom_engine_api::{EngineError, PipeReader, RawBody, ReplyBody, Upgrade};

use super::{Inbound, RequestError};
use crate::envelope::Envelope;

/// An HTTP answer.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The `Content-Type`; empty where there is no body.
    pub content_type: Cow<'static, str>,
    /// The body.
    pub body: AnswerContent,
    /// Further headers.
    pub headers: Vec<(String, String)>,
}

/// The body of an answer, or what takes its place.
pub enum AnswerContent {
    /// A body in memory, whole.
    Whole(Bytes),
    /// As it comes.
    Stream(PipeReader),
    /// Another protocol.
    Upgrade(Upgrade),
}

impl AnswerContent {
    /// The bytes of a body in memory; none of a stream's.
    pub fn at_hand(&self) -> &[u8] {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Stream(_) | Self::Upgrade(_) => &[],
        }
    }
}

impl<T: Into<Bytes>> From<T> for AnswerContent {
    fn from(bytes: T) -> Self {
        Self::Whole(bytes.into())
    }
}

const JSON: &str = "application/json";

impl Answer {
    /// An envelope; 204 where there is nothing to say.
    pub(crate) fn envelope(
        envelope: &Envelope,
        request_id: &str,
        status: Option<u16>,
    ) -> Result<Self, EngineError> {
        if envelope.is_empty() {
            let status = status.unwrap_or(204);
            return Ok(Self {
                status,
                content_type: "".into(),
                body: Bytes::new().into(),
                headers: Vec::new(),
            });
        }
        let body = envelope.render(request_id)?.into();
        Ok(Self { status: status.unwrap_or(200), content_type: JSON.into(), body, headers: Vec::new() })
    }

    pub(crate) fn raw(raw: RawBody, status: Option<u16>) -> Self {
        let status = status.unwrap_or(200);
        let body = match raw.body {
            ReplyBody::Whole(bytes) => AnswerContent::Whole(bytes),
            ReplyBody::Stream(pieces) => AnswerContent::Stream(pieces),
        };
        Self { status, content_type: raw.content_type, body, headers: Vec::new() }
    }

    /// The connection is handed over once this is sent.
    pub(crate) fn upgrade(upgrade: Upgrade) -> Self {
        Self {
            status: 101,
            content_type: "".into(),
            body: AnswerContent::Upgrade(upgrade),
            headers: Vec::new(),
        }
    }

    /// Vault's error body: `{"errors": [...]}`, with a not-found's data where it has some.
    pub(crate) fn refusal(inbound: &Inbound, refused: &RequestError) -> Self {
        if let RequestError::Engine(EngineError::Raw(raw)) = refused {
            return Self {
                status: raw.status,
                content_type: raw.content_type.clone(),
                body: raw.body.clone().into(),
                headers: raw.headers.clone(),
            };
        }
        if let RequestError::Engine(EngineError::NotFoundWith(reply)) = refused {
            let envelope = Envelope {
                data: reply.answered().cloned(),
                warnings: reply.warnings().to_vec(),
                ..Envelope::default()
            };
            if let Ok(answer) = Self::envelope(&envelope, &inbound.id, Some(404)) {
                return answer;
            }
        }
        let (status, errors) = refused.for_client();
        let body = format!("{}\n", json!({ "errors": errors }));
        let mut headers = Vec::new();
        if status == 403 {
            // With it, an operator finds the reason in the log.
            headers.push(("X-Vault-Request-Id".to_owned(), inbound.id.to_string()));
        }
        Self { status, content_type: JSON.into(), body: body.into(), headers }
    }
}
