//! An attempt at unsealing: shares are collected until there are enough, and then tried.

use async_trait::async_trait;
use strongroom_barrier::unwrap_key;
use strongroom_seal::{KeyPart, Offer, Progress, RootKey, SealError, UnsealAttempt, root_key};
use strongroom_shamir::{Offer as Collected, Share, ShareCollector};
use zeroize::Zeroizing;

use crate::{PURPOSE, Shares};

/// Vault's words for a key that opens nothing.
const UNAUTHENTIC: &str = "cipher: message authentication failed";

pub(crate) struct Attempt {
    collector: ShareCollector,
    length: usize,
    wrapped: Vec<u8>,
}

impl Attempt {
    pub(crate) fn new(shares: Shares, wrapped: Vec<u8>, nonce: String) -> Self {
        let collector = ShareCollector::new(shares.threshold, nonce);
        Self { collector, length: shares.length(), wrapped }
    }

    fn unwrap(&self, candidate: &[u8]) -> Option<RootKey> {
        let unseal_key: &[u8; 32] = candidate.try_into().ok()?;
        let opened = unwrap_key(unseal_key, PURPOSE, &self.wrapped).ok()?;
        root_key(&opened)
    }
}

#[async_trait]
impl UnsealAttempt for Attempt {
    fn progress(&self) -> Progress {
        Progress { given: self.collector.progress(), nonce: self.collector.nonce().to_owned() }
    }

    async fn offer(&mut self, part: KeyPart) -> Result<Offer, SealError> {
        let (length, expected) = (part.expose().len(), self.length);
        if length < expected {
            return Ok(Offer::Unfit(format!("key is shorter than minimum {expected} bytes")));
        }
        if length > expected {
            return Ok(Offer::Unfit(format!("key is longer than maximum {expected} bytes")));
        }
        let share = Share::new(Zeroizing::new(part.expose().clone()));
        Ok(match self.collector.offer(share) {
            Ok(Collected::Progress | Collected::Duplicate) => Offer::Progress,
            Ok(Collected::Ready(candidate)) => {
                self.unwrap(&candidate).map_or_else(|| Offer::Wrong(UNAUTHENTIC.to_owned()), Offer::RootKey)
            }
            Err(error) => Offer::Wrong(error.to_string()),
        })
    }
}
