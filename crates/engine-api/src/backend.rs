//! The seam between the server and what answers for a mount.
//!
//! Router, pipeline, help, OpenAPI, leases and jobs know a [`Backend`] and not how it came about. [`Engine`] is the one that
//! is written in this program, with typed handlers. Another can be made while the server runs, of names and routes that are
//! supplied to it, by a separate process for instance. Nothing here says how such a process is started or spoken
//! to. A backend does not change while it is mounted; one with other routes is another backend.
//!
//! A failure is an [`EngineError`] or a [`RevokeError`](crate::RevokeError) of the call in hand;
//! looking up routes, facts and hooks cannot fail and waits for nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use strongroom_barrier::TableId;
use strongroom_wire::Operation;

use crate::{
    Asking, AuthGrant, Call, Class, EngineError, Extensions, Facts, Found, Job, LeaseKind, Route, RouteError,
    RouteTable, Segment,
};

#[cfg(doc)]
use crate::Engine;

/// Answers for a mount: a secrets engine, an auth method, or a part of the server.
pub trait Backend: Send + Sync + 'static {
    /// All that is known of it beside its routes.
    fn facts(&self) -> &Facts;

    /// Its routes.
    fn route_table(&self) -> &RouteTable;

    /// The route for a path (relative to the mount) that has one of `operations`; where several match, the most
    /// specific; where none has the operation, the most specific that matches, for its refusal.
    fn find(&self, path: &str, operations: &[Operation]) -> Result<Found, RouteError> {
        self.route_table().find(path, operations)
    }

    /// Its work in the background.
    fn jobs(&self) -> &[Job] {
        &[]
    }

    /// The kind of lease with this name.
    fn lease_kind(&self, _kind: &str) -> Option<&LeaseKind> {
        None
    }

    /// The tables of its mounts.
    fn own_tables(&self) -> &[TableId] {
        &[]
    }

    /// The table whose entries end with their token.
    fn table_by_token(&self) -> Option<TableId> {
        None
    }

    /// The values that handlers can draw with [`crate::Extension`].
    fn extensions(&self) -> Extensions {
        Extensions::default()
    }

    /// Checks the options of a mount before it is enabled or tuned; the text says what is wrong.
    fn validate_options(&self, _options: &BTreeMap<String, String>) -> Result<(), String> {
        Ok(())
    }

    /// Checks options that are to be changed beside those that the mount has; the text says what is wrong.
    fn validate_change(
        &self,
        _before: &BTreeMap<String, String>,
        _given: &BTreeMap<String, String>,
    ) -> Result<(), String> {
        Ok(())
    }

    /// An auth method's say in the renewal of what it granted; `None` where it leaves renewals to the server.
    fn renewal(&self, _call: &Arc<Call>) -> Option<BoxFuture<'static, Result<AuthGrant, EngineError>>> {
        None
    }

    /// The same of an auth method that asks outside for it.
    fn asks_at_renewal(&self) -> Option<&Asking<AuthGrant>> {
        None
    }

    /// Its type, as `sys/mounts` shows it.
    fn kind(&self) -> &str {
        &self.facts().kind
    }

    /// The name for generic mount paths.
    fn generic(&self) -> &str {
        self.facts().generic()
    }

    /// The place that it is mounted at.
    fn class(&self) -> Class {
        self.facts().class
    }

    /// The text that `path-help` prints for the mount.
    fn help(&self) -> &str {
        &self.facts().help
    }

    /// Its routes, the more specific first.
    fn routes(&self) -> &[Arc<Route>] {
        self.route_table().routes()
    }

    /// Tells whether a slash at the end of `path` (relative to the mount) says nothing for `operations`.
    fn ignores_trailing_slash(&self, path: &str, operations: &[Operation]) -> bool {
        let Ok(found) = self.find(path, operations) else { return true };
        match found.route.pattern().segments().last() {
            Some(Segment::Raw(_)) => false,
            Some(Segment::Rest(_)) => !self.facts().keeps_trailing_slash,
            _ => true,
        }
    }
}

impl fmt::Debug for dyn Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Backend({})", self.kind())
    }
}
