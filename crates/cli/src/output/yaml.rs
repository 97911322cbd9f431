//! Writes a JSON tree as block-style YAML 1.1, so that older and newer parsers read the same values back.

use serde_json::Value;

/// The document, ending in a newline. Keys are sorted.
pub(crate) fn write(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(fields) if !fields.is_empty() => block(value, 0, &mut out),
        Value::Array(items) if !items.is_empty() => block(value, 0, &mut out),
        other => {
            out.push_str(&scalar(other, 1));
            out.push('\n');
        }
    }
    out
}

/// A filled map or list, each entry on lines of its own.
fn block(value: &Value, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(fields) => {
            let mut pairs: Vec<_> = fields.iter().collect();
            pairs.sort_by(|a, b| a.0.cmp(b.0));
            for (at, (key, value)) in pairs.into_iter().enumerate() {
                // The first entry of a map in a list stands behind the list's dash.
                if at > 0 || !out.ends_with("- ") {
                    out.push_str(&indent);
                }
                out.push_str(&flat_text(key));
                out.push(':');
                entry(value, depth, out);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                if at > 0 || !out.ends_with("- ") {
                    out.push_str(&indent);
                }
                out.push_str("- ");
                if filled(item) {
                    block(item, depth.saturating_add(1), out);
                } else {
                    out.push_str(&scalar(item, depth.saturating_add(1)));
                    out.push('\n');
                }
            }
        }
        _ => {}
    }
}

/// The value behind a key.
fn entry(value: &Value, depth: usize, out: &mut String) {
    if filled(value) {
        out.push('\n');
        // Lists stand level with their key, maps one step in.
        block(value, if value.is_array() { depth } else { depth.saturating_add(1) }, out);
    } else {
        out.push(' ');
        out.push_str(&scalar(value, depth.saturating_add(1)));
        out.push('\n');
    }
}

fn filled(value: &Value) -> bool {
    match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

fn scalar(value: &Value, depth: usize) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Array(_) => "[]".to_owned(),
        Value::Object(_) => "{}".to_owned(),
        Value::String(text) => literal(text, depth).unwrap_or_else(|| flat_text(text)),
    }
}

/// A text of several lines as a literal block, where that can hold it.
fn literal(text: &str, depth: usize) -> Option<String> {
    let plain = |c: char| c == '\n' || c == '\t' || !(c.is_control() || is_special_space(c));
    let body = text.trim_end_matches('\n');
    if !body.contains('\n') && body.len() == text.len() {
        return None;
    }
    if body.starts_with([' ', '\n', '\t']) || body.is_empty() || !text.chars().all(plain) {
        return None;
    }
    let chomping = match text.len().saturating_sub(body.len()) {
        0 => "-",
        1 => "",
        _ => "+",
    };
    let indent = "  ".repeat(depth);
    let mut out = format!("|{chomping}");
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            out.push_str(&indent);
            out.push_str(line);
        }
    }
    Some(out)
}

/// A text on one line: plain where that reads back as the same text, quoted otherwise.
fn flat_text(text: &str) -> String {
    if text.chars().any(|c| c.is_control() || is_special_space(c)) || reads_as_other(text) {
        // JSON's quoting is valid YAML.
        return serde_json::Value::String(text.to_owned()).to_string();
    }
    let starts_badly = text.starts_with([
        ' ', '-', '?', ':', ',', '[', ']', '{', '}', '#', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`',
    ]);
    // A dash, question mark or colon may start a plain text if another character follows directly.
    let mut letters = text.chars();
    let dash = matches!(letters.next(), Some('-' | '?' | ':')) && letters.next().is_some_and(|c| c != ' ');
    let breaks = text.contains(": ") || text.contains(" #") || text.ends_with([' ', ':']);
    if (starts_badly && !dash) || breaks || text.starts_with("---") || text.starts_with("...") {
        return format!("'{}'", text.replace('\'', "''"));
    }
    text.to_owned()
}

fn is_special_space(c: char) -> bool {
    matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{a0}')
}

/// True if a parser would take the plain text for a number, a boolean, nothing or a time.
fn reads_as_other(text: &str) -> bool {
    const WORDS: [&str; 13] =
        ["", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n", "<<", "="];
    if WORDS.contains(&text.to_lowercase().as_str()) {
        return true;
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned.to_lowercase().as_str(), ".inf" | ".nan") {
        return true;
    }
    // Anything made of digits and the signs of numbers and times; over-quoting is harmless.
    let first = unsigned.strip_prefix('.').unwrap_or(unsigned).chars().next();
    first.is_some_and(|c| c.is_ascii_digit())
        && unsigned.chars().all(|c| {
            c.is_ascii_hexdigit()
                || matches!(c, '.' | '_' | '+' | '-' | ':' | 'x' | 'o' | 'T' | 't' | 'Z' | ' ')
        })
        && (is_number(unsigned) || is_time(unsigned))
}

fn is_number(text: &str) -> bool {
    let digits = text.replace('_', "");
    digits.parse::<f64>().is_ok()
        || ["0x", "0o", "0b"].iter().any(|prefix| digits.starts_with(prefix))
        || is_base_60(&digits)
}

/// Numbers to the base of 60, which YAML 1.1 knows: `1:30`, `12:30:45.5`.
fn is_base_60(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = whole.split(':');
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let first = parts.next().is_some_and(digits);
    let mut rest = parts.peekable();
    rest.peek().is_some()
        && first
        && rest.all(|part| digits(part) && part.parse::<u8>().is_ok_and(|number| number < 60))
        && fraction.bytes().all(|b| b.is_ascii_digit())
}

fn is_time(text: &str) -> bool {
    let date = text.split(['T', 't', ' ']).next().unwrap_or_default();
    let parts: Vec<&str> = date.split('-').collect();
    parts.len() == 3 && parts.iter().all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn trees() {
        let tree = json!({
            "data": {"l": ["a", 1, null, {"x": 1, "y": [2]}, [3, 4]], "e": {}, "f": []},
            "warnings": null, "renewable": false, "n": 1,
        });
        let wanted = "data:\n  e: {}\n  f: []\n  l:\n  - a\n  - 1\n  - null\n  - x: 1\n    \"y\":\n    - 2\n  - - 3\n    - 4\n\"n\": 1\nrenewable: false\nwarnings: null\n";
        assert_eq!(write(&tree), wanted);
        assert_eq!(write(&json!(["default", "root"])), "- default\n- root\n");
        assert_eq!(write(&json!(3600)), "3600\n");
    }

    #[test]
    fn texts_that_would_be_something_else_are_quoted() {
        for text in [
            "",
            "1",
            "-1.5",
            "1e3",
            "0x1f",
            "true",
            "No",
            "n",
            "null",
            "~",
            "2026-11-23T18:13:31.48Z",
            "2026-11-23",
            "1:30",
            ".inf",
            "1_000",
        ] {
            assert_eq!(flat_text(text), format!("\"{text}\""), "{text}");
        }
        for text in [
            "x y",
            "<&>",
            "secret/data/a",
            "7a0b5aff-90da-d53f",
            "2.0.0-HEAD",
            "1h",
            "a:b",
            "-x",
            "é∞",
            "127.0.0.1:8200",
        ] {
            assert_eq!(flat_text(text), text);
        }
        for (text, wanted) in [
            ("  x ", "'  x '"),
            ("a: b", "'a: b'"),
            ("it's #1", "'it''s #1'"),
            ("- x", "'- x'"),
            ("*x", "'*x'"),
            ("-", "'-'"),
        ] {
            assert_eq!(flat_text(text), wanted);
        }
        assert_eq!(flat_text("a\tb"), "\"a\\tb\"");
    }

    #[test]
    fn lines_become_blocks() {
        assert_eq!(write(&json!({"a": "multi\nline"})), "a: |-\n  multi\n  line\n");
        assert_eq!(write(&json!({"a": "multi\n\nline\n"})), "a: |\n  multi\n\n  line\n");
        assert_eq!(write(&json!({"a": "x\n\n"})), "a: |+\n  x\n\n");
        assert_eq!(write(&json!({"a": " x\ny"})), "a: \" x\\ny\"\n");
    }
}
