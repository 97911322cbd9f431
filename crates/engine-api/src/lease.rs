//! Leases on what an engine made in an external system: the hooks that revoke and renew it there.
//!
//! An engine that grants a lease of a kind ([`Engine::lease`](crate::Engine::lease)) has made something in an external
//! system: a user in a database, a key in a cloud. The lease stays recorded until the kind's revoke handler has
//! succeeded, however the lease ends and whatever becomes of its token and mount. The handler runs on the active node
//! alone, in a task of the server's, for one lease once at a time; it may run again after it has succeeded (the node
//! may die before that is recorded), so it is idempotent: where there is nothing to end, it has succeeded.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use strongroom_barrier::{BarrierError, Stored, from_bytes, to_bytes};
use strongroom_stdx::{EntropyError, Moment};

use crate::steps::{Once, RunHook};
use crate::{Call, EngineError, Extract, Hook, OnceStep};

type RunRenew = RunHook<LeaseTerms, EngineError>;
type RunRevoke = RunHook<(), RevokeError>;

/// A kind of lease of an engine.
#[derive(Clone, Default)]
pub struct LeaseKind {
    revoke: Option<RunRevoke>,
    renew: Option<RunRenew>,
}

impl LeaseKind {
    /// Revokes in the external system what a lease is for. What the handler writes to its mount is committed with the
    /// lease's end.
    #[must_use]
    pub fn revoke<A>(mut self, handler: impl Hook<A, (), RevokeError>) -> Self {
        self.revoke = Some(handler.run());
        self
    }

    /// Renews in the external system what a lease is for, or refuses: called once when a client renews it, in no
    /// transaction. What it answers may find the lease ended, so it prolongs nothing that a revocation would not end.
    #[must_use]
    pub fn renew<T: Stored + Send + 'static, A>(
        mut self,
        handler: impl OnceStep<Leased<T>, A, LeaseTerms, EngineError>,
    ) -> Self {
        self.renew = Some(Arc::new(move |call: &Arc<Call>, once: &Once| match Leased::extract(call) {
            Ok(leased) => handler.run(leased, call, once),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }));
        self
    }

    /// True if the engine has a renew handler.
    pub const fn has_say_in_renewals(&self) -> bool {
        self.renew.is_some()
    }

    /// Runs the revoke handler, which is given up `until` then; a kind that has none has made nothing in an external
    /// system.
    pub async fn run_revoke(&self, call: &Arc<Call>, until: Moment) -> Result<(), RevokeError> {
        match &self.revoke {
            Some(revoke) => revoke(call, &Once::before(until)).await,
            None => Ok(()),
        }
    }

    /// Runs the renew handler, which is given up `until` then; a kind that has none leaves renewals to the server.
    pub async fn run_renew(
        &self,
        call: &Arc<Call>,
        until: Moment,
    ) -> Option<Result<LeaseTerms, EngineError>> {
        match &self.renew {
            Some(renew) => Some(renew(call, &Once::before(until)).await),
            None => None,
        }
    }
}

/// The reason why a lease could not be revoked. Texts are for operators: logs, lists and answers show them, so they
/// never hold a secret.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// There was no connection to the outside, or no answer. It is tried again until it succeeds.
    #[error("{0}")]
    Unreachable(String),
    /// The outside refused. It is tried again a few times, then left to an operator.
    #[error("{0}")]
    Refused(String),
    /// The server's own storage did not answer: no attempt was made.
    #[error(transparent)]
    Barrier(#[from] BarrierError),
}

impl From<EngineError> for RevokeError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Barrier(error) => Self::Barrier(error),
            other => Self::Refused(other.to_string()),
        }
    }
}

impl From<EntropyError> for RevokeError {
    fn from(error: EntropyError) -> Self {
        Self::Refused(error.to_string())
    }
}

/// The life of a lease as its engine says at a renewal. Zero: as it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseTerms {
    /// The TTL from now; never longer than [`Leased::until`].
    pub ttl: Duration,
    /// The most it can live since it was granted.
    pub max_ttl: Duration,
}

/// The data that an engine keeps with a lease: a value of its own with a version, as bytes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Payload(Vec<u8>);

impl Payload {
    /// The bytes of a value.
    pub fn of<T: Stored>(value: &T) -> Result<Self, BarrierError> {
        to_bytes(value).map(Self)
    }

    /// True if it is empty.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value that the bytes are of.
    pub fn read<T: Stored>(&self) -> Result<T, BarrierError> {
        from_bytes(&self.0)
    }
}

/// It may name accounts: it prints as nothing but its length.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = Payload;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Payload, E> {
                Ok(Payload(bytes.to_vec()))
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}

/// The lease of a call to a hook.
#[derive(Clone, Debug)]
pub struct LeaseInHand {
    /// Its id.
    pub id: String,
    /// The end of its life: at a renewal the one that it is to have.
    pub until: Moment,
    /// The TTL that the client requests, at a renewal.
    pub increment: Option<Duration>,
    /// True if nothing that was sent before can still arrive.
    pub is_last: bool,
    /// The engine's data.
    pub payload: Payload,
}

/// The lease that a hook is called for, with what its engine keeps.
pub struct Leased<T> {
    /// Its id.
    pub id: String,
    /// The end of its life: at a renewal the one that it is to have unless the handler says less.
    pub until: Moment,
    /// The TTL that the client requests, at a renewal.
    pub increment: Option<Duration>,
    /// True if nothing that an act sent before can still arrive: else the hook runs once more when that is so, and what is
    /// ended now may come to be again until then.
    pub is_last: bool,
    /// The engine's data.
    pub payload: T,
}

impl<T: Stored> Extract for Leased<T> {
    fn extract(call: &Arc<Call>) -> Result<Self, EngineError> {
        let missing = || EngineError::Internal("not called for a lease".to_owned());
        let lease = call.lease.as_ref().ok_or_else(missing)?;
        // Not an error of storage: what cannot be read today cannot be read at the next attempt either.
        let unreadable = |error: BarrierError| EngineError::Internal(format!("the lease's payload: {error}"));
        let payload = lease.payload.read().map_err(unreadable)?;
        Ok(Self {
            id: lease.id.clone(),
            until: lease.until,
            increment: lease.increment,
            is_last: lease.is_last,
            payload,
        })
    }
}
