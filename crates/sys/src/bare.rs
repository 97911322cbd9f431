//! Answers without an envelope, as the endpoints give that answer whether sealed or not.

use schemars::JsonSchema;
use serde::Serialize;
use strongroom_engine_api::{EngineError, IntoReply, OperationDoc, Reply};

/// A status and a body that is sent as it is.
pub(crate) struct Bare<T>(pub(crate) u16, pub(crate) T);

impl<T: Serialize + JsonSchema> IntoReply for Bare<T> {
    fn document(doc: &mut OperationDoc) {
        doc.answers::<T>();
    }

    fn into_reply(self) -> Result<Reply, EngineError> {
        let mut body = serde_json::to_string(&self.1)?;
        body.push('\n');
        Ok(Reply::raw(self.0, "application/json", body))
    }
}
