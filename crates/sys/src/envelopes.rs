//! The two older forms of answers that some endpoints have kept, and answers with something to do after them.

use schemars::JsonSchema;
use serde::Serialize;
use strongroom_ceremonies::Step;
use strongroom_engine_api::{EngineError, IntoReply, OperationDoc, Reply};
use strongroom_pipeline::{AfterCommit, ServerPart, ServerReply};

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

/// An answer, and what changes in memory once what goes with it is committed.
pub(crate) struct AfterIt<R> {
    answer: R,
    change: Box<dyn FnOnce() + Send + Sync>,
    made_root: bool,
}

impl<R> AfterIt<R> {
    /// A step of a ceremony.
    pub(crate) fn of<A: Into<R>>(step: Step<A>) -> Self {
        Self { answer: step.answer.into(), change: step.change, made_root: false }
    }

    /// Another form of the same answer.
    pub(crate) fn map<T>(self, form: impl FnOnce(R) -> T) -> AfterIt<T> {
        AfterIt { answer: form(self.answer), change: self.change, made_root: self.made_root }
    }

    /// The same, of a step that made a root token where `made` says so.
    pub(crate) fn making_root(self, made: impl FnOnce(&R) -> bool) -> Self {
        Self { made_root: made(&self.answer), ..self }
    }
}

impl<R: IntoReply> IntoReply for AfterIt<R> {
    fn document(doc: &mut OperationDoc) {
        R::document(doc);
    }

    fn into_reply(self) -> Result<Reply, EngineError> {
        let (after_commit, made_root) = (AfterCommit::Then(self.change), self.made_root);
        let part = ServerPart { after_commit, made_root, ..ServerPart::default() };
        Ok(self.answer.into_reply()?.by_server(part))
    }
}
