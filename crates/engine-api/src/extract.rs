//! Extractors: the types that a handler's arguments can have.

use std::any::Any;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use strongroom_barrier::{MountTxn, MountView, Txn, View};
use strongroom_stdx::{Clock, Entropy};
use strongroom_wire::lenient::Text;

use crate::{Call, Caller, EngineError, Mode, Mount, OperationDoc, Renewal, Request, bad_request};

/// An argument of a handler: drawn from the call, and documenting what it draws.
pub trait Extract: Sized + Send {
    /// Adds to the operation's documentation.
    fn document(_doc: &mut OperationDoc) {}

    /// Draws it from the call.
    fn extract(call: &Arc<Call>) -> Result<Self, EngineError>;
}

/// The typed parameters: the body's members, or the query's. Values are read leniently where the members' types are
/// those of [`crate::lenient`]; what cannot be read is a 400 that names the field.
pub struct Input<T>(pub T);

impl<T: DeserializeOwned + JsonSchema + Send> Extract for Input<T> {
    fn document(doc: &mut OperationDoc) {
        doc.takes::<T>();
    }

    fn extract(call: &Arc<Call>) -> Result<Self, EngineError> {
        let input = serde::de::value::MapDeserializer::new(
            call.request
                .input
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name.as_str(), value)),
        );
        match serde_path_to_error::deserialize::<_, T>(input) {
            Ok(input) => Ok(Self(input)),
            Err(error) => {
                let field = error.path().to_string();
                let cause = error.into_inner();
                Err(bad_request(match field.as_str() {
                    "." => missing_field(&cause.to_string()),
                    field => format!(
                        "Field validation failed: error converting input for field \"{field}\": {cause}"
                    ),
                }))
            }
        }
    }
}

/// serde says "missing field `x`"; Vault's handlers say "missing x".
fn missing_field(text: &str) -> String {
    text.strip_prefix("missing field `")
        .and_then(|rest| rest.strip_suffix('`'))
        .map_or_else(|| text.to_owned(), |name| format!("missing {name}"))
}

/// The members as they came, whatever they are called.
pub struct Body(pub Map<String, Value>);

impl Extract for Body {
    fn document(doc: &mut OperationDoc) {
        doc.any_fields = true;
    }

    fn extract(call: &Arc<Call>) -> Result<Self, EngineError> {
        Ok(Self(Map::clone(&call.request.input)))
    }
}

/// The start and the maximum length of a list: `after` and `limit`, on every list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paging {
    /// List what comes after this name.
    pub after: Option<String>,
    /// At most this many names; `usize::MAX` where nothing is asked.
    pub limit: usize,
}

#[derive(serde::Deserialize, JsonSchema)]
#[allow(dead_code, reason = "read for its documentation")]
struct PagingFields {
    /// Lists entries after this one; it need not exist.
    after: Option<Text>,
    /// Lists at most this many entries; all when absent, zero or below.
    limit: Option<crate::lenient::Int>,
}

impl Extract for Paging {
    fn document(doc: &mut OperationDoc) {
        doc.takes::<PagingFields>();
    }

    fn extract(call: &Arc<Call>) -> Result<Self, EngineError> {
        let Input(fields) = Input::<PagingFields>::extract(call)?;
        let limit = fields.limit.and_then(|limit| usize::try_from(limit.0).ok()).filter(|limit| *limit > 0);
        let after = fields.after.map(|after| after.0).filter(|after| !after.is_empty());
        Ok(Self { after, limit: limit.unwrap_or(usize::MAX) })
    }
}

impl Extract for MountView {
    fn extract(call: &Arc<Call>) -> Result<Self, EngineError> {
        Ok(call.txn.peek())
    }
}

impl Extract for MountTxn {
    fn document(doc: &mut OperationDoc) {
        doc.mode = Mode::Write;
    }

    fn extract(call: &Arc<Call>) -> Result<Self, EngineError> {
        Ok(call.txn.clone())
    }
}

/// The server's own view, in parts of the server alone.
impl Extract for View {
    fn extract(call: &Arc<Call>) -> Result<Self, EngineError> {
        Ok(call.server.get()?.peek().clone())
    }
}

/// The server's own transaction, in parts of the server alone.
impl Extract for Txn {
    fn document(doc: &mut OperationDoc) {
        doc.mode = Mode::Write;
    }

    fn extract(call: &Arc<Call>) -> Result<Self, EngineError> {
        call.server.get().cloned()
    }
}

impl Extract for Clock {
    fn extract(call: &Arc<Call>) -> Result<Self, EngineError> {
        Ok(call.environment.clock.clone())
    }
}

impl Extract for Entropy {
    fn extract(call: &Arc<Call>) -> Result<Self, EngineError> {
        Ok(call.environment.entropy.clone())
    }
}

impl Extract for Arc<Mount> {
    fn extract(call: &Arc<Call>) -> Result<Self, EngineError> {
        Ok(call.mount.clone())
    }
}

impl Extract for Arc<Request> {
    fn extract(call: &Arc<Call>) -> Result<Self, EngineError> {
        Ok(call.request.clone())
    }
}

/// The whole call, for handlers that add warnings on the way.
impl Extract for Arc<Call> {
    fn extract(call: &Arc<Call>) -> Result<Self, EngineError> {
        Ok(call.clone())
    }
}

impl Extract for Caller {
    fn extract(call: &Arc<Call>) -> Result<Self, EngineError> {
        call.request.caller().ok_or_else(|| EngineError::Denied("permission denied".to_owned()))
    }
}

impl Extract for Renewal {
    fn extract(call: &Arc<Call>) -> Result<Self, EngineError> {
        call.renewal.clone().ok_or_else(|| EngineError::Internal("not called for a renewal".to_owned()))
    }
}

/// A value that the engine was built with.
pub struct Extension<T>(pub Arc<T>);

impl<T: Any + Send + Sync> Extract for Extension<T> {
    fn extract(call: &Arc<Call>) -> Result<Self, EngineError> {
        let missing = || EngineError::Internal("the engine was built without this extension".to_owned());
        call.extensions.get().map(Self).ok_or_else(missing)
    }
}

/// Two arguments as one: a handler that draws several services has them side by side.
impl<A: Extract, B: Extract> Extract for (A, B) {
    fn document(doc: &mut OperationDoc) {
        A::document(doc);
        B::document(doc);
    }

    fn extract(call: &Arc<Call>) -> Result<Self, EngineError> {
        Ok((A::extract(call)?, B::extract(call)?))
    }
}
