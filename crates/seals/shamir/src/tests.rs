//! The seal as the server sees it.

use proptest::prelude::*;
use serde_json::json;
use strongroom_seal::Offer;

use super::*;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn wrap(total: u8, required: u8) -> (Wrapped, Vec<KeyPart>, RootKey) {
    let root_key = RootKey::new([7; 32]);
    let wanted = KeyPartsWanted::new(total, required);
    let (wrapped, parts) = block_on(ShamirSeal.wrap(&root_key, wanted, &Entropy::system())).unwrap();
    (wrapped, parts, root_key)
}

fn attempt(wrapped: &Wrapped) -> Box<dyn UnsealAttempt> {
    ShamirSeal.attempt(wrapped, "nonce".to_owned()).unwrap()
}

fn offer(attempt: &mut dyn UnsealAttempt, part: &KeyPart) -> Offer {
    block_on(attempt.offer(part.clone())).unwrap()
}

#[test]
fn enough_parts_give_the_root_key() {
    let (wrapped, parts, root_key) = wrap(5, 3);
    assert_eq!(ShamirSeal.quorum(&wrapped.parameters).unwrap(), Quorum { total: 5, required: 3 });
    assert_eq!(serde_json::Value::from(wrapped.parameters.clone()), json!({ "shares": 5, "threshold": 3 }));
    let mut attempt = attempt(&wrapped);
    for (given, part) in [(1, 4), (1, 4), (2, 0)] {
        assert!(matches!(offer(&mut *attempt, &parts[part]), Offer::Progress));
        assert_eq!(attempt.progress().given, given, "a part counts once");
    }
    assert_eq!(attempt.progress().nonce, "nonce");
    let Offer::RootKey(found) = offer(&mut *attempt, &parts[2]) else { panic!("three are enough") };
    assert_eq!(found, root_key);
}

#[test]
fn a_single_part_is_enough_where_there_is_one() {
    let (wrapped, parts, root_key) = wrap(1, 1);
    assert_eq!(parts[0].expose().len(), 32);
    let Offer::RootKey(found) = offer(&mut *attempt(&wrapped), &parts[0]) else { panic!("one is enough") };
    assert_eq!(found, root_key);
}

#[test]
fn what_cannot_be_a_part_does_not_count_and_a_wrong_set_starts_over() {
    let (wrapped, parts, _) = wrap(3, 2);
    let mut attempt = attempt(&wrapped);
    offer(&mut *attempt, &parts[0]);
    for (length, text) in
        [(32, "key is shorter than minimum 33 bytes"), (34, "key is longer than maximum 33 bytes")]
    {
        let Offer::Unfit(told) = offer(&mut *attempt, &KeyPart::new(vec![1; length])) else {
            panic!("unfit")
        };
        assert_eq!((told.as_str(), attempt.progress().given), (text, 1));
    }
    let mut wrong = parts[1].expose().clone();
    wrong[0] ^= 1;
    let Offer::Wrong(told) = offer(&mut *attempt, &KeyPart::new(wrong)) else { panic!("another key") };
    assert_eq!((told.as_str(), attempt.progress().given), (UNAUTHENTIC, 0));
    // The same point twice, with other values.
    let mut forged = parts[0].expose().clone();
    forged[0] ^= 1;
    offer(&mut *attempt, &parts[0]);
    let Offer::Wrong(told) = offer(&mut *attempt, &KeyPart::new(forged)) else { panic!("two of one point") };
    assert_eq!((told.as_str(), attempt.progress().given), ("duplicate part detected", 0));
}

const UNAUTHENTIC: &str = "cipher: message authentication failed";

#[test]
fn an_altered_root_key_does_not_open() {
    let (mut wrapped, parts, _) = wrap(1, 1);
    *wrapped.blob.last_mut().unwrap() ^= 1;
    assert!(matches!(offer(&mut *attempt(&wrapped), &parts[0]), Offer::Wrong(text) if text == UNAUTHENTIC));
}

#[test]
fn parameters_that_make_no_sense_are_refused() {
    for parameters in [
        json!({}),
        json!({ "shares": 1 }),
        json!({ "shares": 3, "threshold": 1 }),
        json!({ "shares": 1, "threshold": 0 }),
        json!({ "shares": 0, "threshold": 0 }),
        json!({ "shares": 2, "threshold": 3 }),
        json!({ "shares": 256, "threshold": 3 }),
        json!({ "shares": 3, "threshold": 2, "more": 1 }),
    ] {
        let wrapped = Wrapped { parameters: parameters.as_object().unwrap().clone(), blob: vec![] };
        assert!(
            matches!(ShamirSeal.quorum(&wrapped.parameters), Err(SealError::Malformed(_))),
            "{parameters}"
        );
        assert!(ShamirSeal.attempt(&wrapped, String::new()).is_err(), "{parameters}");
    }
}

#[test]
fn nothing_secret_is_printed() {
    let (wrapped, parts, _) = wrap(1, 1);
    let shown = format!("{:?} {:?}", parts, offer(&mut *attempt(&wrapped), &parts[0]));
    assert_eq!(shown, "[[secret]] RootKey([secret])");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_quorum_opens_and_one_part_fewer_does_not(required in 2_u8..8, more in 0_u8..8, skip in 0_usize..8) {
        let (wrapped, mut parts, root_key) = wrap(required.saturating_add(more), required);
        let length = parts.len();
        parts.rotate_left(skip.min(length));
        parts.truncate(required.into());
        let mut attempt = attempt(&wrapped);
        for part in &parts[1..] {
            prop_assert!(matches!(offer(&mut *attempt, part), Offer::Progress));
        }
        match offer(&mut *attempt, &parts[0]) {
            Offer::RootKey(found) => prop_assert_eq!(found, root_key),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn numbers_are_taken_or_refused_and_never_anything_else(total in -3_i64..300, required in -3_i64..300, stored in -1_i64..6) {
        let wanted = KeyPartsWanted { total, required, stored };
        match Shares::wanted(wanted) {
            Ok(shares) => {
                prop_assert_eq!((i64::from(shares.shares), i64::from(shares.threshold)), (total, required));
                prop_assert_eq!(Shares::read(&shares.parameters()).unwrap(), shares);
            }
            Err(error) => prop_assert!(matches!(error, SealError::Configuration(_))),
        }
    }
}
