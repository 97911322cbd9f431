//! Lists of a cubbyhole's names.

use strongroom_engine_api::{Caller, EngineError, Paging, Path, Reply, View};

use crate::{entries, own};

/// Paths read at a time.
const PAGE: usize = 256;

/// Sorts behind what lies in a folder, when put after the folder's slash.
const LAST: char = char::MAX;

pub(crate) async fn list(
    Path(path): Path<String>,
    caller: Caller,
    paging: Paging,
    view: View,
) -> Result<Reply, EngineError> {
    Reply::keys(&children(&view, own(&caller)?, &folder(path), &paging).await?)
}

pub(crate) async fn scan(
    Path(path): Path<String>,
    caller: Caller,
    paging: Paging,
    view: View,
) -> Result<Reply, EngineError> {
    let (own, folder) = (own(&caller)?, folder(path));
    let after = paging.after.map(|after| format!("{folder}{after}"));
    let after = after.as_deref().map(|after| (own, after));
    let found = entries().keys(&view, &(own, folder.as_str()), after.as_ref(), paging.limit).await?;
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

/// The names directly in `folder`: secrets as they are, folders once and with a slash.
async fn children(
    view: &View,
    own: [u8; 16],
    folder: &str,
    paging: &Paging,
) -> Result<Vec<String>, EngineError> {
    let mut names: Vec<String> = Vec::new();
    let mut after = paging.after.as_deref().map(|name| past(folder, name));
    loop {
        let start = after.as_deref().map(|path| (own, path));
        let page = entries().keys(view, &(own, folder), start.as_ref(), PAGE).await?;
        for (_, path) in &page {
            let rest = path.strip_prefix(folder).unwrap_or_default();
            let name = match rest.split_once('/') {
                Some((inner, _)) => format!("{inner}/"),
                None => rest.to_owned(),
            };
            if names.last() == Some(&name) || paging.after.as_ref() == Some(&name) {
                continue;
            }
            if names.len() == paging.limit {
                return Ok(names);
            }
            names.push(name);
        }
        let Some((_, last)) = page.last() else { return Ok(names) };
        let beyond = names.last().map(|name| past(folder, name)).unwrap_or_default();
        after = Some(beyond.max(last.clone()));
    }
}

/// The last path that belongs to a name: itself, or (but for the strangest names) what lies in it.
fn past(folder: &str, name: &str) -> String {
    if name.ends_with('/') { format!("{folder}{name}{LAST}") } else { format!("{folder}{name}") }
}
