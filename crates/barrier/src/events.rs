//! Events: what transactions report once they are committed.
//!
//! An event belongs to a commit. It is collected with the transaction's writes, is discarded with them when the transaction is
//! discarded or conflicts, and is published when the commit has an index, at most once. It is published only on the node that
//! commits: it is in no log entry, so a standby does not hear of it, and what is lost with the process is not published again.
//! Events hold nothing secret: they leave the server to subscribers.

use std::borrow::Cow;
use std::collections::BTreeMap;

use strongroom_stdx::Moment;
use strongroom_storage::Index;

use crate::MountPlace;

/// An event, as its subscribers receive it. Source: Vault's documentation, "Event notifications".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its type, such as `kv-v2/data-write`.
    pub event_type: Cow<'static, str>,
    /// The time at which it happened.
    pub time: Moment,
    /// `path`, `operation`, `modified` and what belongs to the type; never a secret.
    pub metadata: BTreeMap<Cow<'static, str>, String>,
}

impl Event {
    /// An event of a type. Its operation is the part of the type after the slash.
    pub fn new(event_type: impl Into<Cow<'static, str>>, time: Moment, path: String) -> Self {
        let event_type = event_type.into();
        let operation =
            event_type.rsplit_once('/').map_or(&*event_type, |(_, operation)| operation).to_owned();
        let metadata = BTreeMap::from([("operation".into(), operation), ("path".into(), path)]);
        Self { event_type, time, metadata }.with("modified", "true")
    }

    /// Adds to the metadata.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.metadata.insert(name.into(), value.into());
        self
    }
}

/// An event, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emitted {
    /// The mount; `None`: the server itself.
    pub origin: Option<MountPlace>,
    /// The event.
    pub event: Event,
}

/// A receiver of the events of commits.
pub trait EventSink: Send + Sync {
    /// True if there is a subscriber. Without one, events are not even created.
    fn is_heard(&self) -> bool;

    /// The events of the commit with this index. Must be quick, and never waits: the request that committed does.
    fn publish(&self, index: Index, events: Vec<Emitted>);
}
