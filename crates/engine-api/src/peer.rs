//! The other end of a connection: its address, and the certificates it has shown.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Call, EngineError, Extract};

/// The origin of a request: as the listener sees it, or as a trusted proxy reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// The client's address. An IPv4 address is one, also where a socket of IPv6 shows it mapped.
    pub address: Option<SocketAddr>,
    /// The certificates that the client has shown.
    pub certificates: CertificateChain,
}

impl Peer {
    /// Someone at an address, without a certificate.
    pub fn at(address: impl Into<SocketAddr>) -> Self {
        let address = address.into();
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        Self { address: Some(address), certificates: CertificateChain::default() }
    }

    /// The same with certificates.
    #[must_use]
    pub fn with(self, certificates: CertificateChain) -> Self {
        Self { certificates, ..self }
    }

    /// The address without its port.
    pub fn ip(&self) -> Option<IpAddr> {
        self.address.map(|address| address.ip())
    }
}

impl Extract for Peer {
    fn extract(call: &Arc<Call>) -> Result<Self, EngineError> {
        Ok(call.request.peer.clone())
    }
}

/// The certificates that a client has shown, its own first, each in DER. That it holds the key of the first is proven;
/// who signed it, and whether it is still valid, is for the code that relies on it to check.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CertificateChain(Arc<[Bytes]>);

impl CertificateChain {
    /// The client's own certificate.
    pub fn own(&self) -> Option<&Bytes> {
        self.0.first()
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Bytes> {
        self.0.iter()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The serial number of the client's own certificate: decimal where it fits 128 bits, else hexadecimal.
    pub fn serial(&self) -> Option<String> {
        let serial = Outline::read(self.own()?)?.serial;
        let number = serial
            .iter()
            .try_fold(0u128, |number, byte| number.checked_mul(256).map(|number| number | u128::from(*byte)));
        Some(number.map_or_else(|| strongroom_stdx::to_hex(serial), |number| number.to_string()))
    }
}

impl FromIterator<Bytes> for CertificateChain {
    fn from_iter<I: IntoIterator<Item = Bytes>>(certificates: I) -> Self {
        Self(certificates.into_iter().collect())
    }
}

impl fmt::Debug for CertificateChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateChain({})", self.0.len())
    }
}

/// The parts of a certificate that every version has (RFC 5280, section 4.1), as in its DER. Nothing else of it is
/// checked: libraries refuse versions, extensions and numbers that do not matter to code that only passes it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outline<'a> {
    /// The serial number, big-endian.
    pub serial: &'a [u8],
    /// The `SubjectPublicKeyInfo`, with its tag and length.
    pub public_key: &'a [u8],
}

impl<'a> Outline<'a> {
    /// Reads a certificate; `None` for what is none.
    pub fn read(certificate: &'a [u8]) -> Option<Self> {
        const SEQUENCE: u8 = 0x30;
        const INTEGER: u8 = 0x02;
        const VERSION: u8 = 0xa0;
        let (outer, after) = Value::read(certificate)?;
        let (to_be_signed, _) = Value::read(outer.of(SEQUENCE)?)?;
        let mut rest = to_be_signed.of(SEQUENCE)?;
        let mut next = || {
            let (value, after) = Value::read(rest)?;
            rest = after;
            Some(value)
        };
        let mut serial = next()?;
        if serial.tag == VERSION {
            serial = next()?;
        }
        // Algorithm, issuer, validity, subject.
        for _ in 0..4 {
            next()?.of(SEQUENCE)?;
        }
        let public_key = next()?;
        public_key.of(SEQUENCE)?;
        let outline = Self { serial: serial.of(INTEGER)?, public_key: public_key.whole };
        after.is_empty().then_some(outline)
    }
}

impl<'a> Outline<'a> {
    /// The public key: its algorithm (the content of the `AlgorithmIdentifier`), and its bits.
    pub fn key(&self) -> Option<(&'a [u8], &'a [u8])> {
        const BIT_STRING: u8 = 0x03;
        let (info, _) = Value::read(self.public_key)?;
        let (algorithm, rest) = Value::read(info.content)?;
        let (bits, _) = Value::read(rest)?;
        // The first octet counts the unused bits at the end: a key has none.
        let bits = bits.of(BIT_STRING)?.strip_prefix(&[0])?;
        Some((algorithm.of(0x30)?, bits))
    }
}

/// One value of DER (X.690).
#[derive(Clone, Copy)]
struct Value<'a> {
    tag: u8,
    content: &'a [u8],
    whole: &'a [u8],
}

impl<'a> Value<'a> {
    /// The first value, and what follows it.
    fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (tag, rest) = bytes.split_first()?;
        let (length, rest) = rest.split_first()?;
        let (length, rest) = if *length < 0x80 {
            (usize::from(*length), rest)
        } else {
            let (digits, rest) = rest.split_at_checked(usize::from(*length & 0x7f))?;
            let length = digits.iter().try_fold(0usize, |length, digit| {
                length.checked_mul(256).and_then(|length| length.checked_add(usize::from(*digit)))
            })?;
            (length, rest)
        };
        let (content, rest) = rest.split_at_checked(length)?;
        let (whole, _) = bytes.split_at_checked(bytes.len().saturating_sub(rest.len()))?;
        Some((Self { tag: *tag, content, whole }, rest))
    }

    fn of(&self, tag: u8) -> Option<&'a [u8]> {
        (self.tag == tag).then_some(self.content)
    }
}

/// The fields that a listener redacts in answers to callers without a token (`redact_*`): each is answered as an empty
/// text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redactions {
    /// The addresses of the active node.
    pub addresses: bool,
    /// The cluster's name.
    pub cluster_name: bool,
    /// The server's version and when it was built.
    pub version: bool,
}

impl Extract for Redactions {
    fn extract(call: &Arc<Call>) -> Result<Self, EngineError> {
        Ok(call.request.redactions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_addresses_are_those_of_ipv4() {
        let peer = Peer::at("[::ffff:10.1.2.3]:77".parse::<SocketAddr>().unwrap());
        assert_eq!(peer.address.unwrap().to_string(), "10.1.2.3:77");
        assert_eq!(peer.ip(), Some(IpAddr::from([10, 1, 2, 3])));
    }

    #[test]
    fn what_is_no_certificate_has_no_outline() {
        assert_eq!(Outline::read(b""), None);
        assert_eq!(Outline::read(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(Outline::read(&[0x30, 0x03, 0x02, 0x01, 0x01]), None);
        assert_eq!(CertificateChain::from_iter([Bytes::from_static(b"junk")]).serial(), None);
    }
}
