//! Who a node is to its peers where it has no directory to keep that in: a key that lives as long as the process.

use rcgen::{KeyPair, PublicKeyData as _};
use strongroom_stdx::Clock;
use zeroize::Zeroizing;

use crate::authority::{Authority, RENEW_AFTER};
use crate::identity::{Credentials, IdentityError, PublicKey};

/// A node's key, made when it is first needed, and what was last signed for it.
#[derive(Default)]
pub struct Passing {
    key: Option<KeyPair>,
    signed: Option<Signed>,
}

struct Signed {
    authority: String,
    at: u64,
}

impl Passing {
    /// Credentials that are to be shown from now on; `None` where those shown are of this authority and not old.
    /// Others' certificates are judged by this clock.
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
    ) -> Result<Option<Credentials>, IdentityError> {
        let now = clock.now().as_secs();
        let holds = |signed: &Signed| {
            signed.authority == authority.certificate() && now.abs_diff(signed.at) < RENEW_AFTER.as_secs()
        };
        if self.signed.as_ref().is_some_and(holds) {
            return Ok(None);
        }
        let key = match self.key.take() {
            Some(key) => key,
            None => KeyPair::generate()?,
        };
        let public = PublicKey(key.der_bytes().to_vec());
        let pem = Zeroizing::new(key.serialize_pem());
        self.key = Some(key);
        let certificate = authority
            .sign(&public, cluster_id, number, now)
            .map_err(|error| IdentityError::Certificate(error.to_string()))?;
        let credentials = Credentials::new(
            certificate.as_bytes(),
            pem.as_bytes(),
            authority.certificate().as_bytes(),
            cluster_id,
            number,
            clock.clone(),
        )?;
        self.signed = Some(Signed { authority: authority.certificate().to_owned(), at: now });
        Ok(Some(credentials))
    }
}
