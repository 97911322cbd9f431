//! State in memory that is derived from storage: rebuilt, on any node, when what it is derived from has changed.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use strongroom_storage::Index;

use crate::BarrierError;

/// A value built from storage at some commit index, and the newest commit that touched what it is built from.
pub struct Derived<T> {
    outdated_by: AtomicU64,
    built: ArcSwapOption<(Index, Arc<T>)>,
    building: tokio::sync::Mutex<()>,
}

impl<T> Default for Derived<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Derived<T> {
    /// One that is built when it is asked for.
    pub fn new() -> Self {
        Self {
            outdated_by: AtomicU64::new(0),
            built: ArcSwapOption::empty(),
            building: tokio::sync::Mutex::new(()),
        }
    }

    /// Commit `index` touched what the value is built from.
    pub fn outdate(&self, index: Index) {
        self.outdated_by.fetch_max(index, Ordering::SeqCst);
    }

    /// Drops the value: sealing.
    pub fn clear(&self) {
        self.built.store(None);
    }

    fn current(&self) -> Option<Arc<T>> {
        let built = self.built.load();
        let (index, value) = built.as_deref()?;
        (*index >= self.outdated_by.load(Ordering::SeqCst)).then(|| value.clone())
    }

    /// The value as of the newest commit that touches it; `build` answers the value and the index it saw.
    pub async fn get<B, F>(&self, build: B) -> Result<Arc<T>, BarrierError>
    where
        B: FnOnce() -> F,
        F: Future<Output = Result<(Index, T), BarrierError>>,
    {
        if let Some(value) = self.current() {
            return Ok(value);
        }
        let _one_builder = self.building.lock().await;
        if let Some(value) = self.current() {
            return Ok(value);
        }
        // Boxed: it is rare, and would make every request that looks at the value as large as building it.
        let (index, value) = Box::pin(build()).await?;
        let value = Arc::new(value);
        self.built.store(Some(Arc::new((index, value.clone()))));
        Ok(value)
    }
}
