//! Makes key pairs, aside from requests: that of RSA takes up to a second of a processor.
//!
//! One is made at a time, on a thread for slow work. Few may wait for their turn; beyond, a request is refused and may be sent
//! again.

use std::sync::Arc;

use strongroom_engine_api::EngineError;
use tokio::sync::Semaphore;

use crate::algorithm::{Algorithm, KeyMaterial};

/// Requests that may wait for keys, the one that is served included.
const MAX_WAITING: usize = 32;

/// Makes key pairs.
pub(crate) struct Generator {
    turns: Arc<Semaphore>,
    room: Arc<Semaphore>,
}

impl Generator {
    pub(crate) fn new() -> Self {
        Self { turns: Arc::new(Semaphore::new(1)), room: Arc::new(Semaphore::new(MAX_WAITING)) }
    }

    /// So many key pairs. The turn ends with the work, even if the caller is gone.
    pub(crate) async fn make(
        &self,
        algorithm: Algorithm,
        number: usize,
    ) -> Result<Vec<KeyMaterial>, EngineError> {
        let interrupted = |why: String| EngineError::Internal(format!("making a key was interrupted: {why}"));
        let Ok(room) = self.room.clone().try_acquire_owned() else {
            return Err(EngineError::Status(503, "too many keys wait to be made; try again".to_owned()));
        };
        let turn =
            self.turns.clone().acquire_owned().await.map_err(|closed| interrupted(closed.to_string()))?;
        let working = tokio::task::spawn_blocking(move || {
            let _held = (turn, room);
            (0..number).map(|_| algorithm.generate()).collect()
        });
        working.await.map_err(|error| interrupted(error.to_string()))?
    }
}
