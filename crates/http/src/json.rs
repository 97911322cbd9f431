//! Limits on the size and depth of JSON, checked before it is parsed.
//!
//! A small body cannot exceed limits that are counts of what it consists of; so most bodies are not looked at twice.
//!
//! Source: Vault's "`tcp` listener" page, `max_json_*`.

use std::slice::Iter;

use serde::{Deserialize, Serialize};

/// The limits of a listener's JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JsonLimits {
    /// Objects and arrays within each other; at most [`JsonLimits::MAX_DEPTH`] counts.
    pub max_depth: usize,
    /// Bytes of a string once its escapes are resolved, be it a value or a key.
    pub max_string_value_length: usize,
    /// Entries of an object.
    pub max_object_entry_count: usize,
    /// Elements of an array.
    pub max_array_element_count: usize,
    /// Keys, values, braces and brackets.
    pub max_token: usize,
}

/// Vault's defaults, except for the depth.
impl Default for JsonLimits {
    fn default() -> Self {
        Self {
            max_depth: Self::MAX_DEPTH,
            max_string_value_length: 1 << 20,
            max_object_entry_count: 10_000,
            max_array_element_count: 10_000,
            max_token: 500_000,
        }
    }
}

impl JsonLimits {
    /// The deepest nesting that `serde_json` parses.
    pub const MAX_DEPTH: usize = 127;

    /// True if a body of so many bytes can exceed a limit that the parser does not keep by itself.
    pub(crate) fn may_exceed(&self, length: usize) -> bool {
        let counted = [
            self.max_string_value_length,
            self.max_object_entry_count,
            self.max_array_element_count,
            self.max_token,
        ];
        counted.iter().any(|limit| length > *limit)
            || (self.max_depth < Self::MAX_DEPTH && length > self.max_depth)
    }

    /// Says, in Vault's words, which limit a text exceeds. Of a text that is not JSON this is a guess; it is for the
    /// parser to refuse it.
    pub(crate) fn check(&self, text: &[u8]) -> Result<(), &'static str> {
        let deepest = self.max_depth.min(Self::MAX_DEPTH);
        let mut open: Vec<Container> = Vec::new();
        let (mut tokens, mut in_literal) = (0usize, false);
        let mut rest = text.iter();
        while let Some(byte) = rest.next() {
            let was_in_literal = std::mem::replace(&mut in_literal, false);
            match byte {
                b',' => {
                    if let Some(container) = open.last_mut() {
                        container.separated(self)?;
                    }
                    continue;
                }
                b':' | b' ' | b'\t' | b'\r' | b'\n' => continue,
                b'"' if string_exceeds(&mut rest, self.max_string_value_length) => {
                    return Err("JSON string value exceeds allowed length");
                }
                b'"' => {}
                b'{' | b'[' => {
                    if open.len() >= deepest {
                        return Err("JSON input exceeds allowed nesting depth");
                    }
                    open.push(Container { is_object: *byte == b'{', entries: 1 });
                }
                b'}' | b']' => drop(open.pop()),
                _ if was_in_literal => {
                    in_literal = true;
                    continue;
                }
                _ => in_literal = true,
            }
            tokens = tokens.saturating_add(1);
            if tokens > self.max_token {
                return Err("JSON payload exceeds allowed token count");
            }
        }
        Ok(())
    }
}

/// An object or array that is not closed yet; an empty one counts as if it had an entry.
struct Container {
    is_object: bool,
    entries: usize,
}

impl Container {
    /// Another entry is to follow.
    fn separated(&mut self, limits: &JsonLimits) -> Result<(), &'static str> {
        self.entries = self.entries.saturating_add(1);
        if self.is_object && self.entries > limits.max_object_entry_count {
            Err("JSON object exceeds allowed entry count")
        } else if !self.is_object && self.entries > limits.max_array_element_count {
            Err("JSON array exceeds allowed element count")
        } else {
            Ok(())
        }
    }
}

/// Reads a string to its closing quote, or until it is longer than `most` bytes.
fn string_exceeds(rest: &mut Iter<'_, u8>, most: usize) -> bool {
    let mut length = 0usize;
    while let Some(byte) = rest.next() {
        length = length.saturating_add(match byte {
            b'"' => return false,
            b'\\' => escaped_length(rest),
            _ => 1,
        });
        if length > most {
            return true;
        }
    }
    false
}

/// Reads the rest of an escape: how many bytes of UTF-8 it stands for. Each half of a surrogate pair counts as half of
/// the pair's four.
fn escaped_length(rest: &mut Iter<'_, u8>) -> usize {
    if rest.next() != Some(&b'u') {
        return 1;
    }
    let digits = rest.by_ref().take(4).filter_map(|digit| char::from(*digit).to_digit(16));
    match digits.fold(0, |unit: u32, digit| (unit << 4) | digit) {
        0..=0x7f => 1,
        0x80..=0x7ff | 0xd800..=0xdfff => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const OPEN: JsonLimits = JsonLimits {
        max_depth: usize::MAX,
        max_string_value_length: usize::MAX,
        max_object_entry_count: usize::MAX,
        max_array_element_count: usize::MAX,
        max_token: usize::MAX,
    };

    /// The size of a value, from where on a limit can be undercut, how the limit is set, and what is said.
    type Case = (usize, usize, fn(&mut JsonLimits, usize), &'static str);

    /// The limits that a value just keeps, found on the value itself.
    fn measure(value: &Value, kept: &mut JsonLimits) -> usize {
        let tokens;
        let mut depth = 0;
        let mut inner = |values: &mut dyn Iterator<Item = &Value>, kept: &mut JsonLimits| {
            depth = values.map(|value| measure(value, kept)).max().unwrap_or(0).saturating_add(1);
        };
        match value {
            Value::Object(members) => {
                inner(&mut members.values(), kept);
                tokens = members.len().saturating_add(2);
                kept.max_object_entry_count = kept.max_object_entry_count.max(members.len());
                let longest = members.keys().map(String::len).max().unwrap_or(0);
                kept.max_string_value_length = kept.max_string_value_length.max(longest);
            }
            Value::Array(elements) => {
                inner(&mut elements.iter(), kept);
                tokens = 2;
                kept.max_array_element_count = kept.max_array_element_count.max(elements.len());
            }
            Value::String(text) => {
                tokens = 1;
                kept.max_string_value_length = kept.max_string_value_length.max(text.len());
            }
            _ => tokens = 1,
        }
        kept.max_token = kept.max_token.saturating_add(tokens);
        kept.max_depth = kept.max_depth.max(depth);
        depth
    }

    /// A text in which every character of a string is escaped.
    fn escaped(text: &str) -> String {
        let mut out = String::new();
        let mut in_string = false;
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            match character {
                '\\' => out.extend(['\\', characters.next().unwrap()]),
                '"' => {
                    in_string = !in_string;
                    out.push('"');
                }
                character if in_string => {
                    let mut units = [0; 2];
                    out.extend(
                        character.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")),
                    );
                }
                character => out.push(character),
            }
        }
        out
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(6, 60, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::hash_map(any::<String>(), inner, 0..6)
                    .prop_map(|members| members.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { fork: false, timeout: 0, ..ProptestConfig::with_cases(512) })]

        #[test]
        fn limits_are_those_of_the_value(value in value()) {
            let none = JsonLimits {
                max_depth: 0,
                max_string_value_length: 0,
                // An empty container cannot be told from one with an entry, and no limit is below 1.
                max_object_entry_count: 1,
                max_array_element_count: 1,
                max_token: 0,
            };
            let mut kept = none;
            measure(&value, &mut kept);
            let cases: [Case; 5] = [
                (kept.max_depth, 0, |limits, to| limits.max_depth = to, "JSON input exceeds allowed nesting depth"),
                (
                    kept.max_string_value_length,
                    0,
                    |limits, to| limits.max_string_value_length = to,
                    "JSON string value exceeds allowed length",
                ),
                (
                    kept.max_object_entry_count,
                    1,
                    |limits, to| limits.max_object_entry_count = to,
                    "JSON object exceeds allowed entry count",
                ),
                (
                    kept.max_array_element_count,
                    1,
                    |limits, to| limits.max_array_element_count = to,
                    "JSON array exceeds allowed element count",
                ),
                (kept.max_token, 0, |limits, to| limits.max_token = to, "JSON payload exceeds allowed token count"),
            ];
            let compact = value.to_string();
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            for text in [escaped(&compact), compact, pretty] {
                let check = |limits: JsonLimits| limits.check(text.as_bytes());
                prop_assert_eq!(check(kept), Ok(()), "{}", text);
                prop_assert!(text.len() <= kept.max_token || kept.may_exceed(text.len()));
                for (at, least, set, wanted) in cases {
                    if at > least {
                        let mut less = OPEN;
                        set(&mut less, at.saturating_sub(1));
                        prop_assert_eq!(check(less), Err(wanted), "{} {:?}", text, less);
                    }
                }
            }
        }

        #[test]
        fn no_text_panics_and_none_that_is_small_is_refused(text in any::<Vec<u8>>()) {
            prop_assert!(JsonLimits::default().may_exceed(text.len()) || JsonLimits::default().check(&text).is_ok());
            let _ = JsonLimits { max_depth: 1, max_token: 3, ..OPEN }.check(&text);
        }
    }

    #[test]
    fn strings_count_as_what_they_stand_for() {
        let four = JsonLimits { max_string_value_length: 4, ..OPEN };
        for (text, fits) in [
            (r#""abcd""#, true),
            (r#""abcde""#, false),
            (r#""\n\n\"\\""#, true),
            (r#""\u0041\u0042""#, true),
            (r#""\ud83d\ude00""#, true),
            (r#""\ud83d\ude00a""#, false),
            (r#""éé""#, true),
            (r#"{"abcde":1}"#, false),
            (r#"["]]]]", "[[[["]"#, true),
        ] {
            assert_eq!(four.check(text.as_bytes()).is_ok(), fits, "{text}");
        }
    }

    #[test]
    fn the_defaults_take_what_is_usual() {
        let large = json!({"data": {"key": "x".repeat(1 << 20)}}).to_string();
        assert_eq!(JsonLimits::default().check(large.as_bytes()), Ok(()));
        let policies: Vec<String> = (0..10_000).map(|number| format!("policy-{number}")).collect();
        assert_eq!(
            JsonLimits::default().check(json!({ "policies": policies }).to_string().as_bytes()),
            Ok(())
        );
        assert!(!JsonLimits::default().may_exceed(10_000));
        assert!(JsonLimits { max_depth: 3, ..OPEN }.may_exceed(4));
    }
}
