//! Environment variables over the files.

use super::accept;
use crate::{Config, LogFormat, LogLevel, Raft, Storage};

fn apply(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    warn(text, variables).map(|(config, _)| config)
}

fn warn(text: &str, variables: &[(&str, &str)]) -> Result<(Config, Vec<String>), String> {
    let mut config = accept(text);
    let lookup =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    let warnings = config.apply_environment(lookup).map_err(|error| error.to_string())?;
    Ok((config, warnings))
}

fn raft(config: &Config) -> &Raft {
    match &config.storage {
        Some(Storage::Raft(raft)) => raft,
        other => panic!("{other:?}"),
    }
}

const TEXT: &str = "api_addr = \"https://a:1\"\nlog_level = \"warn\"\nui = true\nstorage \"raft\" {\n  path = \"p\"\n  \
                    node_id = \"n\"\n}";

#[test]
fn the_environment_wins() {
    let config = apply(
        TEXT,
        &[
            ("VAULT_API_ADDR", "https://b:1"),
            ("VAULT_REDIRECT_ADDR", "https://old:1"),
            ("VAULT_CLUSTER_ADDR", "https://b:2"),
            ("VAULT_LOG_LEVEL", "TRACE"),
            ("VAULT_LOG_FORMAT", "json"),
            ("VAULT_DISABLE_MLOCK", "1"),
            ("VAULT_UI", "false"),
            ("VAULT_RAFT_PATH", "/data"),
            ("VAULT_RAFT_NODE_ID", "m"),
            ("VAULT_RAFT_RETRY_JOIN_AS_NON_VOTER", "yes"),
        ],
    )
    .unwrap();
    assert_eq!(config.api_addr.as_deref(), Some("https://b:1"));
    assert_eq!(config.cluster_addr.as_deref(), Some("https://b:2"));
    assert_eq!(config.log_level, Some(LogLevel::Trace));
    assert_eq!(config.log_format, Some(LogFormat::Json));
    assert_eq!(config.disable_mlock, Some(true));
    assert!(!config.ui);
    let raft = raft(&config);
    assert_eq!(raft.path.as_deref(), Some("/data".as_ref()));
    assert_eq!(raft.node_id.as_deref(), Some("m"));
    assert!(raft.retry_join_as_non_voter);
}

#[test]
fn openbaos_names_count_before_vaults() {
    let set = [("VAULT_RAFT_NODE_ID", "v"), ("BAO_RAFT_NODE_ID", "b"), ("BAO_CLUSTER_ADDR", "https://b:2")];
    let config = apply(TEXT, &set).unwrap();
    assert_eq!(raft(&config).node_id.as_deref(), Some("b"));
    assert_eq!(config.cluster_addr.as_deref(), Some("https://b:2"));
    let wrong = apply(TEXT, &[("BAO_API_ADDR", "b")]).unwrap_err();
    assert!(wrong.starts_with("environment variable BAO_API_ADDR: must be a URL"), "{wrong}");
}

#[test]
fn what_is_not_in_the_environment_stays() {
    let config = apply(TEXT, &[("VAULT_API_ADDR", ""), ("VAULT_UI", "")]).unwrap();
    assert_eq!(config.api_addr.as_deref(), Some("https://a:1"));
    assert_eq!(config.log_level, Some(LogLevel::Warn));
    assert!(config.ui && !raft(&config).retry_join_as_non_voter);
    assert_eq!(raft(&config).node_id.as_deref(), Some("n"));
    let config = apply("storage \"inmem\" {}", &[("VAULT_RAFT_PATH", "/data")]).unwrap();
    assert!(matches!(config.storage, Some(Storage::Inmem)));
}

#[test]
fn bad_values_name_the_variable() {
    for (variable, value, wanted) in [
        (
            "VAULT_API_ADDR",
            "b:1",
            "environment variable VAULT_API_ADDR: must be a URL such as \"https://10.0.0.5:8200\", not \"b:1\"",
        ),
        ("VAULT_UI", "ja", "environment variable VAULT_UI: must be true or false, not \"ja\""),
        (
            "VAULT_LOG_FORMAT",
            "x",
            "environment variable VAULT_LOG_FORMAT: must be one of \"standard\", \"json\", not \"x\"",
        ),
    ] {
        assert_eq!(apply(TEXT, &[(variable, value)]).unwrap_err(), wanted);
    }
}

#[test]
fn variables_without_effect_are_named() {
    let none = warn(TEXT, &[("VAULT_UI", "0"), ("VAULT_RAFT_NODE_ID", "m")]).unwrap().1;
    assert_eq!(none, [""; 0]);
    let (config, named) =
        warn(TEXT, &[("VAULT_UI", "1"), ("VAULT_RAFT_RETRY_JOIN_AS_NON_VOTER", "yes")]).unwrap();
    assert!(raft(&config).retry_join_as_non_voter);
    assert_eq!(
        named,
        ["environment variable VAULT_UI is accepted and has no effect: this version has no web interface"]
    );
}
