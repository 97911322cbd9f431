//! Batch tokens: the entry itself, sealed by the barrier's keyring, is the token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use strongroom_barrier::BarrierError;
use strongroom_engine_api::EngineError;
use strongroom_mounts::{named_by, suffix};
use zeroize::Zeroizing;

use crate::TokenEntry;
use crate::TokenStore;

pub(crate) const PREFIX: &str = "hvb.";
const PLACE: &[u8] = b"batch-token";

impl TokenStore {
    pub(crate) fn seal_batch_token(&self, entry: &TokenEntry) -> Result<String, EngineError> {
        let plain =
            rmp_serde::to_vec_named(entry).map_err(|error| EngineError::Internal(error.to_string()))?;
        let plain = Zeroizing::new(plain);
        let keyring = self.barrier.keyring()?;
        let sealed = keyring.seal(&self.environment.entropy, PLACE, &plain).map_err(BarrierError::from)?;
        Ok(format!("{PREFIX}{}{}", URL_SAFE_NO_PAD.encode(sealed), suffix(entry.namespace)))
    }

    /// The entry inside a batch token; `None` when it is not one of ours.
    pub(crate) fn open_batch_token(&self, token: &str) -> Result<Option<TokenEntry>, BarrierError> {
        let (namespace, text) = named_by(token);
        let Some(Ok(sealed)) = text.strip_prefix(PREFIX).map(|text| URL_SAFE_NO_PAD.decode(text)) else {
            return Ok(None);
        };
        let Ok(plain) = self.barrier.keyring()?.open(PLACE, &sealed) else { return Ok(None) };
        let entry: Option<TokenEntry> = rmp_serde::from_slice(&plain).ok();
        Ok(entry.filter(|entry| entry.namespace == namespace))
    }
}
