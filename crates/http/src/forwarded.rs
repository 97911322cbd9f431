//! The client's address behind a load balancer. Source: Vault's "`tcp` listener" page, `x_forwarded_for_*`.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;
use strongroom_engine_api::Peer;

use crate::client_certificate::CertificateHeader;

/// The proxies that are trusted, and what is done about those that are not.
#[derive(Clone, Debug, Default)]
pub struct ForwardedFor {
    /// Addresses whose `X-Forwarded-For` is believed; empty: the header is ignored.
    pub authorized: Vec<IpNet>,
    /// The number of addresses at the end of the header that are our own proxies.
    pub hop_skips: usize,
    /// Refuses requests with the header from addresses that are not authorized; otherwise their header is ignored.
    pub reject_not_authorized: bool,
    /// Refuses requests from authorized addresses without the header; otherwise the proxy's own address counts.
    pub reject_not_present: bool,
    /// The header in which authorized proxies pass on their clients' certificates.
    pub certificate: Option<CertificateHeader>,
}

impl ForwardedFor {
    /// The client: whoever is connected, or the client of a trusted proxy. Removes a header that is not trusted.
    pub(crate) fn peer(&self, connected: Peer, headers: &mut HeaderMap) -> Result<Peer, String> {
        let address = self.caller(connected.address, headers)?;
        let certificates = match &self.certificate {
            None => connected.certificates,
            Some(header) if connected.address.is_some_and(|from| self.believes(from)) => {
                header.certificates(headers)?
            }
            Some(header) => {
                self.refuse_certificate(header, headers)?;
                connected.certificates
            }
        };
        Ok(Peer { address, certificates })
    }

    /// A certificate in a header, from someone who is not believed.
    fn refuse_certificate(&self, header: &CertificateHeader, headers: &mut HeaderMap) -> Result<(), String> {
        if self.reject_not_authorized && header.is_in(headers) {
            return Err(format!("client address not authorized for header {}", header.name));
        }
        headers.remove(&header.name);
        Ok(())
    }

    fn believes(&self, from: SocketAddr) -> bool {
        let ip = from.ip().to_canonical();
        self.authorized.iter().any(|block| block.contains(&ip))
    }

    /// The caller's address, or why the request is refused (400).
    pub(crate) fn caller(
        &self,
        peer: Option<SocketAddr>,
        headers: &HeaderMap,
    ) -> Result<Option<SocketAddr>, String> {
        let Some(from) = peer.filter(|_| !self.authorized.is_empty()) else { return Ok(peer) };
        let given = headers.get_all("x-forwarded-for");
        let chain: Vec<&str> = given
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .collect();
        let authorized = self.believes(from);
        if chain.is_empty() {
            let refused = self.reject_not_present && authorized;
            return if refused {
                Err("missing x-forwarded-for header and configured to reject when not present".to_owned())
            } else {
                Ok(peer)
            };
        }
        if !authorized {
            let refused = self.reject_not_authorized;
            return if refused {
                Err("client address not authorized for x-forwarded-for, rejecting connection".to_owned())
            } else {
                Ok(peer)
            };
        }
        let back = self.hop_skips.saturating_add(1);
        let at = chain.len().checked_sub(back).ok_or_else(|| {
            format!("malformed x-forwarded-for configuration or request, hops to skip ({}) would skip before earliest chain link (chain length {})", self.hop_skips, chain.len())
        })?;
        let text = chain.get(at).copied().unwrap_or_default();
        let address =
            text.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()));
        let address =
            address.map_err(|_error| "malformed x-forwarded-for header: not an address".to_owned())?;
        Ok(Some(SocketAddr::new(address.to_canonical(), from.port())))
    }
}

#[cfg(test)]
mod tests {
    use strongroom_engine_api::CertificateChain;

    use super::*;

    fn headers(chain: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", chain.parse().unwrap());
        headers
    }

    #[test]
    fn mapped_addresses_are_matched_as_those_of_ipv4() {
        let rule = ForwardedFor { authorized: vec!["10.0.0.0/8".parse().unwrap()], ..Default::default() };
        let proxy: Option<SocketAddr> = Some("[::ffff:10.1.1.1]:5000".parse().unwrap());
        for said in ["203.0.113.7", "::ffff:203.0.113.7"] {
            let seen = rule.caller(proxy, &headers(said)).unwrap().unwrap();
            assert_eq!(seen.to_string(), "203.0.113.7:5000");
        }
    }

    #[test]
    fn certificates_in_headers_are_believed_from_proxies_alone() {
        let name = http::HeaderName::from_static("x-client-cert");
        let rule = ForwardedFor {
            authorized: vec!["10.0.0.0/8".parse().unwrap()],
            certificate: Some(CertificateHeader { name: name.clone(), decoders: Vec::new() }),
            ..Default::default()
        };
        let own = CertificateChain::from_iter([bytes::Bytes::from_static(b"of the connection")]);
        let given = || {
            let mut headers = HeaderMap::new();
            headers.insert(&name, "of the header".parse().unwrap());
            headers
        };
        let at = |address: &str| Peer::at(address.parse::<SocketAddr>().unwrap()).with(own.clone());
        let (proxy, stranger) = (at("10.1.1.1:5000"), at("192.0.2.1:5000"));
        let mut headers = given();
        assert_eq!(rule.peer(stranger.clone(), &mut headers).unwrap().certificates, own);
        assert!(headers.is_empty(), "nobody further in sees it");
        assert!(rule.peer(proxy.clone(), &mut given()).is_err(), "it is none");
        let seen = rule.peer(proxy, &mut HeaderMap::new()).unwrap();
        assert!(seen.certificates.is_empty(), "the proxy's certificate is not its client's");
        let strict = ForwardedFor { reject_not_authorized: true, ..rule };
        assert!(strict.peer(stranger.clone(), &mut given()).is_err());
        assert_eq!(strict.peer(stranger, &mut HeaderMap::new()).unwrap().certificates, own);
    }

    #[test]
    fn believes_only_the_authorized() {
        let rule = ForwardedFor {
            authorized: vec!["10.0.0.0/8".parse().unwrap()],
            hop_skips: 1,
            ..Default::default()
        };
        let proxy: Option<SocketAddr> = Some("10.1.1.1:5000".parse().unwrap());
        let stranger: Option<SocketAddr> = Some("192.0.2.1:5000".parse().unwrap());
        let seen = rule.caller(proxy, &headers("203.0.113.7, 10.2.2.2")).unwrap().unwrap();
        assert_eq!(seen.ip().to_string(), "203.0.113.7");
        assert_eq!(rule.caller(stranger, &headers("203.0.113.7, 10.2.2.2")).unwrap(), stranger);
        assert!(rule.caller(proxy, &headers("203.0.113.7")).is_err(), "fewer links than hops to skip");
        assert_eq!(rule.caller(proxy, &HeaderMap::new()).unwrap(), proxy);
        let strict = ForwardedFor { reject_not_authorized: true, reject_not_present: true, ..rule };
        assert!(strict.caller(stranger, &headers("203.0.113.7, 10.2.2.2")).is_err());
        assert!(strict.caller(proxy, &HeaderMap::new()).is_err());
        assert_eq!(strict.caller(stranger, &HeaderMap::new()).unwrap(), stranger);
        assert_eq!(ForwardedFor::default().caller(stranger, &headers("203.0.113.7")).unwrap(), stranger);
    }
}
