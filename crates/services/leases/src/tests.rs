//! The life of a lease that is renewed, whoever holds it.

use std::time::Duration;

use proptest::prelude::*;
use strongroom_engine_api::{Lifetimes, Moment};
use strongroom_expiry::{Lease, LeaseOwner};

use crate::renewal::renewal;
use crate::within_owner;

const START: Moment = Moment::from_secs(1_700_000_000);
const HOUR: Duration = Duration::from_hours(1);
const MOUNT: Lifetimes = Lifetimes { default: HOUR, max: Duration::from_hours(10) };

fn lease(max_ttl: Duration) -> Lease {
    Lease {
        issued: START,
        expires: START.after(HOUR),
        ttl: HOUR,
        max_ttl,
        renewable: true,
        ..Lease::default()
    }
}

/// The TTL of a renewal and whether it was capped; the refusal where there is none.
fn renewed(lease: &Lease, wanted: Duration, age: Duration) -> Result<(Duration, bool), String> {
    let granted = renewal(lease, wanted, MOUNT, START.after(age)).map_err(|error| error.to_string())?;
    Ok((granted.ttl, granted.warning.is_some()))
}

#[test]
fn a_renewal_stays_within_the_maximum_since_the_grant() {
    let of_mount = lease(Duration::ZERO);
    assert_eq!(renewed(&of_mount, HOUR, HOUR * 2), Ok((HOUR, false)), "from now, not from the old end");
    assert_eq!(renewed(&of_mount, HOUR * 20, Duration::ZERO), Ok((HOUR * 10, true)), "the mount's maximum");
    assert_eq!(renewed(&of_mount, HOUR * 2, HOUR * 9), Ok((HOUR, true)), "what is left of it");
    let past = Err("past the max TTL, cannot renew".to_owned());
    assert_eq!(renewed(&of_mount, HOUR, HOUR * 10), past);
    assert_eq!(renewed(&of_mount, HOUR, HOUR * 30), past);
    let own = lease(HOUR * 3);
    assert_eq!(renewed(&own, HOUR * 5, HOUR), Ok((HOUR * 2, true)), "its own maximum, where it is less");
    assert_eq!(renewed(&lease(HOUR * 30), HOUR * 20, HOUR), Ok((HOUR * 9, true)), "never beyond the mount's");
}

#[test]
fn a_lease_of_a_batch_token_ends_with_it() {
    let until = |end| LeaseOwner::Batch { parent: None, end };
    let now = START.after(HOUR);
    assert_eq!(within_owner(START, HOUR * 10, now, until(Some(START.after(HOUR * 2)))), HOUR * 2);
    assert_eq!(within_owner(START, HOUR, now, until(Some(START.after(HOUR * 2)))), HOUR);
    assert_eq!(within_owner(START, HOUR, now, until(Some(now))), Duration::ZERO, "it ends now");
    assert_eq!(within_owner(START, HOUR, now, until(None)), HOUR, "one without an end is no bound");
    let owner = Some(until(Some(START.after(HOUR * 2))));
    let held = Lease { owner, ..lease(Duration::ZERO) };
    assert_eq!(renewed(&held, HOUR * 5, HOUR), Ok((HOUR, true)));
    assert_eq!(renewed(&held, HOUR, HOUR * 2), Err("past the max TTL, cannot renew".to_owned()));
}

proptest! {
    /// However often and for however long it is renewed.
    #[test]
    fn no_chain_of_renewals_goes_beyond_an_end(
        max in 0u64..50_000,
        end in prop::option::of(1u64..50_000),
        steps in prop::collection::vec((0u64..40_000, 0u64..10_000), 1..20),
    ) {
        let end = end.map(|end| START.after(Duration::from_secs(end)));
        let owner = end.map(|end| LeaseOwner::Batch { parent: None, end: Some(end) });
        let lease = Lease { owner, ..lease(Duration::from_secs(max)) };
        let bound = if max == 0 { MOUNT.max } else { MOUNT.max.min(Duration::from_secs(max)) };
        let last = end.map_or(START.after(bound), |end| end.min(START.after(bound)));
        let mut now = START;
        for (wanted, wait) in steps {
            let wanted = Duration::from_secs(wanted);
            match renewal(&lease, wanted, MOUNT, now) {
                Ok(granted) => {
                    prop_assert!(!granted.ttl.is_zero() && granted.ttl <= wanted);
                    prop_assert!(now.after(granted.ttl) <= last);
                    prop_assert_eq!(granted.ttl < wanted, granted.warning.is_some());
                }
                Err(_) => prop_assert!(now >= last || wanted.is_zero(), "refused though there was time"),
            }
            now = now.after(Duration::from_secs(wait));
        }
    }
}
