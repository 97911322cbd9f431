//! The metadata of a secret id, which comes as one text.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use strongroom_engine_api::Reading;

/// Reads a JSON object of texts, or `name=value` pairs with commas between; either may be in base64. The error says
/// what is wrong with it.
pub(crate) fn parse(text: &str) -> Result<BTreeMap<String, String>, String> {
    let text = text.trim();
    let decoded = STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let text = decoded.as_deref().unwrap_or(text);
    if let Ok(object) = serde_json::from_str(text) {
        return Ok(object);
    }
    text.split(',').map(str::trim).filter(|pair| !pair.is_empty()).map(pair).collect()
}

/// The metadata as policies compare it.
pub(crate) fn meant(text: &str) -> Reading {
    parse(text).map_or(Reading::Unreadable, |metadata| Reading::members(metadata.iter()))
}

fn pair(text: &str) -> Result<(String, String), String> {
    let fault = |what: String| {
        format!("failed to parse metadata: failed to parse the input: invalid <key,value> {what}")
    };
    let (name, value) = text.split_once('=').ok_or_else(|| fault("format".to_owned()))?;
    let (name, value) = (name.trim(), value.trim());
    if value.contains('=') {
        return Err(fault("format".to_owned()));
    }
    if name.is_empty() || value.is_empty() {
        return Err(fault(format!("pair: key: {name:?} value: {value:?}")));
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn all_forms_are_read() {
        let expected = map(&[("a", "b"), ("c", "d")]);
        assert_eq!(parse(r#"{"a":"b","c":"d"}"#), Ok(expected.clone()));
        assert_eq!(parse("a=b, c=d"), Ok(expected.clone()));
        assert_eq!(parse(&STANDARD.encode(r#"{"a":"b","c":"d"}"#)), Ok(expected));
        assert_eq!(parse(""), Ok(map(&[])));
    }

    #[test]
    fn faults_are_named() {
        let fault = "failed to parse metadata: failed to parse the input: invalid <key,value>";
        for (text, end) in [
            ("bogus", "format"),
            (r#"{"a":1}"#, "format"),
            ("a=b=c", "format"),
            ("=b", r#"pair: key: "" value: "b""#),
            ("a=", r#"pair: key: "a" value: """#),
        ] {
            assert_eq!(parse(text), Err(format!("{fault} {end}")), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_json_says_is_what_is_kept(pairs in prop::collection::btree_map("\\PC{0,8}", "\\PC{0,8}", 0..5)) {
            prop_assert_eq!(parse(&serde_json::to_string(&pairs).unwrap()), Ok(pairs));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = parse(&text);
        }
    }
}
