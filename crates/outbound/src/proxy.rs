//! Proxies: which requests go through one, and how it is asked.
//!
//! The rules are those of Go's `golang.org/x/net/http/httpproxy`, because configurations are written for them: `NO_PROXY`
//! has addresses, ranges, domains (`example.com` with all below it, `.example.com` only what is below), each but ranges
//! with a port where one is meant, and `*`; a loopback address and `localhost` are always reached directly. One thing is
//! stricter: a proxy that cannot be used fails the request, where Go goes on without it.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use ipnet::IpNet;
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use strongroom_outbound_api::{Reason, authority};

/// Longest answer of a proxy to `CONNECT` that is read.
const MAX_REPLY: usize = 8 * 1024;

/// The proxies to use. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Proxies(Option<Arc<Rules>>);

#[derive(Debug)]
struct Rules {
    all: bool,
    http: Option<Result<Arc<Proxy>, String>>,
    https: Option<Result<Arc<Proxy>, String>>,
    direct: Exceptions,
}

/// A proxy.
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct Proxy {
    /// It is spoken to over TLS.
    pub(crate) https: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// User name and password, as a header.
    pub(crate) login: Option<HeaderValue>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proxy({})", authority(&self.host, self.port))
    }
}

impl Proxies {
    /// No proxy.
    pub const fn none() -> Self {
        Self(None)
    }

    /// One proxy for all requests, local ones too.
    pub fn all(url: &str) -> Self {
        let proxy = Proxy::read(url, "the proxy's address").map(Arc::new);
        let direct = Exceptions::default();
        Self(Some(Arc::new(Rules { all: true, http: Some(proxy.clone()), https: Some(proxy), direct })))
    }

    /// Proxies by scheme, as `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` name them.
    pub fn by_scheme(http: Option<&str>, https: Option<&str>, no_proxy: Option<&str>) -> Self {
        let read = |url: Option<&str>, named| {
            url.filter(|url| !url.is_empty()).map(|url| Proxy::read(url, named).map(Arc::new))
        };
        let (http, https) = (read(http, "HTTP_PROXY"), read(https, "HTTPS_PROXY"));
        if http.is_none() && https.is_none() {
            return Self(None);
        }
        let direct = Exceptions::read(no_proxy.unwrap_or_default());
        Self(Some(Arc::new(Rules { all: false, http, https, direct })))
    }

    /// The settings of the environment's `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, in upper or lower case. `lookup`
    /// answers for one variable.
    pub fn from_env(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let either = |upper: &str| {
            [upper.to_owned(), upper.to_lowercase()]
                .iter()
                .find_map(|name| lookup(name).filter(|value| !value.is_empty()))
        };
        let (http, https, no) = (either("HTTP_PROXY"), either("HTTPS_PROXY"), either("NO_PROXY"));
        Self::by_scheme(http.as_deref(), https.as_deref(), no.as_deref())
    }

    /// The proxy for a server; `None` where it is reached directly.
    pub(crate) fn proxy_for(&self, https: bool, host: &str, port: u16) -> Result<Option<Arc<Proxy>>, Reason> {
        let Some(rules) = &self.0 else { return Ok(None) };
        let proxy = if https { &rules.https } else { &rules.http };
        match proxy {
            None => Ok(None),
            Some(_) if !rules.all && rules.direct.contain(host, port) => Ok(None),
            Some(Ok(proxy)) => Ok(Some(proxy.clone())),
            Some(Err(unusable)) => Err(Reason::Proxy(unusable.clone())),
        }
    }
}

impl Proxy {
    /// Reads a URL or `host:port`. The error does not repeat it: there may be a password in it.
    fn read(text: &str, named: &str) -> Result<Self, String> {
        let unusable = |what: &str| format!("{named} {what}");
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(unusable("must begin with http:// or https://; other kinds are not supported")),
        };
        let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (login, server) = match rest.rsplit_once('@') {
            Some((login, server)) => (Some(login), server),
            None => (None, rest),
        };
        let uri: Uri =
            format!("http://{server}").parse().map_err(|_ignored| unusable("is no address of a proxy"))?;
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let written = uri.authority().map_or("", |found| found.as_str());
        let port = match written.strip_prefix(uri.host().unwrap_or_default()) {
            None | Some("") => Some(if https { 443 } else { 80 }),
            Some(_) => uri.port_u16(),
        };
        let port = port.filter(|_| !host.is_empty()).ok_or_else(|| unusable("is no address of a proxy"))?;
        Ok(Self { https, host, port, login: login.map(basic) })
    }
}

/// User name and password, percent-encoded as in a URL, as HTTP has them.
fn basic(login: &str) -> HeaderValue {
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let mut plain: Vec<u8> = percent_decode_str(user).collect();
    plain.push(b':');
    plain.extend(percent_decode_str(password));
    // Base64 has nothing that a header could not have.
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(plain)))
        .unwrap_or_else(|_never| HeaderValue::from_static("Basic"));
    value.set_sensitive(true);
    value
}

/// The hosts that are reached directly.
#[derive(Debug, Default)]
struct Exceptions {
    all: bool,
    ranges: Vec<IpNet>,
    addresses: Vec<(IpAddr, Option<u16>)>,
    domains: Vec<Domain>,
}

#[derive(Debug)]
struct Domain {
    /// With a dot before it.
    suffix: String,
    port: Option<u16>,
    /// The domain itself is meant, too.
    itself: bool,
}

impl Exceptions {
    /// Reads `NO_PROXY`; what cannot be read is left out, as in Go.
    fn read(text: &str) -> Self {
        let mut read = Self::default();
        for entry in text.split(',').map(|entry| entry.trim().to_lowercase()) {
            if entry == "*" {
                read.all = true;
            } else if let Ok(range) = entry.parse::<IpNet>() {
                read.ranges.push(range);
            } else if let Some((host, port)) = host_and_port(&entry) {
                read.add(host, port);
            }
        }
        read
    }

    fn add(&mut self, host: &str, port: Option<u16>) {
        if let Ok(address) = host.parse::<IpAddr>() {
            self.addresses.push((address.to_canonical(), port));
            return;
        }
        let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
        if !host.is_empty() {
            let itself = !host.starts_with('.');
            let suffix = if itself { format!(".{host}") } else { host.to_owned() };
            self.domains.push(Domain { suffix, port, itself });
        }
    }

    fn contain(&self, host: &str, port: u16) -> bool {
        let host = host.trim().to_lowercase();
        let address = host.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        if self.all || host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return true;
        }
        let fits = |wanted: Option<u16>| wanted.is_none_or(|wanted| wanted == port);
        if let Some(address) = address {
            return self.ranges.iter().any(|range| range.contains(&address))
                || self.addresses.iter().any(|(other, port)| *other == address && fits(*port));
        }
        self.domains.iter().any(|domain| {
            let named = domain.itself && domain.suffix.strip_prefix('.') == Some(&host);
            (named || host.ends_with(&domain.suffix)) && fits(domain.port)
        })
    }
}

/// Host and port of an entry; `None` for one without a host or with a port that is none.
fn host_and_port(entry: &str) -> Option<(&str, Option<u16>)> {
    if entry.is_empty() {
        return None;
    }
    if let Some((host, rest)) = entry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let port = rest.strip_prefix(':').map(str::parse).transpose().ok()?;
        return Some((host, port));
    }
    match entry.split_once(':') {
        // More than one colon: an IPv6 address.
        Some((_, rest)) if rest.contains(':') => Some((entry, None)),
        Some(("", _)) => None,
        Some((host, port)) => Some((host, Some(port.parse().ok()?))),
        None => Some((entry, None)),
    }
}

/// Asks an HTTP proxy for a tunnel (RFC 9110, section 9.3.6).
pub(crate) async fn tunnel<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    proxy: &Proxy,
    host: &str,
    port: u16,
) -> Result<(), Reason> {
    let to = authority(host, port);
    let mut request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n").into_bytes();
    if let Some(login) = &proxy.login {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(login.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    let broken = |error: std::io::Error| Reason::Proxy(error.to_string());
    stream.write_all(&request).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut reply = Vec::new();
    // Byte by byte: what follows the head belongs to the tunnel.
    while !reply.ends_with(b"\r\n\r\n") {
        if reply.len() >= MAX_REPLY {
            return Err(Reason::Proxy("answer too long".to_owned()));
        }
        reply.push(stream.read_u8().await.map_err(broken)?);
    }
    let head = String::from_utf8_lossy(&reply);
    let line = head.lines().next().unwrap_or_default();
    let status = line.split(' ').nth(1).unwrap_or_default();
    if line.starts_with("HTTP/1.") && status.len() == 3 && status.starts_with('2') {
        return Ok(());
    }
    Err(Reason::Proxy(harmless(line).to_string()))
}

/// A text that others sent, fit for an error or a log: short, on one line.
fn harmless(text: &str) -> impl std::fmt::Display {
    const MAX_SHOWN: usize = 200;
    text.chars().filter(|letter| !letter.is_control()).take(MAX_SHOWN).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(proxies: &Proxies, url: &str) -> Option<String> {
        let uri: Uri = url.parse().unwrap();
        let https = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        let host = uri.host().unwrap().trim_start_matches('[').trim_end_matches(']');
        proxies.proxy_for(https, host, port).unwrap().map(|proxy| authority(&proxy.host, proxy.port))
    }

    #[test]
    fn exceptions_are_gos() {
        let no = "1.2.3.4, 10.0.0.0/8,fd00::/8,[2001:db8::1]:8443, example.com,.below.com,*.star.com,\
                  port.com:8200,5.6.7.8:99,, :80,a:b,CAPS.com";
        let proxies = Proxies::by_scheme(Some("proxy:3128"), Some("http://proxy:3128/"), Some(no));
        for url in [
            "http://localhost:1",
            "http://LOCALHOST",
            "https://127.0.0.2",
            "https://[::1]:8200",
            "http://[::ffff:127.0.0.1]",
            "http://1.2.3.4:7",
            "http://10.9.9.9",
            "http://[fd00::7]",
            "https://[2001:db8::1]:8443",
            "http://example.com",
            "http://www.example.com",
            "http://a.below.com",
            "http://a.star.com",
            "http://port.com:8200",
            "http://x.port.com:8200",
            "http://5.6.7.8:99",
            "http://caps.COM",
        ] {
            assert_eq!(through(&proxies, url), None, "{url}");
        }
        for url in [
            "http://1.2.3.5",
            "http://11.0.0.1",
            "https://[2001:db8::1]",
            "http://notexample.com",
            "http://below.com",
            "http://star.com",
            "http://port.com",
            "http://5.6.7.8",
            "http://localhost.example",
            "http://example.com.evil",
        ] {
            assert_eq!(through(&proxies, url).as_deref(), Some("proxy:3128"), "{url}");
        }
        let nothing = Proxies::by_scheme(Some("proxy:3128"), None, Some("*"));
        assert_eq!(through(&nothing, "http://a.example"), None);
    }

    #[test]
    fn a_scheme_has_its_proxy_and_one_for_all_has_no_exceptions() {
        let variables = |name: &str| match name {
            "https_proxy" => Some("https://secure".to_owned()),
            "HTTP_PROXY" => Some(String::new()),
            "http_proxy" => Some("[::1]:8".to_owned()),
            _ => None,
        };
        let proxies = Proxies::from_env(variables);
        assert_eq!(through(&proxies, "https://a.example").as_deref(), Some("secure:443"));
        assert_eq!(through(&proxies, "http://a.example").as_deref(), Some("[::1]:8"));
        let all = Proxies::all("http://proxy");
        assert_eq!(through(&all, "https://127.0.0.1:8200").as_deref(), Some("proxy:80"));
        assert_eq!(through(&Proxies::none(), "http://a.example"), None);
    }

    #[test]
    fn what_is_no_proxy_fails_and_its_password_is_not_told() {
        for url in [
            "socks5://u:hush@h",
            "http://u:hush@",
            "http://u:hush@h:99999",
            "u:hush@h h",
            "http://u:hush@h:x",
        ] {
            let proxies = Proxies::by_scheme(Some(url), None, None);
            let error = proxies.proxy_for(false, "a.example", 80).unwrap_err().to_string();
            assert!(error.contains("HTTP_PROXY") && !error.contains("hush"), "{error}");
            assert!(!format!("{proxies:?}").contains("hush"));
        }
        let proxies = Proxies::all("http://us%40er:hu%3Ash@h:1");
        assert!(!format!("{proxies:?}").contains("hu"));
        let proxy = proxies.proxy_for(true, "a", 1).unwrap().unwrap();
        assert_eq!(proxy.login.as_ref().unwrap().as_bytes(), b"Basic dXNAZXI6aHU6c2g=");
    }
}
