//! Certificates that are trusted because exactly they are among those to trust, whoever issued them.
//!
//! Client and server ask here, so that what one side of a connection takes the other takes too. Whether a certificate is
//! among the trusted ones, and the name in it, are for the caller to look at.

use rustls::{CertificateError, Error};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::oid::AssociatedOid;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName};

/// The use that a certificate is put to (RFC 5280, section 4.2.1.12).
#[derive(Clone, Copy, Debug)]
pub struct Purpose(ObjectIdentifier);

/// `id-kp-serverAuth`.
pub const SERVER_AUTH: Purpose = Purpose(ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1"));
/// `id-kp-clientAuth`.
pub const CLIENT_AUTH: Purpose = Purpose(ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2"));
/// `anyExtendedKeyUsage`.
const ANY_PURPOSE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");
/// Extensions that do not change what was looked at, so that they may be marked as critical: the constraints on what a
/// certificate issues do not matter where it issues nothing.
const UNDERSTOOD: [ObjectIdentifier; 4] =
    [BasicConstraints::OID, KeyUsage::OID, ExtendedKeyUsage::OID, SubjectAltName::OID];

/// Looks at validity and purpose of a certificate that is trusted as it is.
///
/// # Errors
///
/// It is malformed, not valid yet or not any more, for another purpose, or says something critical that is not understood.
pub fn is_usable(shown: &CertificateDer<'_>, purpose: Purpose, now: UnixTime) -> Result<(), Error> {
    let malformed = |_: x509_cert::der::Error| Error::from(CertificateError::BadEncoding);
    let certificate = Certificate::from_der(shown).map_err(malformed)?.tbs_certificate;
    let (from, until) = (
        certificate.validity.not_before.to_unix_duration().as_secs(),
        certificate.validity.not_after.to_unix_duration().as_secs(),
    );
    if now.as_secs() < from {
        let not_before = UnixTime::since_unix_epoch(std::time::Duration::from_secs(from));
        return Err(CertificateError::NotValidYetContext { time: now, not_before }.into());
    }
    if now.as_secs() > until {
        let not_after = UnixTime::since_unix_epoch(std::time::Duration::from_secs(until));
        return Err(CertificateError::ExpiredContext { time: now, not_after }.into());
    }
    for extension in certificate.extensions.iter().flatten() {
        if extension.extn_id == ExtendedKeyUsage::OID {
            let purposes = ExtendedKeyUsage::from_der(extension.extn_value.as_bytes()).map_err(malformed)?.0;
            if !purposes.iter().any(|found| [purpose.0, ANY_PURPOSE].contains(found)) {
                return Err(CertificateError::InvalidPurpose.into());
            }
        }
        if extension.critical && !UNDERSTOOD.contains(&extension.extn_id) {
            return Err(CertificateError::UnhandledCriticalExtension.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_marked_as_critical_must_be_understood() {
        let mut extension = rcgen::CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        for critical in [false, true] {
            extension.set_criticality(critical);
            let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
            params.custom_extensions = vec![extension.clone()];
            params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
            let made = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
            let usable = is_usable(made.der(), SERVER_AUTH, UnixTime::now());
            let refused = matches!(
                usable,
                Err(Error::InvalidCertificate(CertificateError::UnhandledCriticalExtension))
            );
            assert_eq!(refused, critical, "{usable:?}");
        }
        let garbage = is_usable(&CertificateDer::from(vec![0x30, 3, 1, 2, 3]), CLIENT_AUTH, UnixTime::now());
        assert!(garbage.is_err());
    }
}
