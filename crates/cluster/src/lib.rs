//! The cluster port: mutual TLS between the nodes of one cluster, with certificates that the cluster makes itself, and
//! what travels over it: raft's messages and snapshots, and requests that a standby hands to the active node.
//!
//! A node's key and certificate lie in its data directory, readable by its owner only: nodes replicate ciphertext while
//! they are sealed, so that the key cannot be behind the barrier. The authority's key is, and only an unsealed active
//! node signs.

mod authority;
mod body;
mod ephemeral_credentials;
mod network;
mod node_credentials;
mod origin;
mod port;
mod registrar;
#[cfg(test)]
mod tests;

pub use authority::{Authority, AuthorityError, RENEW_AFTER};
pub use body::{AnswerBody, feed};
pub use ephemeral_credentials::EphemeralCredentials;
pub use network::{Body, Network, streamed, whole};
pub use node_credentials::{Credentials, Identity, IdentityError, PublicKey, name_of};
pub use origin::Origin;
pub use port::{Forwarded, Port};
pub use registrar::{Announcement, Registrar, Renewal};

/// The application protocol of the cluster port (ALPN, RFC 7301). Another one is another version of it.
pub const PROTOCOL: &[u8] = b"strongroom-cluster/1";
