//! Passwords and their bcrypt hashes.

use std::sync::Arc;

use bcrypt::{HashParts, Version};
use schemars::JsonSchema;
use serde::Deserialize;
use strongroom_engine_api::lenient::Text;
use strongroom_engine_api::{EngineError, Entropy, Secret, bad_request};
use tokio::sync::Semaphore;

/// The cost of hashes made here: Vault's (2^10 rounds, tens of milliseconds).
const COST: u32 = 10;
/// The costs of hashes that are taken over: below, a hash is soon broken; above, a login takes too long.
const COSTS: std::ops::RangeInclusive<u32> = 5..=12;
/// bcrypt looks at no more of a password than this.
const MAX_PASSWORD_BYTES: usize = 72;
/// A hash that passwords of unknown users are compared with, so that they take as long as those of known ones. It is
/// the hash of no known password, and a match would be refused all the same.
const DECOY: &str = "$2a$10$7EqJtq98hPqEX7fNZaFWoOa4ix0nQo3Rr8V0ZBx0W0n0W7pXkA1Mq";

/// Those that may wait for a turn, for each processor: some ten seconds of work.
const MAX_WAITING: usize = 256;

/// Hashes and compares passwords off the request threads, no more at a time than there are processors. Few may wait for their
/// turn: what waits takes memory, and anyone can ask for it.
pub(crate) struct Passwords {
    turns: Arc<Semaphore>,
    /// Room for those that wait and those that work.
    room: Arc<Semaphore>,
}

impl Passwords {
    pub(crate) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let room = Semaphore::new(processors.saturating_mul(MAX_WAITING));
        Self { turns: Arc::new(Semaphore::new(processors)), room: Arc::new(room) }
    }

    /// The hash to keep for what a request gives.
    pub(crate) async fn hash_of(
        &self,
        given: Given,
        entropy: &Entropy,
    ) -> Result<Secret<String>, EngineError> {
        match given {
            Given::Hash(hash) => check_hash(hash.expose()).map(|()| hash).map_err(bad_request),
            Given::Password(password) => self.hash(password, entropy).await,
        }
    }

    async fn hash(&self, password: Secret<String>, entropy: &Entropy) -> Result<Secret<String>, EngineError> {
        if password.expose().len() > MAX_PASSWORD_BYTES {
            return Err(bad_request("bcrypt: password length exceeds 72 bytes"));
        }
        let salt = entropy.bytes()?;
        let hashed = self.aside(move || bcrypt::hash_with_salt(password.expose(), COST, salt)).await?;
        let parts = hashed.map_err(|error| EngineError::Internal(error.to_string()))?;
        Ok(Secret::new(parts.format_for_version(Version::TwoA)))
    }

    /// True if `password` is the one that `hash` was made of; without a hash it never is, and that takes as long.
    pub(crate) async fn matches(
        &self,
        password: Secret<String>,
        hash: Option<Secret<String>>,
    ) -> Result<bool, EngineError> {
        // What bcrypt does not look at must not be left open: nobody is let in by a beginning of 72 bytes.
        let possible = hash.is_some() && password.expose().len() <= MAX_PASSWORD_BYTES;
        let hash = hash.unwrap_or_else(|| Secret::new(DECOY.to_owned()));
        let matches = self.aside(move || bcrypt::verify(password.expose(), hash.expose())).await?;
        let matches = matches.map_err(|error| EngineError::Internal(error.to_string()))?;
        Ok(possible && matches)
    }

    /// Runs slow work on a thread for such work, when its turn comes. The turn ends with the work, even if the caller
    /// is gone.
    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, EngineError> {
        let interrupted =
            |why: String| EngineError::Internal(format!("password hashing was interrupted: {why}"));
        let Ok(room) = self.room.clone().try_acquire_owned() else {
            return Err(EngineError::Status(
                503,
                "too many passwords wait to be hashed; try again".to_owned(),
            ));
        };
        let turn =
            self.turns.clone().acquire_owned().await.map_err(|closed| interrupted(closed.to_string()))?;
        let working = tokio::task::spawn_blocking(move || {
            let _held = (turn, room);
            work()
        });
        working.await.map_err(|error| interrupted(error.to_string()))
    }
}

/// A password in a request, or its hash.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct PasswordInput {
    /// Password for this user.
    password: Option<Text>,
    /// Pre-hashed password for this user in bcrypt format. Mutually exclusive with 'password'.
    password_hash: Option<Text>,
}

/// The form in which a request gives a password.
pub(crate) enum Given {
    /// The password.
    Password(Secret<String>),
    /// Its hash.
    Hash(Secret<String>),
}

impl PasswordInput {
    /// The one that is given, if any.
    pub(crate) fn take(self) -> Result<Option<Given>, EngineError> {
        let filled = |given: Option<Text>| {
            given.map(|text| Secret::new(text.0)).filter(|text| !text.expose().is_empty())
        };
        match (filled(self.password), filled(self.password_hash)) {
            (Some(_), Some(_)) => Err(bad_request("only one of password or password_hash may be provided")),
            (password, hash) => Ok(password.map(Given::Password).or(hash.map(Given::Hash))),
        }
    }

    /// The one that is given, of which there must be one.
    pub(crate) fn take_one(self) -> Result<Given, EngineError> {
        self.take()?.ok_or_else(missing)
    }
}

/// The refusal of a request that lacks a password.
pub(crate) fn missing() -> EngineError {
    bad_request("must provide either password or password_hash")
}

/// Refuses what is not a hash that logins can be checked against. `$2x$` marks hashes of a faulty implementation that
/// took different passwords for the same.
fn check_hash(hash: &str) -> Result<(), String> {
    let malformed = || "password_hash is not a valid bcrypt hash".to_owned();
    let parts: HashParts = hash.parse().map_err(|_invalid| malformed())?;
    if hash.starts_with("$2x$") {
        return Err(malformed());
    }
    let cost = parts.get_cost();
    if cost < *COSTS.start() {
        return Err(format!("bcrypt cost of {cost} is too low, want {} at minimum", COSTS.start()));
    }
    if cost > *COSTS.end() {
        return Err(format!("bcrypt cost of {cost} exceeds maximum cost of {}", COSTS.end()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    #[test]
    fn the_decoy_costs_what_a_hash_costs_and_is_one() {
        assert_eq!(check_hash(DECOY), Ok(()));
        assert_eq!(DECOY.parse::<HashParts>().unwrap().get_cost(), COST);
    }

    #[tokio::test]
    async fn hashes_match_their_password_only() {
        let passwords = Passwords::new();
        let given = || Given::Password(secret("correct horse"));
        let hash = passwords.hash_of(given(), &Entropy::system()).await.unwrap();
        assert!(hash.expose().starts_with("$2a$10$"));
        assert_ne!(&hash, &passwords.hash_of(given(), &Entropy::system()).await.unwrap());
        assert!(passwords.matches(secret("correct horse"), Some(hash.clone())).await.unwrap());
        assert!(!passwords.matches(secret("correct hors"), Some(hash.clone())).await.unwrap());
        assert!(!passwords.matches(secret(""), Some(hash)).await.unwrap());
        assert!(!passwords.matches(secret("correct horse"), None).await.unwrap());
    }

    #[tokio::test]
    async fn no_more_wait_than_there_is_room_for() {
        let passwords = Passwords { turns: Arc::new(Semaphore::new(1)), room: Arc::new(Semaphore::new(3)) };
        let (go_on, held) = std::sync::mpsc::channel::<()>();
        let mut waiting = vec![Box::pin(passwords.aside(move || held.recv().is_ok()))];
        assert!(futures::poll!(&mut waiting[0]).is_pending());
        let mut others: Vec<_> = (0..3).map(|_| Box::pin(passwords.aside(|| true))).collect();
        assert!(futures::poll!(&mut others[0]).is_pending() && futures::poll!(&mut others[1]).is_pending());
        let refused = others.pop().unwrap().await.unwrap_err();
        assert!(matches!(refused, EngineError::Status(503, _)), "{refused:?}");
        go_on.send(()).unwrap();
        assert!(waiting.remove(0).await.unwrap());
        for other in others {
            assert!(other.await.unwrap());
        }
        assert!(passwords.aside(|| true).await.unwrap(), "there is room again");
    }

    #[tokio::test]
    async fn what_bcrypt_does_not_look_at_is_not_ignored() {
        let passwords = Passwords::new();
        let longest = "x".repeat(72);
        let hash = passwords.hash_of(Given::Password(secret(&longest)), &Entropy::system()).await.unwrap();
        assert!(passwords.matches(secret(&longest), Some(hash.clone())).await.unwrap());
        assert!(!passwords.matches(secret(&format!("{longest}y")), Some(hash)).await.unwrap());
        let refused = passwords.hash_of(Given::Password(secret(&"x".repeat(73))), &Entropy::system()).await;
        assert_eq!(refused.unwrap_err().to_string(), "bcrypt: password length exceeds 72 bytes");
    }

    #[test]
    fn only_sound_hashes_are_taken_over() {
        let end = "$kQCqMlGGF1AQbnr0Mk3kueoZyhYTkhIEK1BhI/iPP2MuzJHjC6T.q";
        for version in ["2a", "2b", "2y"] {
            assert_eq!(check_hash(&format!("${version}$10{end}")), Ok(()));
        }
        for (start, text) in [
            ("$2b$04", "bcrypt cost of 4 is too low, want 5 at minimum"),
            ("$2b$20", "bcrypt cost of 20 exceeds maximum cost of 12"),
            ("$2x$10", "password_hash is not a valid bcrypt hash"),
            ("$1b$10", "password_hash is not a valid bcrypt hash"),
            ("bogus", "password_hash is not a valid bcrypt hash"),
        ] {
            assert_eq!(check_hash(&format!("{start}{end}")), Err(text.to_owned()), "{start}");
        }
    }

    proptest! {
        #[test]
        fn no_hash_panics(hash in "\\PC{0,70}") {
            let _ = check_hash(&hash);
        }
    }
}
