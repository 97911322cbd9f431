//! Looking for records that lead nowhere: `auth/token/tidy` and `sys/leases/tidy`.
//!
//! Everything a request writes is one transaction, so there should be none; these walks make sure, in bounded steps
//! that housekeeping takes.

use serde::{Deserialize, Serialize};
use strongroom_barrier::{BarrierError, Scope, Stored, Table, Txn};
use strongroom_engine_api::EngineError;

use super::TokenKey;
use crate::Core;
use crate::leases::end_secret_lease;
use crate::tables::{ACCESSORS, CHILDREN, LEASES, OWNED_LEASES, REVOKING, TOKENS};

/// Walks under way.
const TIDYING: Table<u64, Walk> = Table::new(23);
/// Records looked at in one transaction.
const STEP: usize = 256;

/// What to look through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tidy {
    /// Accessors, parents and owners that lead to no token.
    Tokens,
    /// Leases whose token is gone.
    Leases,
}

/// How far a walk has come.
#[derive(Clone, Serialize, Deserialize)]
struct Walk {
    what: Tidy,
    place: Place,
    removed: u64,
}

impl Stored for Walk {}

/// The last record looked at.
#[derive(Clone, Serialize, Deserialize)]
enum Place {
    Accessor(String),
    Child(TokenKey, TokenKey),
    Owner(TokenKey, String),
    Lease(u64, String),
}

impl Tidy {
    const fn number(self) -> u64 {
        match self {
            Self::Tokens => 0,
            Self::Leases => 1,
        }
    }

    const fn start(self) -> Place {
        match self {
            Self::Tokens => Place::Accessor(String::new()),
            Self::Leases => Place::Lease(0, String::new()),
        }
    }
}

impl Core {
    /// Has housekeeping look for records that lead nowhere; `false`: it is at it already.
    pub async fn start_tidying(&self, txn: &Txn, what: Tidy) -> Result<bool, BarrierError> {
        let txn = txn.scoped(Scope::core());
        if TIDYING.get(&txn, &what.number()).await?.is_some() {
            return Ok(false);
        }
        TIDYING.put(&txn, &what.number(), Walk { what, place: what.start(), removed: 0 })?;
        Ok(true)
    }

    /// Goes on with the first walk; answers whether there was one.
    pub(crate) async fn continue_tidying(&self, txn: &Txn) -> Result<bool, EngineError> {
        let Some((number, walk)) = TIDYING.scan(txn, &(), None, 1).await?.into_iter().next() else {
            return Ok(false);
        };
        let (next, removed) = look_through(txn, &walk.place).await?;
        let removed = removed.saturating_add(walk.removed);
        if let Some(place) = next {
            TIDYING.put(txn, &number, Walk { what: walk.what, place, removed })?;
        } else {
            TIDYING.delete(txn, &number);
            tracing::info!(what = ?walk.what, removed, "tidy operation finished");
        }
        Ok(true)
    }
}

/// Looks at what follows `place`; answers where to go on, and how many records were removed.
async fn look_through(txn: &Txn, place: &Place) -> Result<(Option<Place>, u64), EngineError> {
    match place {
        Place::Accessor(after) => accessors(txn, after).await,
        Place::Child(parent, child) => children(txn, parent, child).await,
        Place::Owner(owner, id) => owners(txn, owner, id).await,
        Place::Lease(namespace, id) => leases(txn, *namespace, id).await,
    }
}

type Looked = Result<(Option<Place>, u64), EngineError>;

async fn accessors(txn: &Txn, after: &str) -> Looked {
    let found = ACCESSORS.keys_after(txn.view(), "", after, STEP).await?;
    let mut removed = 0u64;
    for accessor in &found {
        let Some(to) = ACCESSORS.get(txn, accessor.as_str()).await? else { continue };
        if TOKENS.get(txn, &to.key).await?.is_none() {
            ACCESSORS.delete(txn, accessor.as_str());
            removed = removed.saturating_add(1);
        }
    }
    let next = found.into_iter().nth(STEP.saturating_sub(1)).map(Place::Accessor);
    Ok((Some(next.unwrap_or(Place::Child(TokenKey::default(), TokenKey::default()))), removed))
}

/// A child whose parent is gone and is not being revoked is a tree that was left over.
async fn children(txn: &Txn, parent: &TokenKey, child: &TokenKey) -> Looked {
    let found = CHILDREN.keys_after(txn.view(), &(), &(*parent, child), STEP).await?;
    let mut removed = 0u64;
    for (parent, child) in &found {
        if TOKENS.get(txn, child).await?.is_none() {
            CHILDREN.delete(txn, &(*parent, child));
            removed = removed.saturating_add(1);
        } else if TOKENS.get(txn, parent).await?.is_none() {
            REVOKING.put(txn, parent, ())?;
        }
    }
    let next =
        found.into_iter().nth(STEP.saturating_sub(1)).map(|(parent, child)| Place::Child(parent, child));
    Ok((Some(next.unwrap_or(Place::Owner(TokenKey::default(), String::new()))), removed))
}

async fn owners(txn: &Txn, owner: &TokenKey, id: &str) -> Looked {
    let found = OWNED_LEASES.keys_after(txn.view(), &(), &(*owner, id), STEP).await?;
    let mut removed = 0u64;
    for (owner, id) in &found {
        if LEASES.get(txn, &(crate::ROOT_NAMESPACE, id)).await?.is_none() {
            OWNED_LEASES.delete(txn, &(*owner, id));
            removed = removed.saturating_add(1);
        }
    }
    Ok((found.into_iter().nth(STEP.saturating_sub(1)).map(|(owner, id)| Place::Owner(owner, id)), removed))
}

async fn leases(txn: &Txn, namespace: u64, id: &str) -> Looked {
    let found = LEASES.keys_after(txn.view(), &(), &(namespace, id), STEP).await?;
    let mut removed = 0u64;
    for (namespace, id) in &found {
        let Some(lease) = LEASES.get(txn, &(*namespace, id)).await? else { continue };
        let holder = lease.token.or(lease.owner);
        let held = match holder {
            Some(key) => TOKENS.get(txn, &key).await?.is_some(),
            None => true,
        };
        if !held {
            end_secret_lease(txn, id, &lease);
            removed = removed.saturating_add(1);
        }
    }
    Ok((
        found.into_iter().nth(STEP.saturating_sub(1)).map(|(namespace, id)| Place::Lease(namespace, id)),
        removed,
    ))
}
