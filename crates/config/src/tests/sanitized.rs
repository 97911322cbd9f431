//! The output of `sys/config/state/sanitized`.

use serde_json::json;

use super::{accept, read};

const TEXT: &str = r#"
storage "raft" {
  path    = "/data"
  node_id = "n1"
  max_entry_size = 1048576
  retry_join {
    leader_api_addr   = "http://127.0.0.1:8299"
    leader_client_cert = "-----BEGIN CERTIFICATE"
    leader_client_key = "-----BEGIN hush"
  }
}
listener "tcp" {
  address     = "127.0.0.1:8200"
  tls_disable = 1
  http_idle_timeout = "3m"
  telemetry { unauthenticated_metrics_access = true }
  custom_response_headers { "default" = { "X-A" = ["b"] } }
}
listener "unix" { address = "/run/s.sock" }
seal "transit" { token = "hush" }
api_addr          = "http://127.0.0.1:8200"
cluster_addr      = "http://127.0.0.1:8201"
cluster_name      = "c"
default_lease_ttl = "1h"
max_lease_ttl     = "24h"
default_max_request_duration = "80s"
ui                = true
log_level         = "WARNING"
log_format        = "json"
telemetry { prometheus_retention_time = "30s" }
"#;

#[test]
fn it_has_vaults_shape_and_no_secret() {
    let shown = accept(TEXT).sanitized();
    assert!(!shown.to_string().contains("hush"));
    for (pointer, wanted) in [
        ("/api_addr", json!("http://127.0.0.1:8200")),
        ("/cluster_name", json!("c")),
        ("/cache_size", json!(0)),
        ("/default_lease_ttl", json!(3600)),
        ("/max_lease_ttl", json!(86_400)),
        ("/default_max_request_duration", json!(80_000_000_000_u64)),
        ("/enable_ui", json!(true)),
        ("/log_level", json!("warn")),
        ("/log_format", json!("json")),
        ("/log_requests_level", json!("")),
        ("/pid_file", json!("")),
        ("/disable_mlock", json!(false)),
        ("/raw_storage_endpoint", json!(false)),
        ("/seals", json!([{"type": "transit", "disabled": false}])),
        (
            "/storage",
            json!({
                "type": "raft",
                "redirect_addr": "http://127.0.0.1:8200",
                "cluster_addr": "http://127.0.0.1:8201",
                "disable_clustering": false,
                "raft": {"max_entry_size": "1048576"},
            }),
        ),
        (
            "/listeners",
            json!([
                {
                    "type": "tcp",
                    "config": {
                        "address": "127.0.0.1:8200",
                        "tls_disable": 1,
                        "http_idle_timeout": "3m",
                        "telemetry": [{"unauthenticated_metrics_access": true}],
                        "custom_response_headers": [{"default": [{"X-A": ["b"]}]}],
                    },
                },
                {"type": "unix", "config": {"address": "/run/s.sock"}},
            ]),
        ),
        ("/telemetry/prometheus_retention_time", json!(30_000_000_000_u64)),
        ("/telemetry/usage_gauge_period", json!(600_000_000_000_u64)),
        ("/telemetry/lease_metrics_epsilon", json!(3_600_000_000_000_u64)),
        ("/telemetry/dogstatsd_tags", json!(null)),
    ] {
        assert_eq!(shown.pointer(pointer), Some(&wanted), "{pointer}");
    }
}

#[test]
fn without_a_seal_it_is_shamirs() {
    let shown = read("").sanitized();
    assert_eq!(shown["seals"], json!([{"type": "shamir", "disabled": false}]));
    assert_eq!(shown.get("storage"), None);
    assert_eq!(shown["listeners"], json!([]));
}
