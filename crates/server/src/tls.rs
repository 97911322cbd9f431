//! TLS of the listeners: loading, and loading again.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{CipherSuite as Suite, ServerConfig, SupportedProtocolVersion, version};
use strongroom_config::{CipherSuite, ClientCertificates, Tls, TlsVersion};
use strongroom_outbound::tls::pem;
use strongroom_output_file::OutputFile;

use crate::client_certificates::AnyCertificate;
use crate::trusted_clients::TrustedClients;

/// Loads what a listener's TLS settings name.
pub(crate) fn server_config(tls: &Tls) -> Result<Arc<ServerConfig>> {
    let provider = Arc::new(provider(&tls.cipher_suites));
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions(tls)?)
        .context("TLS versions and cipher suites do not go together")?;
    let builder = match tls.client_certificates {
        ClientCertificates::Disabled => builder.with_no_client_auth(),
        ClientCertificates::Requested => {
            let algorithms = provider.signature_verification_algorithms;
            builder.with_client_cert_verifier(Arc::new(AnyCertificate::new(algorithms)))
        }
        ClientCertificates::RequiredAndVerified => {
            let path = tls.client_ca_file.as_deref();
            let path = path.context("tls_require_and_verify_client_cert needs tls_client_ca_file")?;
            let trusted = TrustedClients::of_file(path, provider).context("tls_client_ca_file")?;
            builder.with_client_cert_verifier(Arc::new(trusted))
        }
    };
    let chain =
        pem::certificates_in_file(&tls.cert_file).map_err(|error| anyhow!("tls_cert_file {error}"))?;
    let key = pem::private_key_in_file(&tls.key_file).map_err(|error| anyhow!("tls_key_file {error}"))?;
    let mut config =
        builder.with_single_cert(chain, key).context("certificate and key do not go together")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn versions(tls: &Tls) -> Result<Vec<&'static SupportedProtocolVersion>> {
    let all = [(TlsVersion::Tls12, &version::TLS12), (TlsVersion::Tls13, &version::TLS13)];
    let wanted = all.iter().filter(|(named, _)| (tls.min_version..=tls.max_version).contains(named));
    let versions: Vec<_> = wanted.map(|(_, version)| *version).collect();
    if versions.is_empty() {
        bail!("tls_min_version is above tls_max_version");
    }
    Ok(versions)
}

/// aws-lc with the suites wanted for TLS 1.2; all of them where none are named.
fn provider(wanted: &[CipherSuite]) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if !wanted.is_empty() {
        let named: Vec<Suite> = wanted.iter().map(|suite| iana(*suite)).collect();
        provider.cipher_suites.retain(|suite| suite.tls13().is_some() || named.contains(&suite.suite()));
    }
    provider
}

const fn iana(suite: CipherSuite) -> Suite {
    match suite {
        CipherSuite::EcdheEcdsaWithAes128GcmSha256 => Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::EcdheEcdsaWithAes256GcmSha384 => Suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::EcdheEcdsaWithChacha20Poly1305Sha256 => {
            Suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        }
        CipherSuite::EcdheRsaWithAes128GcmSha256 => Suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::EcdheRsaWithAes256GcmSha384 => Suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::EcdheRsaWithChacha20Poly1305Sha256 => Suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    }
}

/// A CA and a server certificate signed by it, for `-dev-tls`; answers the paths of CA, certificate and key.
pub(crate) fn make_dev_certificates(directory: &Path, names: Vec<String>) -> Result<DevCertificates> {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    let mut authority = CertificateParams::new(Vec::<String>::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority.distinguished_name.push(rcgen::DnType::CommonName, "Strongroom development CA");
    let authority_key = KeyPair::generate()?;
    let authority_cert = authority.self_signed(&authority_key)?;
    let server_key = KeyPair::generate()?;
    let server_cert = CertificateParams::new(names)?
        .signed_by(&server_key, &Issuer::from_params(&authority, &authority_key))?;
    let paths = DevCertificates {
        ca: directory.join("vault-ca.pem"),
        cert: directory.join("vault-cert.pem"),
        key: directory.join("vault-key.pem"),
    };
    write_new(&paths.ca, 0o644, authority_cert.pem().as_bytes())?;
    write_new(&paths.cert, 0o644, server_cert.pem().as_bytes())?;
    write_new(&paths.key, 0o600, server_key.serialize_pem().as_bytes())?;
    Ok(paths)
}

/// The certificates that `-dev-tls` made.
pub(crate) struct DevCertificates {
    pub(crate) ca: std::path::PathBuf,
    pub(crate) cert: std::path::PathBuf,
    pub(crate) key: std::path::PathBuf,
}

/// Writes a file that only its owner may read.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    OutputFile::write_at(path, 0o600, bytes).with_context(|| path.display().to_string())
}

/// Writes a file anew, with this mode. A file or link that is there is replaced, and not written through.
fn write_new(path: &Path, mode: u32, bytes: &[u8]) -> Result<()> {
    use std::io::Write as _;
    let named = || path.display().to_string();
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).with_context(named),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    options.create_new(true).write(true);
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    let mut file = options.open(path).with_context(named)?;
    file.write_all(bytes).with_context(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn development_certificates_are_not_written_through_links() {
        let root = tempfile::tempdir().unwrap();
        let theirs = root.path().join("theirs");
        fs::write(&theirs, "mine").unwrap();
        let directory = root.path().join("tls");
        fs::create_dir(&directory).unwrap();
        for name in ["vault-ca.pem", "vault-cert.pem", "vault-key.pem"] {
            std::os::unix::fs::symlink(&theirs, directory.join(name)).unwrap();
        }
        let made = make_dev_certificates(&directory, vec!["localhost".to_owned()]).unwrap();
        assert_eq!(fs::read_to_string(&theirs).unwrap(), "mine");
        assert!(fs::symlink_metadata(&made.key).unwrap().is_file());
        make_dev_certificates(&directory, vec!["localhost".to_owned()]).unwrap();
    }
}
