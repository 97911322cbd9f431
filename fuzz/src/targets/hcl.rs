//! HCL and its JSON form: policies and configuration.

use strongroom_hcl::{Object, Value, format, parse};

use super::text;
use crate::Target;

const WORDS: &[&str] = &[
    "{", "}", "[", "]", "=", ",", "\n", "\"", "\\", "<<E\n", "<<-E\n", "\nE\n", "# ", "// ", "/*", "*/",
    "${", "}\"", "a ", "\"b\" ", "a = 1\n", "a {\n", "{\"a\":", "null", "true", "0x", "08", "1e9", "-", ".",
    "\u{feff}", "\\u12", "\\U0010", "\r\n", "é",
];

const SEEDS: &[&[u8]] = &[
    b"path \"secret/*\" {\n  capabilities = [\"read\", \"list\"] # comment\n}\n",
    b"a = <<-EOF\n  text ${f(\"x\")}\n  EOF\nb \"c\" \"d\" { e = 0x1F, f = -1.5e3 }\n/* x */ g = [1, {h = true},]\n",
    b"{\"path\": [{\"secret/*\": {\"capabilities\": [\"read\"], \"n\": 0755, \"x\": null}}]}",
    b"listener \"tcp\" {\n  address = \"[::1]:8200\"\n  tls_disable = 1\n}\nstorage \"raft\" { path = \"/d\" }\n",
];

pub(super) const PARSE: Target =
    Target { name: "hcl", run: parse_any, made: crate::no_inputs, seeds: SEEDS, words: WORDS };

pub(super) const FORMAT: Target =
    Target { name: "hcl_format", run: format_any, made: crate::no_inputs, seeds: SEEDS, words: WORDS };

/// A tree is walked without harm, and read from its JSON it is the same JSON.
fn parse_any(input: &[u8]) {
    let text = text(input);
    let object = match parse(&text) {
        Ok(object) => object,
        Err(error) => {
            let lines = u32::try_from(text.split('\n').count()).unwrap_or(u32::MAX);
            assert!(
                (1..=lines).contains(&error.position.line),
                "an error in line {} of {lines}",
                error.position.line
            );
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let _ = object.first_duplicate();
    let _ = object.blocks("path", 1);
    let json = object.to_json();
    let printed = json.to_string();
    // Labels are nested objects in JSON, which the bound on nesting may not let through.
    if let Ok(again) = parse(&printed) {
        assert_eq!(again.to_json(), json, "read again from its JSON");
    }
}

/// What is formatted means the same, and is formatted already.
fn format_any(input: &[u8]) {
    let text = text(input);
    let Ok(pretty) = format(&text) else { return };
    assert_eq!(format(&pretty).as_ref(), Ok(&pretty), "formatted twice");
    let before = parse(&text).expect("what can be formatted can be parsed");
    let after = parse(&pretty).expect("what was formatted can be parsed");
    assert!(same(&before, &after), "formatting changed the meaning to {pretty:?}");
}

fn same(a: &Object, b: &Object) -> bool {
    a.items.len() == b.items.len()
        && a.items.iter().zip(&b.items).all(|(a, b)| {
            a.key == b.key
                && a.labels == b.labels
                && a.assigned == b.assigned
                && same_value(&a.value, &b.value)
        })
}

fn same_value(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => same(a, b),
        (Value::List(a), Value::List(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(&a.value, &b.value))
        }
        (a, b) => a == b,
    }
}
