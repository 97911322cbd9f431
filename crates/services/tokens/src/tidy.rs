//! Tidy: finds and removes dangling records, for `auth/token/tidy` and `sys/leases/tidy`.
//!
//! Everything a request writes is one transaction, so there should be none; these walks make sure, in bounded steps
//! that housekeeping takes.

use serde::{Deserialize, Serialize};
use strongroom_barrier::{BarrierError, NamespaceId, Stored, Txn};
use strongroom_engine_api::{EngineError, Moment};
use strongroom_expiry::{End, LEASES, LeaseOwner, OWNED_LEASES, end_lease};

use crate::tables::{ACCESSORS, CHILDREN, REVOKING, TIDYING, TOKENS};
use crate::{AccessorKey, TokenId, TokenKey, TokenStore};

/// Records looked at in one transaction.
const STEP: usize = 256;

/// The records to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tidy {
    /// Accessors, parents and owners that lead to no token.
    Tokens,
    /// Leases whose token is gone.
    Leases,
}

/// The progress of a walk.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct TidyProgress {
    what: Tidy,
    namespace: NamespaceId,
    place: Place,
    removed: u64,
}

impl Stored for TidyProgress {}

/// The last record looked at.
#[derive(Clone, Serialize, Deserialize)]
enum Place {
    Accessor(AccessorKey),
    Child(TokenKey, TokenId),
    Owner(TokenKey, String),
    Lease(String),
}

impl Tidy {
    /// The number of its walk through a namespace.
    fn number(self, namespace: NamespaceId) -> u64 {
        let what = match self {
            Self::Tokens => 0,
            Self::Leases => 1,
        };
        u64::from(namespace.get()).saturating_mul(2).saturating_add(what)
    }

    const fn start(self) -> Place {
        match self {
            Self::Tokens => Place::Accessor([0; 16]),
            Self::Leases => Place::Lease(String::new()),
        }
    }
}

impl TokenStore {
    /// Has housekeeping look for records of the root namespace that lead nowhere; `false`: it is at it already.
    pub async fn start_tidying(&self, txn: &Txn, what: Tidy) -> Result<bool, BarrierError> {
        self.start_tidying_in(txn, NamespaceId::ROOT, what).await
    }

    /// The same for a namespace: who asks in one has nothing else looked through.
    pub async fn start_tidying_in(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        what: Tidy,
    ) -> Result<bool, BarrierError> {
        let number = what.number(namespace);
        if TIDYING.get(txn, &number).await?.is_some() {
            return Ok(false);
        }
        TIDYING.put(txn, &number, TidyProgress { what, namespace, place: what.start(), removed: 0 })?;
        Ok(true)
    }

    /// Goes on with the first walk; answers whether there was one.
    pub async fn continue_tidying(&self, txn: &Txn) -> Result<bool, EngineError> {
        let Some((number, walk)) = TIDYING.scan(txn, &(), None, 1).await?.into_iter().next() else {
            return Ok(false);
        };
        let (next, removed) =
            look_through(txn, walk.namespace, &walk.place, self.environment.clock.now()).await?;
        let removed = removed.saturating_add(walk.removed);
        if let Some(place) = next {
            TIDYING.put(txn, &number, TidyProgress { place, removed, ..(*walk).clone() })?;
        } else {
            TIDYING.delete(txn, &number);
            tracing::info!(what = ?walk.what, removed, "tidy operation finished");
        }
        Ok(true)
    }
}

/// Looks at what follows `place` in a namespace; answers where to go on, and how many records were removed.
async fn look_through(txn: &Txn, namespace: NamespaceId, place: &Place, now: Moment) -> Looked {
    match place {
        Place::Accessor(after) => accessors(txn, namespace, after).await,
        Place::Child(parent, child) => children(txn, namespace, parent, child).await,
        Place::Owner(owner, id) => owners(txn, namespace, owner, id).await,
        Place::Lease(id) => leases(txn, namespace, id, now).await,
    }
}

type Looked = Result<(Option<Place>, u64), EngineError>;

async fn accessors(txn: &Txn, namespace: NamespaceId, after: &AccessorKey) -> Looked {
    let found = ACCESSORS.keys_after(txn.peek(), &namespace, &(namespace, after), STEP).await?;
    let mut removed = 0u64;
    for (namespace, accessor) in &found {
        let Some(to) = ACCESSORS.get(txn, &(*namespace, accessor)).await? else { continue };
        if TOKENS.get(txn, &to.token.at()).await?.is_none() {
            ACCESSORS.delete(txn, &(*namespace, accessor));
            removed = removed.saturating_add(1);
        }
    }
    let next = last_of_full(found).map(|(_, accessor)| Place::Accessor(accessor));
    Ok((Some(next.unwrap_or(Place::Child(TokenKey::default(), TokenId::default()))), removed))
}

/// A child whose parent is gone and is not being revoked is a tree that was left over.
async fn children(txn: &Txn, namespace: NamespaceId, parent: &TokenKey, child: &TokenId) -> Looked {
    let found = CHILDREN.keys_after(txn.peek(), &namespace, &(namespace, *parent, child), STEP).await?;
    let mut removed = 0u64;
    for (namespace, parent, child) in &found {
        if TOKENS.get(txn, &child.at()).await?.is_none() {
            CHILDREN.delete(txn, &(*namespace, *parent, child));
            removed = removed.saturating_add(1);
        } else if TOKENS.get(txn, &(*namespace, parent)).await?.is_none() {
            REVOKING.put(txn, &TokenId { namespace: *namespace, key: *parent }, ())?;
        }
    }
    let next = last_of_full(found).map(|(_, parent, child)| Place::Child(parent, child));
    Ok((Some(next.unwrap_or(Place::Owner(TokenKey::default(), String::new()))), removed))
}

async fn owners(txn: &Txn, namespace: NamespaceId, owner: &TokenKey, id: &str) -> Looked {
    let found = OWNED_LEASES.keys_after(txn.peek(), &namespace, &(namespace, *owner, id), STEP).await?;
    let mut removed = 0u64;
    for (namespace, owner, id) in &found {
        let Some(lease) = OWNED_LEASES.get(txn, &(*namespace, *owner, id)).await? else { continue };
        if LEASES.get(txn, &(lease.namespace, id)).await?.is_none() {
            OWNED_LEASES.delete(txn, &(*namespace, *owner, id));
            removed = removed.saturating_add(1);
        }
    }
    Ok((last_of_full(found).map(|(_, owner, id)| Place::Owner(owner, id)), removed))
}

async fn leases(txn: &Txn, namespace: NamespaceId, id: &str, now: Moment) -> Looked {
    let found = LEASES.keys_after(txn.peek(), &namespace, &(namespace, id), STEP).await?;
    let mut removed = 0u64;
    for (namespace, id) in &found {
        let Some(lease) = LEASES.get(txn, &(*namespace, id)).await? else { continue };
        if lease.state.has_ended() {
            // It has ended, and is on its way to be revoked: no token needs to hold it.
            continue;
        }
        let holder = lease.token.or_else(|| lease.owner.and_then(LeaseOwner::holder));
        let held = match holder {
            Some(holder) => TOKENS.get(txn, &holder.at()).await?.is_some(),
            None => true,
        };
        if !held {
            end_lease(txn, *namespace, id, &lease, End::Due, now)?;
            removed = removed.saturating_add(1);
        }
    }
    Ok((last_of_full(found).map(|(_, id)| Place::Lease(id)), removed))
}

/// The last of a step's records, where there may be more.
fn last_of_full<T>(found: Vec<T>) -> Option<T> {
    found.into_iter().nth(STEP.saturating_sub(1))
}
