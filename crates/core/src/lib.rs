//! The core: a whole server between the HTTP edge and the engines.
//!
//! [`Services`] are each a crate of its own; the [`Pipeline`] takes a request through them; what no
//! request asks for is done in the [`Background`]. State in memory follows from storage and is rebuilt when a commit touches
//! what it follows from, on whatever node.

mod acting_jobs;
mod background;
mod jobs;
mod moves;
mod observing;
mod tables;

use std::sync::Arc;

use strongroom_barrier::{Barrier, TableId};
use strongroom_engine_api::Environment;
use strongroom_mounts::Catalog;
use strongroom_pipeline::{Pipeline, Services, Settings};
use strongroom_seal::Seals;

pub use background::Background;

/// The server's own tables, those of each owner, for the registry of formats.
pub const fn tables() -> &'static [&'static [TableId]] {
    tables::TABLES
}

/// A server: its services, the way of requests through them, and the work that no request asks for.
pub struct Assembly {
    /// The services.
    pub services: Services,
    /// The way of a request.
    pub pipeline: Arc<Pipeline>,
    /// The upkeep of the node, and the jobs.
    pub background: Arc<Background>,
}

impl Assembly {
    /// A sealed server over `barrier`, with the engines of `catalog`, sealed by `seals`.
    pub fn new(
        barrier: Arc<Barrier>,
        environment: Environment,
        settings: Settings,
        catalog: Catalog,
        seals: Seals,
    ) -> Arc<Self> {
        let services = Services::new(barrier, environment, settings, catalog, seals);
        let extensions = services.extensions();
        let pipeline = Arc::new(Pipeline::new(services.clone(), extensions.clone()));
        let background = Arc::new(Background::new(services.clone(), extensions));
        background.observe_commits();
        Arc::new(Self { services, pipeline, background })
    }
}
