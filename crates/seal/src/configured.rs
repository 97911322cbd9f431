//! The seals that a server is configured with.
//!
//! Storage names the seals that it was sealed with; the configuration says how each is reached. Both meet by the seal's
//! id. A seal in storage that the configuration lacks cannot be opened, which is said by its name and kind.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::{Seal, SealError, Unsealing};

/// A seal and its place among others.
#[derive(Clone)]
pub struct ConfiguredSeal {
    /// Its name in this cluster, for ever: storage refers to it.
    pub id: String,
    /// The order in which seals are asked: the lowest first.
    pub priority: u32,
    /// It is not used, and kept only so that what it wrapped can be told.
    pub disabled: bool,
    /// The seal itself.
    pub seal: Arc<dyn Seal>,
}

/// All seals of a server, the first to be asked first.
#[derive(Clone, Default)]
pub struct Seals {
    seals: Vec<ConfiguredSeal>,
    recovery: Option<Arc<dyn Seal>>,
}

impl Seals {
    /// A single seal, named after its kind.
    pub fn one(seal: Arc<dyn Seal>) -> Self {
        let only = ConfiguredSeal { id: seal.kind().to_owned(), priority: 1, disabled: false, seal };
        Self { seals: vec![only], recovery: None }
    }

    /// Several seals, each of which is enough to unseal.
    ///
    /// # Errors
    ///
    /// [`SealError::Configuration`] for two of one name, for more than one that asks people, and where none is enabled.
    pub fn several(mut seals: Vec<ConfiguredSeal>) -> Result<Self, SealError> {
        let ids: BTreeSet<&str> = seals.iter().map(|seal| seal.id.as_str()).collect();
        if ids.len() != seals.len() {
            return Err(SealError::Configuration("two seals have the same name".to_owned()));
        }
        let enabled = || seals.iter().filter(|seal| !seal.disabled);
        if enabled().count() == 0 {
            return Err(SealError::Configuration("no seal is enabled".to_owned()));
        }
        // `sys/unseal` takes a key part without saying which seal it is of.
        if enabled().filter(|seal| matches!(seal.seal.unsealing(), Unsealing::Interactive(_))).count() > 1 {
            return Err(SealError::Configuration("only one seal can be unsealed with key parts".to_owned()));
        }
        seals.sort_by_key(|seal| seal.priority);
        Ok(Self { seals, recovery: None })
    }

    /// The kind of seal that opens where all others fail: its key parts are made beside seals that unseal by themselves.
    #[must_use]
    pub fn with_recovery(mut self, seal: Arc<dyn Seal>) -> Self {
        self.recovery = Some(seal);
        self
    }

    /// Those that are used, the first to be asked first.
    pub fn enabled(&self) -> impl Iterator<Item = &ConfiguredSeal> {
        self.seals.iter().filter(|seal| !seal.disabled)
    }

    /// The seal that storage calls `id`, if it is of that kind and in use.
    pub fn find(&self, id: &str, kind: &str) -> Option<&ConfiguredSeal> {
        self.enabled().find(|seal| seal.id == id && seal.seal.kind() == kind)
    }

    /// The seal for recovery.
    pub fn recovery(&self) -> Option<&Arc<dyn Seal>> {
        self.recovery.as_ref()
    }

    /// The kind of the first seal: what a server calls its seal before it has storage that says so.
    pub fn kind(&self) -> &'static str {
        self.enabled().next().map_or("", |first| first.seal.kind())
    }

    /// True where one of the seals unseals by itself.
    pub fn has_auto(&self) -> bool {
        self.enabled().any(|seal| matches!(seal.seal.unsealing(), Unsealing::Auto(_)))
    }

    /// True if all seals unseal by themselves, so that no key parts are needed.
    pub fn unseal_by_themselves(&self) -> bool {
        self.enabled().next().is_some()
            && self.enabled().all(|seal| matches!(seal.seal.unsealing(), Unsealing::Auto(_)))
    }
}
