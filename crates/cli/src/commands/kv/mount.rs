//! Finds the mount a KV path belongs to, and which version it is.

use std::time::Duration;

use serde_json::{Map, Value};
use strongroom_client::Request;

use crate::call::{Call, sanitize};
use crate::failure::{Because, Failure};

/// A place in a KV mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The mount's path, with a slash behind.
    pub mount: String,
    /// The secret's path in the mount.
    pub path: String,
    /// True if the mount keeps versions.
    pub v2: bool,
}

impl Place {
    /// Resolves the first argument, with `-mount` or without, by asking the server which mount it belongs to.
    pub(crate) async fn find(call: &mut Call<'_>) -> Result<Self, Failure> {
        let given = sanitize(call.arg(0));
        let mount = call.flags.text("mount").map(sanitize);
        let asked = mount.clone().unwrap_or_else(|| given.clone());
        // The question is ours, not the user's: it goes unwrapped.
        let request = Request::read(format!("sys/internal/ui/mounts/{asked}")).wrap(Duration::ZERO);
        let response = match call.ask(request).await {
            Ok(response) if response.status() == 404 => None,
            Ok(response) => Some(response),
            // A server before this endpoint existed: take the first segment for a mount of version 1.
            Err(error) if error.status() == Some(404) => None,
            Err(error) => return Err(plain(Err::<(), _>(error))),
        };
        let Some(response) = response else {
            return Ok(Self::new(mount.as_deref().unwrap_or_default(), &given, mount.is_some(), false));
        };
        let reply =
            response.reply().await.map_err(|error| Failure::remote(error.to_string()))?.unwrap_or_default();
        let data = reply.data.unwrap_or_default();
        let found = data.get("path").and_then(Value::as_str).unwrap_or_default();
        let v2 = is_v2(&data);
        if mount.is_some() {
            let found = if found.is_empty() { &asked } else { found };
            return Ok(Self::new(found, &given, true, v2));
        }
        Ok(Self::new(found, &given, false, v2))
    }

    /// A place by the mount's path and what was given: the path in the mount, or the mount's path with it.
    fn new(mount: &str, given: &str, relative: bool, v2: bool) -> Self {
        let mount = sanitize(mount);
        let rest = if relative { Some(given) } else { given.strip_prefix(&mount) };
        let path = rest.unwrap_or(given).trim_start_matches('/').to_owned();
        Self { mount: if mount.is_empty() { mount } else { format!("{mount}/") }, path, v2 }
    }

    /// The API path of an operation: `secret/data/a` on version 2, `secret/a` on version 1.
    pub(crate) fn api(&self, operation: &str) -> String {
        let Self { mount, path, v2 } = self;
        let full = if *v2 { format!("{mount}{operation}/{path}") } else { format!("{mount}{path}") };
        full.trim_end_matches('/').to_owned()
    }

    /// Refuses mounts without versions.
    pub(crate) fn versioned(&self, message: &str) -> Result<(), Failure> {
        if self.v2 { Ok(()) } else { Err(Failure::remote(message)) }
    }
}

/// The error of the preflight as it is: it says by itself what it was for.
fn plain<T>(result: Result<T, crate::failure::SendError>) -> Failure {
    match result.because("") {
        Err(Failure::Remote(message)) => Failure::Remote(message.trim_start_matches(": ").to_owned()),
        Err(other) => other,
        Ok(_) => Failure::Exit(2),
    }
}

fn is_v2(data: &Map<String, Value>) -> bool {
    data.get("options").and_then(|options| options.get("version")).is_some_and(|version| version == "2")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_ways_to_name_a_place() {
        let by_path = Place::new("team/kv/", "team/kv/app/db", false, true);
        let by_mount = Place::new("team/kv", "app/db", true, true);
        assert_eq!(by_path, by_mount);
        assert_eq!(by_path.api("data"), "team/kv/data/app/db");
        assert_eq!(Place::new("kv1/", "kv1/a", false, false).api("data"), "kv1/a");
        assert_eq!(Place::new("secret/", "secret", false, true).api("metadata"), "secret/metadata");
        // With -mount, a path that repeats the mount's name is a path in it.
        assert_eq!(Place::new("secret/", "secret/a", true, true).api("data"), "secret/data/secret/a");
    }

    #[test]
    fn a_mount_says_its_version() {
        assert!(is_v2(json!({"options": {"version": "2"}}).as_object().unwrap()));
        assert!(!is_v2(json!({"options": {"version": "1"}}).as_object().unwrap()));
        assert!(!is_v2(json!({"options": null}).as_object().unwrap()));
    }

    #[test]
    fn other_mounts_are_refused_where_versions_are_needed() {
        let error = Place::new("kv1/", "kv1/a", false, false).versioned("no").unwrap_err();
        assert_eq!(error.to_string(), "no");
    }
}
