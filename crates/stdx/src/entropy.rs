//! Randomness comes in through [`Entropy`].

use std::cell::RefCell;
use std::sync::Arc;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use crate::uuid::uuid_text;

/// The system's random source failed; nothing that needs a secret can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system's random source is not available")]
pub struct EntropyError;

/// The source of random bytes: the system, or a counter-driven stream in tests that need repeatable names.
#[derive(Clone)]
pub struct Entropy(Source);

/// Fills a buffer with bytes.
type Fill = dyn Fn(&mut [u8]) + Send + Sync;

#[derive(Clone)]
enum Source {
    System(SystemRandom),
    Given(Arc<Fill>),
}

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

impl Entropy {
    /// The cryptographic generator of aws-lc, seeded by the operating system.
    pub fn system() -> Self {
        Self(Source::System(SystemRandom::new()))
    }

    /// Bytes from a function: for tests.
    pub fn given(fill: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Self {
        Self(Source::Given(Arc::new(fill)))
    }

    /// Fills `out` with random bytes.
    pub fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        match &self.0 {
            Source::System(random) => random.fill(out).map_err(|_unspecified| EntropyError),
            Source::Given(fill) => {
                fill(out);
                Ok(())
            }
        }
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&self) -> Result<[u8; N], EntropyError> {
        let mut out = [0; N];
        self.fill(&mut out)?;
        Ok(out)
    }

    /// `len` characters out of `0-9A-Za-z`, each equally likely (bytes of 248 and more are drawn again, so that
    /// the remainder does not favor the first characters).
    pub fn base62(&self, len: usize) -> Result<String, EntropyError> {
        let mut text = String::with_capacity(len);
        let mut drawn = [0u8; 32];
        while text.len() < len {
            self.fill(&mut drawn)?;
            let usable = drawn.iter().filter(|byte| **byte < 248);
            for byte in usable.take(len.saturating_sub(text.len())) {
                if let Some(character) = BASE62.get(usize::from(*byte % 62)) {
                    text.push(char::from(*character));
                }
            }
        }
        zeroize::Zeroize::zeroize(&mut drawn);
        Ok(text)
    }

    /// A random UUID (version 4, RFC 9562) in its usual text form.
    pub fn uuid(&self) -> Result<String, EntropyError> {
        Ok(uuid_of(self.bytes()?))
    }

    /// A random UUID that names something and is no secret, as a request id is: its bytes may have waited in memory
    /// for their turn, because the generator is asked for many at once.
    pub fn public_uuid(&self) -> Result<String, EntropyError> {
        if let Source::Given(_) = &self.0 {
            return self.uuid();
        }
        POOL.with_borrow_mut(|pool| {
            if pool.is_empty() {
                let drawn = self.bytes::<512>()?;
                pool.extend_from_slice(drawn.as_chunks().0);
            }
            pool.pop().map(uuid_of).ok_or(EntropyError)
        })
    }
}

thread_local! {
    /// Random bytes for [`Entropy::public_uuid`].
    static POOL: RefCell<Vec<[u8; 16]>> = const { RefCell::new(Vec::new()) };
}

/// The text of these bytes as a UUID of version 4.
fn uuid_of(bytes: [u8; 16]) -> String {
    let mut bits = u128::from_be_bytes(bytes);
    bits = (bits & !(0xf << 76)) | (0x4 << 76);
    bits = (bits & !(0x3 << 62)) | (0x2 << 62);
    uuid_text(bits.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_have_version_and_variant() {
        let uuid = Entropy::given(|out| out.fill(0xff)).uuid().unwrap();
        assert_eq!(uuid, "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }

    #[test]
    fn public_uuids_differ() {
        let drawn: std::collections::BTreeSet<_> =
            (0..100).map(|_| Entropy::system().public_uuid().unwrap()).collect();
        assert_eq!(drawn.len(), 100);
        assert!(drawn.iter().all(|uuid| uuid.len() == 36 && uuid.as_bytes()[14] == b'4'));
    }

    #[test]
    fn base62_is_of_the_asked_length_and_alphabet() {
        let text = Entropy::system().base62(95).unwrap();
        assert_eq!(text.len(), 95);
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric()));
        assert_ne!(text, Entropy::system().base62(95).unwrap());
    }
}
