//! The TLS settings of connections: what they trust, and what they show.

use strongroom_outbound::tls::pem::{self, PemError};
use strongroom_outbound::{Identity, TlsSettings, Trust};

use crate::{OpenError, Tls};

/// Reads the files; what the system trusts stands in where no issuer is named.
pub(crate) fn read(tls: &Tls) -> Result<strongroom_outbound::Tls, OpenError> {
    let trust = match &tls.ca_file {
        Some(path) => Trust::Only(pem::certificates_in_file(path)?),
        None => Trust::System,
    };
    let identity = match (&tls.cert_file, &tls.key_file) {
        (Some(cert), Some(key)) => {
            let chain = pem::certificates_in_file(cert)?;
            Some(Identity { chain, key: pem::private_key_in_file(key)? })
        }
        _ => None,
    };
    let settings = TlsSettings { trust, identity, ..TlsSettings::default() };
    strongroom_outbound::Tls::new(settings).map_err(|error| OpenError::Options(error.to_string()))
}

impl From<PemError> for OpenError {
    fn from(error: PemError) -> Self {
        let file = error.path().map(|path| path.display().to_string()).unwrap_or_default();
        Self::File { file, reason: error.reason() }
    }
}
