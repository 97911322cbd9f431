//! The requests of a member to the active node: to be known by its present addresses, and a certificate for another day.
//!
//! A sealed node cannot reach the authority's key, and a leader cannot reach a node whose address has changed. So both ask the
//! active node, with the certificate that they have. It signs for the key of that certificate, and for no other. A node that is
//! no member is refused, and so has no valid certificate a day after it was removed. Where no node is active and unsealed, nothing
//! is signed; nodes whose certificates have expired meanwhile sign their own when they are unsealed.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use strongroom_raft::Sender;

use crate::node_credentials::PublicKey;

/// The present addresses of a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// The address at which it serves clients.
    pub api_address: String,
    /// The address at which it talks to its peers.
    pub cluster_address: String,
}

/// The answer to a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// Its certificate and what links it to the authority before, PEM.
    pub certificate: String,
}

/// Answers members, on the active node.
#[async_trait]
pub trait Registrar: Send + Sync + 'static {
    /// Takes note of where a member is, and signs a certificate for its key.
    ///
    /// # Errors
    ///
    /// Why not, for an operator to read.
    async fn renew(&self, sender: Sender, key: PublicKey, told: Announcement) -> Result<Renewal, String>;
}
