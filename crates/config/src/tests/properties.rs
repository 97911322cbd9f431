//! Laws that hold for every text.

use proptest::prelude::*;

use super::load;
use crate::Listener;

/// Keys of all blocks, and some that are in none.
const KEYS: [&str; 44] = [
    "listener",
    "storage",
    "backend",
    "ha_storage",
    "seal",
    "telemetry",
    "tcp",
    "unix",
    "raft",
    "inmem",
    "type",
    "address",
    "cluster_address",
    "tls_disable",
    "tls_cert_file",
    "tls_key_file",
    "tls_min_version",
    "tls_cipher_suites",
    "tls_disable_client_certs",
    "custom_response_headers",
    "default",
    "2xx",
    "404",
    "x_forwarded_for_authorized_addrs",
    "x_forwarded_for_hop_skips",
    "max_request_size",
    "http_read_timeout",
    "socket_mode",
    "socket_user",
    "retry_join",
    "leader_api_addr",
    "auto_join",
    "performance_multiplier",
    "default_lease_ttl",
    "max_lease_ttl",
    "log_level",
    "api_addr",
    "usage_gauge_period",
    "prefix_filter",
    "user_lockout",
    "userpass",
    "all",
    "lockout_threshold",
    "nonsense",
];

fn value() -> impl Strategy<Value = serde_json::Value> {
    let words = [
        "",
        "1h",
        "tls12",
        "127.0.0.1:8200",
        "https://a:1",
        "tcp",
        "raft",
        "0600",
        "true",
        "-1",
        "[::1]:0",
        "+a",
    ];
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        (0..10_i64).prop_map(Into::into),
        prop::num::f64::NORMAL.prop_map(Into::into),
        prop::sample::select(words.to_vec()).prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            3 => object(inner).prop_map(Into::into),
        ]
    })
}

fn object(
    value: impl Strategy<Value = serde_json::Value>,
) -> impl Strategy<Value = serde_json::Map<String, serde_json::Value>> {
    let key = prop::sample::select(KEYS.to_vec()).prop_map(str::to_owned);
    prop::collection::btree_map(key, value, 0..6).prop_map(|map| map.into_iter().collect())
}

/// A known key of a TCP listener with any value.
fn attribute() -> impl Strategy<Value = (String, serde_json::Value)> {
    (prop::sample::select(KEYS.to_vec()).prop_map(str::to_owned), value())
}

proptest! {
    #![proptest_config(ProptestConfig { fork: false, timeout: 0, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = load(&text);
    }

    #[test]
    fn no_document_panics_and_every_error_has_a_place(map in object(value())) {
        let text = serde_json::to_string_pretty(&map).unwrap();
        match load(&text) {
            Ok(loaded) => {
                let _ = loaded.config.check();
                let _ = loaded.config.sanitized();
                for warning in loaded.warnings {
                    prop_assert!(warning.place.position.line as usize <= text.lines().count());
                }
            }
            Err(error) => prop_assert!(error.starts_with("server.hcl:"), "{}", error),
        }
    }

    #[test]
    fn a_listener_with_any_attribute_is_read_refused_or_warned_about((key, value) in attribute()) {
        let mut attributes = serde_json::json!({"tls_disable": true});
        attributes[&key] = value;
        let text = serde_json::json!({"listener": {"tcp": attributes}}).to_string();
        match load(&text) {
            Ok(loaded) => {
                let known = loaded.config.listeners.first().is_some_and(|listener| match listener {
                    Listener::Tcp(tcp) => tcp.shared.configured.contains_key(&key) || key == "type",
                    Listener::Unix(_) => false,
                });
                prop_assert!(known || !loaded.warnings.is_empty(), "{}", text);
            }
            Err(error) => prop_assert!(error.starts_with("server.hcl:1:"), "{}", error),
        }
    }
}
