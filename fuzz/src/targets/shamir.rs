//! Shares of the unseal key, as their holders type them in.

use strongroom_shamir::{Offer, Share, ShareCollector, combine, split};
use zeroize::Zeroizing;

use crate::Target;
use crate::mutate::Random;

pub(super) const COMBINE: Target = Target {
    name: "shamir",
    run: combine_any,
    made: crate::no_inputs,
    seeds: &[
        b"\x03\x05\x21AAAABBBBCCCCDDDDEEEEFFFFGGGGHHHH\x01AAAABBBBCCCCDDDDEEEEFFFFGGGGHHHH\x02AAAABBBBCCCCDDDDEEEEFFFFGGGGHHHH\x03",
        b"\x02\x02\x02ab\x01cd\x02",
        b"\xff\xff\x01abc",
    ],
    words: &["\0", "\u{1}", "\u{7f}", "A"],
};

/// Threshold, number of shares, length of a share; then shares. They combine or are refused, and what is split combines.
fn combine_any(input: &[u8]) {
    let [threshold, shares, length, rest @ ..] = input else { return };
    let given: Vec<Share> = rest.chunks(usize::from(*length).max(1)).take(300).map(share).collect();
    let combined = combine(&given);
    if let Ok(secret) = &combined {
        let length = given.first().map_or(0, |share| share.as_bytes().len());
        assert_eq!(secret.len() + 1, length, "a share is a byte longer than the secret");
    }
    let mut collector = ShareCollector::new((*threshold).max(1), "nonce".to_owned());
    for share in given {
        match collector.offer(share) {
            Ok(Offer::Ready(_)) | Err(_) => break,
            Ok(_) => assert!(collector.progress() < usize::from(collector.threshold())),
        }
    }
    let mut random = Random::new(u64::from(*length));
    let mut fill = |out: &mut [u8]| {
        out.fill_with(|| random.byte());
        Ok(())
    };
    let secret = rest.get(..rest.len().min(33)).unwrap_or_default();
    if let Ok(mut parts) = split(secret, *shares, *threshold, &mut fill) {
        assert_eq!(parts.len(), usize::from(*shares));
        if parts.len() > 1 {
            let spare = parts.len() - usize::from(*threshold);
            drop(parts.drain(..spare / 2));
            parts.truncate(usize::from(*threshold));
            assert_eq!(combine(&parts).expect("enough shares of one secret").as_slice(), secret);
        }
    }
}

fn share(bytes: &[u8]) -> Share {
    Share::new(Zeroizing::new(bytes.to_vec()))
}
