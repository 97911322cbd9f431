//! Panics as errors: where the mistake of one handler must not end those who wait for it.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// A future that has panicked. What it panicked with is in the log, where the panic hook has written it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("panicked")]
pub struct Panicked;

/// The output of a future, or the error that it has panicked. What it shares with others must be whole nevertheless: it is
/// dropped in the state that it was left in.
///
/// # Errors
///
/// [`Panicked`].
pub async fn caught<F: Future>(future: F) -> Result<F::Output, Panicked> {
    let mut future = pin!(future);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(polled) => polled.map(Ok),
        Err(_logged) => Poll::Ready(Err(Panicked)),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_whenever_it_comes() {
        assert_eq!(caught(async { 7 }).await, Ok(7));
        let late = async {
            tokio::task::yield_now().await;
            panic!("a mistake")
        };
        assert_eq!(caught::<_>(late).await.map(|(): ()| ()), Err(Panicked));
        let waits = async {
            tokio::task::yield_now().await;
            "through"
        };
        assert_eq!(caught(waits).await, Ok("through"), "it is polled again");
        assert_eq!(Panicked.to_string(), "panicked");
    }
}
