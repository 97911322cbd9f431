//! Ends what an entity holds: its tokens, with everything under them, and the leases of its batch tokens.
//!
//! Who calls this has made sure that nothing is added meanwhile: the entity is gone, or its tokens until now are refused. What
//! is left to do is then a matter of room: a note, and bounded steps.

use strongroom_barrier::{BarrierError, NamespaceId, Reads, Txn};
use strongroom_engine_api::EngineError;
use strongroom_expiry::{ENTITY_LEASES, End, EntityKey, LEASES, OWNED_LEASES};
use strongroom_tokens::BACKGROUND_STEP;

use crate::ending::STEP;
use crate::{ENTITY_REVOCATIONS, Revocation};

/// The tokens and leases of an entity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldByEntity {
    /// Accessors of its tokens.
    pub accessors: Vec<String>,
    /// Ids of the leases that those own, and of leases of its batch tokens.
    pub leases: Vec<String>,
    /// True if there is more than was asked for.
    pub is_cut: bool,
}

impl Revocation {
    /// Lists what an entity holds, under any of its `ids`: up to `limit` tokens, and up to `limit` leases.
    pub async fn held_by_entity(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        ids: &[EntityKey],
        limit: usize,
    ) -> Result<HeldByEntity, BarrierError> {
        let mut held = HeldByEntity::default();
        for id in ids {
            // One more than is listed tells whether there is more.
            let left = limit.saturating_sub(held.accessors.len()).saturating_add(1);
            let tokens = self.tokens.tokens_of_entity(reads, (namespace, *id), None, left).await?;
            for token in tokens {
                if held.accessors.len() == limit {
                    held.is_cut = true;
                    break;
                }
                if let Some(entry) = self.tokens.entry(reads, &token).await? {
                    held.accessors.push(entry.accessor.clone());
                }
                let left = limit.saturating_sub(held.leases.len()).saturating_add(1);
                let owned = OWNED_LEASES.keys(reads, &token.at(), None, left).await?;
                held.add_leases(owned.into_iter().map(|(_, _, lease)| lease), limit);
            }
            let left = limit.saturating_sub(held.leases.len()).saturating_add(1);
            let own = ENTITY_LEASES.keys(reads, &(namespace, id), None, left).await?;
            held.add_leases(own.into_iter().map(|(_, _, lease)| lease), limit);
        }
        Ok(held)
    }

    /// Ends everything that is held under any of an entity's `ids`: one step now, the rest by housekeeping.
    pub async fn revoke_entity(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        ids: &[EntityKey],
    ) -> Result<(), EngineError> {
        for id in ids {
            if self.end_some_of_entity(txn, (namespace, *id)).await? {
                ENTITY_REVOCATIONS.put(txn, &(u64::from(namespace.get()), id), ())?;
            }
        }
        Ok(())
    }

    /// Has housekeeping end everything that is held under these ids.
    pub fn note_entities(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        ids: &[EntityKey],
    ) -> Result<(), EngineError> {
        for id in ids {
            ENTITY_REVOCATIONS.put(txn, &(u64::from(namespace.get()), id), ())?;
        }
        Ok(())
    }

    /// Goes on with the first entity that is noted; answers whether there was one.
    pub(crate) async fn continue_entities(&self, txn: &Txn) -> Result<bool, EngineError> {
        let noted = ENTITY_REVOCATIONS.keys(txn, &(), None, 1).await?;
        let Some((number, id)) = noted.into_iter().next() else { return Ok(false) };
        let namespace = NamespaceId::new(u32::try_from(number).unwrap_or_default());
        if !self.end_some_of_entity(txn, (namespace, id)).await? {
            ENTITY_REVOCATIONS.delete(txn, &(number, &id));
        }
        Ok(true)
    }

    /// Ends one step's worth of what an entity holds; answers whether there was anything.
    async fn end_some_of_entity(
        &self,
        txn: &Txn,
        (namespace, id): (NamespaceId, EntityKey),
    ) -> Result<bool, EngineError> {
        if self.tokens.revoke_some_of_entity(txn, (namespace, id)).await? {
            return Ok(true);
        }
        let found = ENTITY_LEASES.scan(txn, &(namespace, &id), None, STEP).await?;
        let mut budget = BACKGROUND_STEP;
        for ((_, _, lease_id), owned) in &found {
            if let Some(lease) = LEASES.get(txn, &(owned.namespace, lease_id)).await? {
                self.revoke_lease(txn, owned.namespace, lease_id, &lease, End::Due, &mut budget).await?;
            }
            ENTITY_LEASES.delete(txn, &(namespace, id, lease_id));
        }
        Ok(!found.is_empty())
    }
}

impl HeldByEntity {
    fn add_leases(&mut self, leases: impl Iterator<Item = String>, limit: usize) {
        for lease in leases {
            if self.leases.len() == limit {
                self.is_cut = true;
                return;
            }
            self.leases.push(lease);
        }
    }
}
