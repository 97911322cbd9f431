//! The cluster's certificate authority: one key for each cluster, kept behind the barrier.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::identity::{PublicKey, name_of};

/// How long certificates hold: the authority's, and a node's.
const AUTHORITY_DAYS: i64 = 3650;
const NODE_DAYS: i64 = 3650;
/// Certificates hold from a little before now on: clocks differ.
const BEFORE: Duration = Duration::hours(24);

/// Keys or certificates could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cluster certificate: {0}")]
pub struct AuthorityError(#[from] rcgen::Error);

/// What signs the nodes' certificates.
#[derive(Clone, Serialize, Deserialize)]
pub struct Authority {
    certificate: String,
    /// PKCS#8, PEM.
    key: Zeroizing<String>,
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn valid(params: &mut CertificateParams, now: OffsetDateTime, days: i64) {
    params.not_before = now.saturating_sub(BEFORE);
    params.not_after = now.saturating_add(Duration::days(days));
}

impl Authority {
    /// A new authority for a cluster; `now` in seconds since the epoch.
    ///
    /// # Errors
    ///
    /// [`AuthorityError`] where the cryptographic library fails.
    pub fn generate(cluster_id: &str, now: u64) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = authority_of(cluster_id)?;
        valid(&mut params, moment(now), AUTHORITY_DAYS);
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { certificate, key: Zeroizing::new(key.serialize_pem()) })
    }

    /// The authority's certificate, PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A certificate for the node of this number, PEM.
    ///
    /// # Errors
    ///
    /// [`AuthorityError`] for a key that is none.
    pub fn sign(
        &self,
        key: &PublicKey,
        cluster_id: &str,
        raft_id: u64,
        now: u64,
    ) -> Result<String, AuthorityError> {
        let name = name_of(cluster_id, raft_id);
        let mut params = CertificateParams::new(vec![name.clone()])?;
        params.distinguished_name = named(&name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        valid(&mut params, moment(now), NODE_DAYS);
        let signer = KeyPair::from_pem(&self.key)?;
        let issuer = Issuer::new(authority_of(cluster_id)?, signer);
        Ok(params.signed_by(key, &issuer)?.pem())
    }
}

/// What an authority's certificate says of it, but for its time.
fn authority_of(cluster_id: &str) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = named(&format!("cluster {cluster_id}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    Ok(params)
}

fn moment(secs: u64) -> OffsetDateTime {
    let secs = i64::try_from(secs).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(secs).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
