//! The origin of a request that a standby forwards to the active node, with what the standby has made out about it.
//!
//! It travels in header fields of its own, which are removed from every client's request first: a client does not say where it
//! comes from. They are trusted because only nodes of the cluster are heard on this port.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONNECTION, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Version};

/// The origin of a forwarded request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The client, as the standby saw it.
    pub peer: Option<SocketAddr>,
    /// The client's certificates, its own first, each in DER.
    pub certificates: Vec<Bytes>,
    /// The context that the standby's edge has made out, in the edge's own words.
    pub context: String,
}

const PEER: &str = "x-strongroom-peer";
const CERTIFICATE: &str = "x-strongroom-certificate";
const CONTEXT: &str = "x-strongroom-context";
/// The prefix of the path of a forwarded request.
pub(crate) const FORWARD: &str = "/forward";

impl Origin {
    /// Puts the origin and the path aside, for the way to the active node.
    ///
    /// # Errors
    ///
    /// [`http::Error`] for what cannot be a header field.
    pub fn attach<B>(&self, request: Request<B>) -> Result<Request<B>, http::Error> {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        parts.uri = format!("https://cluster{FORWARD}{path}").parse().map_err(http::Error::from)?;
        parts.version = Version::HTTP_2;
        for name in [CONNECTION, HOST, TRANSFER_ENCODING, UPGRADE] {
            parts.headers.remove(name);
        }
        // The last three are ours: a client does not say where it comes from.
        for name in ["keep-alive", "proxy-connection", PEER, CERTIFICATE, CONTEXT] {
            parts.headers.remove(name);
        }
        if let Some(peer) = self.peer {
            parts.headers.insert(PEER, peer.to_string().parse()?);
        }
        for certificate in &self.certificates {
            parts.headers.append(CERTIFICATE, STANDARD.encode(certificate).parse()?);
        }
        if !self.context.is_empty() {
            parts.headers.insert(CONTEXT, HeaderValue::from_bytes(self.context.as_bytes())?);
        }
        Ok(Request::from_parts(parts, body))
    }

    /// Takes them out again.
    pub(crate) fn detach<B>(request: &mut Request<B>) -> Result<Self, String> {
        let path = request.uri().path_and_query().map_or("", http::uri::PathAndQuery::as_str);
        let path = path.strip_prefix(FORWARD).unwrap_or_default();
        let uri = path.parse().map_err(|error| format!("{error}"))?;
        *request.uri_mut() = uri;
        let origin = Self::read(request.headers());
        for name in [PEER, CERTIFICATE, CONTEXT] {
            request.headers_mut().remove(name);
        }
        origin.ok_or_else(|| "the origin of a forwarded request is not to be read".to_owned())
    }

    fn read(headers: &HeaderMap) -> Option<Self> {
        let peer = match headers.get(PEER) {
            Some(peer) => Some(peer.to_str().ok()?.parse().ok()?),
            None => None,
        };
        let certificates = headers.get_all(CERTIFICATE).iter();
        let certificates = certificates.map(|value| STANDARD.decode(value).ok().map(Bytes::from));
        let context = headers.get(CONTEXT).map(|value| String::from_utf8(value.as_bytes().to_vec()));
        Some(Self {
            peer,
            certificates: certificates.collect::<Option<_>>()?,
            context: context.transpose().ok()?.unwrap_or_default(),
        })
    }
}
