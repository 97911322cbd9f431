//! Logins that wait for their second factor: the first one was good, and there is no token yet.
//!
//! They are in the memory of the node that decides, as in Vault, for five minutes: a login is over when that node steps down or
//! is sealed, and is begun again. Each makes one token: while one request validates it, others wait, and it is gone with the
//! commit that makes the token.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use strongroom_engine_api::{AuthGrant, Clock, Moment, MountId, NamespaceId};
use strongroom_identity::{IdentityId, Placed};
use tokio::sync::OwnedMutexGuard;

use crate::secrets::TotpSecret;
use crate::webauthn::Challenges;

/// The time in which a second factor is to follow.
const LIFETIME: Duration = Duration::from_mins(5);
/// Logins that wait at most.
const MAX_PENDING: usize = 10_000;
/// Logins of one entity that wait at most: the oldest gives way.
const MAX_OF_ENTITY: usize = 32;

/// A login whose first factor was good.
pub struct PendingLogin {
    /// The namespace that the login was sent to, in which it is validated as well.
    pub namespace: NamespaceId,
    /// The path of the login.
    pub path: String,
    /// The mount's namespace and number.
    pub mount: (NamespaceId, MountId),
    /// The grant of the auth method.
    pub grant: AuthGrant,
    /// The entity.
    pub entity: IdentityId,
    /// The wrapping that the login asked for.
    pub wrap_ttl: Option<Duration>,
    /// The moment of the login.
    pub began: Moment,
    /// The methods that the client was told of.
    pub offered: BTreeSet<IdentityId>,
    /// The term of leadership in which it began, and ends.
    pub(crate) term: Option<u64>,
    /// Keys that were made as its user enrolled: they are kept with the first passcode that is good.
    pub(crate) enrolling: BTreeMap<IdentityId, TotpSecret>,
    /// Challenges that passkeys are to sign.
    pub(crate) challenges: Challenges,
}

type Slot = Arc<tokio::sync::Mutex<Option<PendingLogin>>>;

/// What is known of a login without looking into it.
struct Entry {
    slot: Slot,
    namespace: NamespaceId,
    entity: Placed,
    expires: Moment,
}

#[derive(Default)]
struct Known {
    by_id: HashMap<String, Entry>,
    /// Ids in the order in which they expire.
    order: VecDeque<String>,
    of_entities: HashMap<Placed, VecDeque<String>>,
}

/// The logins that wait.
#[derive(Clone, Default)]
pub(crate) struct PendingLogins(Arc<Mutex<Known>>);

/// A login that is being validated. Others that validate it wait until this is dropped, and find it gone if it has ended.
pub struct Claimed {
    id: String,
    login: OwnedMutexGuard<Option<PendingLogin>>,
    all: PendingLogins,
}

impl Known {
    fn remove(&mut self, id: &str) -> Option<Entry> {
        let entry = self.by_id.remove(id)?;
        if let Some(ids) = self.of_entities.get_mut(&entry.entity) {
            ids.retain(|other| other != id);
            if ids.is_empty() {
                self.of_entities.remove(&entry.entity);
            }
        }
        Some(entry)
    }

    /// Takes out what has expired, and of the order also what is gone.
    fn expire(&mut self, now: Moment) -> Vec<Entry> {
        let mut gone = Vec::new();
        while let Some(first) = self.order.front() {
            match self.by_id.get(first) {
                Some(entry) if entry.expires > now => break,
                _ => {}
            }
            if let Some(id) = self.order.pop_front() {
                gone.extend(self.remove(&id));
            }
        }
        gone
    }
}

impl PendingLogins {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets all: sealing.
    pub(crate) fn clear(&self) {
        let known = std::mem::take(&mut *self.known());
        drop(known);
    }

    /// True if there is room for another.
    pub(crate) fn has_room(&self, now: Moment) -> bool {
        let mut known = self.known();
        let gone = known.expire(now);
        let has_room = known.by_id.len() < MAX_PENDING;
        drop(known);
        drop(gone);
        has_room
    }

    /// Adds one.
    pub(crate) fn add(&self, id: String, login: PendingLogin) {
        let entity = (login.mount.0, login.entity);
        let entry = Entry {
            namespace: login.namespace,
            entity,
            expires: login.began.after(LIFETIME),
            slot: Arc::new(tokio::sync::Mutex::new(Some(login))),
        };
        let mut known = self.known();
        let ids = known.of_entities.entry(entity).or_default();
        ids.push_back(id.clone());
        let oldest = if ids.len() > MAX_OF_ENTITY { ids.front().cloned() } else { None };
        let gone = oldest.and_then(|oldest| known.remove(&oldest));
        if known.order.len() >= MAX_PENDING.saturating_mul(2) {
            // Half of it at least is of logins that are over.
            let Known { by_id, order, .. } = &mut *known;
            order.retain(|id| by_id.contains_key(id));
        }
        known.order.push_back(id.clone());
        known.by_id.insert(id, entry);
        drop(known);
        drop(gone);
    }

    /// The login of this id in a namespace, for one request at a time; `None` where there is none.
    pub(crate) async fn claim(
        &self,
        id: &str,
        (namespace, term): (NamespaceId, Option<u64>),
        clock: &Clock,
    ) -> Option<Claimed> {
        let (slot, expires) = {
            let known = self.known();
            let entry = known.by_id.get(id).filter(|entry| entry.namespace == namespace)?;
            (entry.slot.clone(), entry.expires)
        };
        let login = slot.lock_owned().await;
        let of_term = login.as_ref().is_some_and(|login| login.term == term);
        (of_term && expires > clock.now()).then(|| Claimed { id: id.to_owned(), login, all: self.clone() })
    }
}

impl Claimed {
    /// The login. `None` is not claimed.
    pub fn login(&self) -> Option<&PendingLogin> {
        self.login.as_ref()
    }

    /// Keeps the key that its user is enrolling, in the place of one made before.
    pub(crate) fn enroll(&mut self, method: IdentityId, secret: TotpSecret) {
        if let Some(login) = self.login.as_mut() {
            login.enrolling.insert(method, secret);
        }
    }

    /// Its token is made: it is over.
    pub fn end(mut self) {
        let login = self.login.take();
        let entry = self.all.known().remove(&self.id);
        drop((login, entry));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Moment = Moment::from_secs(1_700_000_000);

    fn login(entity: u8, began: Moment) -> PendingLogin {
        PendingLogin {
            namespace: NamespaceId::ROOT,
            path: "auth/a/login".to_owned(),
            mount: (NamespaceId::ROOT, MountId::new(7)),
            grant: AuthGrant::default(),
            entity: IdentityId::of_bytes([entity; 16]),
            wrap_ttl: None,
            began,
            offered: BTreeSet::new(),
            term: None,
            enrolling: BTreeMap::new(),
            challenges: Challenges::default(),
        }
    }

    #[tokio::test]
    async fn one_request_ends_a_login_and_the_others_find_it_gone() {
        let (all, clock) = (PendingLogins::default(), Clock::stepped(START));
        all.add("a".to_owned(), login(1, START));
        assert!(all.claim("b", (NamespaceId::ROOT, None), &clock).await.is_none());
        assert!(all.claim("a", (NamespaceId::new(9), None), &clock).await.is_none(), "another namespace's");
        assert!(all.claim("a", (NamespaceId::ROOT, Some(1)), &clock).await.is_none(), "another term's");
        let first = all.claim("a", (NamespaceId::ROOT, None), &clock).await.unwrap();
        let second = tokio::spawn({
            let (all, clock) = (all.clone(), clock.clone());
            async move { all.claim("a", (NamespaceId::ROOT, None), &clock).await.is_some() }
        });
        tokio::task::yield_now().await;
        drop(first);
        assert!(second.await.unwrap(), "given back by a request that has failed");
        let first = all.claim("a", (NamespaceId::ROOT, None), &clock).await.unwrap();
        let second = tokio::spawn({
            let (all, clock) = (all.clone(), clock.clone());
            async move { all.claim("a", (NamespaceId::ROOT, None), &clock).await.is_some() }
        });
        tokio::task::yield_now().await;
        first.end();
        assert!(!second.await.unwrap());
        assert!(all.known().by_id.is_empty() && all.known().of_entities.is_empty());
    }

    #[tokio::test]
    async fn they_last_five_minutes() {
        let (all, clock) = (PendingLogins::default(), Clock::stepped(START));
        all.add("a".to_owned(), login(1, START));
        clock.advance(Duration::from_secs(299));
        assert!(all.claim("a", (NamespaceId::ROOT, None), &clock).await.is_some());
        clock.advance(Duration::from_secs(1));
        assert!(all.claim("a", (NamespaceId::ROOT, None), &clock).await.is_none());
        assert!(all.has_room(clock.now()));
        assert!(all.known().by_id.is_empty() && all.known().order.is_empty());
    }

    #[tokio::test]
    async fn their_number_is_bounded_for_each_entity_and_for_all() {
        let (all, clock) = (PendingLogins::default(), Clock::stepped(START));
        for number in 0..=MAX_OF_ENTITY {
            all.add(number.to_string(), login(1, START));
        }
        assert!(
            all.claim("0", (NamespaceId::ROOT, None), &clock).await.is_none(),
            "the oldest has given way"
        );
        assert!(all.claim("1", (NamespaceId::ROOT, None), &clock).await.is_some());
        assert_eq!(all.known().by_id.len(), MAX_OF_ENTITY);
        for number in 0..MAX_PENDING {
            let mut waiting = login(2, START);
            let mut id = [9; 16];
            id[..8].copy_from_slice(&number.to_be_bytes());
            waiting.entity = IdentityId::of_bytes(id);
            all.add(format!("x{number}"), waiting);
        }
        assert!(!all.has_room(START));
        assert!(all.has_room(START.after(LIFETIME)));
    }
}
