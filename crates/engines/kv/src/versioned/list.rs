//! Lists of keys, plain and with each key's metadata. While entries of version 1 are being moved, both tables are
//! read: at one commit index, so that no key is missed or named twice.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use strongroom_engine_api::{Engine, EngineError, Paging, Path, Reply, View};

use super::key::KeyMetadata;
use super::store;
use crate::paths::{below, folder};
use crate::tables::{ENTRIES, KEYS};

pub(super) fn routes(engine: Engine) -> Engine {
    engine.route("detailed-metadata/{path..}", |route| {
        route.list("List the names at the specified location with each key's metadata.", list_detailed).scan(
            "List the paths of all keys below the specified location with each key's metadata.",
            scan_detailed,
        )
    })
}

pub(super) async fn list(Path(path): Path<String>, paging: Paging, view: View) -> Result<Reply, EngineError> {
    Reply::keys(&children(&view, &folder(path), &paging).await?)
}

pub(super) async fn scan(Path(path): Path<String>, paging: Paging, view: View) -> Result<Reply, EngineError> {
    Reply::keys(&descendants(&view, &folder(path), &paging).await?)
}

async fn list_detailed(Path(path): Path<String>, paging: Paging, view: View) -> Result<Reply, EngineError> {
    let folder = folder(path);
    let names = children(&view, &folder, &paging).await?;
    detailed(&view, &folder, &names).await
}

async fn scan_detailed(Path(path): Path<String>, paging: Paging, view: View) -> Result<Reply, EngineError> {
    let folder = folder(path);
    let paths = descendants(&view, &folder, &paging).await?;
    detailed(&view, &folder, &paths).await
}

async fn children(view: &View, folder: &str, paging: &Paging) -> Result<Vec<String>, EngineError> {
    let after = paging.after.as_deref();
    let moved = KEYS.children(view, folder, after, paging.limit).await?;
    let unmoved = ENTRIES.children(view, folder, after, paging.limit).await?;
    Ok(merged(moved, unmoved, paging.limit))
}

async fn descendants(view: &View, folder: &str, paging: &Paging) -> Result<Vec<String>, EngineError> {
    let after = paging.after.as_deref().map(|after| format!("{folder}{after}"));
    let moved = KEYS.keys(view, folder, after.as_deref(), paging.limit).await?;
    let unmoved = ENTRIES.keys(view, folder, after.as_deref(), paging.limit).await?;
    Ok(below(folder, &merged(moved, unmoved, paging.limit)))
}

fn merged(moved: Vec<String>, unmoved: Vec<String>, limit: usize) -> Vec<String> {
    if unmoved.is_empty() {
        return moved;
    }
    let all: BTreeSet<String> = moved.into_iter().chain(unmoved).collect();
    all.into_iter().take(limit).collect()
}

/// The entry of a detailed list for a name.
#[derive(Serialize)]
#[serde(untagged)]
enum KeyInfo {
    Key(KeyMetadata),
    Folder {},
}

async fn detailed(view: &View, folder: &str, names: &[String]) -> Result<Reply, EngineError> {
    let mut info = BTreeMap::new();
    for name in names {
        let key =
            if name.ends_with('/') { None } else { store::find(view, &format!("{folder}{name}")).await? };
        info.insert(name.clone(), key.map_or(KeyInfo::Folder {}, |key| KeyInfo::Key(key.describe())));
    }
    Reply::keys_with(names, &info)
}
