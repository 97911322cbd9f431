//! The wrapped response of a wrapping token. It ends with the token, so it is stored beside it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use strongroom_barrier::{BarrierError, Reads, Stored, Txn};
use strongroom_stdx::Secret;

use crate::tables::WRAPPED;
use crate::{TokenId, TokenStore};

/// A wrapped answer as kept.
#[derive(Clone, Serialize, Deserialize)]
pub struct Wrapped {
    /// The members of the envelope, as JSON text.
    #[serde(rename = "r")]
    pub envelope: Secret<String>,
    /// The path whose answer it is.
    #[serde(rename = "p")]
    pub creation_path: String,
    /// Seconds it was wrapped for.
    #[serde(rename = "t")]
    pub ttl: u64,
    /// The time of its creation (RFC 3339).
    #[serde(rename = "c")]
    pub creation_time: String,
    /// The accessor of a wrapped login's token.
    #[serde(rename = "a", default)]
    pub accessor: String,
}

impl Stored for Wrapped {}

impl TokenStore {
    /// The wrapped response of a token.
    pub async fn held_by(
        &self,
        reads: &impl Reads,
        id: &TokenId,
    ) -> Result<Option<Arc<Wrapped>>, BarrierError> {
        WRAPPED.get(reads, &id.at()).await
    }

    /// Has a token hold something.
    pub fn hold(&self, txn: &Txn, id: &TokenId, wrapped: Wrapped) -> Result<(), BarrierError> {
        WRAPPED.put(txn, &id.at(), wrapped)
    }
}
