//! User lockout: a user with several failed logins in quick succession is locked out. Source: Vault's documentation,
//! "User lockout".
//!
//! Failures are counted in memory, for a bounded number of names: a failed login writes nothing, so that guessing
//! passwords cannot load storage. A restart resets the counts.
//!
//! A login counts from when it begins: of those that come at once, no more are judged than could fail one after the other
//! before the name is locked. The others wait until one of these has ended.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use strongroom_barrier::{BarrierError, MountId, NamespaceId};
use strongroom_engine_api::{Clock, EngineError, Moment};
use strongroom_mounts::{MountHandle, Mounts};
use tokio::sync::Notify;

/// Logins of one name that may wait for others of it.
const MAX_WAITING: usize = 256;
/// Names that are counted at most, over all mounts.
const MAX_NAMES: usize = 100_000;

/// The rule by which a name is locked out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockoutRule {
    /// Failed logins that lock a name; zero: none do.
    pub threshold: u64,
    /// The duration of a lockout.
    pub duration: Duration,
    /// The time after the last failure at which the count is reset.
    pub counter_reset: Duration,
    /// A rule that locks out no user.
    pub disabled: bool,
}

/// Five failures, 15 minutes: Vault's defaults.
impl Default for LockoutRule {
    fn default() -> Self {
        let quarter = Duration::from_mins(15);
        Self { threshold: 5, duration: quarter, counter_reset: quarter, disabled: false }
    }
}

impl LockoutRule {
    /// As a mount's tuning changes it (`sys/auth/:path/tune`, `user_lockout_config`).
    fn tuned(mut self, tuning: &BTreeMap<String, String>) -> Self {
        let number = |name: &str| tuning.get(name).and_then(|text| text.parse::<u64>().ok());
        self.threshold = number("lockout_threshold").unwrap_or(self.threshold);
        self.duration = number("lockout_duration").map_or(self.duration, Duration::from_secs);
        self.counter_reset = number("lockout_counter_reset").map_or(self.counter_reset, Duration::from_secs);
        if let Some(disabled) = tuning.get("lockout_disable") {
            self.disabled = disabled == "true";
        }
        self
    }
}

/// The rules of a server: when failed logins lock a user out, by the type of the auth method; `all` for those not named.
/// `None`: no user is locked out, whatever a mount's tuning says (`VAULT_DISABLE_USER_LOCKOUT`).
pub type LockoutRules = Option<BTreeMap<String, LockoutRule>>;

/// The rule for a mount of an auth method of this type, tuned so.
fn rule(rules: &LockoutRules, kind: &str, tuning: &BTreeMap<String, String>) -> LockoutRule {
    let Some(rules) = rules else {
        return LockoutRule { disabled: true, ..LockoutRule::default() };
    };
    rules.get(kind).or_else(|| rules.get("all")).copied().unwrap_or_default().tuned(tuning)
}

/// Failed logins of one name.
#[derive(Clone, Copy)]
struct Failures {
    count: u64,
    /// The time at which it no longer matters.
    forgotten: Moment,
    locked: bool,
}

/// A mount's number and the name of a user there.
type User = (MountId, String);

/// The names that failed lately, and the rules for them.
pub struct Lockouts {
    rules: LockoutRules,
    clock: Clock,
    mounts: Arc<Mounts>,
    failed: Failed,
}

#[derive(Default)]
struct Failed {
    users: Mutex<HashMap<User, Failures>>,
    /// Never held together with `users`, except by [`Failed::try_begin`], which takes this one first.
    under_way: Mutex<HashMap<User, UnderWay>>,
}

/// The logins of one name that are being judged, and those that wait.
#[derive(Default)]
struct UnderWay {
    judged: u64,
    waiting: usize,
    ended: Arc<Notify>,
}

/// The state of a name for a login that would begin.
enum Turn {
    Begun,
    Locked,
    /// As many are being judged as may fail.
    Wait(Arc<Notify>),
    /// Too many wait already.
    Full,
}

/// The reason why a login is not judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotJudged {
    /// The name is locked out.
    LockedOut,
    /// Too many logins of this name are under way.
    TooMany,
}

/// A login that is being judged. Dropped without an outcome, it has not counted.
pub struct Attempt<'a> {
    failed: &'a Failed,
    clock: &'a Clock,
    /// `None`: nobody is locked out here.
    counted: Option<(User, LockoutRule)>,
}

impl Attempt<'_> {
    /// Notes how it went.
    pub fn end<T>(self, outcome: &Result<T, EngineError>) {
        let Some((user, rule)) = &self.counted else { return };
        match outcome {
            Ok(_) => self.failed.forget(user),
            Err(EngineError::Credentials(_)) => {
                self.failed.failed(user.clone(), *rule, self.clock.now());
            }
            Err(_) => {}
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if let Some((user, _)) = &self.counted {
            self.failed.ended(user);
        }
    }
}

impl Failed {
    fn users(&self) -> MutexGuard<'_, HashMap<User, Failures>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<User, UnderWay>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a login, unless the name is locked or as many are under way as would lock it.
    fn try_begin(&self, user: &User, rule: LockoutRule, now: Moment) -> Turn {
        let mut all = self.under_way();
        let failures = self.users().get(user).copied().filter(|failures| failures.forgotten > now);
        if failures.is_some_and(|failures| failures.locked) {
            return Turn::Locked;
        }
        let failed = failures.map_or(0, |failures| failures.count);
        match all.get_mut(user) {
            None => {
                all.insert(user.clone(), UnderWay { judged: 1, ..UnderWay::default() });
                Turn::Begun
            }
            Some(this) if this.judged == 0 || failed.saturating_add(this.judged) < rule.threshold => {
                this.judged = this.judged.saturating_add(1);
                Turn::Begun
            }
            Some(this) if this.waiting >= MAX_WAITING => Turn::Full,
            Some(this) => Turn::Wait(this.ended.clone()),
        }
    }

    /// Begins a login once so few of the same name are under way that they cannot lock it.
    async fn begin<'a>(
        &'a self,
        clock: &'a Clock,
        user: User,
        rule: LockoutRule,
    ) -> Result<Attempt<'a>, NotJudged> {
        if rule.disabled || rule.threshold == 0 {
            return Ok(Attempt { failed: self, clock, counted: None });
        }
        loop {
            let ended = match self.try_begin(&user, rule, clock.now()) {
                Turn::Begun => return Ok(Attempt { failed: self, clock, counted: Some((user, rule)) }),
                Turn::Locked => return Err(NotJudged::LockedOut),
                Turn::Full => return Err(NotJudged::TooMany),
                Turn::Wait(ended) => ended,
            };
            let ended = ended.notified();
            tokio::pin!(ended);
            // Registered before it is looked at again, or an end in between would be missed.
            ended.as_mut().enable();
            match self.try_begin(&user, rule, clock.now()) {
                Turn::Begun => return Ok(Attempt { failed: self, clock, counted: Some((user, rule)) }),
                Turn::Locked => return Err(NotJudged::LockedOut),
                Turn::Full => return Err(NotJudged::TooMany),
                Turn::Wait(_) => {}
            }
            let _waiting = Waiting::new(self, &user);
            ended.await;
        }
    }

    /// A login waits, or has waited.
    fn wait(&self, user: &User, change: impl FnOnce(usize) -> usize) {
        let mut all = self.under_way();
        if let Some(this) = all.get_mut(user) {
            this.waiting = change(this.waiting);
        }
    }

    fn ended(&self, user: &User) {
        let mut all = self.under_way();
        let Some(this) = all.get_mut(user) else { return };
        this.judged = this.judged.saturating_sub(1);
        let ended = this.ended.clone();
        if this.judged == 0 && this.waiting == 0 {
            all.remove(user);
        }
        drop(all);
        ended.notify_waiters();
    }

    fn failed(&self, user: User, rule: LockoutRule, now: Moment) {
        let mut users = self.users();
        if users.len() >= MAX_NAMES && !users.contains_key(&user) {
            make_room(&mut users, now);
        }
        let before = users.get(&user).filter(|failures| failures.forgotten > now);
        let count = before.map_or(0, |failures| failures.count).saturating_add(1);
        let locked = count >= rule.threshold;
        let lasts = if locked { rule.duration } else { rule.counter_reset };
        let lockout = locked.then(|| user.clone());
        users.insert(user, Failures { count, forgotten: now.after(lasts), locked });
        // Writing a log line may wait for the log's reader, and other logins wait here for the lock.
        drop(users);
        if let Some((mount, user)) = lockout {
            tracing::warn!(user, %mount, "user is locked out after failed logins");
        }
    }

    fn forget(&self, user: &User) {
        self.users().remove(user);
    }
}

/// A login that waits for others of the same name; counted for as long as this is there.
struct Waiting<'a> {
    failed: &'a Failed,
    user: &'a User,
}

impl<'a> Waiting<'a> {
    fn new(failed: &'a Failed, user: &'a User) -> Self {
        failed.wait(user, |waiting| waiting.saturating_add(1));
        Self { failed, user }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.failed.wait(self.user, |waiting| waiting.saturating_sub(1));
        let mut all = self.failed.under_way();
        if all.get(self.user).is_some_and(|this| this.judged == 0 && this.waiting == 0) {
            all.remove(self.user);
        }
    }
}

/// Bytes of a name that is kept as it is.
const MAX_NAME: usize = 256;

/// Removes counts that no longer matter, or else a name that is not locked.
fn make_room(users: &mut HashMap<User, Failures>, now: Moment) {
    users.retain(|_, failures| failures.forgotten > now);
    if users.len() >= MAX_NAMES
        && let Some(user) = users.iter().find(|(_, failures)| !failures.locked).map(|(user, _)| user.clone())
    {
        users.remove(&user);
    }
}

/// The name under which failures are counted: what is long is kept as its digest, so that strangers fill no memory.
fn counted_as(name: &str) -> String {
    if name.len() <= MAX_NAME {
        return name.to_owned();
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, name.as_bytes());
    format!("sha256:{}", strongroom_stdx::to_hex(digest.as_ref()))
}

impl Lockouts {
    /// Counts without failures.
    pub fn new(rules: LockoutRules, clock: Clock, mounts: Arc<Mounts>) -> Self {
        Self { rules, clock, mounts, failed: Failed::default() }
    }

    /// Removes all counts: sealing.
    pub fn clear(&self) {
        let users = std::mem::take(&mut *self.failed.users());
        drop(users);
    }

    /// Begins a login of `name` at this mount, once so few are under way that they cannot lock it.
    ///
    /// # Errors
    ///
    /// [`NotJudged`].
    pub async fn begin(&self, mounted: &MountHandle, name: &str) -> Result<Attempt<'_>, NotJudged> {
        let rule = self.rule_of(mounted);
        self.failed.begin(&self.clock, (mounted.mount.id, counted_as(name)), rule).await
    }

    fn rule_of(&self, mounted: &MountHandle) -> LockoutRule {
        rule(&self.rules, &mounted.entry.kind, &mounted.entry.tuning.user_lockout)
    }

    /// The users locked out now in a namespace: names by the accessor of their mount.
    pub async fn locked_users(
        &self,
        namespace: NamespaceId,
    ) -> Result<BTreeMap<String, Vec<String>>, BarrierError> {
        let now = self.clock.now();
        let router = self.mounts.router().await?;
        let mut locked = BTreeMap::<String, Vec<String>>::new();
        for ((mount, name), failures) in self.failed.users().iter() {
            if !failures.locked || failures.forgotten <= now {
                continue;
            }
            if let Some(mounted) = router.by_id(namespace, *mount) {
                locked.entry(mounted.entry.accessor.clone()).or_default().push(name.clone());
            }
        }
        for names in locked.values_mut() {
            names.sort_unstable();
        }
        Ok(locked)
    }

    /// Lets `name` try again at the mount with this accessor; answers whether there is such a mount.
    pub async fn unlock_user(
        &self,
        namespace: NamespaceId,
        accessor: &str,
        name: &str,
    ) -> Result<bool, BarrierError> {
        let router = self.mounts.router().await?;
        let Some(mounted) = router.by_accessor(namespace, accessor) else { return Ok(false) };
        self.failed.forget(&(mounted.mount.id, counted_as(name)));
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Failed {
        fn is_locked(&self, user: &User, now: Moment) -> bool {
            self.users().get(user).is_some_and(|failures| failures.locked && failures.forgotten > now)
        }
    }

    const START: Moment = Moment::from_secs(1_700_000_000);

    fn alice() -> User {
        (MountId::new(7), "alice".to_owned())
    }

    #[test]
    fn the_threshold_locks_until_the_duration_is_over() {
        let (lockouts, rule) = (Failed::default(), LockoutRule::default());
        for _ in 1..rule.threshold {
            lockouts.failed(alice(), rule, START);
            assert!(!lockouts.is_locked(&alice(), START));
        }
        lockouts.failed(alice(), rule, START);
        assert!(lockouts.is_locked(&alice(), START));
        assert!(!lockouts.is_locked(&(MountId::new(8), "alice".to_owned()), START), "another mount's");
        let almost = START.after(rule.duration.saturating_sub(Duration::from_secs(1)));
        assert!(lockouts.is_locked(&alice(), almost));
        let over = START.after(rule.duration);
        assert!(!lockouts.is_locked(&alice(), over));
        lockouts.failed(alice(), rule, over);
        assert!(!lockouts.is_locked(&alice(), over), "the count began anew");
    }

    #[tokio::test]
    async fn of_many_at_once_no_more_are_judged_than_lock_the_name() {
        let (failed, clock) = (Arc::new(Failed::default()), Clock::stepped(START));
        let rule = LockoutRule::default();
        let judged = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let guess = || {
            let (failed, clock, judged) = (failed.clone(), clock.clone(), judged.clone());
            tokio::spawn(async move {
                let attempt = failed.begin(&clock, alice(), rule).await?;
                judged.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                // All others come while this one is being judged.
                for _ in 0..500 {
                    tokio::task::yield_now().await;
                }
                attempt.end(&Err::<(), _>(EngineError::Credentials("wrong".to_owned())));
                Ok(())
            })
        };
        let guesses: Vec<_> = (0..200).map(|_| guess()).collect();
        let mut refused = 0;
        for guess in guesses {
            refused += u64::from(guess.await.unwrap() == Err(NotJudged::LockedOut));
        }
        assert_eq!((judged.load(std::sync::atomic::Ordering::SeqCst), refused), (5, 195));
        assert!(failed.under_way().is_empty(), "nothing is left behind");
    }

    #[tokio::test]
    async fn many_who_know_the_password_all_get_in() {
        let (failed, clock) = (Failed::default(), Clock::stepped(START));
        let rule = LockoutRule::default();
        let login = || async {
            let attempt = failed.begin(&clock, alice(), rule).await?;
            tokio::task::yield_now().await;
            attempt.end(&Ok(()));
            Ok::<(), NotJudged>(())
        };
        let logins = futures::future::join_all((0..200).map(|_| login())).await;
        assert!(logins.iter().all(Result::is_ok));
        assert!(failed.under_way().is_empty() && failed.users().is_empty());
    }

    #[test]
    fn failures_far_apart_do_not_add_up() {
        let (lockouts, rule) = (Failed::default(), LockoutRule::default());
        let mut now = START;
        for _ in 0..rule.threshold * 2 {
            lockouts.failed(alice(), rule, now);
            now = now.after(rule.counter_reset);
            assert!(!lockouts.is_locked(&alice(), now));
        }
    }

    #[test]
    fn tuning_overrules_the_server() {
        let tuning = [("lockout_threshold", "2"), ("lockout_duration", "60"), ("lockout_disable", "true")];
        let tuning = tuning.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let rule = LockoutRule::default().tuned(&tuning);
        assert_eq!((rule.threshold, rule.duration.as_secs(), rule.disabled), (2, 60, true));
        assert_eq!(rule.counter_reset, LockoutRule::default().counter_reset);
    }

    #[test]
    fn disabled_for_all_overrules_tuning() {
        let tuning = BTreeMap::from([("lockout_disable".to_owned(), "false".to_owned())]);
        assert!(!rule(&Some(BTreeMap::new()), "userpass", &tuning).disabled);
        assert!(rule(&None, "userpass", &tuning).disabled);
    }

    #[test]
    fn a_flood_of_names_keeps_those_that_are_locked() {
        let (lockouts, rule) = (Failed::default(), LockoutRule { threshold: 1, ..LockoutRule::default() });
        lockouts.failed(alice(), rule, START);
        for number in 0..MAX_NAMES + 10 {
            lockouts.failed((MountId::new(7), number.to_string()), LockoutRule::default(), START);
        }
        assert!(lockouts.is_locked(&alice(), START));
        assert!(lockouts.users().len() <= MAX_NAMES);
    }
}
