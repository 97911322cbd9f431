//! Errors of a policy's text, in Vault's words where it has some, with the place.

use std::fmt;

use strongroom_hcl::{ParseError, Position};

/// Reasons why a text is not a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The text is not HCL or JSON, or a `path` is no block with one label.
    #[error(transparent)]
    Syntax(#[from] ParseError),
    /// Keys that policies do not have.
    #[error("{}", Listed(.0))]
    InvalidKeys(Vec<InvalidKey>),
    /// A key is set twice.
    #[error("The argument {key:?} at {position} was already set. Each argument can only be defined once")]
    DuplicateKey {
        /// The key.
        key: String,
        /// The position of the second.
        position: Position,
    },
    /// A value is of the wrong type.
    #[error("path {path:?}: {error}")]
    WrongType {
        /// The rule's path.
        path: String,
        /// The place, and what is expected there.
        error: ParseError,
    },
    /// A word that is no capability.
    #[error("path {path:?}: invalid capability {capability:?} at {position}")]
    InvalidCapability {
        /// The rule's path.
        path: String,
        /// The word.
        capability: String,
        /// Its position.
        position: Position,
    },
    /// The old `policy` key has an unknown value.
    #[error("path {path:?}: invalid policy {level:?} at {position}")]
    InvalidLevel {
        /// The rule's path.
        path: String,
        /// The value.
        level: String,
        /// Its position.
        position: Position,
    },
    /// `+*` in a path, which would be ambiguous.
    #[error("path {path:?}: invalid use of wildcards ('+*' is forbidden)")]
    ForbiddenWildcards {
        /// The rule's path.
        path: String,
        /// The position of the rule.
        position: Position,
    },
    /// More `+` segments than a lookup is willing to follow.
    #[error("path {path:?}: more than {limit} wildcard segments")]
    TooManyWildcards {
        /// The rule's path.
        path: String,
        /// The number allowed.
        limit: usize,
        /// The position of the rule.
        position: Position,
    },
    /// A condition this server cannot enforce. Ignoring it would grant more
    /// than the policy says.
    #[error("path {path:?}: {key:?} at {position} is not supported")]
    Unsupported {
        /// The rule's path.
        path: String,
        /// The key.
        key: String,
        /// Its position.
        position: Position,
    },
    /// A wrapping TTL that is no duration.
    #[error("error parsing {key}: {reason}")]
    InvalidDuration {
        /// `min_wrapping_ttl` or `max_wrapping_ttl`.
        key: &'static str,
        /// The reason.
        reason: String,
        /// Its position.
        position: Position,
    },
    /// The wrapping TTLs leave no value.
    #[error("max_wrapping_ttl cannot be less than min_wrapping_ttl")]
    ContradictoryTtls {
        /// The position of the rule.
        position: Position,
    },
    /// The braces of a templated path do not pair up.
    #[error("failed to validate policy templating: unbalanced templating characters")]
    UnbalancedTemplate {
        /// The position of the rule.
        position: Position,
    },
}

/// A key that policies do not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidKey {
    /// The rule's path; `None` for a key outside any rule.
    pub path: Option<String>,
    /// The key.
    pub key: String,
    /// Its position.
    pub position: Position,
}

impl fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "path {path:?}: ")?;
        }
        let Position { line, column } = self.position;
        write!(f, "invalid key {:?} on line {line}, column {column}", self.key)
    }
}

impl PolicyError {
    /// The position of the mistake in the text; of the first one if there are several.
    pub fn position(&self) -> Position {
        match self {
            PolicyError::Syntax(error) | PolicyError::WrongType { error, .. } => error.position,
            PolicyError::InvalidKeys(keys) => keys.first().map_or(Position::START, |key| key.position),
            PolicyError::DuplicateKey { position, .. }
            | PolicyError::InvalidCapability { position, .. }
            | PolicyError::InvalidLevel { position, .. }
            | PolicyError::ForbiddenWildcards { position, .. }
            | PolicyError::TooManyWildcards { position, .. }
            | PolicyError::Unsupported { position, .. }
            | PolicyError::InvalidDuration { position, .. }
            | PolicyError::ContradictoryTtls { position }
            | PolicyError::UnbalancedTemplate { position } => *position,
        }
    }
}

/// Several errors in the layout in which Vault lists them.
struct Listed<'a>(&'a [InvalidKey]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [_] => f.write_str("1 error occurred:\n")?,
            errors => writeln!(f, "{} errors occurred:", errors.len())?,
        }
        for error in self.0 {
            writeln!(f, "\t* {error}")?;
        }
        f.write_str("\n")
    }
}
