//! Reads the files that the settings name: certificates to trust and to present.

use std::path::Path;

use strongroom_outbound::tls::pem::{self, PemError};
use strongroom_outbound::{Identity, TlsError, TlsSettings, Trust};

use crate::config::Tls;
use crate::error::ConfigError;

impl From<TlsError> for ConfigError {
    fn from(error: TlsError) -> Self {
        Self::Tls(error.to_string())
    }
}

/// Reads the files of the settings. Trusted are, in this order: `ca_bytes`, `ca_cert`, `ca_path`, else what the operating
/// system trusts.
pub(crate) fn settings(tls: &Tls) -> Result<TlsSettings, ConfigError> {
    let trust = if tls.skip_verify { Trust::Anyone } else { trust(tls)? };
    Ok(TlsSettings {
        trust,
        identity: identity(tls)?,
        server_name: tls.server_name.clone(),
        ..TlsSettings::default()
    })
}

fn identity(tls: &Tls) -> Result<Option<Identity>, ConfigError> {
    if let Some((chain, key)) = &tls.client_pem {
        let unfit = |error: PemError| ConfigError::Tls(error.to_string());
        let chain = pem::certificates(chain).map_err(unfit)?;
        let key = pem::private_key(key.expose().as_bytes()).map_err(unfit)?;
        return Ok(Some(Identity { chain, key }));
    }
    match (&tls.client_cert, &tls.client_key) {
        (Some(cert), Some(key)) => {
            let chain = pem::certificates_in_file(cert).map_err(|error| file("client cert", cert, &error))?;
            let key = pem::private_key_in_file(key).map_err(|error| file("client key", key, &error))?;
            Ok(Some(Identity { chain, key }))
        }
        (None, None) => Ok(None),
        _ => Err(ConfigError::HalfIdentity),
    }
}

fn trust(tls: &Tls) -> Result<Trust, ConfigError> {
    let found = if let Some(text) = &tls.ca_bytes {
        pem::certificates(text).map_err(|error| {
            let nothing = "Error appending CA: Couldn't parse PEM";
            ConfigError::Tls(match error {
                PemError::Nothing { .. } => nothing.to_owned(),
                error @ PemError::Unreadable { .. } => format!("Error loading CA File: {error}"),
            })
        })?
    } else if let Some(path) = &tls.ca_cert {
        pem::certificates_in_file(path).map_err(|error| file("CA File", path, &error))?
    } else if let Some(directory) = &tls.ca_path {
        pem::certificates_in_directory(directory).map_err(|error| match error.path() {
            Some(path) if path != directory => file("CA File", path, &error),
            _ => file("CA Path", directory, &error),
        })?
    } else {
        return Ok(Trust::System);
    };
    Ok(Trust::Only(found))
}

fn file(what: &'static str, path: &Path, error: &PemError) -> ConfigError {
    // An I/O error prints "(os error 2)" behind its text; what is left reads as Vault prints it.
    let text = error.reason();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    let reason =
        letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect());
    ConfigError::File { what, path: path.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn pem() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn trusted(tls: &Tls) -> usize {
        match settings(tls).unwrap().trust {
            Trust::Only(found) => found.len(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let tls = Tls { ca_cert: Some("/nope".into()), ..Tls::default() };
        let error = settings(&tls).unwrap_err().to_string();
        assert_eq!(error, "Error loading CA File: open /nope: no such file or directory");
        let tls = Tls { ca_path: Some("/nope".into()), ..Tls::default() };
        let error = settings(&tls).unwrap_err().to_string();
        assert_eq!(error, "Error loading CA Path: open /nope: no such file or directory");
    }

    #[test]
    fn half_an_identity_is_refused() {
        let tls = Tls { client_cert: Some("/nope".into()), ..Tls::default() };
        assert!(matches!(settings(&tls), Err(ConfigError::HalfIdentity)));
    }

    #[test]
    fn loads_authorities_and_identity() {
        let (cert, key) = pem();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("cert.pem"), &cert).unwrap();
        let by_bytes = Tls { ca_bytes: Some(cert.clone().into_bytes()), ..Tls::default() };
        assert_eq!(trusted(&by_bytes), 1);
        let by_path = Tls { ca_path: Some(folder.path().to_owned()), ..Tls::default() };
        assert_eq!(trusted(&by_path), 1);
        fs::write(folder.path().join("key.pem"), key).unwrap();
        let identity = Tls {
            ca_cert: Some(folder.path().join("cert.pem")),
            client_cert: Some(folder.path().join("cert.pem")),
            client_key: Some(folder.path().join("key.pem")),
            ..Tls::default()
        };
        let read = settings(&identity).unwrap();
        assert_eq!(read.identity.as_ref().unwrap().chain.len(), 1);
        strongroom_outbound::Tls::new(read).unwrap();
    }

    #[test]
    fn text_that_is_no_certificate_is_refused() {
        let tls = Tls { ca_bytes: Some(b"hello".to_vec()), ..Tls::default() };
        let error = settings(&tls).unwrap_err().to_string();
        assert_eq!(error, "Error appending CA: Couldn't parse PEM");
    }

    #[test]
    fn the_server_name_goes_before_the_host() {
        let made = |tls: &Tls| strongroom_outbound::Tls::lazy(settings(tls).unwrap());
        let tls = Tls { server_name: Some("vault.example".to_owned()), ..Tls::default() };
        assert_eq!(made(&tls).server_name("10.0.0.1").unwrap().to_str(), "vault.example");
        assert_eq!(made(&Tls::default()).server_name("::1").unwrap().to_str(), "::1");
        assert!(made(&Tls::default()).server_name("a b").is_err());
    }
}
