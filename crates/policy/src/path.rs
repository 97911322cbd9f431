//! The path of a request, in the form that rules are compared with.

use std::ops::Range;

/// A path, and the part of it where upper and lower case mean the same.
///
/// Some endpoints take names in any case (`auth/userpass/users/ALICE`). Their paths come here with the name in lower
/// case, and rules are compared with that part without regard to case: a `deny` written in capitals still denies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestPath<'a> {
    text: &'a str,
    /// Bytes of `text`; empty where there is no such part.
    caseless: Range<usize>,
}

impl<'a> RequestPath<'a> {
    /// A path of which the bytes of `caseless`, which are in lower case, are a name in any case.
    pub fn with_caseless(text: &'a str, caseless: Range<usize>) -> Self {
        Self { text, caseless }
    }

    /// The path.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The same path with or without its slash at the end.
    pub(crate) fn of<'b>(&self, text: &'b str) -> RequestPath<'b> {
        RequestPath { text, caseless: self.caseless.clone() }
    }

    /// True if a part of it is compared without regard to case.
    pub(crate) fn is_caseless(&self) -> bool {
        !self.caseless.is_empty()
    }

    /// The place behind `literal`, where the path goes on with it at byte `at`.
    pub(crate) fn past(&self, literal: &str, mut at: usize) -> Option<usize> {
        for wanted in literal.chars() {
            if self.caseless.contains(&at) {
                for lower in wanted.to_lowercase() {
                    at = self.past_char(lower, at).or_else(|| self.past_sigma(lower, at))?;
                }
            } else {
                at = self.past_char(wanted, at)?;
            }
        }
        Some(at)
    }

    fn past_char(&self, wanted: char, at: usize) -> Option<usize> {
        let found = self.text.get(at..)?.chars().next()?;
        (found == wanted).then(|| at.saturating_add(found.len_utf8()))
    }

    /// Past either form of a small sigma: at the end of a word it is written otherwise.
    fn past_sigma(&self, wanted: char, at: usize) -> Option<usize> {
        match wanted {
            'σ' => self.past_char('ς', at),
            'ς' => self.past_char('σ', at),
            _ => None,
        }
    }

    /// The place behind the segment that begins at byte `at`.
    pub(crate) fn past_segment(&self, at: usize) -> Option<usize> {
        let rest = self.text.get(at..)?;
        Some(at.saturating_add(rest.find('/').unwrap_or(rest.len())))
    }
}

impl<'a> From<&'a str> for RequestPath<'a> {
    fn from(text: &'a str) -> Self {
        Self { text, caseless: 0..0 }
    }
}

impl<'a> From<&'a String> for RequestPath<'a> {
    fn from(text: &'a String) -> Self {
        text.as_str().into()
    }
}
