//! `storage "etcd"` and its environment.

use std::path::Path;
use std::time::Duration;

use super::{accept, error, read};
use crate::{Etcd, Storage};

fn etcd(lines: &str, variables: &[(&str, &str)]) -> Result<Etcd, String> {
    let mut config = read(&format!("storage \"etcd\" {{\n{lines}\n}}"));
    let lookup =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    config.apply_environment(lookup).map_err(|error| error.to_string())?;
    match config.storage {
        Some(Storage::Etcd(etcd)) => Ok(*etcd),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_left_out_is_as_documented() {
    let etcd = etcd("", &[]).unwrap();
    assert_eq!(etcd.address, ["http://localhost:2379"]);
    assert_eq!((etcd.path.as_str(), etcd.ha_enabled, etcd.sync), ("/vault/", false, true));
    assert_eq!((etcd.request_timeout, etcd.lock_timeout), (Duration::from_secs(5), None));
    assert!(etcd.username.is_none() && etcd.password.is_none() && etcd.tls_ca_file.is_none());
}

const ALL: &str = r#"
address = "https://a:2379, https://b:2379"
etcd_api = "v3"
ha_enabled = "true"
path = "my-vault-data/"
sync = "false"
username = "user1234"
password = "hush"
tls_ca_file = "ca.pem"
tls_cert_file = "cert.pem"
tls_key_file = "key.pem"
request_timeout = "10s"
lock_timeout = "15s"
"#;

#[test]
fn every_key_is_read() {
    let etcd = etcd(ALL, &[]).unwrap();
    assert_eq!(etcd.address, ["https://a:2379", "https://b:2379"]);
    assert!(etcd.ha_enabled && !etcd.sync);
    assert_eq!((etcd.path.as_str(), etcd.username.as_deref()), ("my-vault-data/", Some("user1234")));
    assert_eq!(etcd.password.as_ref().unwrap().expose(), "hush");
    let files = [&etcd.tls_ca_file, &etcd.tls_cert_file, &etcd.tls_key_file];
    assert_eq!(
        files.map(|file| file.as_deref()),
        ["ca.pem", "cert.pem", "key.pem"].map(|at| Some(Path::new(at)))
    );
    assert_eq!(etcd.request_timeout, Duration::from_secs(10));
    assert_eq!(etcd.lock_timeout, Some(Duration::from_secs(15)));
    assert!(!format!("{etcd:?}").contains("hush"));
}

#[test]
fn the_environment_wins() {
    let variables = [
        ("ETCD_ADDR", "http://c:1,http://d:1"),
        ("ETCD_HA_ENABLED", "0"),
        ("ETCD_USERNAME", "other"),
        ("ETCD_PASSWORD", "hush too"),
    ];
    let etcd = etcd(ALL, &variables).unwrap();
    assert_eq!(etcd.address, ["http://c:1", "http://d:1"]);
    assert!(!etcd.ha_enabled);
    assert_eq!(
        (etcd.username.as_deref(), etcd.password.unwrap().expose().as_str()),
        (Some("other"), "hush too")
    );
}

#[test]
fn what_cannot_be_used_is_refused() {
    let refused = |line: &str| error(&format!("storage \"etcd\" {{\n{line}\n}}"));
    for version in ["v2", "2", "4"] {
        assert!(refused(&format!("etcd_api = \"{version}\"")).contains("must be \"v3\""), "{version}");
    }
    for line in ["discovery_srv = \"example.com\"", "discovery_srv_name = \"vault\""] {
        assert!(refused(line).contains("list the members of etcd"), "{line}");
    }
    let secret = refused("address = \"http://user:hush@a:1\"");
    assert!(secret.contains("have keys of their own") && !secret.contains("hush"), "{secret}");
    assert!(refused("address = \"a:2379\"").contains("must be URLs"));
    assert!(refused("tls_cert_file = \"cert.pem\"").contains("together"));
    assert!(refused("lock_timeout = \"2s\"").contains("\"3s\""));
    assert!(refused("request_timeout = 0").contains("\"1s\""));
    let discovery = etcd("", &[("ETCD_DISCOVERY_SRV", "example.com")]).unwrap_err();
    assert!(discovery.contains("ETCD_DISCOVERY_SRV") && discovery.contains("not supported"), "{discovery}");
    let secret = etcd("", &[("ETCD_ADDR", "http://user:hush@a:1")]).unwrap_err();
    assert!(!secret.contains("hush"), "{secret}");
}

#[test]
fn no_secret_is_shown() {
    let shown = accept(&format!("storage \"etcd\" {{\n{ALL}\n}}")).sanitized();
    assert_eq!(shown["storage"]["type"], "etcd");
    assert!(!shown.to_string().contains("hush") && !shown.to_string().contains("user1234"));
}
