//! Clients that speak HTTP to a port of TLS. Without an answer they can read, they would see a connection that breaks.
//!
//! The first bytes of a connection are looked at before TLS gets them, which would answer with an alert.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

/// The first five bytes of requests: a record of TLS begins with none of their letters.
const BEGINNINGS: [&[u8]; 8] =
    [b"GET /", b"HEAD ", b"POST ", b"PUT /", b"DELET", b"PATCH", b"OPTIO", b"LIST "];
/// The answer, as Go's HTTP server gives it.
const ANSWER: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
/// The time for the client to take the answer, and bytes of its request that are read meanwhile: a connection that is closed
/// over unread bytes is reset, and the answer with it.
const PATIENCE: Duration = Duration::from_secs(1);
const MAX_UNREAD: u64 = 64 << 10;

/// A connection on which TLS is expected. Reading it fails if it begins as HTTP.
pub(crate) struct ExpectingTls<T> {
    stream: T,
    beginning: Beginning,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Beginning {
    /// Nothing was read yet.
    Unknown,
    Tls,
    Http,
}

impl<T: AsyncRead + AsyncWrite + Unpin> ExpectingTls<T> {
    pub(crate) const fn new(stream: T) -> Self {
        Self { stream, beginning: Beginning::Unknown }
    }

    /// Answers a client that speaks HTTP; does nothing for any other.
    pub(crate) async fn answer(mut self) {
        if self.beginning != Beginning::Http {
            return;
        }
        let answering = async {
            self.stream.write_all(ANSWER).await?;
            self.stream.shutdown().await?;
            let mut unread = (&mut self.stream).take(MAX_UNREAD);
            tokio::io::copy(&mut unread, &mut tokio::io::sink()).await
        };
        // It goes away in any case.
        let _ = tokio::time::timeout(PATIENCE, answering).await;
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for ExpectingTls<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.beginning == Beginning::Tls {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let first = buffer.filled().get(before..).unwrap_or_default();
        if !matches!(read, Poll::Ready(Ok(()))) || first.is_empty() {
            return read;
        }
        let is_http = BEGINNINGS.iter().any(|beginning| {
            let common = first.len().min(beginning.len());
            first.get(..common) == beginning.get(..common)
        });
        self.beginning = if is_http { Beginning::Http } else { Beginning::Tls };
        if is_http {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "HTTP where TLS was expected",
            )));
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for ExpectingTls<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio_rustls::TlsAcceptor;

    use super::*;

    async fn told(sent: &[u8]) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let made =
            crate::tls::make_dev_certificates(&directory.path().join("tls"), vec!["localhost".to_owned()])
                .unwrap();
        let listener = format!(
            "listener \"tcp\" {{\n address = \"127.0.0.1:0\"\n tls_cert_file = {:?}\n tls_key_file = {:?}\n}}",
            made.cert, made.key
        );
        let source = strongroom_config::Source { file: "test".into(), text: listener };
        let config = strongroom_config::parse(&[source]).unwrap().config;
        let strongroom_config::Listener::Tcp(tcp) = config.listeners.first().unwrap() else { panic!("tcp") };
        let acceptor =
            TlsAcceptor::from(Arc::clone(&crate::tls::server_config(tcp.tls.as_ref().unwrap()).unwrap()));
        let (mut client, server) = tokio::io::duplex(1 << 16);
        client.write_all(sent).await.unwrap();
        let accepting = acceptor.accept(ExpectingTls::new(server)).into_fallible();
        let serving = tokio::spawn(async move {
            if let Err((_error, stream)) = accepting.await {
                stream.answer().await;
            }
        });
        client.shutdown().await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        serving.await.unwrap();
        answer
    }

    #[tokio::test]
    async fn http_is_answered_in_http() {
        for request in
            [&b"GET /v1/sys/health HTTP/1.1\r\nHost: a\r\n\r\n"[..], b"POST /v1/sys/init HTTP/1.1\r\n\r\n{}"]
        {
            assert_eq!(told(request).await, ANSWER);
        }
    }

    #[tokio::test]
    async fn what_is_neither_gets_no_words() {
        for junk in [&b"\x16\x03\x01\x00\x05hello"[..], b"EHLO mail\r\n", b""] {
            let answer = told(junk).await;
            assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
        }
    }
}
