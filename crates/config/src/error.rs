//! Errors of a configuration, and their places.

use std::fmt;
use std::sync::Arc;

use strongroom_hcl::{ParseError, Position};

/// A place in a configuration file. Prints as `server.hcl:3:14`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file as it was named on the command line, or found in a directory that was.
    pub file: Arc<str>,
    /// Line and column.
    pub position: Position,
}

impl Place {
    /// The error that this place cannot be used, for a reason.
    pub(crate) fn invalid(&self, message: impl Into<String>) -> ConfigError {
        ConfigError::Invalid { place: self.clone(), message: message.into() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.position)
    }
}

/// Reasons why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or directory cannot be read.
    #[error("{file}: {error}")]
    Read {
        /// The file or directory.
        file: String,
        /// The error of the system. Not a source: it is in the text.
        error: std::io::Error,
    },
    /// A directory has nothing to load.
    #[error("{directory}: no file here ends with .hcl or .json")]
    EmptyDirectory {
        /// The directory.
        directory: String,
    },
    /// A text is not HCL or JSON, or a value in it cannot be used.
    #[error("{place}: {message}")]
    Invalid {
        /// The place.
        place: Place,
        /// The error, and what is allowed.
        message: String,
    },
    /// An environment variable has a value that cannot be used.
    #[error("environment variable {variable}: {message}")]
    Environment {
        /// Its name.
        variable: String,
        /// The error, and what is allowed.
        message: String,
    },
    /// Something that a server needs is not configured.
    #[error("{0}")]
    Missing(&'static str),
}

impl ConfigError {
    pub(crate) fn parse(file: &Arc<str>, error: ParseError) -> ConfigError {
        let place = Place { file: Arc::clone(file), position: error.position };
        ConfigError::Invalid { place, message: error.message }
    }
}

/// Something that does not keep the server from starting but that its operator should know. Prints as
/// `server.hcl:3:14: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The place.
    pub place: Place,
    /// The warning.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}
