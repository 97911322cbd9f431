//! Shamir secret sharing in the format Vault's unseal keys use, and the
//! collection of shares until a threshold is met.
//!
//! Pure code: randomness comes in through [`Fill`], nothing is stored, and
//! every buffer that held a secret is wiped when it is dropped.
//!
//! - [`shamir`]: [`split`] a secret, [`combine`] shares.
//! - [`collector`]: the progress of `sys/unseal`, `sys/generate-root` and
//!   `sys/rekey`, which all ask operators for one share at a time.

mod gf256;

pub mod collector;
pub mod shamir;

pub use collector::{Offer, ShareCollector};
pub use shamir::{CombineError, Fill, MAX_SHARES, RandomError, Share, SplitError, combine, split};
