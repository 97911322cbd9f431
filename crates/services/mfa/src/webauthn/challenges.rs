//! Challenges that passkeys are to sign: those of logins that wait, and those of registrations that have begun.
//!
//! A login that waits carries its own, and they end with it. Registrations are in the memory of the node that decides, for five minutes, one for each entity, method and kind of caller: one that is
//! begun takes the place of the one before. They end when that node steps down or is sealed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use strongroom_engine_api::Moment;
use strongroom_identity::{IdentityId, Placed};

use super::RegisteredBy;

/// The time in which a registration is to be finished.
const LIFETIME: Duration = Duration::from_mins(5);
/// Registrations kept before those that are over are looked for, and at most.
const MAX_REGISTRATIONS: usize = 10_000;

/// Random bytes that are to be signed.
pub(crate) type Challenge = [u8; 32];
/// Whose registration it is.
pub(crate) type Subject = (Placed, IdentityId, RegisteredBy);

/// A registration that has begun.
#[derive(Clone)]
pub(crate) struct Registration {
    pub(crate) challenge: Challenge,
    /// The name that the passkey is to have.
    pub(crate) name: String,
    /// The term of leadership in which it began, and ends.
    pub(crate) term: Option<u64>,
    pub(crate) began: Moment,
}

/// The challenges of a login that waits, by method. Each is answered once.
#[derive(Default)]
pub(crate) struct Challenges(Mutex<BTreeMap<IdentityId, Challenge>>);

impl Challenges {
    fn all(&self) -> MutexGuard<'_, BTreeMap<IdentityId, Challenge>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives one, in the place of the one before.
    pub(crate) fn give(&self, method: IdentityId, challenge: Challenge) {
        self.all().insert(method, challenge);
    }

    /// The one that was given.
    pub(crate) fn given(&self, method: IdentityId) -> Option<Challenge> {
        self.all().get(&method).copied()
    }

    /// Ends one that was answered badly. After a good answer its login ends.
    pub(crate) fn end(&self, method: IdentityId) {
        self.all().remove(&method);
    }
}

/// Registrations that have begun.
#[derive(Clone, Default)]
pub(crate) struct Registrations(Arc<Mutex<HashMap<Subject, Registration>>>);

impl Registration {
    fn is_over(&self, now: Moment) -> bool {
        self.began.after(LIFETIME) <= now
    }
}

impl Registrations {
    fn all(&self) -> MutexGuard<'_, HashMap<Subject, Registration>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets all: sealing.
    pub(crate) fn clear(&self) {
        let all = std::mem::take(&mut *self.all());
        drop(all);
    }

    /// Keeps one; false where there are too many.
    pub(crate) fn begin(&self, subject: Subject, registration: Registration) -> bool {
        let mut all = self.all();
        if all.len() >= MAX_REGISTRATIONS && !all.contains_key(&subject) {
            let now = registration.began;
            all.retain(|_, other| !other.is_over(now));
            if all.len() >= MAX_REGISTRATIONS {
                return false;
            }
        }
        let before = all.insert(subject, registration);
        drop(all);
        drop(before);
        true
    }

    /// The one of a subject that has begun in this term.
    pub(crate) fn find(&self, subject: &Subject, term: Option<u64>, now: Moment) -> Option<Registration> {
        self.all().get(subject).filter(|found| found.term == term && !found.is_over(now)).cloned()
    }

    /// Ends one: its challenge was answered, well or badly. Another that has taken its place stays.
    pub(crate) fn end(&self, subject: &Subject, challenge: &Challenge) {
        let mut all = self.all();
        if all.get(subject).is_some_and(|found| found.challenge == *challenge) {
            all.remove(subject);
        }
    }
}

#[cfg(test)]
mod tests {
    use strongroom_engine_api::NamespaceId;

    use super::*;

    const START: Moment = Moment::from_secs(1_700_000_000);

    fn subject(number: u32, by: RegisteredBy) -> Subject {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        ((NamespaceId::ROOT, IdentityId::of_bytes(id)), IdentityId::of_bytes([7; 16]), by)
    }

    fn registration(byte: u8, term: Option<u64>) -> Registration {
        Registration { challenge: [byte; 32], name: String::new(), term, began: START }
    }

    #[test]
    fn a_challenge_is_one_subjects_and_ends() {
        let (all, own) = (Registrations::default(), subject(1, RegisteredBy::Owner));
        assert!(all.begin(own, registration(1, Some(3))));
        for other in [subject(2, RegisteredBy::Owner), subject(1, RegisteredBy::Admin)] {
            assert!(all.find(&other, Some(3), START).is_none());
        }
        assert!(all.find(&own, Some(4), START).is_none(), "another term's");
        assert!(all.find(&own, Some(3), START.after(LIFETIME)).is_none(), "too late");
        assert!(all.begin(own, registration(2, Some(3))));
        assert_eq!(all.find(&own, Some(3), START).unwrap().challenge, [2; 32], "the newest counts");
        all.end(&own, &[1; 32]);
        assert!(all.find(&own, Some(3), START).is_some(), "the older one has ended already");
        all.end(&own, &[2; 32]);
        assert!(all.find(&own, Some(3), START).is_none());
    }

    #[test]
    fn their_number_is_bounded() {
        let all = Registrations::default();
        for number in 0..u32::try_from(MAX_REGISTRATIONS).unwrap() {
            assert!(all.begin(subject(number, RegisteredBy::Owner), registration(1, None)));
        }
        let one_more = subject(u32::MAX, RegisteredBy::Owner);
        assert!(!all.begin(one_more, registration(1, None)));
        assert!(all.begin(subject(0, RegisteredBy::Owner), registration(2, None)), "in the place of its own");
        let later = Registration { began: START.after(LIFETIME), ..registration(1, None) };
        assert!(all.begin(one_more, later), "the others are over");
        assert_eq!(all.all().len(), 1);
    }
}
