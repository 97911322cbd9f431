//! Whom connections trust, and what they show.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::{OpenError, Tls};

/// Reads the files; what the system trusts stands in where no issuer is named.
pub(crate) fn client_config(tls: &Tls) -> Result<ClientConfig, OpenError> {
    let unusable = |error: rustls::Error| OpenError::Options(error.to_string());
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_root_certificates(roots(tls.ca_file.as_deref())?);
    let mut config = match (&tls.cert_file, &tls.key_file) {
        (Some(cert), Some(key)) => {
            let private = PrivateKeyDer::from_pem_file(key).map_err(|error| file(key, &error))?;
            builder.with_client_auth_cert(certificates(cert)?, private).map_err(|error| file(cert, &error))?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, OpenError> {
    let mut store = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            for certificate in certificates(path)? {
                store.add(certificate).map_err(|error| file(path, &error))?;
            }
        }
        // Some of a system's certificates may be malformed; the rest still counts.
        None => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(store)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, OpenError> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|error| file(path, &error))?.collect();
    let found = found.map_err(|error| file(path, &error))?;
    if found.is_empty() { Err(file(path, &"no certificate found")) } else { Ok(found) }
}

fn file(path: &Path, reason: &dyn std::fmt::Display) -> OpenError {
    OpenError::File { file: path.display().to_string(), reason: reason.to_string() }
}
