//! `sys/auth`. Source: Vault's API page of this name.

use std::sync::Arc;

use strongroom_barrier::Txn;
use strongroom_engine_api::{Call, Class, Engine, EngineError, Extension, Input, Mount, Path, bad_request};
use strongroom_identity::Identity;
use strongroom_mounts::Mounts;
use strongroom_pipeline::{ServerReply, Settings};

use crate::envelopes::MergedData;
use crate::mounts::{AUTH, EnableInput, MountView, TOKEN, as_kept, asked_for, mounted_at, table};
use crate::tuning::{self, ConfigInput, TuneInput, TuneView};

pub(crate) fn routes(engine: Engine) -> Engine {
    engine
        .route("auth", |r| r.read("List the enabled auth methods.", list))
        .route("auth/{path..}", |r| {
            r.sudo()
                .read("Read the configuration of the auth method at the given path.", read)
                .update("Enable an auth method at the given path.", enable)
                .delete("Disable the auth method at the given path.", disable)
        })
        .route("auth/{path..}/tune", |r| {
            r.sudo()
                .read("Read the tuning of the auth method at the given path.", read_tuning)
                .update("Tune the auth method at the given path.", tune)
        })
}

async fn list(
    Extension(settings): Extension<Settings>,
    Extension(mounts): Extension<Mounts>,
    mount: Arc<Mount>,
) -> Result<ServerReply, EngineError> {
    ServerReply::at_top(&table(&settings, &mounts, mount.namespace, Class::Auth).await?)
}

async fn read(
    Extension(settings): Extension<Settings>,
    Extension(mounts): Extension<Mounts>,
    mount: Arc<Mount>,
    Path(path): Path<String>,
) -> Result<MergedData<MountView>, EngineError> {
    let path = as_kept(&path)?;
    match mounted_at(&mounts, mount.namespace, &format!("{AUTH}{path}")).await? {
        Some(mounted) => Ok(MergedData(MountView::of(&settings, &mounted))),
        None => Err(bad_request(format!("No auth engine at {path}"))),
    }
}

async fn enable(
    Extension(settings): Extension<Settings>,
    Extension(mounts): Extension<Mounts>,
    txn: Txn,
    call: Arc<Call>,
    Path(path): Path<String>,
    Input(input): Input<EnableInput>,
) -> Result<(), EngineError> {
    let path = format!("{AUTH}{}", as_kept(&path)?);
    let mount = asked_for(&settings, &mounts, &call, input, Class::Auth)?;
    if mount.kind == "token" {
        return Err(bad_request("token credential backend cannot be instantiated"));
    }
    mounts.add_mount(&txn, call.mount.namespace, &path, mount).await?;
    Ok(())
}

async fn disable(
    Extension(mounts): Extension<Mounts>,
    Extension(identity): Extension<Identity>,
    txn: Txn,
    mount: Arc<Mount>,
    Path(path): Path<String>,
) -> Result<(), EngineError> {
    let path = format!("{AUTH}{}", as_kept(&path)?);
    if path == TOKEN {
        return Err(bad_request("token credential backend cannot be disabled"));
    }
    if let Some(entry) = mounts.remove_mount(&txn, mount.namespace, &path).await? {
        identity.forget_mount(&txn, mount.namespace, &entry.accessor).await?;
    }
    Ok(())
}

async fn read_tuning(
    Extension(mounts): Extension<Mounts>,
    mount: Arc<Mount>,
    Path(path): Path<String>,
) -> Result<MergedData<TuneView>, EngineError> {
    tuning::read(&mounts, mount.namespace, &format!("{AUTH}{}", as_kept(&path)?)).await
}

async fn tune(
    Extension(mounts): Extension<Mounts>,
    txn: Txn,
    call: Arc<Call>,
    Path(path): Path<String>,
    Input(config): Input<ConfigInput>,
    Input(input): Input<TuneInput>,
) -> Result<(), EngineError> {
    tuning::tune(&mounts, &txn, &call, &format!("{AUTH}{}", as_kept(&path)?), config, input).await
}
