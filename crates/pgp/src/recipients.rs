//! The holders of key parts, by their PGP keys.

use strongroom_stdx::{Entropy, Moment, Secret, to_hex};
use zeroize::Zeroizing;

use crate::{PgpError, PgpKey};

/// The holders that key parts go to, one part each, in this order. None: the parts are told as they are.
#[derive(Clone, Debug, Default)]
pub struct Recipients(Vec<PgpKey>);

impl Recipients {
    /// The holders of these keys, as usable at `now`. There must be as many as `parts`, or none.
    ///
    /// # Errors
    ///
    /// [`PgpError`], for the one who gave the keys.
    pub fn parse<'a>(
        keys: impl IntoIterator<Item = &'a str>,
        parts: i64,
        now: Moment,
    ) -> Result<Self, PgpError> {
        let keys: Vec<&str> = keys.into_iter().collect();
        if !keys.is_empty() && i64::try_from(keys.len()) != Ok(parts) {
            return Err(PgpError::Count);
        }
        Ok(Self(keys.into_iter().map(|key| PgpKey::parse(key, now)).collect::<Result<_, _>>()?))
    }

    /// True if the parts are told as they are.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fingerprints of the keys.
    pub fn fingerprints(&self) -> Vec<String> {
        self.0.iter().map(PgpKey::fingerprint).collect()
    }

    /// The parts as they are told: each as it is, or its hexadecimal form encrypted to its holder's key, as with Vault.
    ///
    /// # Errors
    ///
    /// [`PgpError`].
    pub fn hand_out(
        &self,
        entropy: &Entropy,
        parts: Vec<Secret<Vec<u8>>>,
    ) -> Result<Vec<Secret<Vec<u8>>>, PgpError> {
        if self.is_empty() {
            return Ok(parts);
        }
        if self.0.len() != parts.len() {
            return Err(PgpError::Count);
        }
        let to_holder = |(key, part): (&PgpKey, &Secret<Vec<u8>>)| {
            let text = Zeroizing::new(to_hex(part.expose()));
            key.encrypt(entropy, text.as_bytes()).map(Secret::new)
        };
        self.0.iter().zip(&parts).map(to_holder).collect()
    }
}
