//! The cluster's certificate authority: one key per cluster, kept behind the barrier.
//!
//! It has a successor once a year. Nodes learn of the successor one by one, when their own certificates are due, so nodes of both
//! must trust each other meanwhile:
//!
//! - A node that knows the successor also trusts the authority before it, until the successor has one of its own.
//! - A node that does not know it yet finds a link beside a peer's certificate: the successor's key, signed by the one before.
//!
//! The key of the authority before is deleted at once: nothing new can be signed with it.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};
use strongroom_raft::Sender;
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::node_credentials::{PublicKey, certificates, name_of, seen_name};

/// The validity of the authority's certificate.
const AUTHORITY_DAYS: i64 = 3650;
/// After this the authority has a successor. A node that is away for longer than this may share no trusted authority
/// with the others.
const SUCCEED_AFTER: u64 = 365 * 24 * 3600;
/// The validity of a node's certificate. A node that does not know of another's removal trusts it for that long, so it
/// is short. An unsealed node renews its own, a sealed one asks the active node for another, and one that was off makes
/// one when it is unsealed.
const NODE_DAYS: i64 = 1;
/// The age at which a node's certificate is renewed: more than as long again is left to get it signed.
pub const RENEW_AFTER: std::time::Duration = std::time::Duration::from_hours(8);
/// Certificates hold from a while before now on: clocks differ.
const BEFORE: Duration = Duration::days(1);

/// Keys or certificates could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cluster certificate: {0}")]
pub struct AuthorityError(#[from] rcgen::Error);

/// The key and certificate that sign the nodes' certificates.
#[derive(Clone, Serialize, Deserialize)]
pub struct Authority {
    certificate: String,
    /// PKCS#8, PEM.
    key: Zeroizing<String>,
    /// The time of its creation, in seconds since the epoch.
    #[serde(default)]
    made: u64,
    #[serde(default)]
    before: Option<Before>,
}

/// The authority that was before, of which only what is public is kept.
#[derive(Clone, Serialize, Deserialize)]
struct Before {
    certificate: String,
    /// The successor's key, signed by this one.
    link: String,
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
        Ok(Self { certificate, key: Zeroizing::new(key.serialize_pem()), made: now, before: None })
    }

    /// The authority that takes this one's place.
    ///
    /// # Errors
    ///
    /// [`AuthorityError`] where the cryptographic library fails.
    pub fn successor(&self, cluster_id: &str, now: u64) -> Result<Self, AuthorityError> {
        let mut next = Self::generate(cluster_id, now)?;
        let mut params = authority_of(cluster_id)?;
        valid(&mut params, moment(now), AUTHORITY_DAYS);
        let issuer = Issuer::new(authority_of(cluster_id)?, KeyPair::from_pem(&self.key)?);
        let link = params.signed_by(&KeyPair::from_pem(&next.key)?, &issuer)?.pem();
        next.before = Some(Before { certificate: self.certificate.clone(), link });
        Ok(next)
    }

    /// True if it is time for a successor; `now` in seconds since the epoch.
    #[must_use]
    pub const fn is_old(&self, now: u64) -> bool {
        now.saturating_sub(self.made) >= SUCCEED_AFTER
    }

    /// The certificates that nodes of this authority trust: its own and that of the authority before it, PEM.
    #[must_use]
    pub fn trusted(&self) -> String {
        let before = self.before.as_ref().map_or("", |before| before.certificate.as_str());
        [self.certificate.as_str(), before].concat()
    }

    /// True if it is, or follows, one that is believed; `trusted` in PEM.
    #[must_use]
    pub fn continues(&self, trusted: &str) -> bool {
        let own = self.trusted();
        let own: Vec<_> = certificates(own.as_bytes()).filter_map(Result::ok).collect();
        certificates(trusted.as_bytes()).filter_map(Result::ok).any(|believed| own.contains(&believed))
    }

    /// A certificate for the node of this number, which belongs to the membership that was `seen`, and what links it to
    /// the authority before; PEM.
    ///
    /// # Errors
    ///
    /// [`AuthorityError`] for a key that is none.
    pub fn sign(
        &self,
        key: &PublicKey,
        cluster_id: &str,
        sender: &Sender,
        now: u64,
    ) -> Result<String, AuthorityError> {
        let name = name_of(cluster_id, sender.raft_id);
        let mut params = CertificateParams::new(vec![name.clone(), seen_name(cluster_id, sender.seen)])?;
        params.distinguished_name = named(&name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        valid(&mut params, moment(now), NODE_DAYS);
        let signer = KeyPair::from_pem(&self.key)?;
        let issuer = Issuer::new(authority_of(cluster_id)?, signer);
        let certificate = params.signed_by(key, &issuer)?.pem();
        let link = self.before.as_ref().map_or("", |before| before.link.as_str());
        Ok([certificate.as_str(), link].concat())
    }
}

/// The subject and constraints of an authority's certificate, without its validity.
fn authority_of(cluster_id: &str) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = named(&format!("cluster {cluster_id}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    Ok(params)
}

fn moment(secs: u64) -> OffsetDateTime {
    let secs = i64::try_from(secs).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(secs).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
