//! `entity/id/:id/revoke`: what an entity holds, and the end of all of it.
//!
//! The entity stays, and can log in again. Its tokens until now are refused at once, batch tokens among them; their records,
//! with what hangs on them, and its leases are ended in steps.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use strongroom_barrier::{Reads, Txn, View};
use strongroom_engine_api::{Data, Engine, EngineError, Extension, Mount, Paging, Path};
use strongroom_identity::{Identity, IdentityId};
use strongroom_revocation::{HeldByEntity, Revocation};

/// Tokens, and leases, that an answer lists where nothing is asked.
const LISTED: usize = 1000;

pub(crate) fn routes(engine: Engine) -> Engine {
    engine.route("entity/id/{id}/revoke", |r| {
        r.read("List the tokens and leases that an entity holds.", list)
            .update("End all tokens and leases that an entity holds; the entity stays.", revoke)
    })
}

/// What an entity holds.
#[derive(Serialize, JsonSchema)]
struct HeldView {
    /// Accessors of its service tokens.
    accessors: Vec<String>,
    /// Ids of its leases.
    leases: Vec<String>,
    /// True if there are more than are listed.
    more: bool,
}

impl From<HeldByEntity> for HeldView {
    fn from(held: HeldByEntity) -> Self {
        Self { accessors: held.accessors, leases: held.leases, more: held.is_cut }
    }
}

/// The ids under which an entity's tokens are: its own, and those of entities merged into it.
async fn ids_of(
    identity: &Identity,
    reads: &impl Reads,
    mount: &Mount,
    id: &str,
) -> Result<(IdentityId, Vec<[u8; 16]>), EngineError> {
    let id = IdentityId::parse(id).ok_or(EngineError::NotFound)?;
    let entity = identity.entity(reads, mount.namespace, id).await?.ok_or(EngineError::NotFound)?;
    Ok((id, [id].iter().chain(&entity.merged).map(|id| id.bytes()).collect()))
}

async fn list(
    (Extension(identity), Extension(revocation)): (Extension<Identity>, Extension<Revocation>),
    mount: Arc<Mount>,
    Path(id): Path<String>,
    paging: Paging,
    view: View,
) -> Result<Data<HeldView>, EngineError> {
    let (_, ids) = ids_of(&identity, &view, &mount, &id).await?;
    let held = revocation.held_by_entity(&view, mount.namespace, &ids, paging.limit.min(LISTED)).await?;
    Ok(Data(held.into()))
}

async fn revoke(
    (Extension(identity), Extension(revocation)): (Extension<Identity>, Extension<Revocation>),
    mount: Arc<Mount>,
    Path(id): Path<String>,
    txn: Txn,
) -> Result<Data<HeldView>, EngineError> {
    let (id, ids) = ids_of(&identity, &txn, &mount, &id).await?;
    let held = revocation.held_by_entity(txn.peek(), mount.namespace, &ids, LISTED).await?;
    identity.mark_revoked(&txn, mount.namespace, id).await?;
    revocation.revoke_entity(&txn, mount.namespace, &ids).await?;
    Ok(Data(held.into()))
}
