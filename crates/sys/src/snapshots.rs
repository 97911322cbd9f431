//! `sys/storage/raft/snapshot*`: saving and restoring the state. Source: Vault's API page `sys/storage/raft`.

use strongroom_backup::Backup;
use strongroom_engine_api::{Engine, EngineError, Extension, Reply, Upload, bad_request};
use strongroom_pipeline::{AfterCommit, ServerPart, ServerReply};

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

async fn save(Extension(backup): Extension<Backup>) -> Result<Reply, EngineError> {
    Ok(Reply::stream("application/gzip", backup.save_snapshot().await?))
}

async fn restore(Extension(backup): Extension<Backup>, upload: Upload) -> Result<ServerReply, EngineError> {
    install(&backup, &upload, false).await
}

async fn restore_by_force(
    Extension(backup): Extension<Backup>,
    upload: Upload,
) -> Result<ServerReply, EngineError> {
    install(&backup, &upload, true).await
}

async fn install(
    backup: &std::sync::Arc<Backup>,
    upload: &Upload,
    force: bool,
) -> Result<ServerReply, EngineError> {
    let archive =
        upload.take().ok_or_else(|| bad_request("the snapshot has been read before; send it again"))?;
    backup.restore_snapshot(archive, force).await?;
    Ok(ServerReply::of(ServerPart { after_commit: AfterCommit::Replaced, ..ServerPart::default() }))
}
