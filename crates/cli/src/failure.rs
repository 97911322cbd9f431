//! The failure of a command, and its exit code.

use std::io;

use strongroom_client::{ConfigError, Reply};

use crate::output::text;

/// The end of a command that has nothing more to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Something wrong on this side: flags, arguments, files. Exit code 1.
    #[error("{0}")]
    Local(String),
    /// Something wrong on the other side, or on the way to it. Exit code 2.
    #[error("{0}")]
    Remote(String),
    /// All has been said; only the exit code is left.
    #[error("exit code {0}")]
    Exit(i32),
    /// The request was to be shown, not sent (`-output-curl-string`, `-output-policy`). Exit code 0.
    #[error("{0}")]
    Shown(String),
    /// The response is wrapped, so that its wrapping is all there is to show. Exit code 0.
    #[error("the response is wrapped")]
    Wrapped(Box<Reply>),
}

/// The outcome of a command.
pub(crate) type Outcome = Result<(), Failure>;

impl Failure {
    /// A failure of this side.
    pub(crate) fn local(message: impl Into<String>) -> Self {
        Self::Local(message.into())
    }

    /// A failure of the other side.
    pub(crate) fn remote(message: impl Into<String>) -> Self {
        Self::Remote(message.into())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Remote(error.to_string())
    }
}

/// Output that cannot be written is a local failure; a reader that went away (`| head`) is none.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::Exit(0) } else { Self::Local(io_reason(&error)) }
    }
}

/// A request that did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// It was to be shown, not sent.
    #[error("{0}")]
    Shown(String),
    /// It could not be set up.
    #[error("{0}")]
    Setup(String),
    /// It was sent, and the response is wrapped.
    #[error("the response is wrapped")]
    Wrapped(Box<Reply>),
    /// It was sent and failed.
    #[error(transparent)]
    Client(#[from] strongroom_client::Error),
}

impl SendError {
    /// The HTTP status, where the server answered with an error.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Client(error) => error.status(),
            _ => None,
        }
    }
}

/// Says what a request was for when it fails.
pub(crate) trait Because<T> {
    /// Turns the error into a remote failure that starts with `what`. A request that was only to be shown stays that,
    /// and one that could not be set up is reported as it is.
    fn because(self, what: impl Into<String>) -> Result<T, Failure>;
}

impl<T> Because<T> for Result<T, SendError> {
    fn because(self, what: impl Into<String>) -> Result<T, Failure> {
        self.map_err(|error| match error {
            SendError::Shown(text) => Failure::Shown(text),
            SendError::Setup(text) => Failure::Remote(text),
            SendError::Wrapped(reply) => Failure::Wrapped(reply),
            SendError::Client(error) => Failure::Remote(told(&what.into(), &error)),
        })
    }
}

impl<T> Because<T> for Result<T, strongroom_client::Error> {
    fn because(self, what: impl Into<String>) -> Result<T, Failure> {
        self.map_err(|error| Failure::Remote(told(&what.into(), &error)))
    }
}

/// A failed request with what it was for, and behind it the warnings of the server, which often say what to do.
pub(crate) fn told(what: &str, error: &strongroom_client::Error) -> String {
    let message = format!("{what}: {}", text::visible(&error.to_string()));
    match error {
        strongroom_client::Error::Api(error) if !error.warnings.is_empty() => {
            format!("{}\n\n{}", message.trim_end(), text::warnings(&error.warnings).trim_end())
        }
        _ => message,
    }
}

/// An I/O error as Go words it: `no such file or directory`, without the number.
pub(crate) fn io_reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}
