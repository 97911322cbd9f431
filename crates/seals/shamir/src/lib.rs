//! The seal that people open: the root key is wrapped under an unseal key, and the unseal key is split into shares.
//!
//! Everything that has to do with shares is here and in `strongroom-shamir`: their number and length, collecting them,
//! telling a wrong set. The server sees key parts. Nothing outside is asked, so the seal is never unavailable; a set of
//! shares that opens nothing is [`Offer::Wrong`], and all of them must be given again.
//!
//! Texts are Vault's, as its API pages `sys/init` and `sys/unseal` and its clients show them.

mod attempt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{KeyringError, wrap_key};
use strongroom_seal::{
    InteractiveSeal, KeyPart, KeyPartsWanted, Parameters, Quorum, RootKey, Seal, SealError, UnsealAttempt,
    Unsealing, Wrapped,
};
use strongroom_shamir::{RandomError, SplitError, split};
use strongroom_stdx::Entropy;
use zeroize::Zeroizing;

use attempt::Attempt;

/// The name of the kind.
pub const KIND: &str = "shamir";

/// The purpose that the wrapped root key is bound to.
const PURPOSE: &[u8] = b"root-key";

/// The seal. It has no state of its own: all of it is in what it wraps.
#[derive(Clone, Copy, Debug, Default)]
pub struct ShamirSeal;

/// The public parameters, as the bootstrap record keeps them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shares {
    /// Shares that there are.
    shares: u8,
    /// Shares that are needed.
    threshold: u8,
}

impl Shares {
    /// Reads parameters, which may come from another cluster.
    fn read(parameters: &Parameters) -> Result<Self, SealError> {
        let read: Result<Self, _> = serde_json::from_value(parameters.clone().into());
        let Shares { shares, threshold } = read.map_err(|error| SealError::Malformed(error.to_string()))?;
        let fits = threshold <= shares && (threshold > 1 || (shares, threshold) == (1, 1));
        if fits {
            Ok(Self { shares, threshold })
        } else {
            Err(SealError::Malformed(format!("{threshold} of {shares} shares")))
        }
    }

    /// The numbers that were asked for, if they go together.
    fn wanted(wanted: KeyPartsWanted) -> Result<Self, SealError> {
        let refused = |text: &str| Err(SealError::Configuration(text.to_owned()));
        match (wanted.total, wanted.required) {
            (..=0, _) => return refused("shares must be at least one"),
            (256.., _) => return refused("shares must be less than 256"),
            (_, ..=0) => return refused("threshold must be at least one"),
            (_, 256..) => return refused("threshold must be less than 256"),
            (2.., 1) => return refused("threshold must be greater than one for multiple shares"),
            (shares, threshold) if threshold > shares => {
                return refused("threshold cannot be larger than shares");
            }
            (shares, _) if !matches!(wanted.stored, 0 | 1) && wanted.stored != shares => {
                return refused("stored_shares must be the same as secret_shares");
            }
            _ => {}
        }
        match (u8::try_from(wanted.total), u8::try_from(wanted.required)) {
            (Ok(shares), Ok(threshold)) => Ok(Self { shares, threshold }),
            _ => refused("shares and threshold must be less than 256"),
        }
    }

    /// The length of a share: the key's, and where there are several one byte for which of them it is.
    fn length(self) -> usize {
        if self.shares == 1 { 32 } else { 33 }
    }

    fn parameters(self) -> Parameters {
        Parameters::from_iter([
            ("shares".to_owned(), self.shares.into()),
            ("threshold".to_owned(), self.threshold.into()),
        ])
    }
}

#[async_trait]
impl Seal for ShamirSeal {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn unsealing(&self) -> Unsealing<'_> {
        Unsealing::Interactive(self)
    }

    async fn health(&self) -> Result<(), SealError> {
        Ok(())
    }
}

fn failed(error: impl std::fmt::Display) -> SealError {
    SealError::Unavailable(error.to_string())
}

#[async_trait]
impl InteractiveSeal for ShamirSeal {
    async fn wrap(
        &self,
        root_key: &RootKey,
        wanted: KeyPartsWanted,
        entropy: &Entropy,
    ) -> Result<(Wrapped, Vec<KeyPart>), SealError> {
        let shares = Shares::wanted(wanted)?;
        let unseal_key = Zeroizing::new(entropy.bytes::<32>().map_err(failed)?);
        let mut random = |out: &mut [u8]| entropy.fill(out).map_err(|_error| RandomError);
        let parts = split(unseal_key.as_slice(), shares.shares, shares.threshold, &mut random);
        let parts = parts.map_err(|error| match error {
            SplitError::Random(error) => failed(error),
            other => SealError::Configuration(other.to_string()),
        })?;
        let blob = wrap_key(entropy, &unseal_key, PURPOSE, root_key.expose());
        let blob = blob.map_err(|error: KeyringError| failed(error))?;
        let parts = parts.iter().map(|share| KeyPart::new(share.as_bytes().to_vec())).collect();
        Ok((Wrapped { parameters: shares.parameters(), blob }, parts))
    }

    fn quorum(&self, parameters: &Parameters) -> Result<Quorum, SealError> {
        let Shares { shares, threshold } = Shares::read(parameters)?;
        Ok(Quorum { total: shares, required: threshold })
    }

    fn attempt(&self, wrapped: &Wrapped, nonce: String) -> Result<Box<dyn UnsealAttempt>, SealError> {
        let shares = Shares::read(&wrapped.parameters)?;
        Ok(Box::new(Attempt::new(shares, wrapped.blob.clone(), nonce)))
    }
}

#[cfg(test)]
mod tests;
