//! A request as it comes from the edge.

use std::sync::Arc;
use std::time::Duration;

use crate::budget::Share;
use http::{HeaderMap, Uri};
use serde_json::{Map, Value};
use strongroom_engine_api::{Operation, Peer, Redactions, RequestBody, Secret, UpgradeOffer};

use super::{Destination, Inline, RequestError};

/// The kind of request, by the HTTP method and query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// GET and HEAD.
    Read,
    /// POST and PUT.
    Write,
    /// DELETE.
    Delete,
    /// LIST, or GET with `list=true`.
    List,
    /// SCAN, or GET with `scan=true`.
    Scan,
    /// PATCH.
    Patch,
    /// GET with `help=1`.
    Help,
}

impl Verb {
    /// The operations it can turn out to be.
    pub const fn operations(self) -> &'static [Operation] {
        match self {
            Self::Read => &[Operation::Read],
            Self::Write => &[Operation::Create, Operation::Update],
            Self::Delete => &[Operation::Delete],
            Self::List => &[Operation::List],
            Self::Scan => &[Operation::Scan],
            Self::Patch => &[Operation::Patch],
            Self::Help => &[Operation::Help],
        }
    }

    /// The operation to name where it is not known what exists.
    pub const fn nominal(self) -> Operation {
        match self {
            Self::Read => Operation::Read,
            Self::Write => Operation::Update,
            Self::Delete => Operation::Delete,
            Self::List => Operation::List,
            Self::Scan => Operation::Scan,
            Self::Patch => Operation::Patch,
            Self::Help => Operation::Help,
        }
    }
}

/// A request, parsed and not yet understood.
pub struct Inbound {
    /// The request id.
    pub id: Arc<str>,
    /// The kind of request.
    pub asked: Verb,
    /// The path after `/v1/`, decoded.
    pub path: String,
    /// The body's members, or the query's.
    pub input: Arc<Map<String, Value>>,
    /// The token presented.
    pub token: Option<Arc<Secret<String>>>,
    /// The namespace asked for, without surrounding slashes; empty: the root namespace.
    pub namespace: String,
    /// The destination, if it was resolved already.
    pub destination: Option<Destination>,
    /// The wrapping asked for.
    pub wrap_ttl: Option<Duration>,
    /// All headers.
    pub headers: HeaderMap,
    /// The client's end of the connection.
    pub peer: Peer,
    /// True if the client asked to override soft policies.
    pub policy_override: bool,
    /// The body, where the operation takes it as bytes or as it comes.
    pub body: RequestBody,
    /// The request target as sent, for routes that read the tail of their path so.
    pub target: Uri,
    /// The fields that the listener redacts in answers to callers without a token.
    pub redactions: Redactions,
    /// The other protocol that the client would go on with.
    pub upgrade: Option<Arc<UpgradeOffer>>,
    /// The part that it has in an inline authentication.
    pub inline: Inline,
    /// The memory that its body takes, given back once the request is done, also where its client has gone before.
    pub memory: Option<Share>,
}

impl Inbound {
    /// A request without a token and without parameters.
    pub fn new(id: impl Into<Arc<str>>, asked: Verb, path: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            asked,
            path: path.into(),
            input: Arc::default(),
            token: None,
            namespace: String::new(),
            destination: None,
            wrap_ttl: None,
            headers: HeaderMap::new(),
            peer: Peer::default(),
            policy_override: false,
            body: RequestBody::default(),
            target: Uri::default(),
            redactions: Redactions::default(),
            upgrade: None,
            inline: Inline::default(),
            memory: None,
        }
    }

    /// True if it only reads.
    pub(crate) const fn reads(&self) -> bool {
        matches!(self.asked, Verb::Read | Verb::List | Verb::Scan | Verb::Help)
    }

    /// True if the response is to be wrapped.
    pub(crate) fn wraps(&self) -> bool {
        self.wrap_ttl.is_some_and(|ttl| !ttl.is_zero())
    }

    /// Refuses paths that no mount can hold.
    pub(crate) fn check(&self) -> Result<(), RequestError> {
        let has_controls = if self.path.is_ascii() {
            self.path.bytes().any(|byte| byte.is_ascii_control())
        } else {
            self.path.chars().any(char::is_control)
        };
        if has_controls {
            return Err(RequestError::status(400, "path must not contain control characters"));
        }
        if self.path.as_bytes().split(|byte| *byte == b'/').any(|part| part == b"..") {
            return Err(RequestError::status(400, "path cannot contain parent references"));
        }
        if self.asked == Verb::Write && self.path.ends_with('/') {
            return Err(RequestError::status(400, "cannot write to a path ending in '/'"));
        }
        Ok(())
    }
}
