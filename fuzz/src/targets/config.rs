//! The server's configuration.

use strongroom_config::{Source, parse};

use super::{parts, text};
use crate::Target;

pub(super) const PARSE: Target = Target {
    name: "config",
    run: parse_any,
    made: crate::no_inputs,
    seeds: &[
        b"listener \"tcp\" {\n address = \"127.0.0.1:8200\"\n tls_disable = true\n x_forwarded_for_authorized_addrs = \"10.0.0.0/8\"\n \
          custom_response_headers { \"default\" = { \"X\" = [\"y\"] } }\n}\nstorage \"raft\" { path = \"/d\" node_id = \"a\"\n \
          retry_join { leader_api_addr = \"https://a:8200\" } }\ntelemetry { prometheus_retention_time = \"30s\" }\n\
          default_lease_ttl = \"1h\"\napi_addr = \"https://h:8200\"\0log_level = \"debug\"\nseal \"transit\" { a = 1 }\0debug",
        b"{\"listener\": [{\"unix\": {\"address\": \"/s\", \"socket_mode\": \"0600\"}}], \"storage\": {\"inmem\": {}}, \"cluster_name\": \"c\"}\0\0",
    ],
    words: &[
        "listener", "storage", "seal", "telemetry", "\"tcp\"", "\"unix\"", "\"raft\"", "\"inmem\"", "{", "}", "=", "\"", "\n", "0", "true",
        "address", "cluster_address", "tls_cert_file", "tls_min_version", "tls_cipher_suites", "x_forwarded_for_hop_skips",
        "max_request_size", "max_request_duration", "custom_response_headers", "retry_join", "leader_api_addr", "auto_join",
        "default_lease_ttl", "max_lease_ttl", "\"1h\"", "-1", "99999999999999999999", "[::1]:1", "policy_deny", "log_level",
        "performance_multiplier", "disable_mlock", "cache_size", "null", "[", "]", ",", "\0",
    ],
};

/// Two files and an environment: read, laid over each other, checked, and shown without secrets.
fn parse_any(input: &[u8]) {
    let [first, second, value] = parts(input);
    let source = |file: &str, bytes| Source { file: file.into(), text: text(bytes).into_owned() };
    let Ok(mut loaded) = parse(&[source("a.hcl", first), source("b.hcl", second)])
        .inspect_err(|error| assert!(!error.to_string().is_empty()))
    else {
        return;
    };
    for warning in &loaded.warnings {
        assert!(!warning.to_string().is_empty());
    }
    let _ = loaded.config.check();
    assert!(loaded.config.sanitized().is_object());
    let value = text(value).into_owned();
    let _ = loaded.config.apply_environment(|_name| Some(value.clone()));
    let _ = loaded.config.check();
    let _ = loaded.config.effective_max_lease_ttl();
}
