//! The `audit` blocks.

use std::collections::BTreeMap;

use super::{error, read};

#[test]
fn devices_are_declared_in_hcl_and_json() {
    let hcl = "audit \"file\" \"to-disk\" {\n  description = \"all\"\n  options {\n    file_path = \"/log\"\n    log_raw = true\n  }\n}\n\
               audit \"file\" \"a/b/\" {\n  options = { file_path = \"stdout\" }\n  local = \"true\"\n}";
    let json = r#"{"audit": [
        {"file": {"to-disk": {"description": "all", "options": {"file_path": "/log", "log_raw": "true"}}}},
        {"file": {"a/b": {"options": {"file_path": "stdout"}, "local": true}}}]}"#;
    for text in [hcl, json] {
        let devices = read(text).audit;
        let [first, second] = devices.as_slice() else { panic!("{devices:?}") };
        assert_eq!((&*first.kind, &*first.path, &*first.description), ("file", "to-disk/", "all"));
        let options = [("file_path", "/log"), ("log_raw", "true")];
        let options: BTreeMap<_, _> =
            options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!((&first.options, first.local), (&options, false));
        assert_eq!((&*second.path, second.local), ("a/b/", true));
        assert_eq!(second.options.get("file_path").unwrap(), "stdout");
    }
    assert!(read("").audit.is_empty());
}

#[test]
fn a_wrong_device_is_refused_at_its_place() {
    for (text, told) in [
        ("audit \"file\" {\n  file_path = \"/log\"\n}", "must be a block"),
        ("audit \"file\" \"\" {}", "needs a path"),
        ("audit \"file\" \"a//b\" {}", "needs a path"),
        ("audit \"file\" \"a\\tb\" {}", "cannot be printed"),
        ("audit \"file\" \"a\" {}\naudit \"file\" \"a/\" {}", "the path is taken by the block at"),
        ("audit \"file\" \"a/b\" {}\naudit \"file\" \"a\" {}", "the path is taken by the block at"),
        ("audit \"file\" \"a\" {\n  options {\n    mode = [1]\n  }\n}", "\"mode\""),
        ("audit \"file\" \"a\" {\n  options = \"x\"\n}", "must be a block"),
    ] {
        let refused = error(text);
        assert!(refused.contains(told), "{text}: {refused}");
    }
    assert!(super::accept("audit \"file\" \"a\" {\n  file_path = \"/log\"\n}").audit[0].options.is_empty());
}
