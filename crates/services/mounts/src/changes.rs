//! What the log tells of mounts that come and go: after the commit, on every node, once. It says nothing of the mounts that are
//! found at unsealing, and nothing is lost if a line is.

use crate::MountHandle;

/// Logs that a mount has come or gone, in Vault's words. One that was tuned is the same as before.
pub(crate) fn tell(before: Option<&MountHandle>, now: Option<&MountHandle>) {
    if before.map(|mounted| mounted.mount.id) == now.map(|mounted| mounted.mount.id) {
        return;
    }
    if let Some(mounted) = before {
        let (namespace, path) = (mounted.namespace.path.as_str(), mounted.path.as_str());
        if let Some(path) = path.strip_prefix("auth/") {
            tracing::info!(namespace, path, "disabled credential backend");
        } else {
            tracing::info!(namespace, path, "successfully unmounted");
        }
    }
    if let Some(mounted) = now {
        let (namespace, path) = (mounted.namespace.path.as_str(), mounted.path.as_str());
        let kind = mounted.entry.kind.as_str();
        if let Some(path) = path.strip_prefix("auth/") {
            tracing::info!(namespace, path, r#type = kind, "enabled credential backend");
        } else {
            tracing::info!(namespace, path, r#type = kind, "successful mount");
        }
    }
}
