//! `sys/storage/raft/snapshot*`: saving and restoring the state. Source: Vault's API page `sys/storage/raft`.

use strongroom_core::{Core, Ending, ServerPart, ServerReply};
use strongroom_engine_api::{Engine, EngineError, Extension, Reply, Upload, bad_request};

pub(crate) fn routes(engine: Engine) -> Engine {
    engine
        .route("storage/raft/snapshot", |r| {
            r.read("Returns a snapshot of the current state of vault.", save)
                .update("Installs the provided snapshot, returning the cluster to the state defined in it.", restore)
        })
        .route("storage/raft/snapshot-force", |r| {
            r.update(
                "Installs the provided snapshot, returning the cluster to the state defined in it. This bypasses \
                 checks ensuring the current Autounseal or Shamir keys are consistent with the snapshot data.",
                restore_by_force,
            )
        })
}

async fn save(Extension(core): Extension<Core>) -> Result<Reply, EngineError> {
    Ok(Reply::stream("application/gzip", core.backup().save_snapshot().await?))
}

async fn restore(Extension(core): Extension<Core>, upload: Upload) -> Result<ServerReply, EngineError> {
    install(&core, &upload, false).await
}

async fn restore_by_force(
    Extension(core): Extension<Core>,
    upload: Upload,
) -> Result<ServerReply, EngineError> {
    install(&core, &upload, true).await
}

async fn install(
    core: &std::sync::Arc<Core>,
    upload: &Upload,
    force: bool,
) -> Result<ServerReply, EngineError> {
    let archive =
        upload.take().ok_or_else(|| bad_request("the snapshot has been read before; send it again"))?;
    core.backup().restore_snapshot(archive, force).await?;
    Ok(ServerReply::of(ServerPart { ending: Ending::Replaced, ..ServerPart::default() }))
}
