//! `storage "etcd"`.
//!
//! Source: <https://developer.hashicorp.com/vault/docs/v1.9.x/configuration/storage/etcd>.

use std::path::PathBuf;
use std::time::Duration;

use strongroom_hcl::Value;
use strongroom_stdx::Secret;

use crate::ConfigError;
use crate::convert;
use crate::fields::Fields;

/// The shortest `lock_timeout`: it is renewed every second, and etcd does not count fractions.
const SHORTEST_LOCK: Duration = Duration::from_secs(3);

/// `storage "etcd"`.
#[derive(Clone, Debug)]
pub struct Etcd {
    /// The URLs of etcd's members.
    pub address: Vec<String>,
    /// Several nodes share the store, and stand in for one another.
    pub ha_enabled: bool,
    /// The prefix of the keys in etcd.
    pub path: String,
    /// Etcd is asked at the start which members there are besides.
    pub sync: bool,
    /// The user to log in as, if any.
    pub username: Option<String>,
    /// The password of `username`.
    pub password: Option<Secret<String>>,
    /// The file of the CA of etcd's certificates; the system's CAs unless set.
    pub tls_ca_file: Option<PathBuf>,
    /// This node's certificate for etcd.
    pub tls_cert_file: Option<PathBuf>,
    /// The private key of this node's certificate.
    pub tls_key_file: Option<PathBuf>,
    /// The time limit of a request to etcd; 5 s unless set.
    pub request_timeout: Duration,
    /// After how long a node that is gone is succeeded; the store's choice unless set.
    pub lock_timeout: Option<Duration>,
}

impl Etcd {
    pub(crate) fn read(fields: &mut Fields<'_>) -> Result<Etcd, ConfigError> {
        let api = [("v3", ()), ("3", ()), ("etcd3", ())];
        if fields.choice("etcd_api", &api).is_err() {
            let message = "\"etcd_api\" must be \"v3\"; etcd has given up its version 2";
            return Err(fields.place_of("etcd_api").invalid(message));
        }
        let local = || vec!["http://localhost:2379".to_owned()];
        let etcd = Etcd {
            address: fields.read("address", addresses)?.unwrap_or_else(local),
            ha_enabled: fields.switch("ha_enabled")?,
            path: fields.text("path")?.unwrap_or_else(|| "/vault/".to_owned()),
            sync: fields.flag("sync")?.unwrap_or(true),
            username: fields.text("username")?,
            password: fields.secret("password")?,
            tls_ca_file: fields.path("tls_ca_file")?,
            tls_cert_file: fields.path("tls_cert_file")?,
            tls_key_file: fields.path("tls_key_file")?,
            request_timeout: fields.duration("request_timeout")?.unwrap_or(Duration::from_secs(5)),
            lock_timeout: fields.duration("lock_timeout")?,
        };
        if etcd.tls_cert_file.is_some() != etcd.tls_key_file.is_some() {
            let message = "\"tls_cert_file\" and \"tls_key_file\" must be given together";
            return Err(fields.place_of("tls_cert_file").invalid(message));
        }
        if etcd.lock_timeout.is_some_and(|timeout| timeout < SHORTEST_LOCK) {
            let message = "\"lock_timeout\" must be \"3s\" or longer";
            return Err(fields.place_of("lock_timeout").invalid(message));
        }
        if etcd.request_timeout < Duration::from_secs(1) {
            let message = "\"request_timeout\" must be \"1s\" or longer";
            return Err(fields.place_of("request_timeout").invalid(message));
        }
        Ok(etcd)
    }
}

/// URLs with commas between them.
pub(crate) fn addresses(value: &Value) -> Result<Vec<String>, String> {
    let addresses = convert::list(value)?;
    let usable = |address: &String| {
        let rest = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"));
        rest.is_some_and(|rest| !rest.is_empty() && !rest.contains('@'))
    };
    // Not repeated in the error: someone may have put a password into it.
    if addresses.is_empty() || !addresses.iter().all(usable) {
        return Err(
            "must be URLs such as \"https://10.0.0.5:2379\", with commas between them; user and password \
                    have keys of their own"
                .to_owned(),
        );
    }
    Ok(addresses)
}

/// The refusal of SRV records, in a file or in the environment.
pub(crate) const NO_DISCOVERY: &str =
    "list the members of etcd in \"address\"; with \"sync\" one that answers will do";
