//! The tables of the OIDC provider. Names are kept as they are given: they are case-sensitive, as Vault's.

use strongroom_barrier::{CoreLocal, CoreSpace, NamespaceId, Table, tables};

use crate::keys::{Kid, NamedKey, OfKey, PublicKey};
use crate::records::{Assignment, Client, Config, Grant, Hash, OfGrant, Provider, Role, Scope};

tables! {
    /// The issuer of a namespace.
    pub CONFIGS: Table<CoreSpace, NamespaceId, Config> = 66;
    /// Named keys, with the private keys.
    pub KEYS: Table<CoreSpace, (NamespaceId, &str), NamedKey> = 67;
    /// Public keys by their ids: all that verifying takes.
    pub PUBLIC_KEYS: Table<CoreSpace, (NamespaceId, &Kid), PublicKey> = 68;
    /// The second at which something is to be done for a named key, and the key's number.
    pub(crate) KEYS_DUE: Table<CoreSpace, (u64, &Kid), OfKey> = 69;
    /// Roles.
    pub ROLES: Table<CoreSpace, (NamespaceId, &str), Role> = 70;
    /// Assignments.
    pub ASSIGNMENTS: Table<CoreSpace, (NamespaceId, &str), Assignment> = 71;
    /// Scopes.
    pub SCOPES: Table<CoreSpace, (NamespaceId, &str), Scope> = 72;
    /// Clients.
    pub CLIENTS: Table<CoreSpace, (NamespaceId, &str), Client> = 73;
    /// The name of a client by its client ID.
    pub CLIENT_IDS: Table<CoreSpace, (NamespaceId, &str), String> = 74;
    /// Providers.
    pub PROVIDERS: Table<CoreSpace, (NamespaceId, &str), Provider> = 75;
    /// Grants by the hash of their authorization code.
    pub GRANTS: Table<CoreLocal, (NamespaceId, &Hash), Grant> = 76;
    /// The second from which a grant is of no use any more.
    pub(crate) GRANTS_DUE: Table<CoreLocal, (u64, &Hash), OfGrant> = 77;
}
