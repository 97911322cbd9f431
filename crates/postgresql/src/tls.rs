//! The TLS settings of connections to the database: what we trust, and what we show.

use std::path::PathBuf;

use strongroom_outbound::tls::pem::{self, PemError};
use strongroom_outbound::{Identity, Tls, TlsError, TlsSettings};
use tokio_postgres_rustls::MakeRustlsConnect;

/// The certificates that are trusted. An authority is the file of its certificates; `None`: those that the operating
/// system trusts.
pub(crate) enum Trust {
    /// Any: the connection is encrypted, and who is at its other end is not known.
    Anyone,
    /// Those that the authority has issued, for any host.
    Authority(Option<PathBuf>),
    /// Those that the authority has issued for the host.
    AuthorityAndName(Option<PathBuf>),
}

/// `identity`: the files of our certificate and its key.
pub(crate) fn connector(
    trust: &Trust,
    identity: Option<(PathBuf, PathBuf)>,
) -> Result<MakeRustlsConnect, String> {
    let (trust, verify_name) = match trust {
        Trust::Anyone => (strongroom_outbound::Trust::Anyone, false),
        Trust::Authority(authority) => (issuers(authority.as_ref())?, false),
        Trust::AuthorityAndName(authority) => (issuers(authority.as_ref())?, true),
    };
    let identity = match identity {
        Some((certificate, key)) => {
            let chain = pem::certificates_in_file(&certificate).map_err(|error| file("sslcert", &error))?;
            Some(Identity {
                chain,
                key: pem::private_key_in_file(&key).map_err(|error| file("sslkey", &error))?,
            })
        }
        None => None,
    };
    let unfit = |error: TlsError| format!("cannot be used for TLS: {error}");
    let tls =
        Tls::new(TlsSettings { trust, identity, verify_name, ..TlsSettings::default() }).map_err(unfit)?;
    // What PostgreSQL 17 asks for where a connection begins with TLS (sslnegotiation=direct).
    let config = tls.client_config(&[b"postgresql"]).map_err(unfit)?;
    Ok(MakeRustlsConnect::new((*config).clone()))
}

fn issuers(authority: Option<&PathBuf>) -> Result<strongroom_outbound::Trust, String> {
    Ok(match authority {
        Some(path) => strongroom_outbound::Trust::Only(
            pem::certificates_in_file(path).map_err(|error| file("sslrootcert", &error))?,
        ),
        None => strongroom_outbound::Trust::System,
    })
}

fn file(option: &str, error: &PemError) -> String {
    format!("has {option:?} {error}")
}
