//! Errors, worded as Vault's Go client words them: scripts match on these texts.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;
use strongroom_stdx::DurationError;

/// A setting cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The server address is not one.
    #[error("parse {address:?}: {reason}")]
    Address {
        /// The address as given.
        address: String,
        /// The reason.
        reason: &'static str,
    },
    /// A variable holds something else than it should.
    #[error("could not parse {variable}: {reason}")]
    Variable {
        /// The variable's name.
        variable: String,
        /// The reason.
        reason: String,
    },
    /// A duration cannot be read.
    #[error("could not parse {variable}: {source}")]
    Duration {
        /// The variable's name.
        variable: String,
        /// The reason.
        source: DurationError,
    },
    /// A file of certificates or keys cannot be read.
    #[error("Error loading {what}: open {}: {reason}", path.display())]
    File {
        /// The expected content of the file, e.g. `CA File`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// A client certificate without its key, or the other way round.
    #[error("both client cert and client key must be provided")]
    HalfIdentity,
    /// Certificates, keys or names that the TLS library refuses.
    #[error("{0}")]
    Tls(String),
    /// A header that cannot be sent.
    #[error("invalid header {0:?}")]
    Header(String),
}

/// A request failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server answered with an error status.
    #[error(transparent)]
    Api(Box<ApiError>),
    /// No answer came.
    #[error("{} {url:?}: {reason}", verb(method))]
    Transport {
        /// The request's method.
        method: String,
        /// The request's URL.
        url: String,
        /// The cause, e.g. `dial tcp 127.0.0.1:8200: connect: connection refused`.
        reason: String,
    },
    /// The answer is not the JSON that was expected.
    #[error("{0}")]
    Decode(String),
    /// A setting cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The request itself cannot be built.
    #[error("{0}")]
    Request(String),
}

impl Error {
    /// The HTTP status, where the server answered with an error.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Api(error) => Some(error.status),
            _ => None,
        }
    }
}

impl From<ApiError> for Error {
    fn from(error: ApiError) -> Self {
        Self::Api(Box::new(error))
    }
}

/// `GET` → `Get`: Go names the method of a failed request this way.
fn verb(method: &str) -> String {
    let mut letters = method.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters.as_str().to_lowercase().chars()).collect()
    })
}

/// An error answer of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status code.
    pub status: u16,
    /// The request's method.
    pub method: String,
    /// The request's full URL.
    pub url: String,
    /// The namespace the request was made in; empty in the root namespace.
    pub namespace: String,
    /// The server's error texts; empty if the body was not Vault's error envelope (then see `body`).
    pub errors: Vec<String>,
    /// Warnings that came with the errors.
    pub warnings: Vec<String>,
    /// True if the body was not JSON, so that it is shown as it came.
    pub raw: bool,
    /// The body as it came.
    pub body: String,
}

/// The error envelope of the HTTP API.
#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    errors: Option<Vec<Value>>,
    #[serde(default)]
    warnings: Option<Vec<String>>,
}

impl ApiError {
    /// Reads an error answer's body.
    pub(crate) fn parse(status: u16, method: &str, url: &str, namespace: &str, body: &[u8]) -> Self {
        let envelope: Result<Envelope, _> = serde_json::from_slice(body);
        let raw = envelope.is_err();
        let envelope = envelope.unwrap_or(Envelope { errors: None, warnings: None });
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        Self {
            status,
            method: method.to_owned(),
            url: url.to_owned(),
            namespace: namespace.to_owned(),
            errors: envelope.errors.unwrap_or_default().into_iter().map(text).collect(),
            warnings: envelope.warnings.unwrap_or_default(),
            raw,
            body: String::from_utf8_lossy(body).into_owned(),
        }
    }
}

impl std::error::Error for ApiError {}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Error making API request.\n\n")?;
        if !self.namespace.is_empty() {
            writeln!(f, "Namespace: {}", self.namespace)?;
        }
        writeln!(f, "URL: {} {}", self.method, self.url)?;
        if self.raw {
            return write!(f, "Code: {}. Raw Message:\n\n{}", self.status, self.body);
        }
        write!(f, "Code: {}. Errors:\n\n", self.status)?;
        for (at, error) in self.errors.iter().enumerate() {
            write!(f, "{}* {error}", if at == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_the_go_client_does() {
        let body = br#"{"errors":["permission denied"]}"#;
        let error = ApiError::parse(403, "GET", "http://127.0.0.1:8200/v1/cubbyhole/x", "", body);
        assert_eq!(
            error.to_string(),
            "Error making API request.\n\nURL: GET http://127.0.0.1:8200/v1/cubbyhole/x\n\
             Code: 403. Errors:\n\n* permission denied"
        );
        let error = ApiError::parse(403, "PUT", "http://h/v1/x", "team/", body);
        assert!(
            error
                .to_string()
                .starts_with("Error making API request.\n\nNamespace: team/\nURL: PUT http://h/v1/x\n")
        );
    }

    #[test]
    fn a_body_that_is_no_envelope_is_shown() {
        let error = ApiError::parse(502, "GET", "http://h/v1/x", "", b"hello <html>");
        assert!(error.to_string().ends_with("Code: 502. Raw Message:\n\nhello <html>"));
        let error = ApiError::parse(404, "GET", "http://h/v1/x", "", b"");
        assert!(error.to_string().ends_with("Code: 404. Raw Message:\n\n"));
        let error = ApiError::parse(400, "GET", "http://h/v1/x", "", br#"{"data":{"error":"no"}}"#);
        assert!(error.to_string().ends_with("Code: 400. Errors:\n\n"));
    }

    #[test]
    fn errors_keep_their_warnings() {
        let error = ApiError::parse(400, "GET", "u", "", br#"{"errors":["a","b"],"warnings":["w"]}"#);
        assert_eq!(error.warnings, ["w"]);
        assert!(error.to_string().ends_with("* a\n* b"));
    }

    #[test]
    fn transport_errors_name_method_and_url() {
        let error =
            Error::Transport { method: "GET".into(), url: "http://h/v1/x".into(), reason: "EOF".into() };
        assert_eq!(error.to_string(), "Get \"http://h/v1/x\": EOF");
        assert_eq!(error.status(), None);
    }
}
