//! The bootstrap record, as whoever can write to storage, or answers a node that wants to join, would have it.

use strongroom_seal::{BootstrapRecord, InteractiveSeal as _, KeyPart, Offer, Seal as _, Unsealing};
use strongroom_seal_shamir::ShamirSeal;

use crate::Target;

pub(super) const RECORD: Target = Target {
    name: "bootstrap_record",
    run: record,
    made: crate::no_inputs,
    seeds: &[
        b"{\"version\":1,\"generation\":1,\"cluster_name\":\"c\",\"cluster_id\":\"i\",\"token_salt\":\"AQID\",\"seals\":[{\"id\":\"shamir\",\"kind\":\"shamir\",\"priority\":1,\"disabled\":false,\"parameters\":{\"shares\":3,\"threshold\":2}}],\"root_key\":[{\"seal\":\"shamir\",\"blob\":\"AQID\"}],\"recovery\":null}",
        b"{\"version\":1,\"generation\":7,\"cluster_name\":\"\",\"cluster_id\":\"\",\"token_salt\":\"\",\"seals\":[{\"id\":\"a\",\"kind\":\"awskms\",\"priority\":2,\"disabled\":true,\"parameters\":{}},{\"id\":\"b\",\"kind\":\"transit\",\"priority\":1,\"disabled\":false,\"parameters\":{\"key\":\"k\"}}],\"root_key\":[{\"seal\":\"b\",\"blob\":\"\"}],\"recovery\":{\"kind\":\"shamir\",\"parameters\":{\"shares\":1,\"threshold\":1},\"blob\":\"AA==\"}}",
        b"{\"version\":2}",
    ],
    words: &[
        "\"version\":", "\"generation\":", "\"seals\":[", "\"root_key\":[", "\"recovery\":", "\"parameters\":{", "\"shares\":", "\"threshold\":",
        "\"blob\":\"", "\"priority\":", "\"disabled\":", "true", "false", "null", "255", "256", "-1", "0", "1", "1e2", "{", "}", "[", "]", ",", "AQID",
    ],
};

/// A record is refused or reads back as it was; no seal in it panics on its parameters, and nothing opens a made-up key.
fn record(input: &[u8]) {
    let Ok(record) = BootstrapRecord::decode(input) else { return };
    let encoded = record.encode().expect("what was read can be written");
    assert_eq!(BootstrapRecord::decode(&encoded).as_ref(), Ok(&record));
    let sources = record.sources();
    assert!(!sources.is_empty(), "a record without a way in is refused");
    assert!(sources.is_sorted_by_key(|source| source.priority));
    assert!(matches!(ShamirSeal.unsealing(), Unsealing::Interactive(_)));
    for source in sources {
        let wrapped = source.wrapped();
        let (Ok(quorum), Ok(mut attempt)) =
            (ShamirSeal.quorum(&wrapped.parameters), ShamirSeal.attempt(&wrapped, "nonce".to_owned()))
        else {
            continue;
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        for point in 1..=quorum.required {
            let length = if quorum.total == 1 { 32 } else { 33 };
            let offered =
                runtime.block_on(attempt.offer(KeyPart::new(vec![point; length]))).expect("an answer");
            let last = point == quorum.required;
            assert!(matches!((offered, last), (Offer::Progress, false) | (Offer::Wrong(_), true)));
        }
    }
}
