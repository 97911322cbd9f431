//! Lists of a cubbyhole's names.

use strongroom_engine_api::{Caller, EngineError, Paging, Path, Reply, View};

use crate::{ENTRIES, own};

pub(crate) async fn list(
    Path(path): Path<String>,
    caller: Caller,
    paging: Paging,
    view: View,
) -> Result<Reply, EngineError> {
    let (own, folder, after) = (own(&caller)?, folder(path), paging.after.as_deref());
    Reply::keys(&ENTRIES.children(&view, &(own, folder.as_str()), after, paging.limit).await?)
}

pub(crate) async fn scan(
    Path(path): Path<String>,
    caller: Caller,
    paging: Paging,
    view: View,
) -> Result<Reply, EngineError> {
    let (own, folder) = (own(&caller)?, folder(path));
    let prefix = (own, folder.as_str());
    let found = match paging.after {
        None => ENTRIES.keys(&view, &prefix, None, paging.limit).await?,
        Some(after) => {
            let after = format!("{folder}{after}");
            ENTRIES.keys_after(&view, &prefix, &(own, after.as_str()), paging.limit).await?
        }
    };
    let paths: Vec<String> =
        found.iter().filter_map(|(_, path)| path.strip_prefix(&folder)).map(str::to_owned).collect();
    Reply::keys(&paths)
}

/// A listed path as the beginning of what lies in it: nothing, or ending in a slash.
fn folder(mut path: String) -> String {
    if !path.is_empty() && !path.ends_with('/') {
        path.push('/');
    }
    path
}
