//! The options of etcd.

use std::path::PathBuf;
use std::time::Duration;

use strongroom_stdx::{Entropy, Secret};

use crate::OpenError;
use crate::endpoint::Endpoint;

/// Bytes that `path` may have: what every key carries must leave room for the keys themselves in a request of etcd's.
const MAX_PATH_BYTES: usize = 64;
/// The shortest time a request can be given.
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(100);

/// The options of the connection to etcd. The defaults are those of `storage "etcd"`.
#[derive(Clone)]
pub struct Options {
    /// The URLs of etcd's members, tried in turn; all `http` or all `https`.
    pub endpoints: Vec<String>,
    /// The prefix of all keys; a slash is put before it and after it where there is none.
    pub path: String,
    /// True if etcd is asked at the start which members there are besides.
    pub sync: bool,
    /// The user to authenticate as, where etcd requires it.
    pub login: Option<Login>,
    /// The TLS settings of the connections; for `https` only.
    pub tls: Tls,
    /// The time limit of a request, all attempts together.
    pub request_timeout: Duration,
    /// The source of the identity of a new store.
    pub entropy: Entropy,
}

/// A user of etcd's.
#[derive(Clone, Debug)]
pub struct Login {
    /// The name.
    pub username: String,
    /// The password.
    pub password: Secret<String>,
}

/// Files in PEM for `https`.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// The CA of etcd's certificates; the system's CAs unless set.
    pub ca_file: Option<PathBuf>,
    /// This node's certificate, and what leads from it to its issuer.
    pub cert_file: Option<PathBuf>,
    /// The private key of this node's certificate.
    pub key_file: Option<PathBuf>,
}

impl Tls {
    fn is_set(&self) -> bool {
        self.ca_file.is_some() || self.cert_file.is_some() || self.key_file.is_some()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            endpoints: vec!["http://localhost:2379".to_owned()],
            path: "/vault/".to_owned(),
            sync: true,
            login: None,
            tls: Tls::default(),
            request_timeout: Duration::from_secs(5),
            entropy: Entropy::system(),
        }
    }
}

impl Options {
    /// Says what cannot be used, without asking etcd.
    ///
    /// # Errors
    ///
    /// [`OpenError::Options`] with what is wrong.
    pub fn check(&self) -> Result<(), OpenError> {
        let wrong = |message: String| Err(OpenError::Options(message));
        let endpoints = self.parsed_endpoints()?;
        let Some(first) = endpoints.first() else {
            return wrong("no address of etcd is given".to_owned());
        };
        if endpoints.iter().any(|endpoint| endpoint.https != first.https) {
            return wrong("the addresses of etcd must all be http or all be https".to_owned());
        }
        if self.tls.is_set() && !first.https {
            return wrong("certificates are given, and the addresses of etcd are not https".to_owned());
        }
        if self.tls.cert_file.is_some() != self.tls.key_file.is_some() {
            return wrong("a client certificate and its key must be given together".to_owned());
        }
        if self.login.as_ref().is_some_and(|login| login.username.is_empty()) {
            return wrong("a password is given without a user name".to_owned());
        }
        if self.prefix().len() > MAX_PATH_BYTES {
            return wrong(format!("the path must not be longer than {MAX_PATH_BYTES} bytes"));
        }
        if self.request_timeout < SHORTEST_TIMEOUT {
            return wrong(format!("requests need {SHORTEST_TIMEOUT:?} at least"));
        }
        Ok(())
    }

    pub(crate) fn parsed_endpoints(&self) -> Result<Vec<Endpoint>, OpenError> {
        let parse = |url: &String| Endpoint::parse(url).map_err(OpenError::Options);
        self.endpoints.iter().map(parse).collect()
    }

    /// The prefix of all keys.
    pub(crate) fn prefix(&self) -> String {
        match self.path.trim_matches('/') {
            "" => "/".to_owned(),
            path => format!("/{path}/"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(options: &Options) -> String {
        options.check().unwrap_err().to_string()
    }

    fn at(endpoints: &[&str]) -> Options {
        let endpoints = endpoints.iter().map(|endpoint| (*endpoint).to_owned()).collect();
        Options { endpoints, ..Options::default() }
    }

    #[test]
    fn what_is_documented_as_the_default_can_be_used() {
        Options::default().check().unwrap();
    }

    #[test]
    fn what_would_be_ignored_or_less_safe_than_asked_is_refused() {
        assert!(refused(&at(&[])).contains("no address"));
        assert!(refused(&at(&["https://a:1", "http://b:1"])).contains("all be https"));
        let tls = Tls { ca_file: Some("ca.pem".into()), ..Tls::default() };
        assert!(refused(&Options { tls: tls.clone(), ..at(&["http://a:1"]) }).contains("not https"));
        Options { tls, ..at(&["https://a:1"]) }.check().unwrap();
        let half = Tls { cert_file: Some("cert.pem".into()), ..Tls::default() };
        assert!(refused(&Options { tls: half, ..at(&["https://a:1"]) }).contains("together"));
        let login = Login { username: String::new(), password: "p".to_owned().into() };
        assert!(refused(&Options { login: Some(login), ..Options::default() }).contains("user name"));
        assert!(refused(&Options { path: "x".repeat(63), ..Options::default() }).contains("64 bytes"));
        let hasty = Options { request_timeout: Duration::from_millis(9), ..Options::default() };
        assert!(refused(&hasty).contains("100ms"));
    }

    #[test]
    fn a_path_has_slashes_around_it() {
        let prefix = |path: &str| Options { path: path.to_owned(), ..Options::default() }.prefix();
        assert_eq!(prefix("/vault/"), "/vault/");
        assert_eq!(prefix("my-vault-data/"), "/my-vault-data/");
        assert_eq!(prefix("a/b"), "/a/b/");
        assert_eq!(prefix("/"), "/");
    }
}
