//! Signing tokens, and telling whether a signature is good.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use strongroom_barrier::{BarrierError, NamespaceId, Reads};
use strongroom_engine_api::{EngineError, Moment, bad_request};
use strongroom_stdx::uuid_bytes;

use crate::algorithm::Signer;
use crate::jwt::{self, Parts};
use crate::keys::{NamedKey, PrivateKey, PublicKey, kid_text};
use crate::tables::PUBLIC_KEYS;
use crate::{Algorithm, Kid, Oidc};

/// The longest time for which a key set may be kept, where no key is about to change.
const MAX_AGE: u64 = 3600;

/// A key set, and for how many seconds it may be kept.
pub struct KeySet {
    /// The keys as JWKs.
    pub keys: Vec<Value>,
    /// Seconds until one of them is rotated or ends.
    pub max_age: u64,
}

impl Oidc {
    /// A token with these claims, signed with what the named key signs with now.
    pub fn sign(&self, key: &NamedKey, claims: &Map<String, Value>) -> Result<String, EngineError> {
        let signing = key.signing.as_ref().ok_or_else(|| bad_request("the key has not been used yet"))?;
        let signer = self.signer(signing)?;
        jwt::signed(signing.algorithm, &kid_text(signing.kid), &signer, claims)
    }

    /// The algorithm with which a named key signs now.
    pub fn signs_with(key: &NamedKey) -> Algorithm {
        key.signing.as_ref().map_or(key.algorithm, |signing| signing.algorithm)
    }

    /// Parsing a private key takes longer than signing with it. A key of an id never changes.
    fn signer(&self, key: &PrivateKey) -> Result<Arc<Signer>, EngineError> {
        if let Some(signer) = self.signers.get(&key.kid) {
            return Ok(signer);
        }
        let signer = Arc::new(key.algorithm.signer(&key.private)?);
        self.signers.insert(key.kid, signer.clone());
        if self.barrier.is_sealed() {
            // Sealing may have emptied the cache just before the insertion.
            self.signers.clear();
            return Err(BarrierError::Sealed.into());
        }
        Ok(signer)
    }

    /// True if a token is signed by a key of the namespace that is good now.
    pub async fn is_signed(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        token: &Parts<'_>,
    ) -> Result<bool, BarrierError> {
        let Some(kid) = uuid_bytes(&token.kid) else { return Ok(false) };
        let Some(key) = PUBLIC_KEYS.get(reads, &(namespace, &kid)).await? else { return Ok(false) };
        // The algorithm is the key's; a token that says another is not one of ours.
        Ok(key.is_good(self.environment.clock.now())
            && token.algorithm == key.algorithm.name()
            && key.algorithm.verifies(&key.public, token.signed.as_bytes(), &token.signature))
    }

    /// The public keys of a namespace that are good now, of the named keys that `of` takes.
    pub async fn key_set(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        of: impl Fn(&str) -> bool,
    ) -> Result<KeySet, EngineError> {
        let now = self.environment.clock.now();
        let found = PUBLIC_KEYS.scan(reads, &namespace, None, usize::MAX).await?;
        let good: Vec<(Kid, Arc<PublicKey>)> = found
            .into_iter()
            .map(|((_, kid), key)| (kid, key))
            .filter(|(_, key)| key.is_good(now) && of(&key.name))
            .collect();
        let until = good.iter().filter_map(|(_, key)| key.rotates.or(key.expires)).min();
        let keys = good.iter().map(|(kid, key)| key.algorithm.jwk(&kid_text(*kid), &key.public));
        Ok(KeySet { keys: keys.collect::<Result<_, _>>()?, max_age: max_age(until, now) })
    }
}

fn max_age(until: Option<Moment>, now: Moment) -> u64 {
    until.map_or(0, |until| until.since(now).as_secs()).min(MAX_AGE)
}

impl KeySet {
    /// The document (RFC 7517, section 5).
    pub fn document(self) -> Value {
        json!({ "keys": self.keys })
    }
}
