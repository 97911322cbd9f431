//! Values that engines derive from their tables and keep in memory: a connection pool from a configuration, a parsed
//! certificate from an issuer's entry.
//!
//! An engine says of what tables a value is made and how ([`Derived`]); its handlers draw [`Cached`] and ask for the value
//! of a key. They get the value as of their own view, on any node: built now where a commit has touched the tables since, or
//! kept from before. What must be the same everywhere (a list of revocations) is stored and not derived.
//!
//! A transaction derives from its view, without its own writes, and is not checked at commit against what a value was
//! derived from, as with [`MountTxn::peek`](strongroom_barrier::MountTxn::peek).

use std::any::Any;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use strongroom_barrier::{MountView, TableId, TableKey};
use strongroom_cached::Kind;

use crate::{Call, EngineError, Environment, Extensions, Extract, Mount};

/// A value that follows from tables of its mount.
pub trait Derived: Sized + Send + Sync + 'static {
    /// The key that tells the values of a mount apart.
    type Key: TableKey + ?Sized + Sync;

    /// The tables it is made of. Reading others would leave it as it was when those change.
    const FROM: &'static [TableId];

    /// True if it holds connections to the outside, which end with this node's term as the active one.
    const CONNECTS: bool = false;

    /// Makes it. An error is returned to the caller, and nothing is kept.
    fn derive(key: &Self::Key, from: Source) -> impl Future<Output = Result<Self, EngineError>> + Send;

    /// The bytes it takes, roughly: what is kept is bounded by their sum.
    fn weight(&self) -> usize;
}

/// The source of a derived value: its mount, and nothing of the request that happens to ask for it.
pub struct Source {
    /// The mount's tables at one commit index.
    pub view: MountView,
    /// The mount.
    pub mount: Arc<Mount>,
    /// Time and randomness.
    pub environment: Environment,
    extensions: Extensions,
}

impl Source {
    /// An extension that the engine was built with, as [`Extension`](crate::Extension) draws it.
    pub fn extension<T: Any + Send + Sync>(&self) -> Result<Arc<T>, EngineError> {
        let missing = || EngineError::Internal("the engine was built without this extension".to_owned());
        self.extensions.get().ok_or_else(missing)
    }
}

/// Derived values of one type, as a handler draws them.
pub struct Cached<T> {
    call: Arc<Call>,
    values: PhantomData<fn() -> T>,
}

impl<T: Derived> Cached<T> {
    /// The value of `key`, as the request's view has it.
    pub async fn get(&self, key: &T::Key) -> Result<Arc<T>, EngineError> {
        let call = &self.call;
        let mut encoded = Vec::new();
        key.encode(&mut encoded);
        let view = call.txn.peek();
        let kind = Kind { from: T::FROM, connects: T::CONNECTS, weigh: T::weight };
        let derive = || {
            let source = Source {
                view: view.clone(),
                mount: call.mount.clone(),
                environment: call.environment.clone(),
                extensions: call.extensions.clone(),
            };
            T::derive(key, source)
        };
        // Boxed: it would make every handler that asks as large as what derives.
        Box::pin(call.facilities.kept().get(kind, &view, &encoded, derive)).await
    }
}

impl<T: Derived> Extract for Cached<T> {
    fn extract(call: &Arc<Call>) -> Result<Self, EngineError> {
        Ok(Self { call: call.clone(), values: PhantomData })
    }
}
