//! Time limits of clients to begin a request, to send its head, and to take an answer: a stream that gives up on slow
//! clients.

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

/// The phase of a connection: between requests, in the middle of a head, or serving.
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
/// ended it within `head`; and whose writes fail when it has not taken within `write` what there was to send. Zero is no
/// limit.
pub(crate) struct TimedStream<T> {
    stream: T,
    phase: Phase,
    timed: u8,
    /// The time limit of the phase that is timed.
    until: Instant,
    timer: Pin<Box<Sleep>>,
    idle: Duration,
    head: Duration,
    write: Duration,
    /// Runs from when the client was first slower than what is sent, until all is sent.
    sending: Option<Pin<Box<Sleep>>>,
}

/// The limits of a [`TimedStream`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) idle: Duration,
    pub(crate) head: Duration,
    pub(crate) write: Duration,
}

/// Longer than any connection lives: stands for no limit.
const FOREVER: Duration = Duration::from_secs(86_400 * 365);

impl<T> TimedStream<T> {
    pub(crate) fn new(stream: T, phase: Phase, limits: Limits) -> Self {
        let or_forever = |limit: Duration| if limit.is_zero() { FOREVER } else { limit };
        let (idle, head) = (or_forever(limits.idle), or_forever(limits.head));
        let timer = Box::pin(sleep(idle));
        Self {
            stream,
            phase,
            timed: IDLE,
            until: timer.deadline(),
            timer,
            idle,
            head,
            write: limits.write,
            sending: None,
        }
    }

    /// Passes on how sending went, unless the client has been waited for too long.
    fn sent<R>(&mut self, cx: &mut Context<'_>, sent: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if sent.is_pending() && !self.write.is_zero() {
            let timer = self.sending.get_or_insert_with(|| Box::pin(sleep(self.write)));
            if timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        sent
    }

    /// Notes that `phase` begins now.
    fn begin(&mut self, phase: u8) {
        self.timed = phase;
        let limit = if phase == HEAD { self.head } else { self.idle };
        self.until = now().checked_add(limit).unwrap_or(self.until);
    }

    /// True if the client has been waited for too long; if not, the task is woken when it has. The timer is moved
    /// only when it must ring earlier, or has rung: a client that is quick never costs more than a look at it.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        if self.until < self.timer.deadline() {
            self.timer.as_mut().reset(self.until);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if now() >= self.until {
                return true;
            }
            self.timer.as_mut().reset(self.until);
        }
        false
    }
}

#[allow(clippy::disallowed_methods, reason = "a network time-out, not a time that anything is decided on")]
fn now() -> Instant {
    Instant::now()
}

impl<T: AsyncRead + Unpin> AsyncRead for TimedStream<T> {
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
        if self.timed != phase {
            self.begin(phase);
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_pending() && self.is_late(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if read.is_ready() && buffer.filled().len() > before && phase == IDLE {
            self.phase.0.store(HEAD, Ordering::Relaxed);
            self.begin(HEAD);
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for TimedStream<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.sent(cx, sent)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = Pin::new(&mut self.stream).poll_flush(cx);
        // What serves the connection flushes after it has handed over all there is.
        if sent.is_ready() {
            self.sending = None;
        }
        self.sent(cx, sent)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.sent(cx, sent)
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
    const WRITE_LIMIT: Duration = Duration::from_secs(20);
    const LIMITS: Limits = Limits { idle: IDLE_LIMIT, head: HEAD_LIMIT, write: WRITE_LIMIT };

    #[tokio::test(start_paused = true)]
    async fn a_head_must_end_in_time_and_a_body_need_not() {
        let (mut client, server) = duplex(64);
        let phase = Phase::default();
        let mut timed = TimedStream::new(server, phase.clone(), LIMITS);
        let mut byte = [0];
        tokio::time::advance(Duration::from_secs(299)).await;
        client.write_all(b"GE").await.unwrap();
        timed.read_exact(&mut byte).await.unwrap();
        phase.busy();
        tokio::time::advance(Duration::from_secs(3600)).await;
        timed.read_exact(&mut byte).await.unwrap();
        phase.idle();
        client.write_all(b"G").await.unwrap();
        timed.read_exact(&mut byte).await.unwrap();
        let begun = Instant::now();
        let error = timed.read_exact(&mut byte).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), HEAD_LIMIT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_connection() {
        let (_client, server) = duplex(64);
        let mut timed = TimedStream::new(server, Phase::default(), LIMITS);
        assert_eq!(timed.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_must_be_taken_in_time() {
        let (mut client, server) = duplex(4);
        let mut timed = TimedStream::new(server, Phase::default(), LIMITS);
        // Fits, and so takes no time, however long nobody reads it.
        timed.write_all(b"1234").await.unwrap();
        timed.flush().await.unwrap();
        tokio::time::advance(Duration::from_secs(60)).await;
        let slow = tokio::spawn(async move {
            let begun = Instant::now();
            let error = timed.write_all(&[0; 64]).await.unwrap_err();
            (error.kind(), begun.elapsed().as_secs())
        });
        // A byte now and then does not help.
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(6)).await;
            client.read_u8().await.unwrap();
        }
        assert_eq!(slow.await.unwrap(), (io::ErrorKind::TimedOut, WRITE_LIMIT.as_secs()));
    }

    #[tokio::test(start_paused = true)]
    async fn each_answer_has_its_own_time() {
        let (mut client, server) = duplex(4);
        let mut timed = TimedStream::new(server, Phase::default(), LIMITS);
        let answers = tokio::spawn(async move {
            for _ in 0..3 {
                timed.write_all(&[0; 8]).await?;
                timed.flush().await?;
            }
            io::Result::Ok(())
        });
        let mut taken = [0; 8];
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(15)).await;
            client.read_exact(&mut taken).await.unwrap();
        }
        answers.await.unwrap().unwrap();
    }
}
