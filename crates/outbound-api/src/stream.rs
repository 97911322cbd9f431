//! Open connections.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection to a server, secured or not.
pub struct Stream {
    io: Box<dyn Duplex>,
    peer: Option<SocketAddr>,
    /// The address at the other end is one of this machine's.
    is_here: bool,
    protocol: Option<Vec<u8>>,
}

impl Stream {
    /// A connection to a server at `peer`; `is_here`: an address of this machine.
    pub fn new(io: impl Duplex + 'static, peer: Option<SocketAddr>, is_here: bool) -> Self {
        Self { io: Box::new(io), peer, is_here, protocol: None }
    }

    /// The same connection, secured.
    pub fn secured(
        io: impl Duplex + 'static,
        below: (Option<SocketAddr>, bool),
        protocol: Option<&[u8]>,
    ) -> Self {
        let (peer, is_here) = below;
        Self { io: Box::new(io), peer, is_here, protocol: protocol.map(<[u8]>::to_vec) }
    }

    /// The address connected to: the server's, or the proxy's; none over a Unix socket.
    pub const fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// True if the address at the other end is one of this machine's.
    pub const fn is_here(&self) -> bool {
        self.is_here
    }

    /// The protocol that a TLS handshake agreed on (ALPN).
    pub fn protocol(&self) -> Option<&[u8]> {
        self.protocol.as_deref()
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
