//! Panics as errors: where the mistake of one handler must not end those who wait for it.

use std::any::Any;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::pin::pin;
use std::task::Poll;

thread_local! {
    /// The number of [`expecting`] calls that this thread is within.
    static EXPECTED: Cell<usize> = const { Cell::new(0) };
}

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

/// Runs what may panic on wrong data, such as a library that reads a damaged file: the panic's message is an error, and the
/// hook of [`hide_expected_panics`] does not write it out. What the call shares with others must be fit to be dropped.
///
/// # Errors
///
/// The message of the panic.
pub fn expecting<T>(act: impl FnOnce() -> T) -> Result<T, String> {
    struct Within;
    impl Drop for Within {
        fn drop(&mut self) {
            EXPECTED.set(EXPECTED.get().saturating_sub(1));
        }
    }
    EXPECTED.set(EXPECTED.get().saturating_add(1));
    let within = Within;
    let outcome = catch_unwind(AssertUnwindSafe(act));
    drop(within);
    outcome.map_err(|payload| message_of(&*payload))
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
}

/// Has panics within [`expecting`] not written to standard error: they are errors, and told as such. To be called once, at
/// the start of a program.
pub fn hide_expected_panics() {
    let usual = take_hook();
    set_hook(Box::new(move |info| {
        if EXPECTED.get() == 0 {
            usual(info);
        }
    }));
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

    #[test]
    fn an_expected_panic_is_its_message() {
        assert_eq!(expecting(|| 7), Ok(7));
        assert_eq!(expecting(|| panic!("a page of type {}", 3)), Err::<(), _>("a page of type 3".to_owned()));
        let nested =
            expecting(|| expecting(|| panic!("within")).map_err(|inner: String| format!("after {inner}")));
        assert_eq!(nested, Ok(Err::<(), _>("after within".to_owned())));
        assert_eq!(EXPECTED.get(), 0);
    }
}
