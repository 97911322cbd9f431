//! Several files and directories.

use std::fs;
use std::path::Path;

use super::{listener, warnings};
use crate::{Loaded, Source, Storage, load, parse};

fn write(directory: &Path, name: &str, text: &str) {
    fs::write(directory.join(name), text).unwrap();
}

#[test]
fn of_a_directory_the_hcl_and_json_files_are_read_in_the_order_of_their_names() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "20.hcl", "log_level = \"warn\"\nstorage \"raft\" { path = \"b\" }\nodd = 1");
    write(at, "10.json", "{\"log_level\": \"debug\", \"disable_cache\": true, \"storage\": {\"inmem\": {}}}");
    write(at, "30.txt", "not read");
    write(at, ".#20.hcl", "not read");
    fs::create_dir(at.join("40.hcl")).unwrap();
    let Loaded { config, warnings } = load(&[at]).unwrap();
    assert!(config.disable_cache, "set by the first file only");
    assert_eq!(config.log_level, Some(crate::LogLevel::Warn), "the last file counts");
    assert!(matches!(config.storage, Some(Storage::Raft(_))), "the last file counts");
    let file = at.join("20.hcl");
    assert_eq!(
        warnings[0].to_string(),
        format!("{}:3:1: unknown or unsupported field \"odd\"", file.display())
    );
}

#[test]
fn listeners_and_seals_of_all_files_are_put_together() {
    let source = |file: &str, text: String| Source { file: file.into(), text };
    let first = source("a.hcl", format!("{}\nseal \"shamir\" {{}}", listener("address = \"127.0.0.1:1\"")));
    let second = source(
        "b.hcl",
        format!("{}\nseal \"transit\" {{}}\ntypo = 1", listener("address = \"127.0.0.1:2\"")),
    );
    let loaded = parse(&[first, second]).unwrap();
    assert_eq!(loaded.config.listeners.len(), 2);
    assert_eq!(
        loaded.config.seals.iter().map(|seal| seal.kind.as_str()).collect::<Vec<_>>(),
        ["shamir", "transit"]
    );
    assert_eq!(warnings(&loaded), ["b.hcl:6:1: unknown or unsupported field \"typo\""]);
}

#[test]
fn the_same_argument_in_two_files_is_no_duplicate_and_errors_name_their_file() {
    let source = |file: &str, text: &str| Source { file: file.into(), text: text.to_owned() };
    let loaded = parse(&[source("a.hcl", "ui = true"), source("b.hcl", "ui = false")]).unwrap();
    assert!(!loaded.config.ui);
    let error = parse(&[source("a.hcl", "ui = 7"), source("b.hcl", "max_lease_ttl = \"x\"")]).unwrap_err();
    assert!(error.to_string().starts_with("b.hcl:1:17: \"max_lease_ttl\" must be a duration"), "{error}");
    let error = parse(&[source("a.hcl", ""), source("b.hcl", "=")]).unwrap_err();
    assert_eq!(error.to_string(), "b.hcl:1:1: expected a key, found \"=\"");
    assert!(parse(&[]).unwrap().config.listeners.is_empty());
}

#[test]
fn what_cannot_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let absent = directory.path().join("absent.hcl");
    let error = load(&[&absent]).unwrap_err().to_string();
    assert_eq!(error, format!("{}: No such file or directory (os error 2)", absent.display()));
    let error = load(&[directory.path()]).unwrap_err().to_string();
    assert_eq!(error, format!("{}: no file here ends with .hcl or .json", directory.path().display()));
    fs::write(directory.path().join("a.hcl"), [0xff, 0xfe]).unwrap();
    let error = load(&[directory.path()]).unwrap_err().to_string();
    assert!(error.ends_with("a.hcl: stream did not contain valid UTF-8"), "{error}");
}

#[test]
fn templates_in_addresses_are_expanded() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("server.hcl");
    let text = "api_addr = \"https://{{ X }}:8200\"\ncluster_name = \"{{ X }}\"\n\
                listener \"tcp\" {\n  tls_disable = true\n  address = \"{{ X }}:1\"\n}\n\
                storage \"raft\" {\n  path = \"d\"\n  retry_join {\n    leader_api_addr = \"http://{{ X }}:2\"\n  }\n}\n";
    std::fs::write(&file, text).unwrap();
    let expand = |text: &str| Ok(text.replace("{{ X }}", "10.0.0.1"));
    let config = crate::load_with(&[&file], &expand).unwrap().config;
    assert_eq!(config.api_addr.as_deref(), Some("https://10.0.0.1:8200"));
    assert_eq!(super::tcp(&config).address.to_string(), "10.0.0.1:1");
    assert_eq!(config.cluster_name.as_deref(), Some("{{ X }}"), "no address");
    let error = crate::load_with(&[&file], &|_| Err("no such interface".to_owned())).unwrap_err().to_string();
    assert!(error.ends_with("server.hcl:1:12: \"api_addr\": no such interface"), "{error}");
    assert!(crate::load(&[&file]).is_err());
}
