//! The records of roles, clients, assignments, scopes, providers and grants.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use strongroom_barrier::{NamespaceId, Stored};
use strongroom_engine_api::{Moment, Secret};
use strongroom_identity::IdentityId;

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// The configuration of a namespace.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Config {
    /// Scheme, host and port of the issuer; empty: the address of the active node.
    pub issuer: String,
}

/// A role, by which an entity gets an identity token.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Role {
    /// The named key that signs.
    pub key: String,
    /// The template of further claims, as given.
    pub template: String,
    /// The audience.
    pub client_id: String,
    /// The TTL of tokens.
    pub ttl: Duration,
}

/// Entities and groups that may use a client.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Assignment {
    /// Ids of entities; `*` for all.
    pub entity_ids: Vec<String>,
    /// Ids of groups; `*` for all.
    pub group_ids: Vec<String>,
}

/// Claims that a client can ask for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Scope {
    /// The template of its claims, as given.
    pub template: String,
    /// Its description.
    pub description: String,
}

/// An application that logs people in by us.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Client {
    /// Its id, which is no secret.
    pub client_id: String,
    /// Its secret; `None` for a public client.
    pub client_secret: Option<Secret<String>>,
    /// Addresses to which codes may be sent.
    pub redirect_uris: Vec<String>,
    /// Assignments by name.
    pub assignments: Vec<String>,
    /// The named key that signs its tokens.
    pub key: String,
    /// The TTL of ID tokens.
    pub id_token_ttl: Duration,
    /// The TTL of access tokens.
    pub access_token_ttl: Duration,
}

/// An OIDC provider.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Provider {
    /// Scheme, host and port of its issuer; empty: the address of the active node.
    pub issuer: String,
    /// The clients that may use it; `*` for all.
    pub allowed_client_ids: Vec<String>,
    /// Scopes beside `openid`.
    pub scopes_supported: Vec<String>,
}

/// A challenge of PKCE (RFC 7636).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Challenge {
    /// The verifier itself.
    Plain(String),
    /// Its SHA-256 hash in base64url.
    S256(String),
}

/// A grant of an entity to a client: first an authorization code, then the tokens that were given for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Grant {
    /// The provider.
    pub provider: String,
    /// The client.
    pub client_id: String,
    /// The address that the code was sent to.
    pub redirect_uri: String,
    /// The entity.
    pub entity: IdentityId,
    /// Its namespace.
    pub entity_namespace: NamespaceId,
    /// The scopes asked for, of those that the provider has.
    pub scopes: Vec<String>,
    /// The nonce; empty where none was given.
    pub nonce: String,
    /// The time of the login, where the client has asked for it by `max_age`.
    pub auth_time: Option<Moment>,
    /// The challenge of PKCE, where one was given.
    pub challenge: Option<Challenge>,
    /// The end of the code.
    pub code_expires: Moment,
    /// Its use.
    pub state: GrantState,
}

/// The state of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GrantState {
    /// The code is still to be used.
    Code,
    /// Tokens were given for it.
    Used {
        /// The second from which it is of no use.
        until: u64,
    },
    /// The code was shown again, or in vain: what was given for it is void.
    Revoked {
        /// The second from which it is of no use.
        until: u64,
    },
}

/// The place of a grant.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct OfGrant {
    /// Its namespace.
    pub(crate) namespace: NamespaceId,
}

impl Stored for Config {}
impl Stored for Role {}
impl Stored for Assignment {}
impl Stored for Scope {}
impl Stored for Client {}
impl Stored for Provider {}
impl Stored for Grant {}
impl Stored for OfGrant {}

/// The name of a grant in storage: codes are of 190 random bits, so that their hash does not lead back to them.
pub fn code_hash(code: &str) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, code.as_bytes()).as_ref());
    hash
}
