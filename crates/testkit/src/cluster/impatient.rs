//! A client that goes away.

use std::pin::Pin;
use std::task::{Context, Poll};

/// A future whose owner goes away after so many looks at it.
pub(super) struct Impatient<F> {
    pub(super) inner: Pin<Box<F>>,
    pub(super) looks: usize,
}

impl<F: Future> Future for Impatient<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.looks == 0 {
            return Poll::Ready(None);
        }
        self.looks -= 1;
        self.inner.as_mut().poll(context).map(Some)
    }
}
