//! Facts about an engine that the server acts on without asking a handler.
//!
//! They are properties of the engine and not of the server, so that no part of the server has to know engines by their
//! names, and an engine that is added later is treated like those that were there first. Names and texts are owned or
//! constant: an engine that is told at run time what it is has them as well.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// A name or a text: a constant of the program, or one that was read at run time.
pub type Name = Cow<'static, str>;

/// The place that an engine is mounted at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Under a path of its own.
    Secrets,
    /// Under `auth/`.
    Auth,
    /// Part of the server (`sys`, `cubbyhole`): not to be enabled, moved or disabled.
    System,
}

/// An option of a mount that means something to its engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountOption {
    /// Its name.
    pub name: Name,
    /// One sentence for people.
    pub description: Name,
}

/// Another name for an engine's type, which sets options as well: `kv-v2` is `kv` with `version=2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The name that mounts can be enabled by.
    pub name: Name,
    /// The option that it sets, and the value.
    pub option: (Name, Name),
}

/// All that is known of an engine beside its routes.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Its type, as `sys/mounts` shows it.
    pub kind: Name,
    /// The name of the parameter for its mount's path in the OpenAPI document (`kv_v2`), where it is not the type.
    pub generic_name: Option<Name>,
    /// The place that it is mounted at.
    pub class: Class,
    /// The text that `path-help` prints for the mount.
    pub help: Name,
    /// Other names for its type.
    pub aliases: Vec<Alias>,
    /// The options of its mounts.
    pub options: Vec<MountOption>,
    /// The option and value of the mounts that this variant of the type serves. The variant without one serves all others.
    pub variant: Option<(Name, Name)>,
    /// Failed logins lock users out.
    pub locks_users_out: bool,
    /// Its page in `docs/`.
    pub docs_page: Name,
    /// A slash at the end of a path means something where a route takes the rest of a path.
    pub keeps_trailing_slash: bool,
}

impl Facts {
    /// The facts of an engine of which nothing else is known.
    pub fn new(class: Class, kind: impl Into<Name>, help: impl Into<Name>) -> Self {
        Self {
            kind: kind.into(),
            generic_name: None,
            class,
            help: help.into(),
            aliases: Vec::new(),
            options: Vec::new(),
            variant: None,
            locks_users_out: false,
            docs_page: Name::default(),
            keeps_trailing_slash: false,
        }
    }

    /// The name for generic mount paths.
    pub fn generic(&self) -> &str {
        self.generic_name.as_ref().unwrap_or(&self.kind)
    }

    /// Tells whether a mount with these options is served by this variant of the type.
    pub fn serves(&self, options: &BTreeMap<String, String>) -> bool {
        self.variant
            .as_ref()
            .is_some_and(|(name, value)| options.get(&**name).is_some_and(|set| set == value))
    }

    /// Options of a mount that this variant serves.
    pub fn variant_options(&self) -> BTreeMap<String, String> {
        self.variant.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }
}
