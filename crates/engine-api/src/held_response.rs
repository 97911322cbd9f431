//! The response that is wrapped in the token that makes a request.
//!
//! Before response wrapping had endpoints of its own, a wrapping token read it at `cubbyhole/response`, and clients still do. The
//! server keeps wrapped responses, and the engine that serves the path keeps secrets: this is the way from one to the
//! other. It leads to the caller's own response only, and a wrapping token may do nothing but read it. An engine that was not
//! given the way, as any but the server's own, finds none.

use std::sync::Arc;

use futures::future::BoxFuture;
use strongroom_stdx::Secret;

use crate::{Call, Caller, EngineError, Extract};

/// Finds the response that is wrapped in a token.
pub trait WrappedResponses: Send + Sync + 'static {
    /// The whole response as JSON, as it would have been sent; `None` if the token holds none.
    fn held_by<'a>(
        &'a self,
        token: &'a Secret<String>,
    ) -> BoxFuture<'a, Result<Option<Secret<String>>, EngineError>>;
}

/// The way to wrapped responses, as an extension of the server's own engines.
pub struct HeldResponses(pub Arc<dyn WrappedResponses>);

/// The response that the caller's token holds.
pub struct HeldResponse {
    responses: Option<Arc<HeldResponses>>,
    token: Arc<Secret<String>>,
}

impl Extract for HeldResponse {
    fn extract(call: &Arc<Call>) -> Result<Self, EngineError> {
        Ok(Self { responses: call.extensions.get(), token: Caller::extract(call)?.token })
    }
}

impl HeldResponse {
    /// The whole response as JSON; `None` for a token that is no wrapping token.
    ///
    /// # Errors
    ///
    /// [`EngineError`] where storage cannot be read.
    pub async fn get(&self) -> Result<Option<Secret<String>>, EngineError> {
        match &self.responses {
            Some(responses) => responses.0.held_by(&self.token).await,
            None => Ok(None),
        }
    }
}
