//! The language of password policies, and the passwords that one makes. Source: Vault's documentation, "Password policies".

use std::collections::BTreeSet;

use strongroom_engine_api::Secret;
use strongroom_hcl::{Block, ParseError, Value};
use strongroom_stdx::{Entropy, EntropyError};
use zeroize::Zeroizing;

/// Characters that a password may have.
const LENGTHS: std::ops::RangeInclusive<i64> = 4..=100;
/// Passwords that are drawn and checked before one is put together to fit.
const MAX_CANDIDATES: usize = 256;

/// A length, and how many characters must come from which sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordPolicy {
    length: usize,
    rules: Vec<Charset>,
    /// The characters of all rules, each once.
    all: Vec<char>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Charset {
    characters: Vec<char>,
    min_chars: usize,
}

impl Charset {
    fn accepts(&self, candidate: &[char]) -> bool {
        candidate.iter().filter(|character| self.characters.contains(character)).count() >= self.min_chars
    }
}

impl PasswordPolicy {
    /// Reads a policy, HCL or JSON. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let object = strongroom_hcl::parse(text).map_err(|error| format!("unable to decode: {error}"))?;
        let length = match object.get("length").map(|item| &item.value) {
            None => 0,
            Some(Value::Number(number)) => number.as_i64().ok_or("length must be a whole number")?,
            Some(_) => return Err("length must be a whole number".to_owned()),
        };
        if length <= 0 {
            return Err("length must be > 0".to_owned());
        }
        if !LENGTHS.contains(&length) {
            return Err(format!(
                "passwords must be between {} and {} characters",
                LENGTHS.start(),
                LENGTHS.end()
            ));
        }
        let length = usize::try_from(length).unwrap_or_default();
        let refused = |error: ParseError| format!("unable to parse rules: {error}");
        let rules =
            object.blocks("rule", 1).map_err(refused)?.iter().map(charset).collect::<Result<Vec<_>, _>>()?;
        let all: BTreeSet<char> = rules.iter().flat_map(|rule| &rule.characters).copied().collect();
        if all.is_empty() {
            return Err("no charset specified".to_owned());
        }
        let needed = rules.iter().fold(0usize, |sum, rule| sum.saturating_add(rule.min_chars));
        if needed > length {
            return Err(format!(
                "specified rules require at least {needed} characters but {length} is specified"
            ));
        }
        Ok(Self { length, rules, all: all.into_iter().collect() })
    }

    /// A password that fits. Candidates are drawn uniformly from all characters until one meets the rules; where the
    /// rules leave that to luck, the characters they ask for are drawn first and then shuffled among the others.
    pub fn generate(&self, entropy: &Entropy) -> Result<Secret<String>, EntropyError> {
        for _ in 0..MAX_CANDIDATES {
            let candidate = draw(entropy, &self.all, self.length)?;
            if self.rules.iter().all(|rule| rule.accepts(&candidate)) {
                return Ok(Secret::new(candidate.iter().collect()));
            }
        }
        let mut fitting = Zeroizing::new(Vec::with_capacity(self.length));
        for rule in &self.rules {
            fitting.extend_from_slice(&draw(entropy, &rule.characters, rule.min_chars)?);
        }
        let missing = self.length.saturating_sub(fitting.len());
        fitting.extend_from_slice(&draw(entropy, &self.all, missing)?);
        for last in (1..fitting.len()).rev() {
            fitting.swap(last, below(entropy, last.saturating_add(1))?);
        }
        Ok(Secret::new(fitting.iter().collect()))
    }
}

fn charset(block: &Block<'_>) -> Result<Charset, String> {
    let kind = block.labels.first().copied().unwrap_or_default();
    if kind != "charset" {
        return Err(format!(
            "unable to parse rules: unable to parse rule {kind}: unrecognized rule type {kind}"
        ));
    }
    let text = match block.body.get("charset").map(|item| &item.value) {
        None => "",
        Some(value) => value.as_str().ok_or("charset must be a string")?,
    };
    if text.chars().any(char::is_control) {
        return Err("non-printable character in charset".to_owned());
    }
    let characters: BTreeSet<char> = text.chars().collect();
    let min_chars = match block.body.get("min-chars").map(|item| &item.value) {
        None => 0,
        Some(Value::Number(number)) => number.as_i64().ok_or("min-chars must be a whole number")?,
        Some(_) => return Err("min-chars must be a whole number".to_owned()),
    };
    let min_chars = usize::try_from(min_chars.max(0)).map_err(|_error| "min-chars is too large")?;
    if characters.is_empty() && min_chars > 0 {
        return Err("no charset specified".to_owned());
    }
    Ok(Charset { characters: characters.into_iter().collect(), min_chars })
}

/// `count` characters out of `from`, each equally likely.
fn draw(entropy: &Entropy, from: &[char], count: usize) -> Result<Zeroizing<Vec<char>>, EntropyError> {
    let mut drawn = Zeroizing::new(Vec::with_capacity(count));
    for _ in 0..count {
        drawn.extend(from.get(below(entropy, from.len())?));
    }
    Ok(drawn)
}

/// A number below `bound`, each equally likely: what would favor the first ones is drawn again.
fn below(entropy: &Entropy, bound: usize) -> Result<usize, EntropyError> {
    let bound = u32::try_from(bound).unwrap_or(u32::MAX).max(1);
    let whole = u32::MAX.checked_div(bound).unwrap_or_default().saturating_mul(bound);
    loop {
        let number = u32::from_be_bytes(entropy.bytes()?);
        if number < whole {
            return Ok(usize::try_from(number.checked_rem(bound).unwrap_or_default()).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_say_what_is_wrong() {
        for (text, error) in [
            ("length = 20", "no charset specified"),
            ("length = 20\nrule \"charset\" { charset = \"\" }", "no charset specified"),
            ("rule \"charset\" { charset = \"abc\" }", "length must be > 0"),
            (
                "length = 3\nrule \"charset\" { charset = \"abc\" }",
                "passwords must be between 4 and 100 characters",
            ),
            (
                "length = 101\nrule \"charset\" { charset = \"abc\" }",
                "passwords must be between 4 and 100 characters",
            ),
            ("length = \"x\"", "length must be a whole number"),
            (
                "length = 20\nrule \"bogus\" {}",
                "unable to parse rules: unable to parse rule bogus: unrecognized rule type bogus",
            ),
            ("length = 20\nrule \"charset\" { charset = \"a\\tb\" }", "non-printable character in charset"),
            (
                "length = 20\nrule \"charset\" {\n charset = \"abc\"\n min-chars = 15\n}\n\
                 rule \"charset\" {\n charset = \"123\"\n min-chars = 15\n}",
                "specified rules require at least 30 characters but 20 is specified",
            ),
        ] {
            assert_eq!(PasswordPolicy::parse(text).unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn json_and_hcl_are_the_same() {
        let hcl =
            PasswordPolicy::parse("length = 20\nrule \"charset\" {\n charset = \"cabba\"\n min-chars = 2\n}");
        let json = r#"{"length": 20, "rule": [{"charset": {"charset": "cabba", "min-chars": 2}}]}"#;
        assert_eq!(hcl, PasswordPolicy::parse(json));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn what_is_generated_fits(sets in prop::collection::vec(("[a-z0-9éü]{1,40}", 0usize..25), 1..4)) {
            let rules: Vec<Charset> = sets
                .iter()
                .map(|(text, min_chars)| Charset { characters: text.chars().collect(), min_chars: *min_chars })
                .collect();
            let all: BTreeSet<char> = rules.iter().flat_map(|rule| &rule.characters).copied().collect();
            let policy = PasswordPolicy { length: 75, rules, all: all.iter().copied().collect() };
            let password = policy.generate(&Entropy::system()).unwrap();
            let characters: Vec<char> = password.expose().chars().collect();
            prop_assert_eq!(characters.len(), 75);
            prop_assert!(characters.iter().all(|character| all.contains(character)));
            prop_assert!(policy.rules.iter().all(|rule| rule.accepts(&characters)));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = PasswordPolicy::parse(&text);
        }
    }
}
