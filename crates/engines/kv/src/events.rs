//! The events of secrets. Source: Vault's documentation, "Event notifications": the types `kv-v1/…` and `kv-v2/…` with
//! their metadata. They hold paths and version numbers, never the data.

use strongroom_engine_api::{Call, Event};

/// An event of a request to the mount. `path` and `data_path`, the path that shows the outcome, are below the mount.
pub(crate) fn event(call: &Call, event_type: &'static str, path: &str, data_path: Option<&str>) -> Event {
    let full = |path: &str| format!("{}{path}", call.mount.path);
    let event = Event::new(event_type, call.environment.clock.now(), full(path));
    match data_path {
        Some(path) => event.with("data_path", full(path)),
        None => event,
    }
}
