//! The certificate of a client whose TLS a proxy has ended, as the proxy passes it on in a header.
//!
//! Source: Vault's "`tcp` listener" page, `x_forwarded_for_client_cert_header` and `…_decoders`.
//!
//! Anyone who can set the header can pretend to be anyone, so it is trusted only from proxies
//! ([`ForwardedFor`](crate::ForwardedFor)). From such a proxy it is the only source of the client's certificate: that of the
//! proxy's own connection is not the client's.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode;
use strongroom_engine_api::{CertificateChain, Outline};

/// Base64 with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// Certificates of a chain at most.
const MAX_CERTIFICATES: usize = 16;

/// One step from a header's value to a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateDecoder {
    /// `URL`: percent-encoding is undone.
    Url,
    /// `BASE64`: base64 is undone. Certificates may follow one another, with commas between them.
    Base64,
    /// `DER`: PEM becomes DER.
    Der,
}

/// A header in which proxies pass on the certificates of their clients.
#[derive(Clone, Debug)]
pub struct CertificateHeader {
    /// Its name.
    pub name: HeaderName,
    /// The steps that decode its value, in order.
    pub decoders: Vec<CertificateDecoder>,
}

impl CertificateHeader {
    /// True if a request has it.
    pub(crate) fn is_in(&self, headers: &HeaderMap) -> bool {
        headers.contains_key(&self.name)
    }

    /// The certificates that a proxy passes on; none where its client has shown none.
    pub(crate) fn certificates(&self, headers: &HeaderMap) -> Result<CertificateChain, String> {
        let mut given = headers.get_all(&self.name).iter();
        let Some(value) = given.next() else { return Ok(CertificateChain::default()) };
        if given.next().is_some() {
            return Err(format!("header {} is given more than once", self.name));
        }
        let wrong = || format!("header {} is not a client certificate", self.name);
        let value = value.as_bytes();
        if value.iter().all(u8::is_ascii_whitespace) {
            return Ok(CertificateChain::default());
        }
        let mut parts = vec![value.to_vec()];
        for decoder in &self.decoders {
            parts =
                decoder.decode(&parts).filter(|parts| parts.len() <= MAX_CERTIFICATES).ok_or_else(wrong)?;
        }
        if parts.iter().any(|part| Outline::read(part).is_none()) {
            return Err(wrong());
        }
        Ok(parts.into_iter().map(Bytes::from).collect())
    }
}

impl CertificateDecoder {
    fn decode(self, parts: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
        let each = parts.iter().map(|part| match self {
            Self::Url => Some(vec![percent_decode(part).collect()]),
            Self::Base64 => {
                let texts = part.split(|byte| *byte == b',');
                texts.map(|text| BASE64.decode(text.trim_ascii()).ok()).collect()
            }
            Self::Der => certificates_of_pem(part),
        });
        each.collect::<Option<Vec<Vec<Vec<u8>>>>>().map(|parts| parts.concat())
    }
}

/// The certificates of a PEM text, whose lines may have lost their ends on the way: a header has one line.
fn certificates_of_pem(pem: &[u8]) -> Option<Vec<Vec<u8>>> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let mut rest = std::str::from_utf8(pem).ok()?.trim();
    let mut certificates = Vec::new();
    while !rest.is_empty() {
        let (body, after) = rest.strip_prefix(BEGIN)?.split_once(END)?;
        let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        certificates.push(BASE64.decode(body).ok()?);
        rest = after.trim_start_matches(|c: char| c == ',' || c.is_ascii_whitespace());
    }
    (!certificates.is_empty()).then_some(certificates)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

    use super::*;

    /// The outline of a certificate of version 1, and nothing in it.
    fn certificate(serial: u8) -> Vec<u8> {
        let to_be_signed = [2, 1, serial, 0x30, 0, 0x30, 0, 0x30, 0, 0x30, 0, 0x30, 0];
        [&[0x30, 19, 0x30, 13][..], &to_be_signed, &[0x30, 0, 0x03, 0]].concat()
    }

    fn pem(der: &[u8]) -> String {
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der))
    }

    fn read(decoders: &[CertificateDecoder], value: &str) -> Result<CertificateChain, String> {
        let header =
            CertificateHeader { name: HeaderName::from_static("x-client-cert"), decoders: decoders.to_vec() };
        let mut headers = HeaderMap::new();
        headers.insert("x-client-cert", value.parse().unwrap());
        header.certificates(&headers)
    }

    #[test]
    fn proxies_pass_certificates_on_in_their_ways() {
        use CertificateDecoder::{Base64, Der, Url};
        let (own, issuer) = (certificate(7), certificate(8));
        let nginx =
            utf8_percent_encode(&format!("{}{}", pem(&own), pem(&issuer)), NON_ALPHANUMERIC).to_string();
        let chain = read(&[Url, Der], &nginx).unwrap();
        assert_eq!(chain.iter().map(|one| one.to_vec()).collect::<Vec<_>>(), [own.clone(), issuer.clone()]);
        assert_eq!(chain.serial().as_deref(), Some("7"));
        let traefik = format!("{},{}", STANDARD.encode(&own), STANDARD.encode(&issuer));
        assert_eq!(read(&[Base64], &traefik).unwrap(), chain);
        assert_eq!(read(&[Der], &pem(&own).replace('\n', " ")).unwrap().iter().len(), 1);
        assert_eq!(read(&[Base64, Der], &STANDARD.encode(pem(&own))).unwrap().iter().len(), 1);
        assert!(read(&[Url, Der], "").unwrap().is_empty(), "a client without a certificate");
    }

    #[test]
    fn what_is_no_certificate_is_refused_without_being_repeated() {
        use CertificateDecoder::{Base64, Der, Url};
        let double = STANDARD.encode([certificate(1), certificate(2)].concat());
        for value in ["hunter2", "aHVudGVyMg==", "-----BEGIN CERTIFICATE-----", "%", ",", &double] {
            for decoders in [&[][..], &[Url], &[Base64], &[Der], &[Url, Der], &[Base64, Der]] {
                let error = read(decoders, value).unwrap_err();
                assert!(!error.contains("hunter2") && error.contains("x-client-cert"), "{error}");
            }
        }
        let many = vec![STANDARD.encode(certificate(1)); MAX_CERTIFICATES + 1].join(",");
        assert!(read(&[Base64], &many).is_err());
    }
}
