//! Failures of the database, by what is known of what it has done.

use std::error::Error as _;

use strongroom_leased_db::ApplyError;
use strongroom_storage::StoreError;
use tokio_postgres::Error;
use tokio_postgres::error::{ErrorPosition, Severity, SqlState};

/// Reasons why the database did not do what it was asked.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// It has done nothing: it said so, or was not asked.
    Refused {
        /// Its reason as SQL's standard numbers them, if it gave one.
        code: Option<SqlState>,
        /// Its reason in words.
        text: String,
    },
    /// The connection broke or its time was over: it may have done it, or may yet.
    Unknown(String),
    /// The store is closed.
    Closed,
}

impl Failure {
    pub(crate) fn refused(text: impl Into<String>) -> Failure {
        Failure::Refused { code: None, text: text.into() }
    }

    /// Of a request that has been sent.
    pub(crate) fn of_request(error: &Error) -> Failure {
        match error.as_db_error() {
            Some(told) if is_certain(told.parsed_severity(), told.code()) => {
                Failure::Refused { code: Some(told.code().clone()), text: describe(error) }
            }
            _ => Failure::Unknown(describe(error)),
        }
    }

    /// Of a connection that was not made.
    pub(crate) fn of_connecting(error: &Error) -> Failure {
        Failure::Refused { code: error.code().cloned(), text: describe(error) }
    }

    pub(crate) fn code(&self) -> Option<&SqlState> {
        match self {
            Failure::Refused { code, .. } => code.as_ref(),
            Failure::Unknown(_) | Failure::Closed => None,
        }
    }

    /// True if the same again may do: another transaction was in the way.
    pub(crate) fn is_passing(&self) -> bool {
        let passing = [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED];
        self.code().is_some_and(|code| passing.contains(code))
    }

    /// True if the connection is of no use any more. A server that only reads now is another's standby.
    pub(crate) fn spoils_connection(&self) -> bool {
        match self {
            Failure::Unknown(_) | Failure::Closed => true,
            Failure::Refused { code, .. } => code.as_ref() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION),
        }
    }

    pub(crate) fn text(&self) -> &str {
        match self {
            Failure::Refused { text, .. } | Failure::Unknown(text) => text,
            Failure::Closed => "storage is closed",
        }
    }
}

/// True if the database has done nothing. It has not if it says so and serves on; it may have if it ends the connection
/// (a commit that waits for a standby of the database is done and only not answered), has an error of its own, or says
/// that it does not know (CockroachDB does).
fn is_certain(severity: Option<Severity>, code: &SqlState) -> bool {
    let class = code.code().get(..2).unwrap_or_default();
    severity == Some(Severity::Error)
        && code.code() != "40003"
        && !matches!(class, "08" | "57" if code != &SqlState::QUERY_CANCELED)
        && !matches!(class, "58" | "XX")
}

/// An error in words: the database's message with its number, or the driver's with its causes. Details and hints are left
/// out, they may have values in them.
fn describe(error: &Error) -> String {
    if let Some(told) = error.as_db_error() {
        let place = match told.position() {
            Some(ErrorPosition::Original(at)) => format!(", at character {at}"),
            _ => String::new(),
        };
        return format!("{} (SQLSTATE {}{place})", told.message(), told.code().code());
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> StoreError {
        match failure {
            Failure::Closed => StoreError::Closed,
            Failure::Refused { text, .. } | Failure::Unknown(text) => StoreError::Failed(text),
        }
    }
}

impl From<Failure> for ApplyError {
    fn from(failure: Failure) -> ApplyError {
        match failure {
            Failure::Unknown(text) => ApplyError::Unknown(text),
            Failure::Refused { code, text } if code == Some(SqlState::DISK_FULL) => ApplyError::NoSpace(text),
            Failure::Refused { text, .. } => ApplyError::Refused(text),
            Failure::Closed => ApplyError::Refused("storage is closed".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_counts_as_certain_only_where_it_is() {
        let certain = |code: &str| is_certain(Some(Severity::Error), &SqlState::from_code(code));
        for code in ["40001", "40P01", "23505", "42501", "53100", "57014", "25006", "22012"] {
            assert!(certain(code), "{code}");
        }
        for code in ["40003", "08006", "57P01", "57P02", "58030", "XX000"] {
            assert!(!certain(code), "{code}");
        }
        assert!(!is_certain(Some(Severity::Fatal), &SqlState::from_code("40001")));
        let full = Failure::Refused { code: Some(SqlState::from_code("53100")), text: String::new() };
        assert!(matches!(ApplyError::from(full), ApplyError::NoSpace(_)));
        assert!(!is_certain(None, &SqlState::from_code("40001")));
    }
}
