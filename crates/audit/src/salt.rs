//! The keyed hash that hides strings in audit records and yet lets an operator find a known one.

use aws_lc_rs::hmac;
use strongroom_stdx::Secret;

/// Text that starts every hashed value.
const PREFIX: &[u8] = b"hmac-sha256:";

/// Bytes a hashed value takes: the prefix and 64 hexadecimal digits.
pub(crate) const HASHED_LEN: usize = 76;

/// A device's salt, as an HMAC-SHA256 key that is set up once.
///
/// The salt's bytes are not kept; the library wipes what it derived from them when this is dropped.
pub struct Salt(hmac::Key);

impl Salt {
    /// From the salt's bytes. Vault draws a random UUID once per device and keys the hash with its text.
    pub fn new(salt: &Secret<Vec<u8>>) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, salt.expose()))
    }

    /// `hmac-sha256:` and the hexadecimal HMAC of `input`: what `sys/audit-hash` answers, and what stands for
    /// `input` in this device's records.
    pub fn hash(&self, input: &str) -> String {
        let mut out = Vec::with_capacity(HASHED_LEN);
        self.push_hash(input.as_bytes(), &mut out);
        String::from_utf8(out).unwrap_or_default()
    }

    /// Appends what [`Salt::hash`] returns.
    pub(crate) fn push_hash(&self, input: &[u8], out: &mut Vec<u8>) {
        const DIGITS: [u8; 16] = *b"0123456789abcdef";
        let digit = |nibble: u8| DIGITS.get(usize::from(nibble & 0xf)).copied().unwrap_or_default();
        out.extend_from_slice(PREFIX);
        let tag = hmac::sign(&self.0, input);
        out.extend(tag.as_ref().iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 2.
    #[test]
    fn hashes_as_hmac_sha256() {
        let salt = Salt::new(&Secret::new(b"Jefe".to_vec()));
        assert_eq!(
            salt.hash("what do ya want for nothing?"),
            "hmac-sha256:5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(salt.hash("").len(), HASHED_LEN);
    }
}
