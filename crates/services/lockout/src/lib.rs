//! User lockout: a user with several failed logins in quick succession is locked out. Source: Vault's documentation,
//! "User lockout".
//!
//! Failures are counted in memory, for a bounded number of names: a failed login writes nothing, so that guessing
//! passwords cannot load storage. A restart resets the counts.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use strongroom_barrier::{BarrierError, MountId, NamespaceId};
use strongroom_engine_api::{Clock, EngineError, Moment};
use strongroom_mounts::{MountHandle, Mounts};

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
struct Failed(Mutex<HashMap<User, Failures>>);

impl Failed {
    fn users(&self) -> MutexGuard<'_, HashMap<User, Failures>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_locked(&self, user: &User, now: Moment) -> bool {
        self.users().get(user).is_some_and(|failures| failures.locked && failures.forgotten > now)
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

    /// True if `name` is locked out at this mount now.
    pub fn is_locked_out(&self, mounted: &MountHandle, name: &str) -> bool {
        let rule = self.rule_of(mounted);
        let now = self.clock.now();
        !rule.disabled && self.failed.is_locked(&(mounted.mount.id, counted_as(name)), now)
    }

    /// Notes how a login of `name` at this mount went.
    pub fn note_login<T>(&self, mounted: &MountHandle, name: &str, outcome: &Result<T, EngineError>) {
        let user = (mounted.mount.id, counted_as(name));
        let rule = self.rule_of(mounted);
        match outcome {
            Ok(_) => self.failed.forget(&user),
            Err(EngineError::Credentials(_)) if !rule.disabled && rule.threshold > 0 => {
                self.failed.failed(user, rule, self.clock.now());
            }
            Err(_) => {}
        }
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
