//! Which engines there are.

use std::collections::BTreeMap;
use std::sync::Arc;

use strongroom_engine_api::{Class, Engine};

type Choose = fn(&BTreeMap<String, String>) -> usize;

struct Kind {
    name: &'static str,
    class: Class,
    variants: Vec<Arc<Engine>>,
    choose: Choose,
}

/// The engines of this program by type. An engine with variants (KV 1 and 2) is chosen by its mount's options.
#[derive(Default)]
pub struct Catalog {
    kinds: Vec<Kind>,
}

impl Catalog {
    /// An empty catalog.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an engine under its own type.
    #[must_use]
    pub fn with(self, engine: Engine) -> Self {
        self.with_variants(vec![engine], |_options| 0)
    }

    /// Adds variants of one type; `choose` tells from a mount's options which of them it is.
    #[must_use]
    pub fn with_variants(mut self, variants: Vec<Engine>, choose: Choose) -> Self {
        if let Some(first) = variants.first() {
            let (name, class) = (first.kind(), first.class());
            self.kinds.push(Kind {
                name,
                class,
                variants: variants.into_iter().map(Arc::new).collect(),
                choose,
            });
        }
        self
    }

    /// The engine for a mount. Parts of the server are found whatever they are mounted as.
    pub fn engine(
        &self,
        class: Class,
        kind: &str,
        options: &BTreeMap<String, String>,
    ) -> Option<Arc<Engine>> {
        let fits =
            |found: &&Kind| found.name == kind && (found.class == class || found.class == Class::System);
        let found = self.kinds.iter().find(fits)?;
        found.variants.get((found.choose)(options)).or_else(|| found.variants.first()).cloned()
    }

    /// Every engine with each of its variants.
    pub fn engines(&self) -> impl Iterator<Item = &Arc<Engine>> {
        self.kinds.iter().flat_map(|kind| &kind.variants)
    }

    /// The names of the types of a class, sorted.
    pub fn names(&self, class: Class) -> Vec<&'static str> {
        let mut names: Vec<_> =
            self.kinds.iter().filter(|kind| kind.class == class).map(|kind| kind.name).collect();
        names.sort_unstable();
        names
    }
}
