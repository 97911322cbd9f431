//! The view of blocks that is the same for every way to write them.

use super::read;

/// Labels and body of each block.
fn blocks(text: &str, key: &str, labels: usize) -> Vec<(Vec<String>, String)> {
    let object = read(text);
    let blocks = object.blocks(key, labels).unwrap();
    let own = |labels: &[&str]| labels.iter().map(|label| (*label).to_owned()).collect();
    blocks.iter().map(|block| (own(&block.labels), block.body.to_json().to_string())).collect()
}

#[test]
fn one_label_in_every_way() {
    let wanted = [
        (vec!["secret/*".to_owned()], r#"{"policy":"read"}"#.to_owned()),
        (vec!["sys/*".to_owned()], r#"{"policy":"deny"}"#.to_owned()),
    ];
    for text in [
        "path \"secret/*\" { policy = \"read\" }\nx = 1\npath \"sys/*\" { policy = \"deny\" }",
        "path { \"secret/*\" { policy = \"read\" } \"sys/*\" = { policy = \"deny\" } }",
        "path = { \"secret/*\" = { policy = \"read\" }, \"sys/*\" = { policy = \"deny\" } }",
        "path \"secret/*\" { policy = \"read\" }\npath { \"sys/*\" { policy = \"deny\" } }",
        "path = [{ \"secret/*\" = { policy = \"read\" } }, { \"sys/*\" = [{ policy = \"deny\" }] }]",
        r#"{"path": {"secret/*": {"policy": "read"}, "sys/*": {"policy": "deny"}}}"#,
        r#"{"path": [{"secret/*": {"policy": "read"}}, {"sys/*": [{"policy": "deny"}]}]}"#,
        r#"{"path": {"secret/*": {"policy": "read"}}, "path": {"sys/*": {"policy": "deny"}}}"#,
    ] {
        assert_eq!(blocks(text, "path", 1), wanted, "{text}");
    }
}

#[test]
fn without_label() {
    for text in
        ["t { a = 1 }", "t = { a = 1 }", "t = [{ a = 1 }]", r#"{"t": {"a": 1}}"#, r#"{"t": [{"a": 1}]}"#]
    {
        assert_eq!(blocks(text, "t", 0), [(vec![], r#"{"a":1}"#.to_owned())], "{text}");
    }
    assert_eq!(blocks(r#"{"t": null}"#, "t", 0), []);
    assert_eq!(blocks("u {}", "t", 0), []);
}

#[test]
fn two_labels() {
    for text in ["a \"b\" \"c\" {}", "a \"b\" { c {} }", r#"{"a": {"b": {"c": {}}}}"#] {
        assert_eq!(blocks(text, "a", 2), [(vec!["b".to_owned(), "c".to_owned()], "{}".to_owned())], "{text}");
    }
}

#[test]
fn what_is_no_such_block_is_an_error() {
    for (text, labels, wanted) in [
        ("t = 1", 0, "At 1:5: \"t\" must be a block, not a number"),
        ("t = [{}, 1]", 0, "At 1:10: \"t\" must be a block, not a number"),
        ("t \"x\" {}", 0, "At 1:1: \"t\" takes no label, not 1"),
        ("t \"x\" y {}", 1, "At 1:1: \"t\" takes one label, not 2"),
        ("t {\n x = \"y\" }", 1, "At 2:6: \"t\" must be a block, not a string"),
        (r#"{"t": "x"}"#, 1, "At 1:7: \"t\" must be a block, not a string"),
    ] {
        assert_eq!(read(text).blocks("t", labels).unwrap_err().to_string(), wanted, "{text}");
    }
}

#[test]
fn positions_are_those_of_the_innermost_key() {
    let object = read("{\"path\": {\n  \"x\": {}\n}}");
    assert_eq!(object.blocks("path", 1).unwrap()[0].position.to_string(), "2:3");
}
