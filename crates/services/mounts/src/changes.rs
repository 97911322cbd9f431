//! Mounts that come and go, for the log: in Vault's words, once the change is committed, by the node that committed it.

use strongroom_barrier::Txn;

/// Logs that a mount was enabled, once `txn` is committed. `path` begins with `auth/` for an auth method.
pub(crate) fn enabled(txn: &Txn, namespace: String, path: &str, kind: &str) {
    let (path, kind) = (path.to_owned(), kind.to_owned());
    txn.on_commit(move || {
        if let Some(path) = path.strip_prefix("auth/") {
            tracing::info!(namespace, path, r#type = kind, "enabled credential backend");
        } else {
            tracing::info!(namespace, path, r#type = kind, "successful mount");
        }
    });
}

/// Logs that a mount was disabled, once `txn` is committed.
pub(crate) fn disabled(txn: &Txn, namespace: String, path: &str) {
    let path = path.to_owned();
    txn.on_commit(move || {
        if let Some(path) = path.strip_prefix("auth/") {
            tracing::info!(namespace, path, "disabled credential backend");
        } else {
            tracing::info!(namespace, path, "successfully unmounted");
        }
    });
}

/// Logs that a mount was moved, once `txn` is committed.
pub(crate) fn moved(txn: &Txn, namespace: String, from: &str, to: &str) {
    let (from, to) = (from.to_owned(), to.to_owned());
    txn.on_commit(move || tracing::info!(namespace, from, to, "mount moved"));
}
