//! Errors in the form of the protocol. Source: RFC 7644, section 3.12.

use std::fmt;

use serde_json::json;
use strongroom_engine_api::{EngineError, RawError};

use super::SCIM_JSON;

/// The schema of an error.
const ERROR: &str = "urn:ietf:params:scim:api:messages:2.0:Error";

/// A refusal in the protocol's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    status: u16,
    /// The keyword of the error, where the protocol has one.
    kind: Option<&'static str>,
    detail: String,
}

impl Failure {
    /// A refusal with this status.
    pub(super) fn status(status: u16, detail: impl Into<String>) -> Self {
        Self { status, kind: None, detail: detail.into() }
    }

    fn of(status: u16, kind: &'static str, detail: impl Into<String>) -> Self {
        Self { status, kind: Some(kind), detail: detail.into() }
    }

    /// A filter that cannot be read, or is not supported for these attributes.
    pub(super) fn filter(detail: impl Into<String>) -> Self {
        Self::of(400, "invalidFilter", detail)
    }

    /// A value that its attribute cannot have, or one that is missing.
    pub(super) fn value(detail: impl Into<String>) -> Self {
        Self::of(400, "invalidValue", detail)
    }

    /// A path of a change that cannot be read, or leads to no attribute.
    pub(super) fn path(detail: impl Into<String>) -> Self {
        Self::of(400, "invalidPath", detail)
    }

    /// A path of a change that leads to no value.
    pub(super) fn no_target(detail: impl Into<String>) -> Self {
        Self::of(400, "noTarget", detail)
    }

    /// A change of what does not change.
    pub(super) fn mutability(detail: impl Into<String>) -> Self {
        Self::of(400, "mutability", detail)
    }

    /// A body that is not of the request's form.
    pub(super) fn syntax(detail: impl Into<String>) -> Self {
        Self::of(400, "invalidSyntax", detail)
    }

    /// More than one answer has room for.
    pub(super) fn too_many(detail: impl Into<String>) -> Self {
        Self::of(400, "tooMany", detail)
    }

    /// A value that another resource has.
    pub(super) fn uniqueness(detail: impl Into<String>) -> Self {
        Self::of(409, "uniqueness", detail)
    }

    /// Nothing is there, or nothing of this client's.
    pub(super) fn not_found(what: &str, id: &str) -> Self {
        Self::status(404, format!("{what} {id:?} not found"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl From<Failure> for EngineError {
    fn from(failure: Failure) -> Self {
        let mut body = json!({
            "schemas": [ERROR],
            "status": failure.status.to_string(),
            "detail": failure.detail,
        });
        if let (Some(kind), Some(members)) = (failure.kind, body.as_object_mut()) {
            members.insert("scimType".to_owned(), kind.into());
        }
        let error = RawError {
            status: failure.status,
            content_type: SCIM_JSON.into(),
            body: body.to_string().into(),
            headers: Vec::new(),
            reason: failure.detail,
        };
        error.into()
    }
}

/// What a service refuses, in the protocol's form.
pub(super) fn translated(error: EngineError) -> EngineError {
    match error {
        EngineError::Invalid(text) => Failure::value(text).into(),
        EngineError::Denied(text) => Failure::status(403, text).into(),
        EngineError::Status(status, text) => Failure::status(status, text).into(),
        other => other,
    }
}
