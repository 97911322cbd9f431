//! The operation of a request.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The operation that a request asks for at a path. Source: Vault's "Policies" page, where each HTTP verb maps to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// POST or PUT to what does not exist yet, where the path can tell.
    Create,
    /// GET.
    Read,
    /// POST or PUT.
    Update,
    /// PATCH with a merge patch.
    Patch,
    /// DELETE.
    Delete,
    /// LIST, or GET with `list=true`.
    List,
    /// SCAN, or GET with `scan=true`: a recursive list.
    Scan,
    /// GET with `help=1`.
    Help,
}

impl Operation {
    /// Vault's name for it, as audit records carry it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Scan => "scan",
            Self::Help => "help",
        }
    }

    /// True if it carries parameters in a body rather than in the query.
    pub const fn has_body(self) -> bool {
        matches!(self, Self::Create | Self::Update | Self::Patch)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
