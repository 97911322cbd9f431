//! The `user_lockout` blocks.
//!
//! Source: <https://developer.hashicorp.com/vault/docs/configuration/user-lockout>.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::fields::Fields;
use crate::{ConfigError, keys};

/// The label that counts for the auth methods without a block of their own.
pub(crate) const ALL: &str = "all";

/// The types of auth methods that lock users out, and whether this server has them.
const TYPES: [(&str, bool); 3] = [("userpass", true), ("approle", true), ("ldap", false)];

/// When failed logins lock a user out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserLockout {
    /// Failed logins that lock a user out; 5 unless set, zero for none.
    pub threshold: u64,
    /// For how long; 15 min unless set.
    pub duration: Duration,
    /// How long after the last failure the count begins anew; 15 min unless set.
    pub counter_reset: Duration,
    /// Nobody is locked out.
    pub disabled: bool,
}

impl Default for UserLockout {
    fn default() -> UserLockout {
        let quarter = Duration::from_mins(15);
        UserLockout { threshold: 5, duration: quarter, counter_reset: quarter, disabled: false }
    }
}

/// What one label's blocks set.
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

/// What counts for each label that is configured: what its blocks set, the last one first, then what those of `all`
/// set, then the defaults.
pub(crate) fn read(fields: &mut Fields<'_>) -> Result<BTreeMap<String, UserLockout>, ConfigError> {
    let mut given = BTreeMap::<String, Given>::new();
    for (label, mut block) in fields.typed("user_lockout")? {
        let label = label.to_ascii_lowercase();
        let has_it = TYPES.iter().find(|(kind, _)| *kind == label).map(|(_, has_it)| *has_it);
        if label != ALL && has_it.is_none() {
            let message = format!(
                "{} is not supported; supported are \"all\", \"userpass\", \"approle\", \"ldap\"",
                block.scope()
            );
            return Err(block.place().invalid(message));
        }
        if has_it == Some(false) {
            let message = format!(
                "{} is accepted and has no effect: this version has no such auth method",
                block.scope()
            );
            block.warn_at(block.place(), message);
        }
        let earlier = given.get(&label).copied().unwrap_or_default();
        given.insert(label, Given::read(&mut block)?.or(earlier));
        block.finish(&keys::USER_LOCKOUT)?;
    }
    let all = given.get(ALL).copied().unwrap_or_default().over(UserLockout::default());
    Ok(given.into_iter().map(|(label, given)| (label, given.over(all))).collect())
}
