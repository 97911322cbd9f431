//! The address of a server: `https://host:port/prefix`, `http://…` or `unix:///path/to/socket`.

use std::fmt;
use std::path::PathBuf;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::error::ConfigError;

/// The characters unescaped in a path, as Go's `net/url` escapes paths.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b',')
    .remove(b'/')
    .remove(b':')
    .remove(b';')
    .remove(b'=')
    .remove(b'@');

/// The same for a prefix, which may be escaped already.
const PREFIX: &AsciiSet = &PATH.remove(b'%');

/// The characters unescaped in a query, as Go's `url.QueryEscape` (a space becomes `+`).
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b' ');

/// The target of connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Host (brackets of an IPv6 address removed) and port, if one was written.
    Tcp { host: String, port: Option<u16> },
    /// A Unix domain socket.
    Unix(PathBuf),
}

/// A parsed server address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    text: String,
    pub(crate) target: Target,
    pub(crate) https: bool,
    authority: String,
    prefix: String,
}

impl Address {
    /// Reads an address. A trailing slash is dropped, a path is kept as a prefix of every request.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let invalid = |reason: &'static str| ConfigError::Address { address: text.to_owned(), reason };
        if let Some(socket) = text.strip_prefix("unix://") {
            if socket.is_empty() {
                return Err(invalid("missing socket path"));
            }
            return Ok(Self {
                text: text.to_owned(),
                target: Target::Unix(PathBuf::from(socket)),
                https: false,
                authority: "localhost".to_owned(),
                prefix: String::new(),
            });
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(|| invalid("missing protocol scheme"))?;
        let https = match scheme {
            "https" => true,
            "http" => false,
            "" => return Err(invalid("missing protocol scheme")),
            _ => return Err(invalid("unsupported protocol scheme")),
        };
        let uri: http::Uri = text.parse().map_err(|_ignored| invalid("not a URL"))?;
        let authority = uri.authority().ok_or_else(|| invalid("missing host"))?;
        if rest.contains('@') && authority.as_str().contains('@') {
            return Err(invalid("user names and passwords are not allowed"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(invalid("missing host"));
        }
        Ok(Self {
            text: text.to_owned(),
            target: Target::Tcp { host, port: authority.port_u16() },
            https,
            authority: authority.as_str().to_owned(),
            prefix: utf8_percent_encode(uri.path().trim_end_matches('/'), PREFIX).to_string(),
        })
    }

    /// The address as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The full URL of an API path (`secret/data/a`, without `/v1`), escaped.
    pub fn url(&self, path: &str, query: &[(String, String)]) -> String {
        let scheme = if self.https { "https" } else { "http" };
        let path = utf8_percent_encode(&clean(path), PATH).to_string();
        let mut url = format!("{scheme}://{}{}/v1{path}", self.authority, self.prefix);
        let mut sorted: Vec<_> = query.iter().collect();
        sorted.sort();
        for (at, (key, value)) in sorted.into_iter().enumerate() {
            url.push(if at == 0 { '?' } else { '&' });
            url.push_str(&escape_query(key));
            url.push('=');
            url.push_str(&escape_query(value));
        }
        url
    }

    /// Resolves a `Location` header against this address: an absolute URL, or a path on this server.
    pub(crate) fn resolve(&self, location: &str) -> String {
        if location.starts_with('/') && !location.starts_with("//") {
            let scheme = if self.https { "https" } else { "http" };
            return format!("{scheme}://{}{location}", self.authority);
        }
        location.to_owned()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn escape_query(text: &str) -> String {
    utf8_percent_encode(text, QUERY).to_string().replace(' ', "+")
}

/// Makes a path canonical: one leading slash, none trailing, no empty, `.` or `..` segment.
fn clean(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    segments.into_iter().fold(String::new(), |path, segment| path + "/" + segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(address: &str, path: &str) -> String {
        Address::parse(address).unwrap().url(path, &[])
    }

    #[test]
    fn builds_urls_as_the_go_client_does() {
        assert_eq!(url("http://127.0.0.1:8200", "secret/data/a"), "http://127.0.0.1:8200/v1/secret/data/a");
        assert_eq!(url("https://vault.example/", "/sys//mounts/"), "https://vault.example/v1/sys/mounts");
        assert_eq!(url("http://h:1/pre/", "ok"), "http://h:1/pre/v1/ok");
        assert_eq!(
            url("http://h", "a b%2Fc/../d//e é?x#y&=+,:;@$!*()"),
            "http://h/v1/d/e%20%C3%A9%3Fx%23y&=+,:;@$%21%2A%28%29"
        );
        assert_eq!(url("http://h/é\u{99}%20/", "ok"), "http://h/%C3%A9%C2%99%20/v1/ok");
        assert_eq!(url("unix:///run/vault.sock", "sys/health"), "http://localhost/v1/sys/health");
    }

    #[test]
    fn queries_are_sorted_and_escaped() {
        let address = Address::parse("http://h").unwrap();
        let query = [("list".to_owned(), "true".to_owned()), ("after".to_owned(), "a b&c".to_owned())];
        assert_eq!(address.url("x", &query), "http://h/v1/x?after=a+b%26c&list=true");
    }

    #[test]
    fn tells_where_to_connect() {
        let at = |text: &str| Address::parse(text).unwrap().target;
        assert_eq!(at("https://[::1]:8200"), Target::Tcp { host: "::1".into(), port: Some(8200) });
        assert_eq!(at("https://vault"), Target::Tcp { host: "vault".into(), port: None });
        assert_eq!(at("unix:///run/v.sock"), Target::Unix("/run/v.sock".into()));
    }

    #[test]
    fn refuses_what_is_no_address() {
        for bad in ["", "zork", "://", "ftp://h", "http://", "unix://", "http://user:pw@h", "http://a b"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn redirects_resolve() {
        let address = Address::parse("https://h:1/pre").unwrap();
        assert_eq!(address.resolve("/v1/x"), "https://h:1/v1/x");
        assert_eq!(address.resolve("http://other/v1/x"), "http://other/v1/x");
    }
}
