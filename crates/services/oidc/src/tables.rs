//! The tables of the OIDC provider. Names are kept as they are given: they are case-sensitive, as Vault's.

use strongroom_barrier::{CoreLocal, CoreSpace, NamespaceId, Table, tables};

use crate::keys::{Kid, NamedKey, OfKey, PublicKey};
use crate::records::{Assignment, Client, Config, Grant, Hash, OfGrant, Provider, Role, Scope};

tables! {
    /// The issuer of a namespace.
    pub CONFIGS: Table<CoreSpace, NamespaceId, Config> = 80;
    /// Named keys, with the private keys.
    pub KEYS: Table<CoreSpace, (NamespaceId, &str), NamedKey> = 81;
    /// Public keys by their ids: all that verifying takes.
    pub PUBLIC_KEYS: Table<CoreSpace, (NamespaceId, &Kid), PublicKey> = 82;
    /// The second at which something is to be done for a named key, and the key's number.
    pub(crate) KEYS_DUE: Table<CoreSpace, (u64, &Kid), OfKey> = 83;
    /// Roles.
    pub ROLES: Table<CoreSpace, (NamespaceId, &str), Role> = 84;
    /// Assignments.
    pub ASSIGNMENTS: Table<CoreSpace, (NamespaceId, &str), Assignment> = 85;
    /// Scopes.
    pub SCOPES: Table<CoreSpace, (NamespaceId, &str), Scope> = 86;
    /// Clients.
    pub CLIENTS: Table<CoreSpace, (NamespaceId, &str), Client> = 87;
    /// The name of a client by its client ID.
    pub CLIENT_IDS: Table<CoreSpace, (NamespaceId, &str), String> = 88;
    /// Providers.
    pub PROVIDERS: Table<CoreSpace, (NamespaceId, &str), Provider> = 89;
    /// Grants by the hash of their authorization code.
    pub GRANTS: Table<CoreLocal, (NamespaceId, &Hash), Grant> = 90;
    /// The second from which a grant is of no use any more.
    pub(crate) GRANTS_DUE: Table<CoreLocal, (u64, &Hash), OfGrant> = 91;
}
