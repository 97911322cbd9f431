//! The meaning of texts, and the messages about wrong ones.

use super::{error, read, value};
use crate::{MAX_DEPTH, Number, Position, Value, parse};

fn number(text: &str) -> Number {
    match value(&format!("a = {text}")) {
        Value::Number(number) => number,
        other => panic!("{text} is {other:?}"),
    }
}

fn string(text: &str) -> String {
    value(text).as_str().unwrap().to_owned()
}

#[test]
fn a_policy() {
    let object = read(
        "# comment\npath \"secret/*\" {\n  capabilities = [\"read\", \"list\",]\n}\npath \"sys/*\" { policy = \"deny\" }\n",
    );
    let [secret, sys] = object.items.as_slice() else { panic!("two items") };
    assert_eq!((secret.key.as_str(), secret.labels.as_slice()), ("path", ["secret/*".to_owned()].as_slice()));
    assert_eq!(secret.position, Position { line: 2, column: 1 });
    assert_eq!(secret.value_position, Position { line: 2, column: 17 });
    let Value::Object(body) = &secret.value else { panic!("a block") };
    let capabilities = body.get("capabilities").unwrap();
    assert_eq!(capabilities.value.to_json(), serde_json::json!(["read", "list"]));
    assert_eq!(capabilities.position.to_string(), "3:3");
    assert_eq!(capabilities.value_position.to_string(), "3:18");
    assert_eq!(sys.value.to_json(), serde_json::json!({"policy": "deny"}));
}

#[test]
fn comments_of_every_kind_may_stand_anywhere() {
    let text = "/* a\n b */ a /**/ = // x\n # y\n [ 1, # one\n /* two */ 2 /***/ ] // end";
    assert_eq!(value(text).to_json(), serde_json::json!([1, 2]));
}

#[test]
fn keys() {
    let text = "a.b-c_1 = 1, \"quoted key\" = 2 é=3 _x = 4\nb c \"d\" {}";
    let object = read(text);
    let keys: Vec<&str> = object.items.iter().map(|item| item.key.as_str()).collect();
    assert_eq!(keys, ["a.b-c_1", "quoted key", "é", "_x", "b"]);
    assert_eq!(object.items[4].labels, ["c", "d"]);
    assert_eq!(object.items.iter().filter(|item| item.assigned).count(), 4);
}

#[test]
fn strings() {
    assert_eq!(string(r#"a = "x\n\t\r\"\\\u00e9\U0001F600\x41\101""#), "x\n\t\r\"\\é😀AA");
    assert_eq!(string(r#"a = "${ f("x{y}") }\n""#), "${ f(\"x{y}\") }\n", "an interpolation is verbatim");
    assert_eq!(string("a = \"${\n}\""), "${\n}");
    assert_eq!(string(r#"a = "$x {y} }""#), "$x {y} }");
    assert_eq!(string("a = \"\""), "");
}

#[test]
fn heredocs() {
    assert_eq!(string("a = <<EOF\n  x\ny\n EOF\n"), "  x\ny\n");
    assert_eq!(string("a = <<-EOF\n    x\n      y\n    EOF"), "x\n  y\n");
    assert_eq!(
        string("a = <<-EOF\n  x\n y\n  EOF"),
        "  x\n y\n",
        "a line is indented less: nothing is taken off"
    );
    assert_eq!(string("a = <<EOF\nEOF"), "");
    assert_eq!(string("a = <<EOF\r\nx\r\nEOF\r\n"), "x\n");
    assert_eq!(value("a = [<<A\nx\nA\n, <<B\ny\nB\n]").to_json(), serde_json::json!(["x\n", "y\n"]));
}

#[test]
fn numbers_keep_their_digits() {
    let big = "123456789012345678901234567890";
    assert_eq!(number(big).as_str(), big);
    assert_eq!(number(big).as_i64(), None);
    assert_eq!(number(big).to_json().to_string(), big);
    assert_eq!(number("18446744073709551615").as_u64(), Some(u64::MAX));
    assert_eq!(number("-9223372036854775808").as_i64(), Some(i64::MIN));
    assert_eq!(number("0x1F").as_i64(), Some(31));
    assert_eq!(number("-0x1F").as_i64(), Some(-31));
    assert_eq!(number("0755").as_i64(), Some(0o755));
    assert_eq!(number("0755").to_json(), serde_json::json!(493));
    assert_eq!(number("0").as_i64(), Some(0));
    assert!(number("0x1e5").is_integer());
    for (text, wanted) in
        [("1.5", 1.5), ("-2e3", -2e3), ("1.5E-1", 0.15), (".5", 0.5), ("1.", 1.0), ("0x10", 16.0)]
    {
        assert_eq!(number(text).as_f64(), Some(wanted), "{text}");
    }
    assert!(!number("1e3").is_integer());
    assert_eq!(number("1e3").as_i64(), None);
    assert_eq!(number("1e999").as_f64(), None);
    assert_eq!(number(".5").to_json(), serde_json::json!(0.5));
    assert_eq!(number("0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF").as_i128(), None);
}

#[test]
fn lists_and_objects() {
    let text = "a = [1, \"x\", true, [], {b = false, c = [2]},]";
    assert_eq!(value(text).to_json(), serde_json::json!([1, "x", true, [], {"b": false, "c": [2]}]));
    assert_eq!(value("a { b { c = 1 } b { d = 2 } }").to_json(), serde_json::json!({"b": {"c": 1, "d": 2}}));
    assert_eq!(read("x \"y\" { z = 1 }").to_json(), serde_json::json!({"x": {"y": {"z": 1}}}));
}

#[test]
fn nothing_is_an_empty_object() {
    for text in ["", "\n \t", "# only a comment", "\u{feff}", "{}", " {} "] {
        assert!(read(text).items.is_empty(), "{text:?}");
    }
}

#[test]
fn json() {
    let object = read("\n{\n  \"a\": {\"b\": [1, null, -2.50, \"\\u00e9\\n\"]},\n  \"a\": true,\n}");
    assert_eq!(object.items.len(), 2, "a repeated key is kept");
    assert_eq!(object.items[0].position.to_string(), "3:3");
    assert_eq!(object.items[0].value_position.to_string(), "3:8");
    assert_eq!(object.items[0].value.to_json().to_string(), r#"{"b":[1,null,-2.50,"é\n"]}"#);
    assert_eq!(object.get("a").unwrap().value, Value::Bool(true), "the last one counts");
}

#[test]
fn duplicates_are_found() {
    let at = |text: &str| read(text).first_duplicate().map(|item| item.position.to_string());
    assert_eq!(at("a = 1\nb = 2\na = 3").as_deref(), Some("3:1"));
    assert_eq!(at("x \"y\" {\n a = 1\n a = 1 }").as_deref(), Some("3:2"));
    assert_eq!(at("x = [{ a = 1 }, { b = 1\nb = 1 }]").as_deref(), Some("2:1"));
    assert_eq!(at("a = {}\na = {}").as_deref(), Some("2:1"));
    assert_eq!(at("a {}\na {}\nb \"x\" {}\nb \"x\" {}"), None, "blocks may be repeated");
    assert_eq!(at("{\"a\": 1,\n\"a\": 2}").as_deref(), Some("2:1"));
    assert_eq!(at("{\"a\": {}, \"a\": {}}"), None);
}

#[test]
fn errors_of_hcl() {
    for (text, wanted) in [
        ("a", "At 1:2: expected '=' or '{' after the key a, found the end of the text"),
        ("a = ", "At 1:5: expected a value, found the end of the text"),
        ("a = b", "At 1:5: expected a value, found b; a text needs quotes: \"b\""),
        ("a b = 1", "At 1:5: expected '{' after the labels of a block, found \"=\""),
        ("\n  = 1", "At 2:3: expected a key, found \"=\""),
        ("1 = 2", "At 1:1: expected a key, found \"1\""),
        ("true = 2", "At 1:1: expected a key, found \"true\""),
        ("}", "At 1:1: expected a key, found \"}\""),
        ("a {", "At 1:4: expected a key, found the end of the text"),
        ("a = [1 2]", "At 1:8: expected ',' or ']' in a list, found \"2\""),
        ("a = [1", "At 1:7: expected ',' or ']' in a list, found the end of the text"),
        ("a = \"x\ny\"", "At 1:5: this string is not closed"),
        ("a = \"${ x", "At 1:5: \"${\" in this string is not closed"),
        ("a = \"x\\q\"", "At 1:7: \\q is not an escape; a backslash is written \"\\\\\""),
        ("a = \"\\u12\"", "At 1:6: this escape has too few digits"),
        ("a = \"\\ud800\"", "At 1:6: this escape is not a Unicode character"),
        ("a = <<EOF\nx", "At 1:5: this heredoc is not closed; a line with \"EOF\" alone is missing"),
        ("a = <<EOF x\nEOF", "At 1:5: the heredoc's marker \"EOF\" must be followed by a line end"),
        ("a = <<\nEOF", "At 1:5: a heredoc needs a marker after \"<<\", such as \"<<EOF\""),
        ("a = <x", "At 1:5: '<' starts a heredoc only as \"<<\""),
        ("a = 30s", "At 1:5: \"30s\" is not a number; if a text is meant, put it in quotes"),
        ("a = 08", "At 1:5: \"08\" is not a number; if a text is meant, put it in quotes"),
        ("a = 1.2.3", "At 1:5: \"1.2.3\" is not a number; if a text is meant, put it in quotes"),
        ("a = 0x", "At 1:5: \"0x\" is not a number; if a text is meant, put it in quotes"),
        ("a = -", "At 1:5: '-' must be followed by a number"),
        ("a = /* x", "At 1:5: this comment is not closed; \"*/\" is missing"),
        ("a = / x", "At 1:5: '/' starts a comment only as \"//\" or \"/*\""),
        ("a: 1", "At 1:2: ':' is not allowed here"),
        ("é = \u{0}", "At 1:5: a null character is not allowed"),
    ] {
        assert_eq!(error(text), wanted, "{text:?}");
    }
}

#[test]
fn errors_of_json() {
    for (text, wanted) in [
        ("{", "At 1:2: expected a key in quotes, found the end of the text"),
        ("{a: 1}", "At 1:2: expected a key in quotes, found 'a'"),
        ("{\"a\" 1}", "At 1:6: expected ':' after a key, found '1'"),
        ("{\"a\": }", "At 1:7: expected a value, found '}'"),
        ("{\"a\": nil}", "At 1:7: expected a value, found \"nil\""),
        ("{\"a\": 1 \"b\": 2}", "At 1:9: expected ',' or '}' in an object, found '\"'"),
        ("{\"a\": [1 2]}", "At 1:10: expected ',' or ']' in a list, found '2'"),
        ("{\"a\": 01}", "At 1:7: \"01\" is not a number"),
        ("{\"a\": \"x}", "At 1:7: this string is not closed"),
        ("{\"a\": \"\\q\"}", "At 1:7: this string is not valid: invalid escape"),
        ("{} x", "At 1:4: expected the end of the text, found 'x'"),
    ] {
        assert_eq!(error(text), wanted, "{text:?}");
    }
}

#[test]
fn nesting_is_bounded() {
    let nested =
        |open: &str, close: &str, depth: usize| format!("a = {}{}", open.repeat(depth), close.repeat(depth));
    assert!(parse(&nested("[", "]", MAX_DEPTH)).is_ok());
    assert_eq!(error(&nested("[", "]", MAX_DEPTH + 1)), "At 1:69: nested deeper than 64 levels");
    assert_eq!(
        error(&"[".repeat(100_000).replacen('[', "a = [", 1)),
        "At 1:69: nested deeper than 64 levels"
    );
    assert!(error(&"a {".repeat(100_000)).ends_with("nested deeper than 64 levels"));
    assert!(error(&format!("{} {{}}", "a ".repeat(100_000))).ends_with("nested deeper than 64 levels"));
    assert!(error(&"{\"a\":".repeat(100_000)).ends_with("nested deeper than 64 levels"));
    assert!(error(&format!("{{\"a\":{}", "[".repeat(100_000))).ends_with("nested deeper than 64 levels"));
}
