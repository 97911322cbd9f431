//! The content of a request: in pieces as they came, so that it can be sent again without being copied.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use aws_lc_rs::digest::{self, SHA256};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use strongroom_stdx::{PipeReader, to_hex};

use crate::request::Failure;

/// Bytes and their sum.
#[derive(Clone)]
pub(crate) struct Content {
    pieces: VecDeque<Bytes>,
    len: u64,
    /// SHA-256, hexadecimal.
    pub(crate) sha256: String,
}

impl Content {
    pub(crate) fn new(bytes: Bytes) -> Self {
        let mut collected = Collected::default();
        collected.add(bytes);
        collected.done()
    }

    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// The pieces to send.
    pub(crate) fn body(&self) -> Pieces {
        Pieces { pieces: self.pieces.clone(), left: self.len }
    }
}

/// Content as it grows.
struct Collected {
    pieces: VecDeque<Bytes>,
    len: u64,
    sum: digest::Context,
}

impl Default for Collected {
    fn default() -> Self {
        Self { pieces: VecDeque::new(), len: 0, sum: digest::Context::new(&SHA256) }
    }
}

impl Collected {
    fn add(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.sum.update(&piece);
            self.len = self.len.saturating_add(len(&piece));
            self.pieces.push_back(piece);
        }
    }

    fn done(self) -> Content {
        Content { pieces: self.pieces, len: self.len, sha256: to_hex(self.sum.finish().as_ref()) }
    }
}

fn len(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Cuts what comes out of a pipe into parts.
pub(crate) struct Parts {
    from: PipeReader,
    /// Bytes of each but the last.
    size: u64,
    rest: Bytes,
}

impl Parts {
    pub(crate) const fn new(from: PipeReader, size: u64) -> Self {
        Self { from, size, rest: Bytes::new() }
    }

    /// The next part: full, or the last one, which may be empty.
    pub(crate) async fn next(&mut self) -> Result<Content, Failure> {
        let mut part = Collected::default();
        loop {
            let room = self.size.saturating_sub(part.len);
            let fits = usize::try_from(room).unwrap_or(usize::MAX).min(self.rest.len());
            part.add(self.rest.split_to(fits));
            if part.len >= self.size {
                return Ok(part.done());
            }
            match self.from.next().await {
                None => return Ok(part.done()),
                Some(piece) => self.rest = piece.map_err(|error| Failure::Content(error.to_string()))?,
            }
        }
    }

    /// True if a part is full, so that there may be more.
    pub(crate) const fn is_full(&self, part: &Content) -> bool {
        part.len >= self.size
    }
}

/// Content on its way.
pub(crate) struct Pieces {
    pieces: VecDeque<Bytes>,
    left: u64,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let piece = self.pieces.pop_front();
        self.left = self.left.saturating_sub(piece.as_ref().map_or(0, len));
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use strongroom_stdx::pipe;

    use super::*;

    async fn bytes(content: &Content) -> Vec<u8> {
        content.body().collect().await.unwrap().to_bytes().to_vec()
    }

    async fn cut(pieces: &'static [&'static str], size: u64) -> Vec<String> {
        let (mut writer, reader) = pipe();
        let writing = tokio::spawn(async move {
            for piece in pieces {
                writer.send(Bytes::from_static(piece.as_bytes())).await.unwrap();
            }
            writer.end();
        });
        let (mut parts, mut found) = (Parts::new(reader, size), Vec::new());
        loop {
            let part = parts.next().await.unwrap();
            found.push(String::from_utf8(bytes(&part).await).unwrap());
            if !parts.is_full(&part) {
                writing.await.unwrap();
                return found;
            }
        }
    }

    #[tokio::test]
    async fn parts_are_of_one_size_however_the_bytes_come() {
        assert_eq!(cut(&[], 4).await, [""]);
        assert_eq!(cut(&["ab", "c"], 4).await, ["abc"]);
        assert_eq!(cut(&["ab", "cdefghi", "j"], 4).await, ["abcd", "efgh", "ij"]);
        assert_eq!(cut(&["abcdefghijk"], 2).await, ["ab", "cd", "ef", "gh", "ij", "k"]);
        assert_eq!(cut(&["abcd"], 4).await, ["abcd", ""]);
    }

    #[tokio::test]
    async fn a_content_is_sent_as_often_as_needed_with_its_sum() {
        let content = Content::new(Bytes::from_static(b"abc"));
        assert_eq!(content.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(content.body().size_hint().exact(), Some(3));
        for _ in 0..2 {
            assert_eq!(bytes(&content).await, b"abc");
        }
        let nothing = Content::new(Bytes::new());
        assert_eq!(nothing.sha256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert!(nothing.body().is_end_stream());
    }

    #[tokio::test]
    async fn what_breaks_off_is_no_part() {
        let (mut writer, reader) = pipe();
        writer.send(Bytes::from_static(b"ab")).await.unwrap();
        drop(writer);
        assert!(matches!(Parts::new(reader, 4).next().await, Err(Failure::Content(_))));
    }
}
