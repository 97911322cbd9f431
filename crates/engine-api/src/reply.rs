//! Replies of handlers.

use std::any::Any;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Serialize;
use strongroom_stdx::PipeReader;
use strongroom_wire::Json;

use crate::{EngineError, Name, OperationDoc, Payload, Stored, TokenKind, Upgrade};

/// An answer: an envelope, or something else in its place.
///
/// Replies that only the server's own engines may give (tokens and leases that are made already, wrappings, sealing)
/// are not here: the core has a type of its own for them, which engines do not see.
#[derive(Default)]
pub struct Reply {
    /// The content.
    pub content: Content,
    /// A status other than 200 (or 204 where there is nothing to say).
    pub status: Option<u16>,
    /// Headers to answer with: those that the route owns, and those that the mount allows.
    pub headers: Vec<(String, String)>,
    /// The part of the core's own type.
    by_server: Option<Box<dyn Any + Send + Sync>>,
}

/// The content of an answer.
pub enum Content {
    /// Vault's envelope.
    Envelope(Members),
    /// A body that is sent as it is.
    Raw(RawBody),
    /// The connection is handed over: status 101.
    Upgrade(Upgrade),
}

impl Default for Content {
    fn default() -> Self {
        Self::Envelope(Members::default())
    }
}

/// The members that an engine puts into an envelope.
#[derive(Default)]
pub struct Members {
    /// The `data` member.
    pub data: Option<Json>,
    /// The grant that the core is to make.
    pub grant: Option<Grant>,
    /// Warnings for the client.
    pub warnings: Vec<String>,
}

/// A grant that the core makes for an answer.
pub enum Grant {
    /// A login: it makes the token.
    Login(Box<AuthGrant>),
    /// A secret that ends: it makes the lease.
    Lease(Box<LeaseGrant>),
}

/// A body that is sent as it is.
pub struct RawBody {
    /// The `Content-Type`; empty where there is no body.
    pub content_type: Cow<'static, str>,
    /// The bytes.
    pub body: Body,
}

/// The bytes of a body.
pub enum Body {
    /// A body in memory, whole.
    Whole(Bytes),
    /// As they come.
    Stream(PipeReader),
}

impl Body {
    /// The bytes of a body in memory; none of a stream's.
    pub fn at_hand(&self) -> &[u8] {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Stream(_) => &[],
        }
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self::Whole(bytes.into())
    }
}

/// A grant of an auth method; the core turns it into a token.
#[derive(Clone, Debug, Default)]
pub struct AuthGrant {
    /// Policies by name.
    pub policies: Vec<String>,
    /// Leaves the `default` policy out.
    pub no_default_policy: bool,
    /// Metadata that the token, its lookups and audit records carry.
    pub metadata: BTreeMap<String, String>,
    /// The token's name in lookups, after the mount's own name.
    pub display_name: String,
    /// The name by which the mount knows the caller: that of its identity alias there. Empty: the token has no entity.
    pub alias: String,
    /// Metadata of that alias, as the method has it now.
    pub alias_metadata: BTreeMap<String, String>,
    /// The caller's groups in the method's own directory, as it has them now: the external groups that it is put into, and
    /// taken out of. `None`: the method knows of no groups.
    pub groups: Option<Vec<String>>,
    /// The TTL until renewed; zero: the mount's default.
    pub ttl: Duration,
    /// The most it can live; zero: the mount's.
    pub max_ttl: Duration,
    /// A hard end that no mount or role change moves; zero: none.
    pub explicit_max_ttl: Duration,
    /// Renewable without limit in steps of this length; zero: not periodic.
    pub period: Duration,
    /// The number of uses; zero: without limit.
    pub num_uses: u32,
    /// Service or batch.
    pub kind: TokenKind,
    /// Addresses it may be used from; empty: any.
    pub bound_cidrs: Vec<IpNet>,
    /// True if it may be renewed.
    pub renewable: bool,
    /// The data that the method needs again at renewal.
    pub internal: BTreeMap<String, String>,
}

/// A secret with an end.
#[derive(Clone, Debug, Default)]
pub struct LeaseGrant {
    /// The TTL until renewed; zero: the mount's default.
    pub ttl: Duration,
    /// The most it can live; zero: the mount's.
    pub max_ttl: Duration,
    /// True if it may be renewed.
    pub renewable: bool,
    /// The kind of lease ([`Engine::lease`](crate::Engine::lease)) where it is for something in an external system;
    /// empty: the lease ends without a word to the engine.
    pub kind: Name,
    /// The data that the engine needs again at renewal and revocation.
    pub payload: Payload,
    /// No lease is kept: `lease_duration` alone tells the client when to read again (KV v1 `ttl`).
    pub hint_only: bool,
}

impl LeaseGrant {
    /// A renewable lease of a kind, with what its hooks want to see.
    pub fn of_kind<T: Stored>(kind: impl Into<Name>, payload: &T) -> Result<Self, EngineError> {
        Ok(Self { kind: kind.into(), payload: Payload::of(payload)?, renewable: true, ..Self::default() })
    }
}

impl Reply {
    /// An answer with this `data`.
    pub fn data<T: Serialize + ?Sized>(data: &T) -> Result<Self, EngineError> {
        Ok(Self::json(Json::of(data)?))
    }

    /// An answer with this `data`, which is JSON already.
    pub fn json(data: Json) -> Self {
        Members { data: Some(data), ..Members::default() }.into()
    }

    /// An answer with a status and nothing else to say.
    pub fn status(status: u16) -> Self {
        Self { status: Some(status), ..Self::default() }
    }

    /// A body that is sent as it comes.
    pub fn stream(content_type: impl Into<Cow<'static, str>>, pieces: PipeReader) -> Self {
        let body = RawBody { content_type: content_type.into(), body: Body::Stream(pieces) };
        Self { content: Content::Raw(body), ..Self::default() }
    }

    /// A body sent as it is.
    pub fn raw(status: u16, content_type: impl Into<Cow<'static, str>>, body: impl Into<Bytes>) -> Self {
        let body = RawBody { content_type: content_type.into(), body: Body::Whole(body.into()) };
        Self { content: Content::Raw(body), status: Some(status), ..Self::default() }
    }

    /// The same answer with a secret that ends.
    #[must_use]
    pub fn lent(mut self, lease: LeaseGrant) -> Self {
        if let Content::Envelope(members) = &mut self.content {
            members.grant = Some(Grant::Lease(Box::new(lease)));
        }
        self
    }

    /// The same answer with one more warning; an answer without an envelope has no place for it.
    #[must_use]
    pub fn warned(mut self, text: impl Into<String>) -> Self {
        if let Content::Envelope(members) = &mut self.content {
            members.warnings.push(text.into());
        }
        self
    }

    /// The same answer with one more header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same answer with what the core's own type adds; of any other type it means nothing.
    #[must_use]
    pub fn by_server<T: Any + Send + Sync>(mut self, part: T) -> Self {
        self.by_server = Some(Box::new(part));
        self
    }

    /// Takes out what the core's own type has added.
    pub fn take_by_server<T: Any + Send + Sync>(&mut self) -> Option<T> {
        self.by_server.take().and_then(|part| part.downcast().ok()).map(|part| *part)
    }

    /// The members of its envelope; `None` where it has none.
    pub fn members(&self) -> Option<&Members> {
        match &self.content {
            Content::Envelope(members) => Some(members),
            Content::Raw(_) | Content::Upgrade(_) => None,
        }
    }

    /// Its `data` member.
    pub fn answered(&self) -> Option<&Json> {
        self.members().and_then(|members| members.data.as_ref())
    }

    /// The warnings.
    pub fn warnings(&self) -> &[String] {
        self.members().map_or(&[], |members| &members.warnings)
    }

    /// The login that it grants.
    pub fn login(&self) -> Option<&AuthGrant> {
        match &self.members()?.grant {
            Some(Grant::Login(grant)) => Some(grant),
            _ => None,
        }
    }

    /// The lease that it grants.
    pub fn lease(&self) -> Option<&LeaseGrant> {
        match &self.members()?.grant {
            Some(Grant::Lease(grant)) => Some(grant),
            _ => None,
        }
    }

    /// The keys of a list; none: 404, as Vault answers for an empty folder.
    pub fn keys(keys: &[String]) -> Result<Self, EngineError> {
        if keys.is_empty() {
            return Err(EngineError::NotFound);
        }
        Self::data(&serde_json::json!({ "keys": keys }))
    }

    /// Keys and what is known of each.
    pub fn keys_with<T: Serialize>(keys: &[String], info: &BTreeMap<String, T>) -> Result<Self, EngineError> {
        if keys.is_empty() {
            return Err(EngineError::NotFound);
        }
        Self::data(&serde_json::json!({ "keys": keys, "key_info": info }))
    }
}

impl From<Members> for Reply {
    fn from(members: Members) -> Self {
        Self { content: Content::Envelope(members), ..Self::default() }
    }
}

/// The `data` of an answer, typed, and documented by its type.
pub struct Data<T>(pub T);

/// Types that a handler may return.
pub trait IntoReply {
    /// Adds to the operation's documentation.
    fn document(_doc: &mut OperationDoc) {}

    /// Becomes the answer.
    fn into_reply(self) -> Result<Reply, EngineError>;
}

impl IntoReply for Reply {
    fn into_reply(self) -> Result<Reply, EngineError> {
        Ok(self)
    }
}

impl IntoReply for Upgrade {
    fn into_reply(self) -> Result<Reply, EngineError> {
        Ok(Reply { content: Content::Upgrade(self), ..Reply::default() })
    }
}

impl IntoReply for () {
    fn into_reply(self) -> Result<Reply, EngineError> {
        Ok(Reply::default())
    }
}

impl IntoReply for AuthGrant {
    fn into_reply(self) -> Result<Reply, EngineError> {
        Ok(Members { grant: Some(Grant::Login(Box::new(self))), ..Members::default() }.into())
    }
}

impl<T: Serialize + JsonSchema> IntoReply for Data<T> {
    fn document(doc: &mut OperationDoc) {
        doc.answers::<T>();
    }

    fn into_reply(self) -> Result<Reply, EngineError> {
        Reply::data(&self.0)
    }
}

/// `None` is a 404.
impl<T: IntoReply> IntoReply for Option<T> {
    fn document(doc: &mut OperationDoc) {
        T::document(doc);
    }

    fn into_reply(self) -> Result<Reply, EngineError> {
        self.map_or(Err(EngineError::NotFound), IntoReply::into_reply)
    }
}

/// Answers hold secrets: they print as nothing but their name.
impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reply(..)")
    }
}
