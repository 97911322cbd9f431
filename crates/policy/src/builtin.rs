//! The policies every server has from the start.

/// The policy whose tokens may do anything. It has no text and cannot be changed.
pub const ROOT_POLICY_NAME: &str = "root";

/// The policy that every token gets unless it is created without it.
pub const DEFAULT_POLICY_NAME: &str = "default";

/// The policy of the tokens that carry a wrapped response.
pub const RESPONSE_WRAPPING_POLICY_NAME: &str = "response-wrapping";

/// The initial text of [`DEFAULT_POLICY_NAME`]: what a token may do with
/// itself, its own entity, its cubbyhole and leases it knows. Operators may
/// change it.
pub const DEFAULT_POLICY: &str = r#"# The token itself: look up, renew, revoke.
path "auth/token/lookup-self" {
  capabilities = ["read"]
}
path "auth/token/renew-self" {
  capabilities = ["update"]
}
path "auth/token/revoke-self" {
  capabilities = ["update"]
}

# What the token may do on a given path, and all its rules together (the web
# interface shows only what they allow).
path "sys/capabilities-self" {
  capabilities = ["update"]
}
path "sys/internal/ui/resultant-acl" {
  capabilities = ["read"]
}

# The token's own entity.
path "identity/entity/id/{{identity.entity.id}}" {
  capabilities = ["read"]
}
path "identity/entity/name/{{identity.entity.name}}" {
  capabilities = ["read"]
}

# Leases, by their ID, which only those who were given it know. The first path
# is the one that old clients use.
path "sys/renew" {
  capabilities = ["update"]
}
path "sys/leases/renew" {
  capabilities = ["update"]
}
path "sys/leases/lookup" {
  capabilities = ["update"]
}

# The token's private storage, gone when the token is.
path "cubbyhole/*" {
  capabilities = ["create", "read", "update", "delete", "list"]
}

# Response wrapping: wrap anything, look at a wrapping token, unwrap.
path "sys/wrapping/wrap" {
  capabilities = ["update"]
}
path "sys/wrapping/lookup" {
  capabilities = ["update"]
}
path "sys/wrapping/unwrap" {
  capabilities = ["update"]
}

# Hashing.
path "sys/tools/hash" {
  capabilities = ["update"]
}
path "sys/tools/hash/*" {
  capabilities = ["update"]
}

# The state of a request that waits for approval.
path "sys/control-group/request" {
  capabilities = ["update"]
}

# Signing in to applications through this server's OIDC providers.
path "identity/oidc/provider/+/authorize" {
  capabilities = ["read", "update"]
}
"#;

/// The text of [`RESPONSE_WRAPPING_POLICY_NAME`].
pub const RESPONSE_WRAPPING_POLICY: &str = r#"path "cubbyhole/response" {
  capabilities = ["create", "read"]
}

path "sys/wrapping/unwrap" {
  capabilities = ["update"]
}
"#;
