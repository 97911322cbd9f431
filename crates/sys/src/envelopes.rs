//! The two older forms of answers that some endpoints have kept.

use schemars::JsonSchema;
use serde::Serialize;
use strongroom_engine_api::{EngineError, IntoReply, OperationDoc, Reply};
use strongroom_pipeline::ServerReply;

/// A status and a body without an envelope, as endpoints answer that do so whether sealed or not.
pub(crate) struct NoEnvelope<T>(pub(crate) u16, pub(crate) T);

impl<T: Serialize + JsonSchema> IntoReply for NoEnvelope<T> {
    fn document(doc: &mut OperationDoc) {
        doc.answers::<T>();
    }

    fn into_reply(self) -> Result<Reply, EngineError> {
        let mut body = serde_json::to_string(&self.1)?;
        body.push('\n');
        Ok(Reply::raw(self.0, "application/json", body))
    }
}

/// Data whose members stand both under `data` and at the top of the envelope.
pub(crate) struct MergedData<T>(pub(crate) T);

impl<T: Serialize + JsonSchema> IntoReply for MergedData<T> {
    fn document(doc: &mut OperationDoc) {
        doc.answers::<T>();
    }

    fn into_reply(self) -> Result<Reply, EngineError> {
        ServerReply::at_top(&self.0)?.into_reply()
    }
}
