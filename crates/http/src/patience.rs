//! How long a client may take to begin a request and to send its head: a stream that gives up on slow clients.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const BUSY: u8 = 2;

/// What a connection is at: between requests, in the middle of a head, or serving.
#[derive(Clone, Debug, Default)]
pub(crate) struct Phase(Arc<AtomicU8>);

impl Phase {
    /// A request's head is whole.
    pub(crate) fn busy(&self) {
        self.0.store(BUSY, Ordering::Relaxed);
    }

    /// The next request may begin.
    pub(crate) fn idle(&self) {
        self.0.store(IDLE, Ordering::Relaxed);
    }
}

/// A stream whose reads fail when the client has been silent for `idle` between requests, or has begun a head and not
/// ended it within `head`. Zero is no limit.
pub(crate) struct Patient<T> {
    stream: T,
    phase: Phase,
    timed: u8,
    timer: Pin<Box<Sleep>>,
    idle: Duration,
    head: Duration,
}

/// Longer than any connection lives: stands for no limit.
const FOREVER: Duration = Duration::from_secs(86_400 * 365);

impl<T> Patient<T> {
    pub(crate) fn new(stream: T, phase: Phase, idle: Duration, head: Duration) -> Self {
        let or_forever = |limit: Duration| if limit.is_zero() { FOREVER } else { limit };
        let (idle, head) = (or_forever(idle), or_forever(head));
        Self { stream, phase, timed: IDLE, timer: Box::pin(sleep(idle)), idle, head }
    }

    /// Sets the timer for `phase`, if that is not what it runs for.
    fn time(&mut self, phase: u8) {
        if self.timed != phase {
            self.timed = phase;
            let limit = if phase == HEAD { self.head } else { self.idle };
            #[allow(
                clippy::disallowed_methods,
                reason = "a network time-out, not a time that anything is decided on"
            )]
            let until = Instant::now().checked_add(limit);
            if let Some(until) = until {
                self.timer.as_mut().reset(until);
            }
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Patient<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let phase = self.phase.0.load(Ordering::Relaxed);
        if phase == BUSY {
            self.timed = BUSY;
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        self.time(phase);
        if self.timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_ready() && buffer.filled().len() > before && phase == IDLE {
            self.phase.0.store(HEAD, Ordering::Relaxed);
            self.time(HEAD);
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Patient<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    const IDLE_LIMIT: Duration = Duration::from_secs(300);
    const HEAD_LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_head_must_end_in_time_and_a_body_need_not() {
        let (mut client, server) = duplex(64);
        let phase = Phase::default();
        let mut patient = Patient::new(server, phase.clone(), IDLE_LIMIT, HEAD_LIMIT);
        let mut byte = [0];
        tokio::time::advance(Duration::from_secs(299)).await;
        client.write_all(b"GE").await.unwrap();
        patient.read_exact(&mut byte).await.unwrap();
        phase.busy();
        tokio::time::advance(Duration::from_secs(3600)).await;
        patient.read_exact(&mut byte).await.unwrap();
        phase.idle();
        client.write_all(b"G").await.unwrap();
        patient.read_exact(&mut byte).await.unwrap();
        let begun = Instant::now();
        let error = patient.read_exact(&mut byte).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), HEAD_LIMIT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_connection() {
        let (_client, server) = duplex(64);
        let mut patient = Patient::new(server, Phase::default(), IDLE_LIMIT, HEAD_LIMIT);
        assert_eq!(patient.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
