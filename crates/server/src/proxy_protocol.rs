//! Connections that begin with a proxy's statement about the client: the PROXY protocol, versions 1 and 2.
//!
//! Source: the protocol's specification by `HAProxy`; Vault's "`tcp` listener" page, `proxy_protocol_*`.
//!
//! A connection need not begin with it. If it does, the header is removed, whoever sends it, and counts only if the sender is
//! trusted. A header that is broken, or that takes too long, ends the connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, BytesMut};
use ipnet::IpNet;
use ppp::{HeaderResult, v1, v2};
use strongroom_config::{ProxyBehavior, ProxyProtocol};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// Bytes of the beginning at most: an address takes little, and what proxies add to it not much more.
const MAX_HEADER: usize = 4096;

/// Bytes of a beginning of version 1 at most, as its specification counts them.
const MAX_TEXT: usize = 107;

/// The trust in a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// Its statement about the client counts.
    Believed,
    /// Its statement does not count: it is the client itself.
    Ignored,
}

fn trust(rule: &ProxyProtocol, from: IpAddr) -> Option<Trust> {
    let from = from.to_canonical();
    let authorized = rule.authorized_addrs.iter().any(|block: &IpNet| block.contains(&from));
    match rule.behavior {
        ProxyBehavior::UseAlways => Some(Trust::Believed),
        _ if authorized => Some(Trust::Believed),
        ProxyBehavior::AllowAuthorized => Some(Trust::Ignored),
        ProxyBehavior::DenyUnauthorized => None,
    }
}

/// Takes a proxy's word off the beginning of a connection, and says who is connected. An error ends the connection.
pub(crate) async fn begin<T: AsyncRead + Unpin>(
    rule: &ProxyProtocol,
    mut stream: T,
    from: SocketAddr,
) -> io::Result<(Begun<T>, SocketAddr)> {
    let denied = || io::Error::new(io::ErrorKind::PermissionDenied, "not a proxy that may connect");
    let trust = trust(rule, from.ip()).ok_or_else(denied)?;
    let mut read = BytesMut::with_capacity(256);
    let said = loop {
        match Beginning::of(&read)? {
            Beginning::None => break None,
            Beginning::Whole { length, source } => {
                read.advance(length);
                break source;
            }
            Beginning::Unfinished => {}
        }
        if stream.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let peer = said.filter(|_| trust == Trust::Believed).unwrap_or(from);
    Ok((Begun { read, stream }, peer))
}

/// The kinds of first bytes of a connection.
enum Beginning {
    /// Those of what is said on it.
    None,
    /// There must be more to tell.
    Unfinished,
    /// A proxy's word; without a source where it is connected itself, or does not say.
    Whole { length: usize, source: Option<SocketAddr> },
}

impl Beginning {
    fn of(bytes: &[u8]) -> io::Result<Self> {
        let begins = |prefix: &[u8]| {
            let common = prefix.len().min(bytes.len());
            bytes.get(..common) == prefix.get(..common)
        };
        if !begins(v1::PROTOCOL_PREFIX.as_bytes()) && !begins(v2::PROTOCOL_PREFIX) {
            return Ok(Self::None);
        }
        let broken = || io::Error::new(io::ErrorKind::InvalidData, "broken beginning of the PROXY protocol");
        let is_text = bytes.first() == v1::PROTOCOL_PREFIX.as_bytes().first();
        match if is_text { length_of_text(bytes) } else { length_of_binary(bytes) } {
            None if bytes.len() > if is_text { MAX_TEXT } else { MAX_HEADER } => return Err(broken()),
            None => return Ok(Self::Unfinished),
            Some(length) if length > MAX_HEADER => return Err(broken()),
            Some(length) if length > bytes.len() => return Ok(Self::Unfinished),
            Some(_) => {}
        }
        let parsed = HeaderResult::parse(bytes);
        match parsed {
            HeaderResult::V1(Ok(header)) => {
                Ok(Self::Whole { length: header.header.len(), source: source_v1(&header.addresses) })
            }
            HeaderResult::V2(Ok(header)) => {
                let source = match header.command {
                    v2::Command::Proxy => source_v2(&header.addresses),
                    v2::Command::Local => None,
                };
                Ok(Self::Whole { length: header.len(), source })
            }
            HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => Err(broken()),
        }
    }
}

/// The length of a beginning of version 1, once its line has ended.
fn length_of_text(bytes: &[u8]) -> Option<usize> {
    let line = bytes.get(..MAX_TEXT.min(bytes.len()))?;
    line.windows(2).position(|pair| pair == b"\r\n").map(|end| end.saturating_add(2))
}

/// The length of a beginning of version 2, once it is known.
fn length_of_binary(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(14..16)?;
    let length = <[u8; 2]>::try_from(length).ok()?;
    Some(usize::from(u16::from_be_bytes(length)).saturating_add(16))
}

fn source_v1(addresses: &v1::Addresses) -> Option<SocketAddr> {
    match addresses {
        v1::Addresses::Tcp4(tcp) => Some(SocketAddr::from((tcp.source_address, tcp.source_port))),
        v1::Addresses::Tcp6(tcp) => Some(SocketAddr::from((tcp.source_address, tcp.source_port))),
        v1::Addresses::Unknown => None,
    }
}

fn source_v2(addresses: &v2::Addresses) -> Option<SocketAddr> {
    match addresses {
        v2::Addresses::IPv4(ip) => Some(SocketAddr::from((ip.source_address, ip.source_port))),
        v2::Addresses::IPv6(ip) => Some(SocketAddr::from((ip.source_address, ip.source_port))),
        v2::Addresses::Unix(_) | v2::Addresses::Unspecified => None,
    }
}

/// A connection of which some has been read ahead.
pub(crate) struct Begun<T> {
    read: BytesMut,
    stream: T,
}

impl<T: AsyncRead + Unpin> AsyncRead for Begun<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let length = self.read.len().min(buffer.remaining());
        let ahead = self.read.split_to(length);
        buffer.put_slice(&ahead);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Begun<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
    const PROXY: &str = "10.0.0.9:1000";
    const STRANGER: &str = "192.0.2.1:1000";

    fn rule(behavior: ProxyBehavior) -> ProxyProtocol {
        ProxyProtocol { behavior, authorized_addrs: vec!["10.0.0.0/8".parse().unwrap()] }
    }

    /// The client, and what is left of what was sent byte by byte.
    async fn told(behavior: ProxyBehavior, from: &str, sent: &[u8]) -> io::Result<(String, Vec<u8>)> {
        let mut slow = tokio_stream(sent);
        let (mut begun, peer) = begin(&rule(behavior), &mut slow, from.parse().unwrap()).await?;
        let mut left = Vec::new();
        begun.read_to_end(&mut left).await?;
        Ok((peer.to_string(), left))
    }

    /// A stream of which each read gets one byte.
    fn tokio_stream(bytes: &[u8]) -> impl AsyncRead + Unpin {
        struct ByteByByte(std::vec::IntoIter<u8>);
        impl AsyncRead for ByteByByte {
            fn poll_read(
                mut self: Pin<&mut Self>,
                _: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                if let Some(byte) = self.0.next() {
                    buffer.put_slice(&[byte]);
                }
                Poll::Ready(Ok(()))
            }
        }
        #[allow(clippy::unnecessary_to_owned, reason = "the reader outlives the bytes it is made of")]
        ByteByByte(bytes.to_vec().into_iter())
    }

    fn version_2(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [v2::PROTOCOL_PREFIX, &[0x20 | command, family], &length, content, REQUEST].concat()
    }

    #[tokio::test]
    async fn a_believed_proxy_says_who_is_connected() {
        let version_1 = [&b"PROXY TCP4 203.0.113.7 10.0.0.1 77 8200\r\n"[..], REQUEST].concat();
        let ipv4 = [203, 0, 113, 7, 10, 0, 0, 1, 0, 77, 0x20, 0x08];
        let with_tlv = [&ipv4[..], &[0x04, 0, 1, 0]].concat();
        for sent in [version_1.clone(), version_2(1, 0x11, &ipv4), version_2(1, 0x11, &with_tlv)] {
            for (behavior, from, seen) in [
                (ProxyBehavior::UseAlways, STRANGER, "203.0.113.7:77"),
                (ProxyBehavior::AllowAuthorized, PROXY, "203.0.113.7:77"),
                (ProxyBehavior::AllowAuthorized, "[::ffff:10.0.0.9]:1000", "203.0.113.7:77"),
                (ProxyBehavior::AllowAuthorized, STRANGER, STRANGER),
                (ProxyBehavior::DenyUnauthorized, PROXY, "203.0.113.7:77"),
            ] {
                let (peer, left) = told(behavior, from, &sent).await.unwrap();
                assert_eq!((peer.as_str(), &*left), (seen, REQUEST), "{behavior:?} {from}");
            }
        }
        let denied = told(ProxyBehavior::DenyUnauthorized, STRANGER, &version_1).await.unwrap_err();
        assert_eq!(denied.kind(), io::ErrorKind::PermissionDenied);
        let denied = told(ProxyBehavior::DenyUnauthorized, STRANGER, REQUEST).await.unwrap_err();
        assert_eq!(denied.kind(), io::ErrorKind::PermissionDenied, "also who says nothing");
    }

    #[tokio::test]
    async fn who_does_not_say_is_connected_himself() {
        let unknown = [&b"PROXY UNKNOWN\r\n"[..], REQUEST].concat();
        let six = b"PROXY TCP6 2001:db8::7 ::1 77 8200\r\n";
        for (sent, seen) in [
            (REQUEST.to_vec(), PROXY),
            (unknown, PROXY),
            (version_2(0, 0, &[]), PROXY),
            (version_2(0, 0x11, &[1; 12]), PROXY),
            ([&six[..], REQUEST].concat(), "[2001:db8::7]:77"),
        ] {
            let (peer, left) = told(ProxyBehavior::UseAlways, PROXY, &sent).await.unwrap();
            assert_eq!((peer.as_str(), &*left), (seen, REQUEST));
        }
        // What only looks like it.
        let put = b"PUT /v1/x HTTP/1.1\r\n\r\n";
        assert_eq!(told(ProxyBehavior::UseAlways, PROXY, put).await.unwrap().1, put);
    }

    #[tokio::test]
    async fn what_is_broken_ends_the_connection() {
        let long = version_2(1, 0x11, &vec![0; 60_000]);
        for sent in [
            &b"PROXY TCP4 nobody\r\n"[..],
            b"PROXY ",
            b"",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3 4 5\r\n",
            &[b"PROXY TCP4 ".as_slice(), &[b'1'; 5000]].concat(),
            b"\r\n\r\n\0\r\nQUIT\n\xff\xff\xff\xff",
            &long,
        ] {
            assert!(told(ProxyBehavior::UseAlways, PROXY, sent).await.is_err());
        }
        let mut seed = 1u64;
        for _ in 0..20_000 {
            let mut junk =
                if seed.is_multiple_of(2) { v2::PROTOCOL_PREFIX.to_vec() } else { b"PROXY TCP6 ".to_vec() };
            for _ in 0..(seed % 64) {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                junk.push(seed.to_be_bytes()[0]);
            }
            seed = seed.wrapping_add(1);
            let _ = Beginning::of(&junk);
        }
    }
}
