//! Collecting shares one request at a time until there are enough.
//!
//! `sys/unseal`, `sys/generate-root/update` and `sys/rekey/update` each take
//! one share a request and show how many they have. What is done with the
//! recovered secret, and whether it is the right one, is the caller's affair.

use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::shamir::{CombineError, Share, combine};

/// The shares given so far in one attempt.
#[derive(Debug)]
pub struct ShareCollector {
    nonce: String,
    threshold: u8,
    shares: Vec<Share>,
}

/// The outcome of a share.
#[derive(Debug)]
pub enum Offer {
    /// The very share was given before in this attempt: nothing changed.
    Duplicate,
    /// Taken; more are needed. See [`ShareCollector::progress`].
    Progress,
    /// The threshold is met. This is what the shares determine, which the
    /// caller must check; the collector is empty again, so that a wrong set
    /// leaves the progress at 0.
    Ready(Zeroizing<Vec<u8>>),
}

impl ShareCollector {
    /// An empty attempt that needs `threshold` shares, known to clients by
    /// `nonce`.
    pub fn new(threshold: u8, nonce: String) -> Self {
        Self { nonce, threshold, shares: Vec::with_capacity(usize::from(threshold)) }
    }

    /// The attempt's identifier, which clients show as `nonce`.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// The number of shares needed (`t`, `required`).
    pub fn threshold(&self) -> u8 {
        self.threshold
    }

    /// The number of shares given so far (`progress`).
    pub fn progress(&self) -> usize {
        self.shares.len()
    }

    /// Takes one share.
    ///
    /// # Errors
    /// [`CombineError`] if with this share the threshold is met but the
    /// shares cannot belong together. The collector is then empty again.
    pub fn offer(&mut self, share: Share) -> Result<Offer, CombineError> {
        let known = self.shares.iter().fold(Choice::from(0), |known, have| known | have.ct_eq(&share));
        if known.into() {
            return Ok(Offer::Duplicate);
        }
        if self.threshold <= 1 {
            self.reset();
            return Ok(Offer::Ready(share.into_secret()));
        }
        self.shares.push(share);
        if self.shares.len() < usize::from(self.threshold) {
            return Ok(Offer::Progress);
        }
        let shares = std::mem::take(&mut self.shares);
        combine(&shares).map(Offer::Ready)
    }

    /// Forgets the shares given so far; the nonce stays.
    pub fn reset(&mut self) {
        self.shares.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shamir::split;

    fn shares_of(secret: &[u8], shares: u8, threshold: u8) -> Vec<Share> {
        let mut next = 7_u8;
        let mut fill = |buffer: &mut [u8]| {
            for byte in buffer {
                next = next.wrapping_mul(5).wrapping_add(113);
                *byte = next;
            }
            Ok(())
        };
        split(secret, shares, threshold, &mut fill).unwrap()
    }

    fn collector(threshold: u8) -> ShareCollector {
        ShareCollector::new(threshold, "5c3e5a36-8a5e-4f0e-a2f1-6f3ff9a54c1f".to_owned())
    }

    #[test]
    fn becomes_ready_at_the_threshold_and_is_empty_again() {
        let shares = shares_of(b"the root key", 5, 3);
        let mut collector = collector(3);
        assert!(matches!(collector.offer(shares[4].clone()), Ok(Offer::Progress)));
        assert!(matches!(collector.offer(shares[0].clone()), Ok(Offer::Progress)));
        assert_eq!((collector.progress(), collector.threshold()), (2, 3));
        let Ok(Offer::Ready(secret)) = collector.offer(shares[2].clone()) else {
            panic!("three shares are enough")
        };
        assert_eq!(secret.as_slice(), b"the root key");
        assert_eq!(collector.progress(), 0);
        assert_eq!(collector.nonce(), "5c3e5a36-8a5e-4f0e-a2f1-6f3ff9a54c1f");
    }

    #[test]
    fn a_repeated_share_does_not_advance() {
        let shares = shares_of(b"k", 3, 2);
        let mut collector = collector(2);
        collector.offer(shares[0].clone()).unwrap();
        assert!(matches!(collector.offer(shares[0].clone()), Ok(Offer::Duplicate)));
        assert_eq!(collector.progress(), 1);
        assert!(matches!(collector.offer(shares[1].clone()), Ok(Offer::Ready(_))));
    }

    #[test]
    fn a_single_share_is_the_secret_itself() {
        let shares = shares_of(b"alone", 1, 1);
        let Ok(Offer::Ready(secret)) = collector(1).offer(shares[0].clone()) else { panic!("one is enough") };
        assert_eq!(secret.as_slice(), b"alone");
    }

    #[test]
    fn a_set_that_cannot_belong_together_starts_over() {
        let shares = shares_of(b"secret", 3, 2);
        let mut forged = shares[0].as_bytes().to_vec();
        forged[0] ^= 1;
        let mut collector = collector(2);
        collector.offer(shares[0].clone()).unwrap();
        assert_eq!(
            collector.offer(Share::new(Zeroizing::new(forged))).unwrap_err(),
            CombineError::DuplicateShare
        );
        assert_eq!(collector.progress(), 0);
    }

    #[test]
    fn reset_forgets_the_shares() {
        let shares = shares_of(b"secret", 3, 2);
        let mut collector = collector(2);
        collector.offer(shares[0].clone()).unwrap();
        collector.reset();
        assert_eq!(collector.progress(), 0);
        assert!(matches!(collector.offer(shares[0].clone()), Ok(Offer::Progress)));
    }

    #[test]
    fn debug_output_holds_no_share() {
        let mut collector = collector(2);
        collector.offer(Share::new(Zeroizing::new(vec![203, 171, 1]))).unwrap();
        let shown = format!("{collector:?}");
        assert!(shown.contains("redacted") && !shown.contains("203"), "{shown}");
    }
}
