//! The address of one member of etcd.

/// The address of a member of etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) https: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Host and port as they were written.
    pub(crate) authority: String,
}

impl Endpoint {
    /// Reads `http://host:port` or `https://host:port`; the port is 2379 unless given.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let wrong = |reason: &str| format!("the address of etcd {:?} is not usable: {reason}", harmless(url));
        let (scheme, rest) =
            url.trim().split_once("://").ok_or_else(|| wrong("it must begin with http:// or https://"))?;
        let https = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(wrong("it must begin with http:// or https://")),
        };
        let authority = rest.trim_end_matches('/');
        if authority.contains('@') {
            return Err(wrong("user and password are given by themselves, not in it"));
        }
        let parsed: http::uri::Authority =
            authority.parse().map_err(|_ignored| wrong("host and port are expected, and no path"))?;
        let port = match authority.strip_prefix(parsed.host()).unwrap_or_default() {
            "" => Some(2379),
            port => port.strip_prefix(':').and_then(|port| port.parse().ok()),
        };
        let host = parsed.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        match port {
            Some(port) if !host.is_empty() => Ok(Self { https, host, port, authority: authority.to_owned() }),
            _ => Err(wrong("host and port are expected")),
        }
    }

    /// The full URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        let scheme = if self.https { "https" } else { "http" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{scheme}://{host}:{}{path}", self.port)
    }

    /// True if it is reached from this machine alone.
    pub(crate) fn is_local(&self) -> bool {
        self.host == "localhost"
            || self
                .host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback() || address.is_unspecified())
    }
}

/// An address without what someone may have put before an `@` in it.
fn harmless(url: &str) -> &str {
    url.rsplit_once('@').map_or(url, |(_, rest)| rest)
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_urls() {
        let read = |url: &str| Endpoint::parse(url).map(|e| (e.https, e.host, e.port)).unwrap();
        assert_eq!(read("http://localhost:2379"), (false, "localhost".to_owned(), 2379));
        assert_eq!(read(" https://[::1]:1/ "), (true, "::1".to_owned(), 1));
        assert_eq!(read("https://etcd.example"), (true, "etcd.example".to_owned(), 2379));
        let url = |url: &str| Endpoint::parse(url).unwrap().url("/v3");
        assert_eq!(url("https://[::1]/"), "https://[::1]:2379/v3");
        assert_eq!(url("http://a:1"), "http://a:1/v3");
    }

    #[test]
    fn what_is_no_address_is_refused_and_a_password_in_it_not_repeated() {
        for url in ["", "a:2379", "ftp://a", "http://", "http://a/b", "http://a b", "http://a:99999"] {
            assert!(Endpoint::parse(url).is_err(), "{url}");
        }
        let error = Endpoint::parse("http://user:hunter2@a:1").unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
