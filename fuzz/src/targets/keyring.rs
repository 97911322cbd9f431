//! Sealed bytes, as a storage that somebody has altered would give them back.

use std::sync::LazyLock;

use strongroom_barrier::{Keyring, wrap_key};
use strongroom_stdx::{Entropy, Moment};

use super::parts;
use crate::Target;

pub(super) const OPEN: Target = Target {
    name: "sealed",
    run: open_any,
    made: crate::no_inputs,
    seeds: &[b"", b"\x00\x01", b"\x05\x80", b"\x01\x00\x00\x00\x01aaaaaaaaaaaabbbbbbbbbbbbbbbbbbbb"],
    words: &["\0", "\u{1}", "\u{1}\0\0\0\u{1}"],
};

pub(super) const UNWRAP: Target = Target {
    name: "keyring",
    run: unwrap_any,
    made: crate::no_inputs,
    seeds: &[
        b"\x91\x84\xa4term\x01\xa7created\x00\xabencryptions\x00\xa3key\xdc\x00\x20\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f",
        b"\x90",
        b"\xdd\xff\xff\xff\xff",
    ],
    words: &["term", "created", "encryptions", "key", "\0", "\u{7f}"],
};

const PLACE: &[u8] = b"\x01a place";
const PLAIN: &[u8] = b"what is kept there";

static RING: LazyLock<(Entropy, Keyring, Vec<u8>)> = LazyLock::new(|| {
    let entropy = Entropy::given(|out| out.fill(7));
    let ring = Keyring::generate(&entropy, Moment::from_secs(0)).expect("a keyring");
    let sealed = ring.seal(&entropy, PLACE, PLAIN).expect("seals");
    (entropy, ring, sealed)
});

/// Any bytes, and the sealed entry with the input laid over it by exclusive or, open only if they are the sealed entry itself.
fn open_any(input: &[u8]) {
    let (_, ring, sealed) = &*RING;
    let mut altered = sealed.clone();
    for (byte, with) in altered.iter_mut().zip(input) {
        *byte ^= with;
    }
    let mut longer = altered.clone();
    longer.extend_from_slice(input.get(sealed.len()..).unwrap_or_default());
    for given in [input, &altered, &longer] {
        match ring.open(PLACE, given) {
            Ok(plain) => assert!(given == sealed && plain.as_slice() == PLAIN, "an altered entry opens"),
            Err(error) => assert!(given != sealed, "{error}"),
        }
    }
    if input != PLACE {
        assert!(ring.open(input, sealed).is_err(), "an entry opens in another place");
    }
}

/// The keyring's plain form, whatever it says; and a keyring sealed under another root key or altered.
fn unwrap_any(input: &[u8]) {
    let (entropy, ring, _) = &*RING;
    let [root, plain] = [[9; 32], [8; 32]];
    let wrapped = wrap_key(entropy, &root, b"keyring", input).expect("wraps");
    assert!(Keyring::unwrap(&plain, &wrapped).is_err(), "opened with another key");
    if let Ok(opened) = Keyring::unwrap(&root, &wrapped) {
        let sealed = opened.seal(entropy, PLACE, PLAIN).expect("a keyring that was read seals");
        assert_eq!(opened.open(PLACE, &sealed).expect("and opens").as_slice(), PLAIN);
    }
    let mut own = ring.wrap(entropy, &root).expect("wraps");
    let [over] = parts(input);
    for (byte, with) in own.iter_mut().zip(over) {
        *byte ^= with;
    }
    let same = over.iter().take(own.len()).all(|byte| *byte == 0);
    assert_eq!(Keyring::unwrap(&root, &own).is_ok(), same);
}
