//! Positions in a text, and errors at them.

use std::fmt;

/// A place in a text: line and column, both counted from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line, from 1.
    pub line: u32,
    /// The character in the line, from 1.
    pub column: u32,
}

impl Position {
    /// The first character of a text.
    pub const START: Position = Position { line: 1, column: 1 };

    /// Moves over one character.
    pub(crate) fn advance(&mut self, c: char) {
        if c == '\n' {
            self.line = self.line.saturating_add(1);
            self.column = 1;
        } else {
            self.column = self.column.saturating_add(1);
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// The error of a text that is not HCL or JSON. Prints as `At 3:14: message`, the wording HCL1's own errors have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("At {position}: {message}")]
pub struct ParseError {
    /// The position at which reading stopped.
    pub position: Position,
    /// The token found there, and what was expected.
    pub message: String,
}

impl ParseError {
    /// An error at a place; also of use to readers of the tree, who find values they cannot take.
    pub fn new(position: Position, message: impl Into<String>) -> ParseError {
        ParseError { position, message: message.into() }
    }
}
