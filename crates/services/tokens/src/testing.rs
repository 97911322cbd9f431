//! All records of tokens as storage has them, for tests that look at the whole, and damage that only tests do.

use std::collections::BTreeSet;

use strongroom_barrier::{BarrierError, NamespaceId, Reads, Txn};

use crate::tables::{ACCESSORS, CHILDREN, ORPHANING, REVOKING, TOKENS, WRAPPED};
use crate::{TokenId, TokenKey};

/// The records of a namespace's tokens.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TokenRecords {
    /// Tokens.
    pub tokens: BTreeSet<TokenId>,
    /// Tokens that an accessor leads to.
    pub accessors: BTreeSet<TokenId>,
    /// Parents, each with a child.
    pub children: BTreeSet<(TokenId, TokenId)>,
    /// Tokens that hold a wrapped response.
    pub wrapped: BTreeSet<TokenId>,
    /// Tokens that are gone and whose dependents are not, in whatever namespace.
    pub unfinished: BTreeSet<TokenId>,
}

/// The records of a namespace's tokens.
///
/// # Errors
///
/// [`BarrierError`].
pub async fn records(reads: &impl Reads, namespace: NamespaceId) -> Result<TokenRecords, BarrierError> {
    let all = usize::MAX;
    let accessors = ACCESSORS.scan(reads, &namespace, None, all).await?;
    let children = CHILDREN.keys(reads, &namespace, None, all).await?;
    let mut unfinished: BTreeSet<TokenId> = REVOKING.keys(reads, &(), None, all).await?.into_iter().collect();
    unfinished.extend(ORPHANING.keys(reads, &(), None, all).await?);
    Ok(TokenRecords {
        tokens: ids(TOKENS.keys(reads, &namespace, None, all).await?),
        accessors: accessors.into_iter().map(|(_, to)| to.token).collect(),
        children: children
            .into_iter()
            .map(|(namespace, key, child)| (TokenId { namespace, key }, child))
            .collect(),
        wrapped: ids(WRAPPED.keys(reads, &namespace, None, all).await?),
        unfinished,
    })
}

/// Damages storage: the entry of a token is lost, and all that belongs to it stays.
pub fn lose_entry(txn: &Txn, id: &TokenId) {
    TOKENS.delete(txn, &id.at());
}

fn ids(keys: Vec<(NamespaceId, TokenKey)>) -> BTreeSet<TokenId> {
    keys.into_iter().map(|(namespace, key)| TokenId { namespace, key }).collect()
}
