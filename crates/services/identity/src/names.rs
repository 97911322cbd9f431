//! Names and metadata: their one form, and their limits.
//!
//! Names of entities, groups and aliases are kept as they were given, without spaces around them, and are the same in any
//! case: each is found by its [folded](fold) form. Folding is by character and knows no language. Characters that merely look
//! alike stay different: nothing here guesses which of two names a person meant.

use std::collections::BTreeMap;

use strongroom_engine_api::{EngineError, bad_request, normal_policies};
use strongroom_policy::ROOT_POLICY_NAME;

/// Bytes of a name: a storage key holds it, and the names of some auth methods are long.
const MAX_NAME: usize = 1024;
/// Pairs of metadata.
const MAX_PAIRS: usize = 64;
/// Bytes of a metadata key.
const MAX_KEY: usize = 128;
/// Bytes of a metadata value.
const MAX_VALUE: usize = 512;

/// The form of a name by which it is found: in lower case, character by character, so that the end of a word is nothing
/// special.
pub fn fold(name: &str) -> String {
    name.chars().flat_map(char::to_lowercase).collect()
}

/// A name without the spaces around it.
///
/// # Errors
///
/// 400 where it is too long or has control characters, which no list would show.
pub(crate) fn checked_name(what: &str, name: &str) -> Result<String, EngineError> {
    let name = name.trim();
    if name.len() > MAX_NAME {
        return Err(bad_request(format!("{what} is longer than {MAX_NAME} bytes")));
    }
    if name.chars().any(char::is_control) {
        return Err(bad_request(format!("{what} contains control characters")));
    }
    Ok(name.to_owned())
}

/// Refuses metadata of an entity or a group beyond Vault's limits. Values are not repeated: they may be private.
pub(crate) fn check_metadata(pairs: &BTreeMap<String, String>) -> Result<(), EngineError> {
    if pairs.len() > MAX_PAIRS {
        return Err(bad_request(format!("metadata cannot contain more than {MAX_PAIRS} key/value pairs")));
    }
    for (key, value) in pairs {
        let wrong = if key.is_empty() {
            "key cannot be blank".to_owned()
        } else if key.len() > MAX_KEY {
            format!("key is too long (limit: {MAX_KEY} characters)")
        } else if value.len() > MAX_VALUE {
            format!("value is too long (limit: {MAX_VALUE} characters)")
        } else if key.chars().chain(value.chars()).any(char::is_control) {
            "key or value contains invalid characters".to_owned()
        } else {
            continue;
        };
        let key: String = key.chars().filter(|c| !c.is_control()).take(MAX_KEY).collect();
        return Err(bad_request(format!("failed to load metadata pair of key {key:?}: {wrong}")));
    }
    Ok(())
}

/// Refuses custom metadata of an alias beyond Vault's limits.
pub(crate) fn check_custom_metadata(pairs: &BTreeMap<String, String>) -> Result<(), EngineError> {
    let failed = |text: String| Err(bad_request(format!("custom_metadata validation failed: {text}")));
    if pairs.len() > MAX_PAIRS {
        let given = pairs.len();
        return failed(format!("payload must contain at most {MAX_PAIRS} keys, provided {given}"));
    }
    for (key, value) in pairs {
        let (long_key, long_value) = (key.len(), value.len());
        if key.is_empty() || long_key > MAX_KEY {
            return failed(format!("length of key is {long_key} but max allowed length is {MAX_KEY}"));
        }
        if value.is_empty() || long_value > MAX_VALUE {
            return failed(format!(
                "length of value for key {key:?} is {long_value} but max allowed length is {MAX_VALUE}"
            ));
        }
        if key.chars().chain(value.chars()).any(char::is_control) {
            return failed("a key or its value contains unprintable characters".to_owned());
        }
    }
    Ok(())
}

/// Policies as an entity or a group has them: in one spelling, and never `root`, however it is spelled.
pub(crate) fn checked_policies(names: &[String]) -> Result<Vec<String>, EngineError> {
    let names = normal_policies(names);
    if names.iter().any(|name| name == ROOT_POLICY_NAME) {
        return Err(bad_request("policies cannot contain root"));
    }
    if let Some(name) = names.iter().find(|name| name.chars().any(char::is_control)) {
        return Err(bad_request(format!("policy name {name:?} contains control characters")));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_in_any_case() {
        for (one, other) in [("Bob", "bOB"), ("ÄRGER", "ärger"), ("ΟΔΟΣ", "οδοσ"), ("a/B c", "A/b C")]
        {
            assert_eq!(fold(one), fold(other), "{one}");
        }
        for (one, other) in [("bob", "b0b"), ("a", "\u{430}"), ("fi", "\u{fb01}"), ("ss", "ß")] {
            assert_ne!(fold(one), fold(other), "what looks alike stays different: {one}");
        }
    }

    #[test]
    fn names_are_trimmed_and_limited() {
        assert_eq!(checked_name("name", " \tbob \u{a0}").unwrap(), "bob");
        assert_eq!(checked_name("name", "  ").unwrap(), "");
        for name in ["a\0b".to_owned(), "a\u{7f}".to_owned(), "a\nb".to_owned(), "x".repeat(MAX_NAME + 1)] {
            assert!(matches!(checked_name("name", &name), Err(EngineError::Invalid(_))), "{name:?}");
        }
    }

    #[test]
    fn root_comes_in_no_spelling() {
        for name in ["root", "ROOT", " root", "Root\t", "\u{a0}rOOt\u{2003}"] {
            let refused = checked_policies(&["a".to_owned(), name.to_owned()]).unwrap_err();
            assert_eq!(refused.to_string(), "policies cannot contain root", "{name:?}");
        }
        let given = ["B ".to_owned(), "a".to_owned(), String::new(), "b".to_owned()];
        assert_eq!(checked_policies(&given).unwrap(), ["a", "b"]);
    }

    #[test]
    fn metadata_has_vaults_limits() {
        let pairs = |count: usize| (0..count).map(|at| (format!("k{at}"), "v".to_owned())).collect();
        let one = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        assert!(check_metadata(&pairs(64)).is_ok() && check_custom_metadata(&pairs(64)).is_ok());
        assert!(check_metadata(&one(&"k".repeat(128), &"v".repeat(512))).is_ok());
        let wrong: [BTreeMap<String, String>; 6] = [
            pairs(65),
            pairs(10_000),
            one("", "v"),
            one(&"k".repeat(129), "v"),
            one("k", &"v".repeat(513)),
            one("k", "a\0b"),
        ];
        for pairs in wrong {
            let refused = check_metadata(&pairs).unwrap_err().to_string();
            assert!(!refused.contains("vvvv"), "no value is repeated");
            assert!(check_custom_metadata(&pairs).is_err(), "{refused}");
        }
    }
}
