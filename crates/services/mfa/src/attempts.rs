//! Guesses at second factors, counted by entity and method.
//!
//! An attempt counts from when it begins, so that of many at once no more are judged than one after the other. Counts are in the
//! memory of the node that decides: wrong passcodes write nothing, and a node that takes over begins anew. Source: Vault's
//! documentation of `max_validation_attempts`.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use strongroom_engine_api::Moment;
use strongroom_identity::{IdentityId, Placed};

/// Counts kept before those that no longer matter are looked for.
const CROWDED: usize = 10_000;

/// An entity, and a method that it is asked for.
pub(crate) type Subject = (Placed, IdentityId);

#[derive(Clone, Copy)]
struct Count {
    begun: u32,
    /// The time from which it no longer matters.
    forgotten: Moment,
}

/// The attempts of late.
#[derive(Clone, Default)]
pub(crate) struct Attempts(Arc<Mutex<HashMap<Subject, Count>>>);

/// The rule by which attempts are counted.
#[derive(Clone, Copy)]
pub(crate) struct Rule {
    /// The kind of method, for the refusal.
    pub(crate) kind: &'static str,
    /// Attempts in a row that may fail.
    pub(crate) most: u32,
    /// The time after the last one for which no more are judged.
    pub(crate) pause: Duration,
}

/// An attempt under way. Dropped without an outcome, it has not counted: what was to be judged was not.
pub(crate) struct Attempt {
    attempts: Attempts,
    subject: Subject,
    decided: bool,
}

/// The reason why an attempt is not judged: so many have failed, and the seconds until another is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exceeded {
    pub(crate) kind: &'static str,
    pub(crate) most: u32,
    pub(crate) seconds: u64,
}

/// Vault's words.
impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, most, seconds } = self;
        let begun = most.saturating_add(1);
        write!(
            f,
            "maximum {kind} validation attempts {begun} exceeded the allowed attempts {most}. Please try again in {seconds} seconds"
        )
    }
}

impl Attempts {
    fn counts(&self) -> MutexGuard<'_, HashMap<Subject, Count>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes all counts: sealing.
    pub(crate) fn clear(&self) {
        let counts = std::mem::take(&mut *self.counts());
        drop(counts);
    }

    /// Begins an attempt, unless as many have failed or are under way as may.
    pub(crate) fn begin(&self, subject: Subject, rule: Rule, now: Moment) -> Result<Attempt, Exceeded> {
        let mut counts = self.counts();
        if counts.len() >= CROWDED && !counts.contains_key(&subject) {
            counts.retain(|_, count| count.forgotten > now);
        }
        let fresh = Count { begun: 0, forgotten: now };
        let count = counts.entry(subject).or_insert(fresh);
        if count.forgotten <= now {
            *count = fresh;
        }
        if count.begun >= rule.most {
            let seconds = count.forgotten.since(now).as_secs_f64().ceil();
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a positive span in seconds"
            )]
            return Err(Exceeded { kind: rule.kind, most: rule.most, seconds: seconds as u64 });
        }
        count.begun = count.begun.saturating_add(1);
        count.forgotten = now.after(rule.pause);
        drop(counts);
        Ok(Attempt { attempts: self.clone(), subject, decided: false })
    }
}

impl Attempt {
    /// It was wrong, and counts.
    pub(crate) fn fail(mut self) {
        self.decided = true;
    }

    /// It was right, and what rests on it is committed: those before it are forgotten.
    pub(crate) fn succeed(mut self) {
        self.decided = true;
        self.attempts.counts().remove(&self.subject);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.decided {
            return;
        }
        if let Some(count) = self.attempts.counts().get_mut(&self.subject) {
            count.begun = count.begun.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use strongroom_engine_api::NamespaceId;

    use super::*;

    const RULE: Rule = Rule { kind: "TOTP", most: 5, pause: Duration::from_secs(30) };
    const START: Moment = Moment::from_secs(1_700_000_000);

    fn subject(method: u8) -> Subject {
        ((NamespaceId::ROOT, IdentityId::of_bytes([1; 16])), IdentityId::of_bytes([method; 16]))
    }

    #[test]
    fn as_many_as_may_fail_are_judged_however_many_begin_at_once() {
        let attempts = Attempts::default();
        let begun: Vec<_> = (0..200).map(|_| attempts.begin(subject(1), RULE, START)).collect();
        assert_eq!(begun.iter().filter(|begun| begun.is_ok()).count(), 5);
        for refused in begun.iter().filter_map(|begun| begun.as_ref().err()) {
            assert_eq!(*refused, Exceeded { kind: "TOTP", most: 5, seconds: 30 });
        }
        for attempt in begun.into_iter().flatten() {
            attempt.fail();
        }
        assert!(attempts.begin(subject(2), RULE, START).is_ok(), "another method's");
        let almost = START.after(Duration::from_millis(29_500));
        assert_eq!(
            attempts.begin(subject(1), RULE, almost).err(),
            Some(Exceeded { kind: "TOTP", most: 5, seconds: 1 })
        );
        let over = START.after(Duration::from_secs(30));
        for _ in 0..5 {
            attempts.begin(subject(1), RULE, over).unwrap().fail();
        }
        assert!(attempts.begin(subject(1), RULE, over).is_err());
    }

    #[test]
    fn what_was_not_judged_has_not_counted_and_success_begins_anew() {
        let attempts = Attempts::default();
        for _ in 0..20 {
            drop(attempts.begin(subject(1), RULE, START).unwrap());
        }
        for _ in 0..4 {
            attempts.begin(subject(1), RULE, START).unwrap().fail();
        }
        attempts.begin(subject(1), RULE, START).unwrap().succeed();
        for _ in 0..5 {
            attempts.begin(subject(1), RULE, START).unwrap().fail();
        }
        assert!(attempts.begin(subject(1), RULE, START).is_err());
    }

    #[test]
    fn counts_that_no_longer_matter_are_let_go() {
        let attempts = Attempts::default();
        let many = u32::try_from(CROWDED).unwrap();
        for number in 0..many {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&number.to_be_bytes());
            let subject = ((NamespaceId::ROOT, IdentityId::of_bytes(id)), IdentityId::of_bytes([1; 16]));
            attempts.begin(subject, RULE, START).unwrap().fail();
        }
        attempts.begin(subject(1), RULE, START.after(Duration::from_secs(31))).unwrap().fail();
        assert_eq!(attempts.counts().len(), 1);
    }
}
