//! Bytes on their way between a task and a thread that may block, a few pieces at a time: bodies that are too large to
//! be held in memory.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

/// A piece of the bytes, or what went wrong with them.
pub type Piece = io::Result<Bytes>;

/// Pieces on their way at once.
const AT_ONCE: usize = 4;
/// Bytes of a piece that a blocking writer collects.
const PIECE: usize = 64 << 10;

/// Both ends of a new pipe.
#[must_use]
pub fn pipe() -> (PipeWriter, PipeReader) {
    let (sender, receiver) = mpsc::channel(AT_ONCE);
    let whole = Arc::<AtomicBool>::default();
    let writer = PipeWriter { sender, collected: Vec::new(), whole: whole.clone() };
    (writer, PipeReader { receiver, rest: Bytes::new(), whole })
}

/// The end into which bytes are put. One that is dropped before [`PipeWriter::finish`] breaks the pipe: the reader
/// hears of an error and never takes a part for the whole.
pub struct PipeWriter {
    sender: mpsc::Sender<Piece>,
    collected: Vec<u8>,
    whole: Arc<AtomicBool>,
}

/// The end from which they come: as a [`Read`]er on a thread that may block, or piece by piece.
pub struct PipeReader {
    receiver: mpsc::Receiver<Piece>,
    rest: Bytes,
    /// All of it has been sent.
    whole: Arc<AtomicBool>,
}

fn unread() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads any more")
}

impl PipeWriter {
    /// Sends a piece from a task.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::BrokenPipe`] when nobody reads any more.
    pub async fn send(&mut self, piece: Bytes) -> io::Result<()> {
        self.sender.send(Ok(piece)).await.map_err(|_gone| unread())
    }

    /// Ends the pipe with an error, from a task.
    pub async fn fail(self, error: io::Error) {
        // Who has stopped reading need not be told.
        let _ = self.sender.send(Err(error)).await;
    }

    /// Marks the end of the bytes; blocks where some are still to be sent.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::BrokenPipe`] when nobody reads any more.
    pub fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.end();
        Ok(())
    }

    /// Says that all was sent with [`PipeWriter::send`].
    pub fn end(self) {
        self.whole.store(true, Ordering::Release);
    }
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.collected.extend_from_slice(bytes);
        if self.collected.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.collected.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.collected, Vec::with_capacity(PIECE));
        self.sender.blocking_send(Ok(piece.into())).map_err(|_gone| unread())
    }
}

impl PipeReader {
    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Option<Piece> {
        match self.receiver.recv().await {
            None => self.end(),
            piece => piece,
        }
    }

    /// The next piece, for those who poll.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Piece>> {
        self.receiver.poll_recv(context).map(|piece| piece.or_else(|| self.end()))
    }

    /// The end after the last piece: nothing, or that it is not all. Said once.
    fn end(&mut self) -> Option<Piece> {
        let whole = self.whole.swap(true, Ordering::AcqRel);
        (!whole)
            .then(|| Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the writer stopped in the middle")))
    }
}

impl Read for PipeReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.receiver.blocking_recv().or_else(|| self.end()) {
                None => return Ok(0),
                Some(piece) => self.rest = piece?,
            }
        }
        let count = self.rest.len().min(out.len());
        let (into, _) = out.split_at_mut(count);
        self.rest.copy_to_slice(into);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut reader: PipeReader) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).map(|_count| all)
    }

    #[tokio::test]
    async fn what_goes_in_comes_out() {
        let (mut writer, reader) = pipe();
        let bytes: Vec<u8> = (0..1_000_000u32).map(|n| n.to_le_bytes()[0]).collect();
        let expected = bytes.clone();
        let writing =
            tokio::task::spawn_blocking(move || writer.write_all(&bytes).and_then(|()| writer.finish()));
        let got = tokio::task::spawn_blocking(move || read(reader)).await.unwrap().unwrap();
        assert!(got == expected);
        writing.await.unwrap().unwrap();

        let (mut writer, mut reader) = pipe();
        writer.send(Bytes::from_static(b"one")).await.unwrap();
        writer.end();
        assert_eq!(reader.next().await.unwrap().unwrap(), "one");
        assert!(reader.next().await.is_none());
    }

    #[tokio::test]
    async fn a_part_is_never_taken_for_the_whole() {
        let (mut writer, mut reader) = pipe();
        for _ in 0..AT_ONCE {
            writer.send(Bytes::from_static(b"piece")).await.unwrap();
        }
        drop(writer);
        for _ in 0..AT_ONCE {
            reader.next().await.unwrap().unwrap();
        }
        assert_eq!(reader.next().await.unwrap().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(reader.next().await.is_none());

        let (writer, mut reader) = pipe();
        writer.fail(io::Error::other("why")).await;
        assert_eq!(reader.next().await.unwrap().unwrap_err().to_string(), "why");

        let (mut writer, reader) = pipe();
        drop(reader);
        assert_eq!(writer.send(Bytes::new()).await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
