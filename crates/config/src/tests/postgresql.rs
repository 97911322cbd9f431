//! `storage "postgresql"` and its environment.

use super::{accept, error, read};
use crate::{Config, ConfigError, Postgresql, Storage};

fn configured(lines: &str, variables: &[(&str, &str)]) -> Config {
    let mut config = read(&format!("storage \"postgresql\" {{\n{lines}\n}}"));
    let lookup =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    config.apply_environment(lookup).unwrap();
    config
}

fn postgresql(config: &Config) -> &Postgresql {
    match &config.storage {
        Some(Storage::Postgresql(postgresql)) => postgresql,
        other => panic!("{other:?}"),
    }
}

const ALL: &str = r#"
connection_url = "postgres://user1234:hush@db:5432/vault"
table = "own.entries"
ha_enabled = "true"
ha_table = "own.locks"
max_parallel = "12"
max_idle_connections = 3
max_connect_retries = 0
skip_create_table = "true"
"#;

#[test]
fn what_is_left_out_is_as_documented() {
    let config = configured("", &[]);
    let read = postgresql(&config);
    assert!(read.connection_url.is_none() && !read.ha_enabled && !read.skip_create_table);
    assert_eq!((read.table.as_str(), read.ha_table.as_str()), ("vault_kv_store", "vault_ha_locks"));
    assert_eq!((read.max_parallel, read.max_idle_connections, read.max_connect_retries), (128, None, 1));
}

#[test]
fn every_key_is_read() {
    let config = configured(ALL, &[]);
    let read = postgresql(&config);
    assert_eq!(read.connection_url.as_ref().unwrap().expose(), "postgres://user1234:hush@db:5432/vault");
    assert_eq!((read.table.as_str(), read.ha_table.as_str()), ("own.entries", "own.locks"));
    assert!(read.ha_enabled && read.skip_create_table);
    assert_eq!((read.max_parallel, read.max_idle_connections, read.max_connect_retries), (12, Some(3), 0));
}

#[test]
fn the_url_is_needed_and_the_environments_wins() {
    let listener = "\n}\nlistener \"tcp\" {\ntls_disable = true";
    let missing = configured(listener, &[]).check().unwrap_err();
    assert!(matches!(missing, ConfigError::Missing(text) if text.contains("VAULT_PG_CONNECTION_URL")));
    for lines in [listener, &format!("{ALL}{listener}")] {
        let config = configured(lines, &[("VAULT_PG_CONNECTION_URL", "postgres://other")]);
        config.check().unwrap();
        assert_eq!(postgresql(&config).connection_url.as_ref().unwrap().expose(), "postgres://other");
    }
}

#[test]
fn what_cannot_be_used_is_refused() {
    for line in ["max_parallel = 0", "max_parallel = \"many\"", "max_idle_connections = -1", "ha_enabled = 3"]
    {
        let key = line.split(' ').next().unwrap();
        let text = error(&format!("storage \"postgresql\" {{\n{line}\n}}"));
        assert!(text.contains(&format!("{key:?} must be")), "{text}");
    }
}

#[test]
fn the_url_is_never_shown() {
    let config = accept(&format!("storage \"postgresql\" {{\n{ALL}\n}}"));
    let shown = config.sanitized();
    assert_eq!(shown["storage"]["type"], "postgresql");
    let all = format!("{shown} {config:?}");
    assert!(!all.contains("hush") && !all.contains("user1234"));
}
