//! The server that a request is for.

use http::Uri;

use crate::{Error, Reason};

/// The server that a URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// It is spoken to over TLS.
    pub https: bool,
    /// Its name or address, in lower case, without brackets.
    pub host: String,
    /// The port, if one was written.
    pub port: Option<u16>,
}

impl Target {
    /// Reads it from a URL.
    ///
    /// # Errors
    ///
    /// [`Error::NotSent`]: it is no valid target of a request.
    pub fn of(uri: &Uri) -> Result<Self, Error> {
        let unusable = |reason: &str| Error::NotSent {
            to: "the request's URL".to_owned(),
            reason: Reason::Unusable(reason.to_owned()),
        };
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(unusable("it must begin with http:// or https://")),
        };
        let written = uri.authority().ok_or_else(|| unusable("it names no host"))?;
        if written.as_str().contains('@') {
            return Err(unusable("a user name or password in it is not accepted"));
        }
        let host = written.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if host.is_empty() {
            return Err(unusable("it names no host"));
        }
        let port = match written.as_str().strip_prefix(written.host()) {
            None | Some("" | ":") => None,
            Some(_) => Some(written.port_u16().ok_or_else(|| unusable("it has a port that is none"))?),
        };
        Ok(Self { https, host, port })
    }

    /// The port that is connected to.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(if self.https { 443 } else { 80 })
    }

    /// Scheme, host and port: all of a URL that may be shown.
    pub fn shown(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}", authority(&self.host, self.port()))
    }
}

/// Host and port in the form they have in a URL.
pub fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
