//! The content of a record. All of it is borrowed from the request being served; nothing here is `Debug`, because
//! tokens pass through.
//!
//! Field by field this is Vault's [audit log entry schema](https://developer.hashicorp.com/vault/docs/audit/schema).
//! As there, a field that is empty, zero or false is left out of the line.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use strongroom_stdx::Moment;

/// The record of a request, logged before the request is handled.
#[derive(Clone, Copy)]
pub struct RequestRecord<'a> {
    /// The time of the request.
    pub time: Moment,
    /// The caller.
    pub auth: &'a Auth<'a>,
    /// The request.
    pub request: &'a Request<'a>,
    /// The reason why the request was refused before it was handled; empty when it was not.
    pub error: &'a str,
    /// Host and port of the standby node that forwarded the request; empty when none did.
    pub forwarded_from: &'a str,
}

/// The record of a response, logged before the response is sent. The request is shown in it as in its own record.
#[derive(Clone, Copy)]
pub struct ResponseRecord<'a> {
    /// The time at which the response was ready.
    pub time: Moment,
    /// Who the caller now is: of a login. `None` for the caller that the request's record shows.
    pub auth: Option<&'a Auth<'a>>,
    /// The response.
    pub response: &'a Response<'a>,
    /// The error returned; empty for success.
    pub error: &'a str,
    /// Host and port of the standby node that forwarded the request; empty when none did.
    pub forwarded_from: &'a str,
}

/// The authenticated principal of a request, or the token a response issues.
#[derive(Clone, Copy, Default)]
pub struct Auth<'a> {
    /// The token. Hashed, unless the device logs raw.
    pub client_token: &'a str,
    /// The token's accessor. Hashed, unless the device has `hmac_accessor=false` or logs raw.
    pub accessor: &'a str,
    /// A name for people to know the token by.
    pub display_name: &'a str,
    /// All policies in force, the token's and the identity's.
    pub policies: &'a [String],
    /// The token's own policies.
    pub token_policies: &'a [String],
    /// The policies of the token's entity and of its groups.
    pub identity_policies: &'a [String],
    /// Policies inherited from other namespaces, by namespace.
    pub external_namespace_policies: Option<&'a BTreeMap<String, Vec<String>>>,
    /// The token goes without the policy `default`.
    pub no_default_policy: bool,
    /// The token is a root token: no policy restricts it.
    pub is_root: bool,
    /// The outcome of the policy check; `None` where none took place.
    pub policy_results: Option<PolicyResults<'a>>,
    /// The token's metadata.
    pub metadata: Option<&'a BTreeMap<String, String>>,
    /// Of an issued token that may be used so many times only: how many.
    pub num_uses: u64,
    /// Of a requesting token that may be used so many times only: how many were left before this request.
    pub remaining_uses: u64,
    /// The entity the token belongs to.
    pub entity_id: &'a str,
    /// This request made the entity.
    pub entity_created: bool,
    /// `service` or `batch`; written as `default` when there is no token.
    pub token_type: &'a str,
    /// The token's time to live when it was issued, in seconds.
    pub token_ttl: u64,
    /// The time at which the token was issued.
    pub token_issue_time: Option<Moment>,
}

/// The result of the policies for a request, and which allowed it.
#[derive(Clone, Copy, Default)]
pub struct PolicyResults<'a> {
    /// The outcome.
    pub allowed: bool,
    /// The policies that grant the capability asked for.
    pub granting_policies: &'a [GrantingPolicy<'a>],
}

/// One policy that allowed a request.
#[derive(Clone, Copy, Default)]
pub struct GrantingPolicy<'a> {
    /// Its name.
    pub name: &'a str,
    /// The namespace it belongs to.
    pub namespace_id: &'a str,
    /// That namespace's path; empty for the root namespace.
    pub namespace_path: &'a str,
    /// Its kind: `acl`.
    pub policy_type: &'a str,
}

/// The request itself.
#[derive(Clone, Copy, Default)]
pub struct Request<'a> {
    /// Identifies the request; the response's record carries the same.
    pub id: &'a str,
    /// The client this request counts for.
    pub client_id: &'a str,
    /// `create`, `read`, `update`, `patch`, `delete`, `list`, `help`, …
    pub operation: &'a str,
    /// The mount that serves it; empty before, or without, routing.
    pub mount: Mount<'a>,
    /// The token it came with. Hashed, unless the device logs raw.
    pub client_token: &'a str,
    /// That token's accessor. Hashed, unless the device has `hmac_accessor=false` or logs raw.
    pub client_token_accessor: &'a str,
    /// The namespace it is for.
    pub namespace: Namespace<'a>,
    /// The path, mount included, namespace excluded.
    pub path: &'a str,
    /// The body and query. Every string is hashed, unless its key is among `non_hmac_keys` or the device logs raw.
    pub data: Option<&'a Map<String, Value>>,
    /// The mount's `audit_non_hmac_request_keys`.
    pub non_hmac_keys: &'a [String],
    /// The client asked to override soft-mandatory policies.
    pub policy_override: bool,
    /// The client's address as the server sees it.
    pub remote_address: &'a str,
    /// The client's port as the server sees it.
    pub remote_port: u16,
    /// The TTL of a wrapped response, in seconds.
    pub wrap_ttl: u64,
    /// The headers configured under `sys/config/auditing/request-headers`, as far as the request has them.
    pub headers: &'a [Header<'a>],
    /// The serial number of the client's TLS certificate.
    pub client_certificate_serial_number: &'a str,
    /// The path as requested over HTTP, where it differs from `path`.
    pub request_uri: &'a str,
}

/// A namespace.
#[derive(Clone, Copy, Default)]
pub struct Namespace<'a> {
    /// Its identifier; `root` for the root namespace.
    pub id: &'a str,
    /// Its path with a trailing slash; empty for the root namespace.
    pub path: &'a str,
}

/// A mount: a secrets engine or an auth method.
#[derive(Clone, Copy, Default)]
pub struct Mount<'a> {
    /// The path of the mount, with a trailing slash.
    pub point: &'a str,
    /// Its type: `kv`, `userpass`, …
    pub mount_type: &'a str,
    /// Its accessor.
    pub accessor: &'a str,
    /// The version of the plugin that runs.
    pub running_version: &'a str,
    /// The checksum of the plugin that runs, when it is external.
    pub running_sha256: &'a str,
    /// `secret` or `auth`.
    pub class: &'a str,
    /// The plugin is external.
    pub is_external_plugin: bool,
}

/// One header, all its values.
#[derive(Clone, Copy, Default)]
pub struct Header<'a> {
    /// Its name in any case; written in lower case.
    pub name: &'a str,
    /// Its values, in order.
    pub values: &'a [&'a str],
    /// The values are hashed, even by a device that logs raw (the header's own setting says so).
    pub hmac: bool,
}

/// The response.
#[derive(Clone, Copy, Default)]
pub struct Response<'a> {
    /// The token it issues.
    pub auth: Option<Auth<'a>>,
    /// The mount that answered.
    pub mount: Mount<'a>,
    /// The lease of the secret it carries: `None` for no secret, empty for a secret without lease.
    pub lease_id: Option<&'a str>,
    /// The data. Every string is hashed, unless its key is among `non_hmac_keys` or the device logs raw.
    pub data: Option<RawJson<'a>>,
    /// The mount's `audit_non_hmac_response_keys`.
    pub non_hmac_keys: &'a [String],
    /// Warnings to the client.
    pub warnings: &'a [String],
    /// The URL to which the client is redirected.
    pub redirect: &'a str,
    /// The wrapping token handed out in place of the data.
    pub wrap_info: Option<WrapInfo<'a>>,
    /// Headers the mount set.
    pub headers: &'a [Header<'a>],
}

/// A wrapping token.
#[derive(Clone, Copy, Default)]
pub struct WrapInfo<'a> {
    /// Its TTL, in seconds.
    pub ttl: u64,
    /// The token. Hashed, unless the device logs raw.
    pub token: &'a str,
    /// Its accessor. Hashed, unless the device has `hmac_accessor=false` or logs raw.
    pub accessor: &'a str,
    /// The time of its creation.
    pub creation_time: Moment,
    /// The path whose response it wraps.
    pub creation_path: &'a str,
    /// The accessor of the token inside, if the response wrapped is one that issues a token.
    pub wrapped_accessor: &'a str,
}

/// The text of a JSON object that the server has already produced, to be hashed as it is copied.
#[derive(Clone, Copy)]
pub struct RawJson<'a>(pub(crate) &'a str);

impl<'a> RawJson<'a> {
    /// From the object's text. It is read when a record is rendered, so that it costs nothing while no device
    /// is enabled; text that is not a JSON object fails the record.
    pub const fn new(text: &'a str) -> Self {
        Self(text)
    }
}
