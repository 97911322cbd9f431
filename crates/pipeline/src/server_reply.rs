//! Replies of the server's own engines that other engines may not give: tokens and leases that are made already,
//! wrappings, and how the request ends.
//!
//! It is in the pipeline, which engines do not see, so that no engine can pass off a token as made by the server or
//! seal it.

use serde::Serialize;
use strongroom_engine_api::{EngineError, IntoReply, Json, Reply};
use strongroom_expiry::HeldLease;
use strongroom_mfa::Credentials;
use strongroom_wrapping::WrapGrant;

/// A reply of a part of the server.
#[derive(Default)]
pub struct ServerReply {
    /// The part that any engine could have answered.
    pub reply: Reply,
    /// The part that only the server can answer.
    pub part: ServerPart,
}

/// The part of an answer that only the server's own engines give.
#[derive(Default)]
pub struct ServerPart {
    /// A token that is made already (token create, renew, unwrap), as the JSON of the `auth` member.
    pub auth: Option<Json>,
    /// True if that token was made by this request, and ends where the response cannot be recorded.
    pub is_new_token: bool,
    /// True if this request made a root token, which its record is marked with.
    pub made_root: bool,
    /// A lease that was made before and that the answer names (a renewal, an unwrapped secret).
    pub lease: Option<HeldLease>,
    /// The `wrap_info` member of an answer that is itself wrapped (`sys/wrapping/wrap`, `rewrap`).
    pub wrap: Option<Box<WrapGrant>>,
    /// Members stand beside `data` at the top of the envelope too, as older `sys` endpoints answer
    /// (`sys/mounts`: every mount both under `data` and at the top).
    pub also_at_top: bool,
    /// The second factor of a login that waits: the request concludes it.
    pub second_factor: Option<Box<SecondFactor>>,
    /// The way the request ends.
    pub after_commit: AfterCommit,
}

/// What is given as the second factor of a login that waits.
pub struct SecondFactor {
    /// The id that the login was answered with.
    pub request_id: String,
    /// The credentials.
    pub given: Credentials,
}

impl ServerReply {
    /// Nothing but a part of the server's.
    pub fn of(part: ServerPart) -> Self {
        Self { part, ..Self::default() }
    }

    /// Data whose members are at the top level, too.
    pub fn at_top<T: Serialize + ?Sized>(data: &T) -> Result<Self, EngineError> {
        Ok(Self {
            reply: Reply::data(data)?,
            part: ServerPart { also_at_top: true, ..ServerPart::default() },
        })
    }

    /// The same answer with more warnings.
    #[must_use]
    pub fn warned(mut self, warnings: impl IntoIterator<Item = String>) -> Self {
        self.reply = warnings.into_iter().fold(self.reply, Reply::warned);
        self
    }
}

impl IntoReply for ServerReply {
    fn into_reply(self) -> Result<Reply, EngineError> {
        Ok(self.reply.by_server(self.part))
    }
}

/// The end of a request that has been answered.
#[derive(Default)]
pub enum AfterCommit {
    /// Commits what was written.
    #[default]
    Commit,
    /// The server is sealed once that is committed: a token's use cannot be counted behind a sealed barrier.
    Seal,
    /// Another state has taken the place of the one that the request was decided on: there is nothing to commit, and
    /// the caller's token may not exist any more.
    Replaced,
    /// Changes something in memory once what goes with it is committed; dropped where it is not.
    Then(Box<dyn FnOnce() + Send + Sync>),
}
