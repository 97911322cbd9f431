//! The place of one ceremony: what it plans, and the key parts brought so far.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use strongroom_engine_api::{EngineError, bad_request};
use strongroom_seal::KeyPart;
use strongroom_seal_state::Proof;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// The time in which a ceremony takes place: one term of leadership between two seals.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Term {
    pub(crate) led: u64,
    pub(crate) sealed: u64,
}

/// A ceremony under way.
pub(crate) struct Running<T> {
    /// The name of the ceremony, which tells it from the next one.
    pub(crate) nonce: String,
    /// The term that it began in.
    term: Term,
    /// Key parts that were brought, no two the same.
    pub(crate) parts: Vec<KeyPart>,
    pub(crate) plan: T,
}

impl<T> Running<T> {
    pub(crate) const fn new(nonce: String, term: Term, plan: T) -> Self {
        Self { nonce, term, parts: Vec::new(), plan }
    }
}

/// The place of one ceremony.
pub(crate) struct Slot<T>(Arc<Mutex<Option<Running<T>>>>);

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// The place, while a request looks at it and until its change has been made.
pub(crate) struct Held<T>(OwnedMutexGuard<Option<Running<T>>>);

impl<T> Deref for Held<T> {
    type Target = Option<Running<T>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T> DerefMut for Held<T> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl<T: Send + 'static> Slot<T> {
    /// The ceremony of this term, for one request at a time.
    pub(crate) async fn hold(&self, term: Term) -> Held<T> {
        let mut held = Held(self.0.clone().lock_owned().await);
        held.take_if(|running| running.term != term);
        held
    }

    /// Forgets the ceremony. One that a request is just looking at is of a term that is over, and forgotten at the next look.
    pub(crate) fn clear(&self) {
        if let Ok(mut slot) = self.0.try_lock() {
            *slot = None;
        }
    }
}

/// The words in which a kind of ceremony refuses. Vault's.
pub(crate) struct Words {
    /// None is under way.
    pub(crate) none: &'static str,
    /// The ceremony, as in "nonce for this … operation".
    pub(crate) name: &'static str,
    /// The beginning of the text about key parts that open nothing.
    pub(crate) failed: &'static str,
}

impl<T> Held<T> {
    /// The ceremony that `nonce` names.
    pub(crate) fn named(&mut self, nonce: &str, words: &Words) -> Result<&mut Running<T>, EngineError> {
        let running = self.as_mut().ok_or_else(|| bad_request(words.none))?;
        if running.nonce == nonce {
            return Ok(running);
        }
        let (name, right) = (words.name, &running.nonce);
        Err(bad_request(format!("incorrect nonce supplied; nonce for this {name} operation is {right:?}")))
    }
}

/// `parts` with one more.
pub(crate) fn with_one_more(parts: &[KeyPart], part: KeyPart) -> Result<Vec<KeyPart>, EngineError> {
    if parts.contains(&part) {
        return Err(bad_request("given key has already been provided during this generation operation"));
    }
    let mut parts = parts.to_vec();
    parts.push(part);
    Ok(parts)
}

/// True if the parts are enough; parts that open nothing are forgotten.
pub(crate) fn judged(proof: Proof, parts: &mut Vec<KeyPart>, words: &Words) -> Result<bool, EngineError> {
    match proof {
        Proof::Progress => Ok(false),
        Proof::Proven => Ok(true),
        Proof::Unfit(reason) => Err(bad_request(reason)),
        Proof::Wrong(reason) => {
            parts.clear();
            tracing::error!(reason, "{}", words.failed);
            Err(bad_request(format!("{}: {reason}", words.failed)))
        }
    }
}
