//! Paths of secrets and of folders.

use strongroom_engine_api::{EngineError, bad_request};

/// Refuses what cannot be a secret's path: nothing, or a folder.
pub(crate) fn check_writable(path: &str) -> Result<(), EngineError> {
    if path.is_empty() {
        return Err(bad_request("missing path"));
    }
    if path.ends_with('/') {
        return Err(bad_request("cannot write to a path ending in '/'"));
    }
    Ok(())
}

/// A listed path as the beginning of what lies in it: nothing, or ending in a slash.
pub(crate) fn folder(mut path: String) -> String {
    if !path.is_empty() && !path.ends_with('/') {
        path.push('/');
    }
    path
}

/// Paths as seen from the folder they lie in.
pub(crate) fn below<'a>(folder: &str, paths: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    paths.into_iter().filter_map(|path| path.strip_prefix(folder)).map(str::to_owned).collect()
}
