//! Shamir's scheme over GF(2^8), byte by byte, in `HashiCorp`'s share format.
//!
//! For every byte of the secret a polynomial of degree `threshold - 1` with
//! random coefficients and that byte as its constant term is drawn. A share
//! holds the polynomials' values at one point x: the y bytes in the secret's
//! order, then x itself as the last byte. A share is thus one byte longer than
//! the secret.
//!
//! As in Vault, a secret kept by a single holder is not split: the one share
//! is the secret itself, without an x byte.

use std::fmt;

use subtle::{Choice, ConstantTimeEq};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::gf256;

/// The most shares a secret can be split into: every x but 0, where the secret is.
pub const MAX_SHARES: u8 = 255;

/// A source of cryptographically secure random bytes: fills the whole buffer.
pub type Fill<'a> = dyn FnMut(&mut [u8]) -> Result<(), RandomError> + 'a;

/// The random source failed; nothing that depended on it was returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the random source failed")]
pub struct RandomError;

/// One holder's part of a secret. Wiped when dropped, never printed.
#[derive(Clone)]
pub struct Share(Zeroizing<Vec<u8>>);

impl Share {
    /// A share as a holder presents it. Its form is checked by [`combine`].
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    /// The share's bytes, to hand to its holder.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The share's bytes as the secret itself, which they are where the
    /// secret has a single holder.
    pub fn into_secret(self) -> Zeroizing<Vec<u8>> {
        self.0
    }

    /// The y bytes and the x of a share of a split secret.
    fn point(&self) -> Option<(u8, &[u8])> {
        match self.0.split_last() {
            Some((&x, y)) if !y.is_empty() => Some((x, y)),
            _ => None,
        }
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Share(<redacted>)")
    }
}

impl ConstantTimeEq for Share {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.as_slice().ct_eq(other.0.as_slice())
    }
}

/// Reasons why a secret was not split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SplitError {
    /// There is nothing to split.
    #[error("cannot split an empty secret")]
    EmptySecret,
    /// More shares would be needed to recover the secret than there are.
    #[error("threshold cannot be larger than shares")]
    ThresholdAboveShares,
    /// Fewer than two shares would recover the secret, yet there are several:
    /// every holder would have it alone.
    #[error("threshold must be greater than one for multiple shares")]
    ThresholdTooLow,
    /// The random source failed.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// Reasons why shares were not combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CombineError {
    /// One share does not determine anything.
    #[error("less than two parts cannot be used to reconstruct the secret")]
    TooFewShares,
    /// A share without room for a y byte and the x byte.
    #[error("parts must be at least two bytes")]
    ShareTooShort,
    /// The shares are not of one secret.
    #[error("all parts must be the same length")]
    DifferentLengths,
    /// Two shares for the same x.
    #[error("duplicate part detected")]
    DuplicateShare,
    /// A share claims x = 0, which no share of a split has: it would decide
    /// the secret alone.
    #[error("invalid part: the last byte must not be zero")]
    ZeroCoordinate,
}

/// Splits `secret` into `shares` parts of which any `threshold` recover it and
/// fewer tell nothing about it.
///
/// The points x are drawn at random without repetition. With one share the
/// share is the secret itself.
///
/// # Errors
/// [`SplitError`] if the secret is empty, the numbers contradict each other,
/// or `random` fails.
pub fn split(
    secret: &[u8],
    shares: u8,
    threshold: u8,
    random: &mut Fill<'_>,
) -> Result<Vec<Share>, SplitError> {
    if secret.is_empty() {
        return Err(SplitError::EmptySecret);
    }
    if threshold > shares {
        return Err(SplitError::ThresholdAboveShares);
    }
    if shares == 1 && threshold == 1 {
        return Ok(vec![Share(Zeroizing::new(secret.to_vec()))]);
    }
    if threshold < 2 {
        return Err(SplitError::ThresholdTooLow);
    }

    let points = random_points(shares, random)?;
    let length = secret.len().saturating_add(1);
    // Reserved in full beforehand: a growing vector would leave copies behind.
    let mut parts: Vec<_> = points.iter().map(|_| Zeroizing::new(Vec::with_capacity(length))).collect();
    let mut coefficients = Zeroizing::new(vec![0_u8; usize::from(threshold).saturating_sub(1)]);
    for &byte in secret {
        random(&mut coefficients)?;
        for (&x, part) in points.iter().zip(&mut parts) {
            part.push(evaluate(byte, &coefficients, x));
        }
    }
    for (&x, part) in points.iter().zip(&mut parts) {
        part.push(x);
    }
    Ok(parts.into_iter().map(Share).collect())
}

/// The secret that `shares` determine: the value at 0 of the polynomials
/// through them.
///
/// Shares of different secrets, or fewer than the threshold, give some other
/// value: the caller must check what comes out (for an unseal key, by opening
/// the root key with it). Not for the share of a single holder, which is the
/// secret itself.
///
/// # Errors
/// [`CombineError`] if the shares cannot belong together.
pub fn combine(shares: &[Share]) -> Result<Zeroizing<Vec<u8>>, CombineError> {
    if shares.len() < 2 {
        return Err(CombineError::TooFewShares);
    }
    let points: Vec<(u8, &[u8])> =
        shares.iter().map(Share::point).collect::<Option<_>>().ok_or(CombineError::ShareTooShort)?;
    let length = points.first().map_or(0, |(_, y)| y.len());
    if points.iter().any(|(_, y)| y.len() != length) {
        return Err(CombineError::DifferentLengths);
    }
    let mut seen = [false; 256];
    for &(x, _) in &points {
        if x == 0 {
            return Err(CombineError::ZeroCoordinate);
        }
        if let Some(seen) = seen.get_mut(usize::from(x))
            && std::mem::replace(seen, true)
        {
            return Err(CombineError::DuplicateShare);
        }
    }

    let mut secret = Zeroizing::new(vec![0_u8; length]);
    for (index, &(x, y)) in points.iter().enumerate() {
        let weight = weight_at_zero(x, index, &points);
        for (out, &y) in secret.iter_mut().zip(y) {
            *out = gf256::add(*out, gf256::mul(y, weight));
        }
    }
    Ok(secret)
}

/// The polynomial `constant + c1 x + c2 x^2 + …` at `x`, by Horner's rule.
fn evaluate(constant: u8, coefficients: &[u8], x: u8) -> u8 {
    let higher = coefficients.iter().rev().fold(0, |sum, &c| gf256::mul(gf256::add(sum, c), x));
    gf256::add(higher, constant)
}

/// The Lagrange basis polynomial of the point at `index`, evaluated at 0:
/// the product over the other points of `x_j / (x_j - x)`.
fn weight_at_zero(x: u8, index: usize, points: &[(u8, &[u8])]) -> u8 {
    let mut numerator = 1;
    let mut denominator = 1;
    for (other, &(other_x, _)) in points.iter().enumerate() {
        if other != index {
            numerator = gf256::mul(numerator, other_x);
            denominator = gf256::mul(denominator, gf256::add(other_x, x));
        }
    }
    gf256::mul(numerator, gf256::inverse(denominator))
}

/// `count` different values of 1..=255, in random order: the start of a
/// Fisher-Yates shuffle.
fn random_points(count: u8, random: &mut Fill<'_>) -> Result<Vec<u8>, RandomError> {
    let mut left: Vec<u8> = (1..=MAX_SHARES).collect();
    let mut points = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let index = random_below(left.len(), random)?;
        points.push(left.swap_remove(index));
    }
    Ok(points)
}

/// A uniform number below `bound`, which is 1..=255. Values that would make
/// some numbers likelier than others are drawn again.
fn random_below(bound: usize, random: &mut Fill<'_>) -> Result<usize, RandomError> {
    let fair = 256_usize.saturating_sub(256_usize.checked_rem(bound).unwrap_or(0));
    loop {
        let mut byte = [0_u8; 1];
        random(&mut byte)?;
        let [byte] = byte;
        let value = usize::from(byte);
        if value < fair {
            return Ok(value.checked_rem(bound).unwrap_or(0));
        }
    }
}

#[cfg(test)]
mod tests;
