//! The identity of a node without a data directory: a key that lives as long as the process.

use rcgen::{KeyPair, PublicKeyData as _};
use strongroom_raft::{Position, Sender};
use strongroom_stdx::Clock;
use zeroize::Zeroizing;

use crate::authority::{Authority, RENEW_AFTER};
use crate::node_credentials::{Credentials, IdentityError, PublicKey};

/// A node's key, made when it is first needed, and when something was last signed for it.
#[derive(Default)]
pub struct EphemeralCredentials {
    key: Option<KeyPair>,
    signed: Option<u64>,
}

impl EphemeralCredentials {
    /// True if this node has nothing to show, or what is old; `now` in seconds since the epoch.
    #[must_use]
    pub fn is_due(&self, now: u64) -> bool {
        self.signed.is_none_or(|at| now.abs_diff(at) >= RENEW_AFTER.as_secs())
    }

    /// Credentials that are to be shown from now on. Others' certificates are judged by this clock.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] where key or certificate cannot be made.
    pub fn sign(
        &mut self,
        authority: &Authority,
        cluster_id: &str,
        number: u64,
        clock: &Clock,
    ) -> Result<Credentials, IdentityError> {
        let now = clock.now().as_secs();
        let key = match self.key.take() {
            Some(key) => key,
            None => KeyPair::generate()?,
        };
        let public = PublicKey(key.der_bytes().to_vec());
        let pem = Zeroizing::new(key.serialize_pem());
        self.key = Some(key);
        let shown = authority
            .sign(&public, cluster_id, &Sender { raft_id: number, seen: Position::default() }, now)
            .map_err(|error| IdentityError::Certificate(error.to_string()))?;
        let credentials = Credentials::new(
            shown.as_bytes(),
            pem.as_bytes(),
            authority.trusted().as_bytes(),
            cluster_id,
            number,
            clock.clone(),
        )?;
        self.signed = Some(now);
        Ok(credentials)
    }
}
