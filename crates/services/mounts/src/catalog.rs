//! The engines of a program, by type.

use std::collections::BTreeMap;
use std::sync::Arc;

use strongroom_engine_api::{Backend, Class};

/// One type, with all its variants.
type Kind = Vec<Arc<dyn Backend>>;

/// The engines of this program. Several of one type are its variants (KV 1 and 2), told apart by their mounts' options.
#[derive(Default)]
pub struct Catalog {
    kinds: Vec<Kind>,
}

impl Catalog {
    /// An empty catalog.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an engine under its own type, beside others of that type.
    #[must_use]
    pub fn with(mut self, engine: impl Backend) -> Self {
        let engine: Arc<dyn Backend> = Arc::new(engine);
        let same = |kind: &&mut Kind| kind.iter().all(|other| is_same_kind(&**other, &*engine));
        match self.kinds.iter_mut().find(same) {
            Some(kind) => kind.push(engine),
            None => self.kinds.push(vec![engine]),
        }
        self
    }

    /// The engine for a mount: of those of its type the one that serves its options, or else the one that serves whatever
    /// no other does. Parts of the server are found whatever they are mounted as.
    pub fn engine(
        &self,
        class: Class,
        kind: &str,
        options: &BTreeMap<String, String>,
    ) -> Option<Arc<dyn Backend>> {
        let fits = |engine: &Arc<dyn Backend>| {
            engine.kind() == kind && (engine.class() == class || engine.class() == Class::System)
        };
        let found = self.kinds.iter().find(|kind| kind.first().is_some_and(fits))?;
        let serving = found.iter().find(|engine| engine.facts().serves(options));
        serving.or_else(|| found.iter().find(|engine| engine.facts().variant.is_none())).cloned()
    }

    /// Every engine with each of its variants.
    pub fn engines(&self) -> impl Iterator<Item = &Arc<dyn Backend>> {
        self.kinds.iter().flatten()
    }

    /// Tells whether failed logins lock users out at mounts of this type.
    pub fn locks_users_out(&self, class: Class, kind: &str) -> bool {
        let engine = self.engine(class, kind, &BTreeMap::new());
        engine.is_some_and(|engine| engine.facts().locks_users_out)
    }

    /// The types of auth methods at which failed logins lock users out, in alphabetical order.
    pub fn locking_kinds(&self) -> Vec<String> {
        let locking = self.engines().filter(|engine| engine.facts().locks_users_out);
        let mut kinds: Vec<String> = locking.map(|engine| engine.kind().to_owned()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    /// The type that `name` is an alias of, and the option and its value that the alias sets.
    pub fn alias(&self, class: Class, name: &str) -> Option<(&str, (&str, &str))> {
        self.engines().filter(|engine| engine.class() == class).find_map(|engine| {
            let alias = engine.facts().aliases.iter().find(|alias| alias.name == name)?;
            let (option, value) = &alias.option;
            Some((engine.kind(), (&**option, &**value)))
        })
    }
}

fn is_same_kind(one: &dyn Backend, other: &dyn Backend) -> bool {
    one.kind() == other.kind() && one.class() == other.class()
}
