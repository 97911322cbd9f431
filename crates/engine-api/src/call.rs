//! One request as a handler sees it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use strongroom_barrier::{MountId, MountPlace, MountTxn, NamespaceId, Txn};
use strongroom_stdx::{Clock, Entropy, Secret};
use strongroom_wire::Operation;

use crate::{
    Captures, EngineError, Extensions, Facilities, Peer, RawTail, Redactions, RequestBody, UpgradeOffer,
};

/// The environment that all engines share: time and randomness.
#[derive(Clone)]
pub struct Environment {
    /// The source of time.
    pub clock: Clock,
    /// The source of randomness.
    pub entropy: Entropy,
}

/// Service tokens are kept in storage; batch tokens carry their own sealed content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenKind {
    /// Kept in storage, renewable, with accessor and children.
    #[default]
    Service,
    /// Self-contained: nothing is written for it, nothing can be renewed or revoked.
    Batch,
}

impl TokenKind {
    /// Vault's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Batch => "batch",
        }
    }
}

/// Policies by the namespace that they are of.
pub type PolicySets = Arc<[(NamespaceId, Vec<String>)]>;

/// The caller: the token's facts that handlers may need.
#[derive(Clone)]
pub struct Caller {
    /// The client token itself.
    pub token: Arc<Secret<String>>,
    /// The token's number in storage, for what is kept for it (the cubbyhole). Zero-filled for batch tokens.
    pub token_key: [u8; 16],
    /// The namespace that the token belongs to.
    pub namespace: NamespaceId,
    /// Service or batch.
    pub kind: TokenKind,
    /// The token's accessor; empty for batch tokens.
    pub accessor: String,
    /// The token's display name (`approle`, `userpass-alice`, `root`).
    pub display_name: String,
    /// The identity entity, where there is one.
    pub entity_id: String,
    /// The namespace of that entity.
    pub entity_namespace: NamespaceId,
    /// The token's own policies.
    pub policies: Arc<[String]>,
    /// The policies of its entity, and of the groups that the entity is in.
    pub identity_policies: PolicySets,
    /// Metadata of the token.
    pub metadata: BTreeMap<String, String>,
    /// True if the token is not stored and ends with this request: nothing can be made from it or kept for it.
    pub ephemeral: bool,
    /// True if the request's path was granted with `sudo`.
    pub sudo: bool,
}

/// A source of facts about the caller. Most handlers do not need them, so they are collected only for those that do.
pub trait Asker: Send + Sync {
    /// The caller.
    fn caller(&self) -> Caller;
}

impl Asker for Caller {
    fn caller(&self) -> Caller {
        self.clone()
    }
}

/// A request after routing: what the engine is asked, relative to its mount.
pub struct Request {
    /// The request id that logs, audit records and the answer carry.
    pub id: Arc<str>,
    /// The operation requested.
    pub operation: Operation,
    /// The path below the mount, without a leading slash.
    pub path: Arc<str>,
    /// The parameters: the body's members, or the query's.
    pub input: Arc<Map<String, Value>>,
    /// The client's end of the connection.
    pub peer: Peer,
    /// The request headers that the mount passes through, by lower-case name.
    pub headers: BTreeMap<String, Vec<String>>,
    /// The source of facts about the caller; `None` on open routes without a valid token.
    pub asker: Option<Arc<dyn Asker>>,
    /// The wrapping that the client asks for.
    pub wrap_ttl: Option<Duration>,
    /// The body, where the operation takes it as bytes or as it comes.
    pub body: RequestBody,
    /// The text of a raw tail of the route's pattern, as sent.
    pub raw_tail: RawTail,
    /// The fields that the listener redacts in answers to callers without a token.
    pub redactions: Redactions,
    /// The other protocol that the client would go on with on this connection.
    pub upgrade: Option<Arc<UpgradeOffer>>,
}

/// The TTLs of what a mount grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// The TTL where none is requested.
    pub default: Duration,
    /// The most that is granted.
    pub max: Duration,
}

/// The mount a request came through.
#[derive(Clone, Debug)]
pub struct Mount {
    /// Its number: never used twice.
    pub id: MountId,
    /// Its path with a trailing slash, without `auth/` for auth methods.
    pub path: String,
    /// Its accessor.
    pub accessor: String,
    /// The engine's type.
    pub kind: String,
    /// Its options, as set when enabling or tuning.
    pub options: BTreeMap<String, String>,
    /// Effective lifetimes (mount tuning, else server defaults).
    pub lifetimes: Lifetimes,
    /// The namespace it belongs to.
    pub namespace: NamespaceId,
    /// The path of that namespace from the root, with a slash at its end; empty for the root namespace.
    pub namespace_path: String,
    /// True if nothing of it is replicated to other clusters.
    pub local: bool,
}

impl Mount {
    /// The place of its entries in storage.
    pub const fn place(&self) -> MountPlace {
        MountPlace { namespace: self.namespace, mount: self.id, local: self.local }
    }
}

/// A token that is being renewed, for the auth method that granted it.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// The data that the method kept with the grant ([`AuthGrant::internal`](crate::AuthGrant)).
    pub internal: BTreeMap<String, String>,
    /// The token's metadata.
    pub metadata: BTreeMap<String, String>,
    /// The policies it was granted.
    pub policies: Vec<String>,
    /// The TTL that the client requests, if any.
    pub increment: Option<Duration>,
}

/// The server's own transaction, as parts of the server draw it: `Txn` and `View` of the barrier are extractors, whose
/// types engines cannot name. Other engines' calls have none.
#[derive(Clone, Default)]
pub struct ServerTxn(Option<Txn>);

impl ServerTxn {
    /// The transaction of a call to a part of the server.
    pub const fn of(txn: Txn) -> Self {
        Self(Some(txn))
    }

    /// The transaction, where the call is to a part of the server.
    pub(crate) fn get(&self) -> Result<&Txn, EngineError> {
        let missing =
            || EngineError::Internal("the server's transaction is for parts of the server".to_owned());
        self.0.as_ref().ok_or_else(missing)
    }
}

/// One attempt at answering a request: the source that extractors draw from.
pub struct Call {
    /// The request.
    pub request: Arc<Request>,
    /// The captures of the route's pattern.
    pub params: Captures,
    /// The mount.
    pub mount: Arc<Mount>,
    /// The transaction, as the mount has it.
    pub txn: MountTxn,
    /// Time and randomness.
    pub environment: Environment,
    /// The values that the engine was built with ([`Engine::extension`](crate::Engine)); for the server's own engines
    /// its services.
    pub extensions: Extensions,
    /// The transaction as the server has it, for parts of the server.
    pub server: ServerTxn,
    /// The facilities that the server lends to all its engines.
    pub facilities: Arc<Facilities>,
    /// Set when a grant is being renewed.
    pub renewal: Option<Renewal>,
    /// Set when a lease is being renewed or revoked.
    pub lease: Option<crate::LeaseInHand>,
    /// Warnings for the client, collected on the way.
    pub warnings: Mutex<Vec<String>>,
}

impl Request {
    /// The caller; `None` on open routes without a valid token.
    pub fn caller(&self) -> Option<Caller> {
        self.asker.as_ref().map(|asker| asker.caller())
    }
}

impl Call {
    /// Adds a warning to the answer.
    pub fn warn(&self, text: impl Into<String>) {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(text.into());
    }
}
