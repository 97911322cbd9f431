//! Hashing the strings of a JSON text while copying it: one pass, no tree.

use zeroize::Zeroizing;

use crate::error::AuditError;
use crate::redact::{Redaction, push_hashed};
use crate::salt::Salt;

/// Nesting beyond which data is refused; twice what the server's own parser takes in.
const MAX_DEPTH: usize = 256;

const UNEXPECTED: AuditError = AuditError::MalformedData("it is not a JSON object");
const TOO_DEEP: AuditError = AuditError::MalformedData("it is nested too deeply");

/// Reads a JSON object's text and appends the same object on one line, its strings hashed by a [`Redaction`].
pub(crate) struct Transcoder<'t, 'o, 'r> {
    rest: &'t str,
    out: &'o mut Vec<u8>,
    rule: &'r Redaction<'r>,
    depth: usize,
}

impl<'t, 'o, 'r> Transcoder<'t, 'o, 'r> {
    pub(crate) fn new(text: &'t str, out: &'o mut Vec<u8>, rule: &'r Redaction<'r>) -> Self {
        Self { rest: text, out, rule, depth: 0 }
    }

    /// Copies the whole text. What was appended before an error is for the caller to discard.
    pub(crate) fn run(mut self) -> Result<(), AuditError> {
        self.object()?;
        self.peek().map_or(Ok(()), |_| Err(UNEXPECTED))
    }

    fn value(&mut self, salt: Option<&Salt>) -> Result<(), AuditError> {
        match self.peek() {
            Some(b'"') => {
                let token = self.string_token()?;
                self.push_token(token, salt);
                Ok(())
            }
            Some(b'{') => self.object().map(drop),
            Some(b'[') => self.array(salt).map(drop),
            _ => self.scalar(),
        }
    }

    /// Copies an object; returns its number of members.
    fn object(&mut self) -> Result<u64, AuditError> {
        self.open(b'{')?;
        let mut count = 0_u64;
        while !self.take(b'}') {
            if count > 0 {
                self.copy(b',')?;
            }
            count = count.saturating_add(1);
            self.peek();
            let token = self.string_token()?;
            self.push_token(token, None);
            self.copy(b':')?;
            let key = token.content();
            if self.elides(&key) {
                self.elided()?;
            } else {
                self.value(self.rule.salt_for(&key))?;
            }
        }
        self.close(b'}');
        Ok(count)
    }

    /// Copies an array; returns its number of items.
    fn array(&mut self, salt: Option<&Salt>) -> Result<u64, AuditError> {
        self.open(b'[')?;
        let mut count = 0_u64;
        while !self.take(b']') {
            if count > 0 {
                self.copy(b',')?;
            }
            count = count.saturating_add(1);
            self.value(salt)?;
        }
        self.close(b']');
        Ok(count)
    }

    /// True if the value ahead is one of those that a list response is about, in the shape it should have.
    fn elides(&mut self, key: &str) -> bool {
        self.rule.elide_lists
            && self.depth == 1
            && matches!((key, self.peek()), ("keys", Some(b'[')) | ("key_info", Some(b'{')))
    }

    /// Writes the size of the array or object ahead in its place. It is copied in clear to be counted, which
    /// spares a hash for each of what may be a million entries, and cut off again.
    fn elided(&mut self) -> Result<(), AuditError> {
        let start = self.out.len();
        let rule = std::mem::replace(&mut self.rule, &Redaction::RAW);
        let count = if self.peek() == Some(b'[') { self.array(None) } else { self.object() };
        self.rule = rule;
        self.out.truncate(start);
        self.out.extend_from_slice(count?.to_string().as_bytes());
        Ok(())
    }

    /// Copies a number, a boolean or null.
    fn scalar(&mut self) -> Result<(), AuditError> {
        let end = self.rest.bytes().position(|byte| matches!(byte, b',' | b'}' | b']') || is_space(byte));
        let token = self.split(end.unwrap_or(self.rest.len()))?;
        let number = |byte: u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let valid =
            matches!(token, "true" | "false" | "null") || (!token.is_empty() && token.bytes().all(number));
        if !valid {
            return Err(UNEXPECTED);
        }
        self.out.extend_from_slice(token.as_bytes());
        Ok(())
    }

    /// Takes a string.
    fn string_token(&mut self) -> Result<Token<'t>, AuditError> {
        let mut bytes = self.rest.bytes().enumerate();
        if !matches!(bytes.next(), Some((_, b'"'))) {
            return Err(UNEXPECTED);
        }
        let mut escaped = false;
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'"' => return Ok(Token { quoted: self.split(at.saturating_add(1))?, escaped }),
                // A line break let through here, behind a backslash or not, would forge a record.
                b'\\' => {
                    escaped = true;
                    if !matches!(bytes.next(), Some((_, 0x20..))) {
                        return Err(UNEXPECTED);
                    }
                }
                0..0x20 => return Err(UNEXPECTED),
                _ => {}
            }
        }
        Err(UNEXPECTED)
    }

    fn push_token(&mut self, token: Token<'_>, salt: Option<&Salt>) {
        match salt {
            Some(salt) => push_hashed(self.out, salt, token.content().as_bytes()),
            None => self.out.extend_from_slice(token.quoted.as_bytes()),
        }
    }

    fn open(&mut self, bracket: u8) -> Result<(), AuditError> {
        self.depth = self.depth.saturating_add(1);
        if self.depth > MAX_DEPTH {
            return Err(TOO_DEEP);
        }
        self.copy(bracket)
    }

    fn close(&mut self, bracket: u8) {
        self.depth = self.depth.saturating_sub(1);
        self.out.push(bracket);
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        if let Some(next) = self.rest.bytes().next().filter(|byte| !is_space(*byte)) {
            return Some(next);
        }
        self.rest = self.rest.trim_start_matches(|c: char| u8::try_from(c).is_ok_and(is_space));
        self.rest.bytes().next()
    }

    /// Takes `byte`, if it is next.
    fn take(&mut self, byte: u8) -> bool {
        let next = self.peek() == Some(byte);
        if next {
            self.rest = self.rest.split_at_checked(1).map_or("", |(_, rest)| rest);
        }
        next
    }

    /// Takes and copies `byte`, which must be next.
    fn copy(&mut self, byte: u8) -> Result<(), AuditError> {
        if !self.take(byte) {
            return Err(UNEXPECTED);
        }
        self.out.push(byte);
        Ok(())
    }

    fn split(&mut self, at: usize) -> Result<&'t str, AuditError> {
        let (token, rest) = self.rest.split_at_checked(at).ok_or(UNEXPECTED)?;
        self.rest = rest;
        Ok(token)
    }
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// A string as it stands in the text.
#[derive(Clone, Copy)]
struct Token<'t> {
    quoted: &'t str,
    escaped: bool,
}

impl<'t> Token<'t> {
    /// The content of the string. One with an escape that has no meaning, as half a surrogate pair, stands for itself:
    /// such a value must not make its record impossible.
    fn content(self) -> Content<'t> {
        let plain =
            || self.quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default();
        if !self.escaped {
            return Content::Plain(plain());
        }
        serde_json::from_str(self.quoted)
            .map_or_else(|_| Content::Plain(plain()), |text| Content::Unescaped(Zeroizing::new(text)))
    }
}

/// A string's content, borrowed unless it has escapes; then it is wiped after use, for it may be a secret.
enum Content<'t> {
    Plain(&'t str),
    Unescaped(Zeroizing<String>),
}

impl std::ops::Deref for Content<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Unescaped(text) => text,
        }
    }
}

#[cfg(test)]
#[path = "tests/transcode.rs"]
mod tests;
