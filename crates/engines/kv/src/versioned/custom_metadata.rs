//! The custom metadata of a key: at most 64 names of at most 128 bytes with texts of at most 512 bytes. Source: Vault's
//! documentation, "KV secrets engine - version 2", `custom_metadata`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use strongroom_engine_api::lenient::Text;
use strongroom_engine_api::{EngineError, bad_request};

use strongroom_engine_api::lenient::type_name;

const MAX_KEYS: usize = 64;
const MAX_KEY_BYTES: usize = 128;
const MAX_VALUE_BYTES: usize = 512;
const FAILED: &str = "custom_metadata validation failed";

pub(super) type CustomMetadata = BTreeMap<String, String>;

/// The members of a given `custom_metadata`.
pub(super) fn members(given: &Value) -> Result<&Map<String, Value>, EngineError> {
    given.as_object().ok_or_else(|| {
        bad_request(format!(
            "Field validation failed: error converting input for field \"custom_metadata\": '' expected type \
             'map[string]interface {{}}', got unconvertible type '{}'",
            type_name(given)
        ))
    })
}

/// Replaces all there is.
pub(super) fn replaced(given: &Map<String, Value>) -> Result<CustomMetadata, EngineError> {
    let given = given
        .iter()
        .map(|(name, value)| Ok((name.clone(), text(value)?)))
        .collect::<Result<_, EngineError>>()?;
    check(&given, given.len())?;
    Ok(given)
}

/// Changes what is given; null removes (RFC 7396).
pub(super) fn patched(
    present: &CustomMetadata,
    given: &Map<String, Value>,
) -> Result<CustomMetadata, EngineError> {
    let mut result = present.clone();
    let mut changed = CustomMetadata::new();
    for (name, value) in given {
        result.remove(name);
        if !value.is_null() {
            changed.insert(name.clone(), text(value)?);
        }
    }
    let left = result.len();
    check(&changed, left.saturating_add(changed.len()))?;
    result.append(&mut changed);
    Ok(result)
}

fn text(value: &Value) -> Result<String, EngineError> {
    Text::deserialize(value).map(|text| text.0).map_err(|_unfit| {
        bad_request(format!(
            "{FAILED}: '' expected type 'string', got unconvertible type '{}'",
            type_name(value)
        ))
    })
}

/// All that is wrong, in the form in which Vault joins several errors.
fn check(given: &CustomMetadata, total: usize) -> Result<(), EngineError> {
    let mut errors = Vec::new();
    if total > MAX_KEYS {
        errors.push(format!("{FAILED}: payload must contain at most {MAX_KEYS} keys, provided {total}"));
    } else {
        for (name, text) in given {
            check_member(name, text, &mut errors);
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    let plural = if errors.len() == 1 { "error" } else { "errors" };
    Err(bad_request(format!("{} {plural} occurred:\n\t* {}\n\n", errors.len(), errors.join("\n\t* "))))
}

fn check_member(name: &str, text: &str, errors: &mut Vec<String>) {
    if name.is_empty() || name.len() > MAX_KEY_BYTES {
        let len = name.len();
        errors.push(format!(
            "{FAILED}: length of key {name:?} is {len} but must be 0 < len(key) <= {MAX_KEY_BYTES}"
        ));
    }
    if text.is_empty() || text.len() > MAX_VALUE_BYTES {
        let len = text.len();
        errors.push(format!(
            "{FAILED}: length of value for key {name:?} is {len} but must be 0 < len(value) <= {MAX_VALUE_BYTES}"
        ));
    }
    if !name.chars().all(is_printable) {
        errors.push(format!("{FAILED}: key {name:?} ({name}) contains unprintable characters"));
    }
    if !text.chars().all(is_printable) {
        errors.push(format!("{FAILED}: value for key {name:?} contains unprintable characters"));
    }
}

/// Letters, marks, numbers, punctuation, symbols and the plain space. Behind another character, Rust's debug form
/// escapes what is none of these and nothing else beyond ASCII.
fn is_printable(character: char) -> bool {
    if character.is_ascii() {
        return character == ' ' || character.is_ascii_graphic();
    }
    String::from_iter(['a', character]).escape_debug().nth(1) == Some(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_printable_characters() {
        for character in ['a', ' ', '"', '\'', '\\', 'é', '\u{301}', '漢', '€', '🦀'] {
            assert!(is_printable(character), "{character:?}");
        }
        for character in
            ['\n', '\t', '\u{7f}', '\u{85}', '\u{a0}', '\u{200b}', '\u{202e}', '\u{2028}', '\u{e000}']
        {
            assert!(!is_printable(character), "{character:?}");
        }
    }
}
