//! The settings of a [`crate::Client`].

use std::path::PathBuf;
use std::time::Duration;

use strongroom_stdx::Secret;

use crate::Retry;

/// Everything a client can be told. [`Config::default`] is what Vault's documentation names as defaults.
#[derive(Clone, Debug)]
pub struct Config {
    /// Server address: `https://host:port`, `http://…` or `unix:///socket`. Default `https://127.0.0.1:8200`.
    pub address: String,
    /// The token sent as `X-Vault-Token`.
    pub token: Option<Secret<String>>,
    /// The namespace sent as `X-Vault-Namespace`; slashes around it do not matter.
    pub namespace: Option<String>,
    /// More headers of every request. Names that start with `X-Vault-` are the caller's responsibility.
    pub headers: Vec<(String, String)>,
    /// Multi-factor credentials sent as `X-Vault-MFA`.
    pub mfa: Vec<String>,
    /// Asks for every answer to be wrapped for this long (`X-Vault-Wrap-TTL`).
    pub wrap_ttl: Option<Duration>,
    /// Asks to override soft-mandatory Sentinel policies (`X-Vault-Policy-Override`).
    pub policy_override: bool,
    /// The verification of the server, and the client's certificate.
    pub tls: Tls,
    /// Longest time of one request, its retries included. Zero means no limit. Default 60 s.
    pub timeout: Duration,
    /// The rules of retries.
    pub retry: Retry,
    /// Requests a second at most; no limit by default.
    pub rate_limit: Option<RateLimit>,
    /// Through which proxy to connect.
    pub proxy: Proxy,
    /// Looks the host up as a DNS SRV record when the address has no port.
    pub srv_lookup: bool,
    /// Answers with a redirect instead of following one.
    pub disable_redirects: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: "https://127.0.0.1:8200".to_owned(),
            token: None,
            namespace: None,
            headers: Vec::new(),
            mfa: Vec::new(),
            wrap_ttl: None,
            policy_override: false,
            tls: Tls::default(),
            timeout: Duration::from_mins(1),
            retry: Retry::default(),
            rate_limit: None,
            proxy: Proxy::default(),
            srv_lookup: false,
            disable_redirects: false,
        }
    }
}

/// The verification of the server, and the client's certificate.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// PEM certificates of the authorities to trust, given directly; goes before `ca_cert`.
    pub ca_bytes: Option<Vec<u8>>,
    /// File of PEM certificates of the authorities to trust; goes before `ca_path`.
    pub ca_cert: Option<PathBuf>,
    /// Directory of files of PEM certificates of the authorities to trust.
    pub ca_path: Option<PathBuf>,
    /// File of the PEM certificate chain to present.
    pub client_cert: Option<PathBuf>,
    /// File of the PEM private key of `client_cert`.
    pub client_key: Option<PathBuf>,
    /// The PEM certificate chain to present and its private key, given directly; goes before the files.
    pub client_pem: Option<(Vec<u8>, Secret<String>)>,
    /// The server name to ask for and to verify, instead of the address's host.
    pub server_name: Option<String>,
    /// Accepts any certificate, which defeats the purpose of TLS.
    pub skip_verify: bool,
}

/// The number of requests that may be sent in a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateLimit {
    /// Requests a second in the long run; above zero.
    pub per_second: f64,
    /// Requests that may go at once; at least one.
    pub burst: u32,
}

/// The choice of a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxy {
    /// A proxy for all requests (`VAULT_PROXY_ADDR`, `VAULT_HTTP_PROXY`). The fields below are then ignored.
    pub all: Option<String>,
    /// The proxy of plain HTTP requests (`HTTP_PROXY`).
    pub http: Option<String>,
    /// The proxy of HTTPS requests (`HTTPS_PROXY`).
    pub https: Option<String>,
    /// Hosts that are reached directly (`NO_PROXY`).
    pub no_proxy: Option<String>,
}
