//! The addresses of listeners.

use std::fmt;
use std::str::FromStr;

/// A host and a port: `127.0.0.1:8200`, `[::1]:8200`, `localhost:8200`, `:8200`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name or an address without brackets; empty for all addresses of the machine.
    pub host: String,
    /// The port; 0 lets the system choose one.
    pub port: u16,
}

impl Address {
    pub(crate) fn new(host: &str, port: u16) -> Address {
        Address { host: host.to_owned(), port }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        let parts =
            text.rsplit_once(':').and_then(|(host, port)| Some((unbracketed(host)?, port.parse().ok()?)));
        match parts {
            Some((host, port)) => Ok(Address::new(host, port)),
            None => Err(format!("must be a host and a port such as \"127.0.0.1:8200\", not {text:?}")),
        }
    }
}

/// The host without the brackets that an IPv6 address needs here.
pub(crate) fn unbracketed(host: &str) -> Option<&str> {
    match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').filter(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok()),
        None => Some(host).filter(|host| !host.contains([':', '[', ']', '/', ' '])),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}
