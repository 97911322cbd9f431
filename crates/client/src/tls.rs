//! Builds the TLS settings of a client: whom it trusts and what it presents.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::config::Tls;
use crate::error::ConfigError;

/// Builds the settings of a TLS client. Trusted are, in this order: `ca_bytes`, `ca_cert`, `ca_path`, else what the
/// operating system trusts.
pub(crate) fn client_config(tls: &Tls) -> Result<ClientConfig, ConfigError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(refused)?;
    let builder = if tls.skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    } else {
        builder.with_root_certificates(roots(tls)?)
    };
    let mut config = match (&tls.client_cert, &tls.client_key) {
        _ if let Some((chain, key)) = &tls.client_pem => {
            let unfit = |error: &dyn std::fmt::Display| ConfigError::Tls(error.to_string());
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
            let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes());
            let (chain, key) = (chain.map_err(|error| unfit(&error))?, key.map_err(|error| unfit(&error))?);
            builder.with_client_auth_cert(chain, key).map_err(refused)?
        }
        (Some(cert), Some(key)) => {
            let chain = certificates("client cert", cert)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| file("client key", key, &error))?;
            builder.with_client_auth_cert(chain, key).map_err(refused)?
        }
        (None, None) => builder.with_no_client_auth(),
        _ => return Err(ConfigError::HalfIdentity),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The name to verify the server by: the configured one, else the host.
pub(crate) fn server_name(tls: &Tls, host: &str) -> Result<ServerName<'static>, ConfigError> {
    let name = tls.server_name.as_deref().unwrap_or(host);
    ServerName::try_from(name.to_owned())
        .map_err(|error| ConfigError::Tls(format!("server name {name:?}: {error}")))
}

fn roots(tls: &Tls) -> Result<RootCertStore, ConfigError> {
    let mut store = RootCertStore::empty();
    if let Some(pem) = &tls.ca_bytes {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let found = found.map_err(|error| ConfigError::Tls(format!("Error loading CA File: {error}")))?;
        if found.is_empty() {
            return Err(ConfigError::Tls("Error appending CA: Couldn't parse PEM".to_owned()));
        }
        for certificate in found {
            store.add(certificate).map_err(refused)?;
        }
    } else if let Some(path) = &tls.ca_cert {
        for certificate in certificates("CA File", path)? {
            store.add(certificate).map_err(refused)?;
        }
    } else if let Some(directory) = &tls.ca_path {
        let entries = fs::read_dir(directory).map_err(|error| file("CA Path", directory, &error))?;
        for entry in entries {
            let path = entry.map_err(|error| file("CA Path", directory, &error))?.path();
            if path.is_file() {
                for certificate in certificates("CA File", &path)? {
                    store.add(certificate).map_err(refused)?;
                }
            }
        }
    } else {
        // Some of a system's certificates may be malformed; the rest still counts.
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    Ok(store)
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|error| file(what, path, &error))?.collect();
    let found = found.map_err(|error| file(what, path, &error))?;
    if found.is_empty() {
        return Err(file(what, path, &"no certificate found"));
    }
    Ok(found)
}

fn file(what: &'static str, path: &Path, reason: &dyn std::fmt::Display) -> ConfigError {
    // An I/O error prints "(os error 2)" behind its text; what is left reads as Vault prints it.
    let text = reason.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let text = text.strip_prefix("I/O error: ").unwrap_or(text);
    let mut letters = text.chars();
    let reason =
        letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect());
    ConfigError::File { what, path: path.to_owned(), reason }
}

fn refused(error: impl std::fmt::Display) -> ConfigError {
    ConfigError::Tls(error.to_string())
}

/// Accepts any certificate whose key the server holds: what `VAULT_SKIP_VERIFY` asks for.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_missing_file_is_named() {
        let tls = Tls { ca_cert: Some("/nope".into()), ..Tls::default() };
        let error = client_config(&tls).unwrap_err().to_string();
        assert_eq!(error, "Error loading CA File: open /nope: no such file or directory");
    }

    #[test]
    fn half_an_identity_is_refused() {
        let tls = Tls { client_cert: Some("/nope".into()), ..Tls::default() };
        assert!(matches!(client_config(&tls), Err(ConfigError::HalfIdentity)));
    }

    #[test]
    fn loads_authorities_and_identity() {
        let (cert, key) = pem();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("cert.pem"), &cert).unwrap();
        let by_bytes = Tls { ca_bytes: Some(cert.clone().into_bytes()), ..Tls::default() };
        assert_eq!(roots(&by_bytes).unwrap().len(), 1);
        let by_path = Tls { ca_path: Some(folder.path().to_owned()), ..Tls::default() };
        assert_eq!(roots(&by_path).unwrap().len(), 1);
        fs::write(folder.path().join("key.pem"), key).unwrap();
        let identity = Tls {
            ca_cert: Some(folder.path().join("cert.pem")),
            client_cert: Some(folder.path().join("cert.pem")),
            client_key: Some(folder.path().join("key.pem")),
            ..Tls::default()
        };
        assert!(client_config(&identity).unwrap().client_auth_cert_resolver.has_certs());
    }

    #[test]
    fn text_that_is_no_certificate_is_refused() {
        let tls = Tls { ca_bytes: Some(b"hello".to_vec()), ..Tls::default() };
        assert!(roots(&tls).is_err());
    }

    #[test]
    fn the_server_name_goes_before_the_host() {
        let tls = Tls { server_name: Some("vault.example".to_owned()), ..Tls::default() };
        assert_eq!(server_name(&tls, "10.0.0.1").unwrap().to_str(), "vault.example");
        assert_eq!(server_name(&Tls::default(), "::1").unwrap().to_str(), "::1");
        assert!(server_name(&Tls::default(), "a b").is_err());
    }
}
