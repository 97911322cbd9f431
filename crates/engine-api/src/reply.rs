//! What handlers answer.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Serialize;
use strongroom_stdx::PipeReader;
use strongroom_wire::Json;

use crate::{EngineError, OperationDoc, TokenKind};

/// An answer: at most one of data, an authentication, or a body of its own.
#[derive(Default)]
pub struct Reply {
    /// The `data` member.
    pub data: Option<Json>,
    /// A login: the core makes the token.
    pub auth: Option<Box<AuthGrant>>,
    /// A token that the core itself made (token create, renew), as the JSON of the `auth` member.
    pub made_auth: Option<Json>,
    /// A secret that ends: the core makes the lease.
    pub lease: Option<Box<LeaseGrant>>,
    /// A lease that was made before and that the answer names (a renewal, an unwrapped secret).
    pub held_lease: Option<HeldLease>,
    /// The `wrap_info` member of an answer that is itself wrapped (`sys/wrapping/wrap`, `rewrap`).
    pub wrap: Option<WrapGrant>,
    /// Warnings for the client.
    pub warnings: Vec<String>,
    /// A status other than 200 (or 204 where there is nothing to say).
    pub status: Option<u16>,
    /// Headers to answer with, where the mount allows them.
    pub headers: Vec<(String, String)>,
    /// An answer that is not an envelope.
    pub raw: Option<RawBody>,
    /// Members that stand beside `data` at the top of the envelope, as older `sys` endpoints answer
    /// (`sys/mounts`: every mount both under `data` and at the top).
    pub also_at_top: bool,
    /// What is particular about the end of the request.
    pub ending: Ending,
}

/// How a request ends that has been answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// What was written is committed.
    #[default]
    Commit,
    /// The server is sealed once that is committed: a token's use cannot be counted behind a sealed barrier.
    Seal,
    /// Another state has taken the place of the one that the request was decided on: there is nothing to commit, and
    /// the caller's token may not exist any more.
    Replaced,
}

/// A body that is sent as it is.
pub struct RawBody {
    /// The `Content-Type`.
    pub content_type: &'static str,
    /// The bytes.
    pub body: Body,
}

/// The bytes of a body.
pub enum Body {
    /// All at hand.
    Whole(Bytes),
    /// As they come.
    Stream(PipeReader),
}

impl Body {
    /// The bytes that are at hand; none of a stream's.
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

/// What an auth method grants; the core turns it into a token.
#[derive(Clone, Debug, Default)]
pub struct AuthGrant {
    /// Policies by name.
    pub policies: Vec<String>,
    /// Leaves the `default` policy out.
    pub no_default_policy: bool,
    /// Metadata that the token, its lookups and audit records carry.
    pub metadata: BTreeMap<String, String>,
    /// What the token is called in lookups, after the mount's own name.
    pub display_name: String,
    /// The name that an identity alias on this mount would have.
    pub alias: String,
    /// How long it lives until renewed; zero: the mount's default.
    pub ttl: Duration,
    /// The most it can live; zero: the mount's.
    pub max_ttl: Duration,
    /// A hard end that no mount or role change moves; zero: none.
    pub explicit_max_ttl: Duration,
    /// Renewable for ever in steps of this length; zero: not periodic.
    pub period: Duration,
    /// How often it may be used; zero: without limit.
    pub num_uses: u32,
    /// Service or batch.
    pub kind: TokenKind,
    /// Addresses it may be used from; empty: any.
    pub bound_cidrs: Vec<IpNet>,
    /// Whether it may be renewed.
    pub renewable: bool,
    /// What the method wants to see again at renewal.
    pub internal: BTreeMap<String, String>,
}

/// A secret with an end.
#[derive(Clone, Debug, Default)]
pub struct LeaseGrant {
    /// How long it lives until renewed; zero: the mount's default.
    pub ttl: Duration,
    /// The most it can live; zero: the mount's.
    pub max_ttl: Duration,
    /// Whether it may be renewed.
    pub renewable: bool,
    /// What the engine wants to see again at renewal and revocation.
    pub internal: BTreeMap<String, String>,
    /// No lease is kept: `lease_duration` alone tells the client when to read again (KV v1 `ttl`).
    pub hint_only: bool,
}

/// A lease as an answer names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLease {
    /// Its id.
    pub id: String,
    /// How long it lives from now.
    pub ttl: Duration,
    /// Whether it may be renewed.
    pub renewable: bool,
}

/// A wrapping token as the answer shows it.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct WrapGrant {
    /// The single-use token.
    pub token: String,
    /// Its accessor.
    pub accessor: String,
    /// Seconds until it ends.
    pub ttl: u64,
    /// When it was made (RFC 3339).
    pub creation_time: String,
    /// The path whose answer is wrapped.
    pub creation_path: String,
    /// The accessor of the token inside, when a login is wrapped.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub wrapped_accessor: String,
}

impl Reply {
    /// An answer with this `data`.
    pub fn data<T: Serialize + ?Sized>(data: &T) -> Result<Self, EngineError> {
        Ok(Self { data: Some(Json::of(data)?), ..Self::default() })
    }

    /// An answer with a status and nothing else to say.
    pub fn status(status: u16) -> Self {
        Self { status: Some(status), ..Self::default() }
    }

    /// A body that is sent as it comes.
    pub fn stream(content_type: &'static str, pieces: PipeReader) -> Self {
        let raw = Some(RawBody { content_type, body: Body::Stream(pieces) });
        Self { raw, ..Self::default() }
    }

    /// A body sent as it is.
    pub fn raw(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let raw = Some(RawBody { content_type, body: Body::Whole(body.into()) });
        Self { raw, status: Some(status), ..Self::default() }
    }

    /// The same answer with one more warning.
    #[must_use]
    pub fn warned(mut self, text: impl Into<String>) -> Self {
        self.warnings.push(text.into());
        self
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

/// The `data` of an answer, typed and thereby documented.
pub struct Data<T>(pub T);

/// What a handler may return.
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

impl IntoReply for () {
    fn into_reply(self) -> Result<Reply, EngineError> {
        Ok(Reply::default())
    }
}

impl IntoReply for AuthGrant {
    fn into_reply(self) -> Result<Reply, EngineError> {
        Ok(Reply { auth: Some(Box::new(self)), ..Reply::default() })
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
