//! TTLs of tokens. Source: Vault's documentation, "Tokens", "Token time-to-live, periodic tokens, and explicit max
//! TTLs".

use std::time::Duration;

use strongroom_engine_api::{Lifetimes, Moment};
use strongroom_expiry::{GrantedTtl, capped, nonzero_min};

use crate::TokenEntry;

/// The TTL of a token created or renewed at `now`.
///
/// A periodic token gets its period, at most the mount's maximum, however old it is. Any other gets what is asked
/// for, else the mount's default, at most what its role's and mount's maximum leave since its creation. An explicit
/// maximum bounds either from the creation on.
pub(crate) fn granted_ttl(
    entry: &TokenEntry,
    asked: Duration,
    lifetimes: Lifetimes,
    now: Moment,
) -> GrantedTtl {
    let age = now.since(entry.created);
    let (what, wanted, bound) = if entry.period.is_zero() {
        let wanted = if asked.is_zero() { lifetimes.default } else { asked };
        ("TTL", wanted, nonzero_min(entry.max_ttl, lifetimes.max).saturating_sub(age))
    } else {
        ("period", entry.period, lifetimes.max)
    };
    let ceiling = match entry.explicit_max_ttl {
        Duration::ZERO => bound,
        hard => bound.min(hard.saturating_sub(age)),
    };
    capped(what, wanted, ceiling)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: Duration = Duration::from_hours(1);
    const MOUNT: Lifetimes = Lifetimes { default: HOUR, max: Duration::from_hours(10) };

    fn ttl(entry: &TokenEntry, asked: Duration, age: Duration) -> (Duration, bool) {
        let granted = granted_ttl(entry, asked, MOUNT, entry.created.after(age));
        (granted.ttl, granted.warning.is_some())
    }

    #[test]
    fn lifetimes_stay_within_every_bound() {
        let plain = TokenEntry::default();
        assert_eq!(ttl(&plain, Duration::ZERO, Duration::ZERO), (HOUR, false), "the mount's default");
        assert_eq!(ttl(&plain, HOUR * 2, Duration::ZERO), (HOUR * 2, false), "what is asked for");
        assert_eq!(ttl(&plain, HOUR * 20, Duration::ZERO), (HOUR * 10, true), "the mount's maximum");
        assert_eq!(ttl(&plain, HOUR * 2, HOUR * 9), (HOUR, true), "counted from creation");
        assert_eq!(ttl(&plain, HOUR, HOUR * 11).0, Duration::ZERO, "past the maximum");
        let role = TokenEntry { max_ttl: HOUR * 3, ..TokenEntry::default() };
        assert_eq!(ttl(&role, HOUR * 5, Duration::ZERO), (HOUR * 3, true), "the role's maximum");
        let hard = TokenEntry { explicit_max_ttl: HOUR, period: HOUR * 4, ..TokenEntry::default() };
        assert_eq!(
            ttl(&hard, Duration::ZERO, HOUR / 2),
            (HOUR / 2, true),
            "an explicit maximum ends a period too"
        );
        let periodic = TokenEntry { period: HOUR * 4, ..TokenEntry::default() };
        assert_eq!(ttl(&periodic, HOUR, HOUR * 100), (HOUR * 4, false), "a period has no other end");
        let long = TokenEntry { period: HOUR * 40, ..TokenEntry::default() };
        assert_eq!(
            ttl(&long, HOUR, HOUR * 100),
            (HOUR * 10, true),
            "a period is at most the mount's maximum"
        );
    }

    #[test]
    fn warnings_are_in_vaults_words() {
        let warning = |entry: &TokenEntry, asked| granted_ttl(entry, asked, MOUNT, entry.created).warning;
        assert_eq!(
            warning(&TokenEntry::default(), HOUR * 20).unwrap(),
            "TTL of \"20h0m0s\" exceeded the effective max_ttl of \"10h0m0s\"; TTL value is capped accordingly"
        );
        let periodic = TokenEntry { period: HOUR, explicit_max_ttl: HOUR / 2, ..TokenEntry::default() };
        assert_eq!(
            warning(&periodic, Duration::ZERO).unwrap(),
            "period of \"1h0m0s\" exceeded the effective max_ttl of \"30m0s\"; period value is capped accordingly"
        );
    }

    fn span() -> impl Strategy<Value = Duration> {
        prop_oneof![
            Just(Duration::ZERO),
            (0u64..100_000).prop_map(Duration::from_secs),
            any::<u64>().prop_map(Duration::from_nanos),
            Just(Duration::MAX),
        ]
    }

    proptest! {
        #[test]
        fn no_arithmetic_escapes_a_bound(
            (max_ttl, explicit_max_ttl, period, asked) in (span(), span(), span(), span()),
            (default, max, age) in (span(), span(), span()),
            created in any::<u64>(),
        ) {
            let created = Moment::from_nanos(created);
            let entry = TokenEntry { created, max_ttl, explicit_max_ttl, period, ..TokenEntry::default() };
            let now = created.after(age);
            let age = now.since(created);
            let granted = granted_ttl(&entry, asked, Lifetimes { default, max }, now);
            prop_assert!(max.is_zero() || granted.ttl <= max, "the mount's maximum bounds every single TTL");
            let total = age.saturating_add(granted.ttl);
            if !granted.ttl.is_zero() {
                prop_assert!(explicit_max_ttl.is_zero() || total <= explicit_max_ttl);
                if period.is_zero() {
                    prop_assert!(max_ttl.is_zero() || total <= max_ttl);
                    prop_assert!(max.is_zero() || total <= max);
                }
            }
            let wanted = if !period.is_zero() { period } else if asked.is_zero() { default } else { asked };
            prop_assert!(granted.ttl <= wanted);
            prop_assert_eq!(granted.warning.is_some(), granted.ttl < wanted, "a client is told of what it does not get");
        }

        #[test]
        fn renewing_never_outlives_the_maximum(steps in prop::collection::vec((1u64..50_000, 0u64..50_000), 1..20)) {
            let max_ttl = Duration::from_hours(5);
            let entry = TokenEntry { max_ttl, ..TokenEntry::default() };
            let end = entry.created.after(max_ttl);
            let mut now = entry.created;
            for (asked, wait) in steps {
                let granted = granted_ttl(&entry, Duration::from_secs(asked), MOUNT, now);
                prop_assert!(now.after(granted.ttl) <= end.max(now));
                prop_assert!(now < end || granted.ttl.is_zero());
                now = now.after(Duration::from_secs(wait));
            }
        }
    }
}
