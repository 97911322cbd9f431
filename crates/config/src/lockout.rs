//! The `user_lockout` blocks.
//!
//! Source: <https://developer.hashicorp.com/vault/docs/configuration/user-lockout>.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::fields::Fields;
use crate::{ConfigError, Loaded, Place, Warning, keys};

/// The label that counts for the auth methods without a block of their own.
pub(crate) const ALL: &str = "all";

/// The types of auth methods that lock users out: facts about engines, which this crate is told.
#[derive(Clone, Debug, Default)]
pub struct LockoutTypes {
    /// Those that this program has.
    pub here: Vec<String>,
    /// Those that Vault has besides: a configuration may name them, without effect.
    pub elsewhere: Vec<String>,
}

/// The label of a `user_lockout` block as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockoutLabel {
    kind: String,
    scope: String,
    place: Place,
}

impl Loaded {
    /// Holds the labels of `user_lockout` blocks against the types that there are.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Invalid`] for a label that is no type of an auth method that locks users out.
    pub fn check_user_lockout(&mut self, types: &LockoutTypes) -> Result<(), ConfigError> {
        for LockoutLabel { kind, scope, place } in &self.config.user_lockout_labels {
            if kind == ALL || types.here.contains(kind) {
                continue;
            }
            if !types.elsewhere.contains(kind) {
                let known =
                    [ALL].into_iter().chain(types.here.iter().chain(&types.elsewhere).map(String::as_str));
                let known: Vec<String> = known.map(|kind| format!("{kind:?}")).collect();
                let message = format!("{scope} is not supported; supported are {}", known.join(", "));
                return Err(place.invalid(message));
            }
            let message =
                format!("{scope} is accepted and has no effect: this version has no such auth method");
            let is_later =
                |other: &Warning| other.place.file == place.file && other.place.position > place.position;
            let at = self.warnings.iter().position(is_later).unwrap_or(self.warnings.len());
            self.warnings.insert(at, Warning { place: place.clone(), message });
        }
        Ok(())
    }
}

/// The rules of user lockout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserLockout {
    /// Failed logins that lock a user out; 5 unless set, zero for none.
    pub threshold: u64,
    /// For how long; 15 min unless set.
    pub duration: Duration,
    /// The time after the last failure at which the count begins anew; 15 min unless set.
    pub counter_reset: Duration,
    /// No user is locked out.
    pub disabled: bool,
}

impl Default for UserLockout {
    fn default() -> UserLockout {
        let quarter = Duration::from_mins(15);
        UserLockout { threshold: 5, duration: quarter, counter_reset: quarter, disabled: false }
    }
}

/// The settings of one label's blocks.
#[derive(Clone, Copy, Default)]
struct Given {
    threshold: Option<u64>,
    duration: Option<Duration>,
    counter_reset: Option<Duration>,
    disabled: Option<bool>,
}

impl Given {
    fn read(fields: &mut Fields<'_>) -> Result<Given, ConfigError> {
        Ok(Given {
            threshold: fields.integer("lockout_threshold", 0..=i64::MAX)?,
            duration: fields.duration("lockout_duration")?,
            counter_reset: fields.duration("lockout_counter_reset")?,
            disabled: fields.flag("disable_lockout")?,
        })
    }

    /// These settings over others.
    fn over(self, other: UserLockout) -> UserLockout {
        UserLockout {
            threshold: self.threshold.unwrap_or(other.threshold),
            duration: self.duration.unwrap_or(other.duration),
            counter_reset: self.counter_reset.unwrap_or(other.counter_reset),
            disabled: self.disabled.unwrap_or(other.disabled),
        }
    }

    /// These settings over those of an earlier block.
    fn or(self, earlier: Given) -> Given {
        Given {
            threshold: self.threshold.or(earlier.threshold),
            duration: self.duration.or(earlier.duration),
            counter_reset: self.counter_reset.or(earlier.counter_reset),
            disabled: self.disabled.or(earlier.disabled),
        }
    }
}

/// The settings for each label that is configured: what its blocks set, the last one first, then what those of `all`
/// set, then the defaults.
pub(crate) fn read(
    fields: &mut Fields<'_>,
) -> Result<(BTreeMap<String, UserLockout>, Vec<LockoutLabel>), ConfigError> {
    let mut given = BTreeMap::<String, Given>::new();
    let mut labels = Vec::new();
    for (label, mut block) in fields.typed("user_lockout")? {
        let label = label.to_ascii_lowercase();
        labels.push(LockoutLabel {
            kind: label.clone(),
            scope: block.scope().to_owned(),
            place: block.place(),
        });
        let earlier = given.get(&label).copied().unwrap_or_default();
        given.insert(label, Given::read(&mut block)?.or(earlier));
        block.finish(&keys::USER_LOCKOUT)?;
    }
    let all = given.get(ALL).copied().unwrap_or_default().over(UserLockout::default());
    Ok((given.into_iter().map(|(label, given)| (label, given.over(all))).collect(), labels))
}
