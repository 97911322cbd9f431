//! The words after a command that this program implements by itself: flags in all the spellings that Go accepts.

use std::str::FromStr;

use anyhow::{Context as _, Result, bail};

/// The words that have not been read yet.
pub(crate) struct Words<'a>(std::slice::Iter<'a, String>);

/// A flag, and what follows its name behind an equals sign.
pub(crate) struct Flag<'a> {
    pub(crate) name: &'a str,
    given: Option<&'a str>,
}

impl<'a> Words<'a> {
    pub(crate) fn new(words: &'a [String]) -> Self {
        Self(words.iter())
    }

    /// The next flag; `None` at the end. What is no flag is a mistake.
    pub(crate) fn flag(&mut self) -> Result<Option<Flag<'a>>> {
        let Some(word) = self.0.next() else { return Ok(None) };
        let Some(flag) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
            bail!("Too many arguments: {word:?} is not a flag");
        };
        Ok(Some(match flag.split_once('=') {
            Some((name, value)) => Flag { name, given: Some(value) },
            None => Flag { name: flag, given: None },
        }))
    }

    /// The value of a flag, with it or as the word behind it.
    pub(crate) fn value(&mut self, flag: &Flag<'a>) -> Result<&'a str> {
        let value = flag.given.or_else(|| self.0.next().map(String::as_str));
        value.with_context(|| format!("flag needs an argument: -{}", flag.name))
    }
}

/// The flags that a help text describes, which is where completion has them from.
pub(crate) fn named_in(help: &str) -> Vec<String> {
    let flag = |line: &str| {
        let word = line.strip_prefix("  -")?.split(['=', ' ']).next()?;
        (!word.is_empty()).then(|| format!("-{word}"))
    };
    help.lines().filter_map(flag).collect()
}

impl Flag<'_> {
    /// True if a switch is turned on.
    pub(crate) fn is_on(&self) -> Result<bool> {
        match self.given {
            None | Some("true" | "TRUE" | "True" | "t" | "T" | "1") => Ok(true),
            Some("false" | "FALSE" | "False" | "f" | "F" | "0") => Ok(false),
            Some(other) => bail!("invalid boolean value {other:?} for -{}", self.name),
        }
    }

    /// A flag's value, as a number or the like.
    pub(crate) fn parsed<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
        &self,
        value: &str,
    ) -> Result<T> {
        value.parse().with_context(|| format!("invalid value {value:?} for -{}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completion_has_the_flags_of_the_help() {
        let flags = named_in(crate::options::HELP);
        for flag in ["-config", "-dev", "-dev-root-token-id", "-log-level", "-test-verify-only"] {
            assert!(flags.iter().any(|named| named == flag), "{flag} in {flags:?}");
        }
        assert!(flags.iter().all(|flag| !flag.contains(['<', ' ', '='])));
        assert!(!named_in(crate::migrate::HELP).is_empty() && !named_in(crate::recover::HELP).is_empty());
    }
}
