//! Events of keys and their versions.

use strongroom_engine_api::{Call, Event};

use super::key::Key;
use crate::events::event;

/// An event of a key. `paths`: what comes before the key in the path of the request, and in the one that shows the outcome.
pub(super) fn of_key(
    call: &Call,
    event_type: &'static str,
    paths: (&str, Option<&str>),
    path: &str,
    key: &Key,
) -> Event {
    of_path(call, event_type, paths, path)
        .with("current_version", key.current.to_string())
        .with("oldest_version", key.oldest.to_string())
}

/// An event of a key that is gone.
pub(super) fn of_path(
    call: &Call,
    event_type: &'static str,
    (asked, shows): (&str, Option<&str>),
    path: &str,
) -> Event {
    let shows = shows.map(|shows| format!("{shows}/{path}"));
    event(call, event_type, &format!("{asked}/{path}"), shows.as_deref())
}
