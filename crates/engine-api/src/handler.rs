//! Functions as handlers.

use std::future::Future;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::{Call, EngineError, Extract, OperationDoc};

/// An async function of extractable arguments that returns `Result<O, E>`.
pub trait Handler<Args, O>: Clone + Send + Sync + 'static {
    /// Adds what its arguments say of the operation to its documentation.
    fn document(doc: &mut OperationDoc);

    /// Draws the arguments and runs it.
    fn call(&self, call: &Arc<Call>) -> BoxFuture<'static, Result<O, EngineError>>;
}

/// An argument that was drawn; where it could not be, its error is the outcome of the function.
macro_rules! drawn {
    ($drawn:expr) => {
        match $drawn {
            Ok(argument) => argument,
            Err(error) => return Box::pin(std::future::ready(Err(error.into()))),
        }
    };
}
pub(crate) use drawn;

macro_rules! handlers {
    ($($arg:ident)*) => {
        #[allow(non_snake_case, unused_variables, reason = "arguments are named after their type parameters")]
        impl<F, Fut, O, E, $($arg,)*> Handler<($($arg,)*), O> for F
        where
            F: Fn($($arg),*) -> Fut + Clone + Send + Sync + 'static,
            Fut: Future<Output = Result<O, E>> + Send + 'static,
            O: Send + 'static,
            E: Into<EngineError> + 'static,
            $($arg: Extract + 'static,)*
        {
            fn document(doc: &mut OperationDoc) {
                $($arg::document(doc);)*
            }

            fn call(&self, call: &Arc<Call>) -> BoxFuture<'static, Result<O, EngineError>> {
                $(
                    let $arg = drawn!($arg::extract(call));
                )*
                let running = self($($arg),*);
                Box::pin(async move { running.await.map_err(Into::into) })
            }
        }
    };
}

handlers!();
handlers!(A);
handlers!(A B);
handlers!(A B C);
handlers!(A B C D);
handlers!(A B C D G);
handlers!(A B C D G H);
handlers!(A B C D G H I);
handlers!(A B C D G H I J);
