//! Bodies of answers: whole, or as they come.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use strongroom_stdx::{PipeReader, PipeWriter};

/// The body of an answer.
pub enum AnswerBody {
    /// A complete body.
    Whole(Full<Bytes>),
    /// As it comes.
    Stream(PipeReader),
}

impl AnswerBody {
    /// A body in one piece.
    pub fn whole(bytes: Bytes) -> Self {
        Self::Whole(Full::new(bytes))
    }
}

impl From<PipeReader> for AnswerBody {
    fn from(pieces: PipeReader) -> Self {
        Self::Stream(pieces)
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Whole(whole) => Pin::new(whole).poll_frame(context).map_err(|never| match never {}),
            Self::Stream(pieces) => pieces.poll_next(context).map_ok(Frame::data),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_end_stream(),
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// Puts a body into a pipe as it arrives. Ends early if the reader is gone, or nothing arrives for as long as
/// `patience`.
pub async fn feed(mut body: Incoming, mut pipe: PipeWriter, patience: Option<Duration>) {
    loop {
        let frame = match patience {
            None => Ok(body.frame().await),
            Some(patience) => tokio::time::timeout(patience, body.frame()).await,
        };
        match frame.map(|frame| frame.transpose().map(|frame| frame.map(|frame| frame.into_data().ok()))) {
            Ok(Ok(None)) => return pipe.end(),
            Ok(Ok(Some(piece))) => {
                if pipe.send(piece.unwrap_or_default()).await.is_err() {
                    return;
                }
            }
            Ok(Err(error)) => return pipe.fail(io::Error::other(error)).await,
            Err(_elapsed) => return pipe.fail(io::ErrorKind::TimedOut.into()).await,
        }
    }
}
