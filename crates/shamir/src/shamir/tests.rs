#![allow(clippy::arithmetic_side_effects, clippy::string_slice, reason = "an overflow fails the test")]

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// Deterministic bytes: a different stream for every seed.
fn stream(seed: u64) -> impl FnMut(&mut [u8]) -> Result<(), RandomError> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    move |buffer| {
        for byte in buffer {
            // splitmix64
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            *byte = (z ^ (z >> 31)).to_le_bytes()[0];
        }
        Ok(())
    }
}

fn share(bytes: &[u8]) -> Share {
    Share::new(Zeroizing::new(bytes.to_vec()))
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

/// Every choice of shares given by the bits of a number.
fn subset(shares: &[Share], bits: u32) -> Vec<Share> {
    shares.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1).map(|(_, s)| s.clone()).collect()
}

/// Unseal keys that a server of the same API printed when initialized with
/// five shares and a threshold of three, and the secret they give by an
/// implementation that shares nothing with this one.
#[test]
fn unseal_keys_of_another_implementation_combine() {
    let shares = [
        "cd7aba35c290170447db89510a8addcbf8671c4b182ac8c41878b0049396abe41a",
        "857da7d1c893bc6d0a1cca197d8660c1a1f38b96937776b5128f6417cad0c0787a",
        "d911a0d29de3f2707191aff755861b63b361fba10165a1d4fa197c15511098647b",
        "106d637fe5b8b7a321b14cee27da97b0fc6d9e46961e1f91a503eb347d292a21de",
        "b447adadc267c07a925fe924d1c2df3340d972031caa35a5e98450e54fe53dffe8",
    ]
    .map(|text| share(&hex(text)));
    let secret = hex("64126a1d2ca0db0c0e62f42abe2e9c53f01ce6ea8cb725f782520bd51f06c0d2");
    for bits in 0_u32..32 {
        if bits.count_ones() < 2 {
            continue;
        }
        let combined = combine(&subset(&shares, bits)).unwrap();
        assert_eq!(combined.as_slice() == secret, bits.count_ones() >= 3, "{bits:05b}");
    }
}

/// 0x2a + 0x57 x + 0x83 x² at 1, 2 and 3, by hand.
#[test]
fn shares_are_the_polynomial_then_x() {
    let mut coefficients = [0x57_u8, 0x83].into_iter();
    let mut calls = 0;
    let mut fill = |buffer: &mut [u8]| {
        calls += 1;
        // The first three draws choose the points: 0 always takes the first
        // of those left, which is 1, then 255, then 254.
        if calls > 3 {
            for byte in buffer.iter_mut() {
                *byte = coefficients.next().unwrap();
            }
        }
        Ok(())
    };
    let shares = split(&[0x2a], 3, 3, &mut fill).unwrap();
    assert_eq!(shares[0].as_bytes(), [0xfe, 1]);
    assert_eq!(shares.iter().map(|s| s.as_bytes()[1]).collect::<Vec<_>>(), [1, 255, 254]);
    assert_eq!(evaluate(0x2a, &[0x57, 0x83], 2), 0xbe);
    assert_eq!(evaluate(0x2a, &[0x57, 0x83], 3), 0x6a);
}

#[test]
fn one_share_is_the_secret() {
    let shares = split(b"whole", 1, 1, &mut stream(0)).unwrap();
    assert_eq!(shares.len(), 1);
    assert_eq!(shares[0].as_bytes(), b"whole");
}

#[test]
fn impossible_splits_are_refused() {
    let refused =
        |secret: &[u8], shares, threshold| split(secret, shares, threshold, &mut stream(0)).unwrap_err();
    assert_eq!(refused(b"", 5, 3), SplitError::EmptySecret);
    assert_eq!(refused(b"x", 2, 3), SplitError::ThresholdAboveShares);
    assert_eq!(refused(b"x", 3, 1), SplitError::ThresholdTooLow);
    assert_eq!(refused(b"x", 3, 0), SplitError::ThresholdTooLow);
    assert_eq!(refused(b"x", 0, 0), SplitError::ThresholdTooLow);
}

#[test]
fn a_failing_random_source_fails_the_split() {
    for good_calls in 0..8 {
        let mut left = good_calls;
        let mut fill = |_: &mut [u8]| {
            left -= 1;
            if left < 0 { Err(RandomError) } else { Ok(()) }
        };
        assert_eq!(split(b"secret", 3, 2, &mut fill).unwrap_err(), SplitError::Random(RandomError));
    }
}

#[test]
fn shares_that_cannot_belong_together_are_refused() {
    let refused =
        |shares: &[&[u8]]| combine(&shares.iter().map(|s| share(s)).collect::<Vec<_>>()).unwrap_err();
    assert_eq!(refused(&[]), CombineError::TooFewShares);
    assert_eq!(refused(&[&[1, 2]]), CombineError::TooFewShares);
    assert_eq!(refused(&[&[1], &[2]]), CombineError::ShareTooShort);
    assert_eq!(refused(&[&[], &[2, 1]]), CombineError::ShareTooShort);
    assert_eq!(refused(&[&[1, 2], &[1, 2, 3]]), CombineError::DifferentLengths);
    assert_eq!(refused(&[&[1, 7], &[2, 8], &[3, 7]]), CombineError::DuplicateShare);
    assert_eq!(refused(&[&[1, 7], &[2, 0]]), CombineError::ZeroCoordinate);
}

#[test]
fn the_largest_split_works() {
    let shares = split(b"many", 255, 255, &mut stream(3)).unwrap();
    assert_eq!(combine(&shares).unwrap().as_slice(), b"many");
    assert_ne!(combine(&shares[1..]).unwrap().as_slice(), b"many");
}

#[test]
fn points_differ_and_are_spread_over_the_field() {
    let mut seen = [0_u32; 256];
    for seed in 0..2_000 {
        let points = random_points(5, &mut stream(seed)).unwrap();
        for (i, &x) in points.iter().enumerate() {
            assert!(x != 0 && !points[i + 1..].contains(&x));
            seen[usize::from(x)] += 1;
        }
    }
    // 10,000 draws over 255 values: 39 each, give or take.
    assert!(seen[1..].iter().all(|&count| (10..80).contains(&count)), "{seen:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_threshold_of_shares_recovers_and_fewer_do_not(
        secret in vec(any::<u8>(), 8..40),
        shares in 2_u8..=7,
        threshold in 2_u8..=7,
        seed in any::<u64>(),
    ) {
        prop_assume!(threshold <= shares);
        let parts = split(&secret, shares, threshold, &mut stream(seed)).unwrap();
        prop_assert_eq!(parts.len(), usize::from(shares));
        for part in &parts {
            prop_assert_eq!(part.as_bytes().len(), secret.len() + 1);
        }
        for bits in 0_u32..1 << shares {
            let chosen = subset(&parts, bits);
            if chosen.len() < 2 {
                prop_assert!(combine(&chosen).is_err());
                continue;
            }
            let combined = combine(&chosen).unwrap();
            // Too few shares give the secret with a chance of 2^-64 here.
            prop_assert_eq!(*combined == secret, chosen.len() >= usize::from(threshold));
        }
    }

    #[test]
    fn the_order_of_shares_does_not_matter(secret in vec(any::<u8>(), 1..40), seed in any::<u64>()) {
        let mut parts = split(&secret, 5, 3, &mut stream(seed)).unwrap();
        parts.reverse();
        prop_assert_eq!(&*combine(&parts[..4]).unwrap(), &secret);
    }

    #[test]
    fn no_shares_make_combining_panic(shares in vec(vec(any::<u8>(), 0..6), 0..6)) {
        let shares: Vec<_> = shares.iter().map(|bytes| share(bytes)).collect();
        if let Ok(secret) = combine(&shares) {
            prop_assert_eq!(secret.len() + 1, shares[0].as_bytes().len());
        }
    }
}
