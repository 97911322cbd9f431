//! Whole configurations, as operators write them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{accept, listener, load, read, tcp, warnings};
use crate::{
    Address, CertificateDecoder, CipherSuite, ClientCertificates, Config, Join, Listener, Loaded, LogFormat,
    LogLevel, Owner, Pem, PolicyDeny, Provider, ProxyBehavior, Raft, Redact, Storage, TlsVersion,
};

const CLUSTER: &str = r#"
# A node of a cluster of three.
ui            = true
cluster_name  = "eu-1"
api_addr      = "https://vault-1.example.com:8200"
cluster_addr  = "https://10.0.0.1:8201"
disable_mlock = true

storage "raft" {
  path                   = "/var/lib/strongroom"
  node_id                = "vault-1"
  performance_multiplier = 1
  trailing_logs          = 512
  max_entry_size         = "2097152"
  autopilot_redundancy_zone = "a"

  retry_join {
    leader_api_addr         = "https://vault-2.example.com:8200"
    leader_tls_servername   = "vault"
    leader_ca_cert_file     = "/etc/strongroom/ca.pem"
    leader_client_cert_file = "/etc/strongroom/node.pem"
    leader_client_key_file  = "/etc/strongroom/node.key"
  }
  retry_join {
    auto_join      = "provider=dns name=vault.internal"
    auto_join_port = "8300"
  }
}

listener "tcp" {
  address            = "[::]:8200"
  tls_cert_file      = "/etc/strongroom/cert.pem"
  tls_key_file       = "/etc/strongroom/key.pem"
  tls_min_version    = "tls12"
  tls_max_version    = "tls12"
  tls_cipher_suites  = "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305, TLS_AES_128_GCM_SHA256"
  tls_client_ca_file = "/etc/strongroom/clients.pem"
  tls_require_and_verify_client_cert = "true"

  x_forwarded_for_authorized_addrs            = ["10.0.0.0/8", "192.168.1.1"]
  x_forwarded_for_hop_skips                   = "1"
  x_forwarded_for_reject_not_present          = false

  custom_response_headers {
    "default" = {
      "Strict-Transport-Security" = ["max-age=31536000", "includeSubDomains"],
      "X-Tier"                    = ["any"],
    },
    "4xx" = { "X-Tier" = ["client"] }
    "404" = { "X-Tier" = "missing" }
  }
  telemetry {
    unauthenticated_metrics_access = true
  }
}

listener "unix" {
  address     = "/run/strongroom.sock"
  socket_mode = "0660"
  socket_user = "1000"
  socket_group = "vault"
}

default_lease_ttl = "12h"
max_lease_ttl     = "2d"

log_level  = "Debug"
log_format = "json"
log_file   = "/var/log/strongroom/"
log_rotate_bytes = 1048576
log_rotate_max_files = -1

telemetry {
  prometheus_retention_time = "30s"
  disable_hostname          = true
  usage_gauge_period        = "none"
  prefix_filter             = ["+vault.token", "-vault.expire"]
}

policy_deny = "most-specific"
outbound_allowed_ranges = ["169.254.169.254", "10.0.0.0/8"]
outbound_only_allowed = true
"#;

/// The same in JSON, as Vault's chart for Kubernetes and its documentation write it.
const CLUSTER_JSON: &str = r#"{
  "ui": true,
  "cluster_name": "eu-1",
  "api_addr": "https://vault-1.example.com:8200",
  "cluster_addr": "https://10.0.0.1:8201",
  "disable_mlock": true,
  "storage": {
    "raft": {
      "path": "/var/lib/strongroom",
      "node_id": "vault-1",
      "performance_multiplier": "1",
      "trailing_logs": "512",
      "max_entry_size": 2097152,
      "autopilot_redundancy_zone": "a",
      "retry_join": [
        {
          "leader_api_addr": "https://vault-2.example.com:8200",
          "leader_tls_servername": "vault",
          "leader_ca_cert_file": "/etc/strongroom/ca.pem",
          "leader_client_cert_file": "/etc/strongroom/node.pem",
          "leader_client_key_file": "/etc/strongroom/node.key"
        },
        { "auto_join": "provider=dns name=vault.internal", "auto_join_port": 8300 }
      ]
    }
  },
  "listener": [
    {
      "tcp": {
        "address": "[::]:8200",
        "tls_cert_file": "/etc/strongroom/cert.pem",
        "tls_key_file": "/etc/strongroom/key.pem",
        "tls_min_version": "tls12",
        "tls_max_version": "tls12",
        "tls_cipher_suites": ["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"],
        "tls_client_ca_file": "/etc/strongroom/clients.pem",
        "tls_require_and_verify_client_cert": 1,
        "x_forwarded_for_authorized_addrs": "10.0.0.0/8, 192.168.1.1",
        "x_forwarded_for_hop_skips": 1,
        "x_forwarded_for_reject_not_present": "false",
        "custom_response_headers": {
          "default": {
            "Strict-Transport-Security": ["max-age=31536000", "includeSubDomains"],
            "X-Tier": ["any"]
          },
          "4xx": { "X-Tier": ["client"] },
          "404": [{ "X-Tier": ["missing"] }]
        },
        "telemetry": { "unauthenticated_metrics_access": "true" }
      }
    },
    {
      "unix": {
        "address": "/run/strongroom.sock",
        "socket_mode": "660",
        "socket_user": 1000,
        "socket_group": "vault"
      }
    }
  ],
  "default_lease_ttl": 43200,
  "max_lease_ttl": "48h",
  "log_level": "debug",
  "log_format": "JSON",
  "log_file": "/var/log/strongroom/",
  "log_rotate_bytes": "1048576",
  "log_rotate_max_files": -1,
  "telemetry": [{
    "prometheus_retention_time": "30s",
    "disable_hostname": "1",
    "usage_gauge_period": 0,
    "prefix_filter": ["+vault.token", "-vault.expire"]
  }],
  "policy_deny": "most-specific",
  "outbound_allowed_ranges": "169.254.169.254,10.0.0.0/8",
  "outbound_only_allowed": "true"
}"#;

fn raft(config: &Config) -> &Raft {
    match &config.storage {
        Some(Storage::Raft(raft)) => raft,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_node_of_a_cluster_in_hcl_and_in_json() {
    for text in [CLUSTER, CLUSTER_JSON] {
        let loaded = load(text).unwrap();
        check_warnings(&loaded);
        let config = loaded.config;
        config.check().unwrap();
        check_outermost(&config);
        check_storage(raft(&config));
        check_tcp(&config);
        check_unix(&config);
    }
}

/// The warnings name what this version does not do, and nothing else.
fn check_warnings(loaded: &Loaded) {
    let mut keys = BTreeSet::new();
    for warning in warnings(loaded) {
        assert!(warning.contains("is accepted and has no effect: "), "{warning}");
        keys.extend(warning.split('"').nth(1).map(str::to_owned));
    }
    let wanted = ["autopilot_redundancy_zone", "telemetry", "ui"];
    assert_eq!(keys, wanted.map(str::to_owned).into());
}

fn check_outermost(config: &Config) {
    assert!(config.ui);
    assert_eq!(config.cluster_name.as_deref(), Some("eu-1"));
    assert_eq!(config.api_addr.as_deref(), Some("https://vault-1.example.com:8200"));
    assert_eq!(config.cluster_addr.as_deref(), Some("https://10.0.0.1:8201"));
    assert_eq!(config.disable_mlock, Some(true));
    assert_eq!(config.effective_default_lease_ttl(), Duration::from_hours(12));
    assert_eq!(config.effective_max_lease_ttl(), Duration::from_hours(48));
    assert_eq!(config.log_level, Some(LogLevel::Debug));
    assert_eq!(config.log_format, Some(LogFormat::Json));
    assert_eq!(config.log_file, Some(PathBuf::from("/var/log/strongroom/")));
    assert_eq!(config.log_rotate_bytes, Some(1_048_576));
    assert_eq!(config.log_rotate_max_files, -1);
    assert_eq!(config.policy_deny, PolicyDeny::MostSpecific);
    let allowed = ["169.254.169.254/32", "10.0.0.0/8"].map(|range| range.parse().unwrap());
    assert_eq!(config.outbound.allowed, allowed);
    assert!(config.outbound.only_allowed && config.outbound.denied.is_empty());
    assert_eq!(config.telemetry.prometheus_retention_time, Duration::from_secs(30));
    assert!(config.telemetry.disable_hostname);
    assert_eq!(config.telemetry.usage_gauge_period, None);
    assert_eq!(config.telemetry.prefix_filter, ["+vault.token", "-vault.expire"]);
}

fn check_storage(raft: &Raft) {
    assert_eq!(raft.path, Some(PathBuf::from("/var/lib/strongroom")));
    assert_eq!(raft.node_id.as_deref(), Some("vault-1"));
    assert_eq!(raft.performance_multiplier, 1);
    assert_eq!((raft.trailing_logs, raft.snapshot_threshold), (Some(512), None));
    assert_eq!(raft.max_entry_size, Some(2_097_152));
    assert_eq!(raft.autopilot_redundancy_zone.as_deref(), Some("a"));
    let [named, discovered] = raft.retry_join.as_slice() else { panic!("two nodes") };
    assert!(matches!(&named.join, Join::Address(url) if url == "https://vault-2.example.com:8200"));
    assert_eq!(named.tls.server_name.as_deref(), Some("vault"));
    assert!(matches!(&named.tls.client_key, Some(Pem::File(path)) if path.ends_with("node.key")));
    let Join::Discover(discover) = &discovered.join else { panic!("{discovered:?}") };
    assert_eq!((discover.scheme, discover.port), ("https", 8300));
    assert_eq!(discover.provider, Provider::Dns("vault.internal".to_owned()));
}

fn check_tcp(config: &Config) {
    let listener = tcp(config);
    assert_eq!(listener.address, Address { host: "::".into(), port: 8200 });
    assert_eq!(listener.cluster_address.to_string(), "[::]:8201");
    let tls = listener.tls.as_ref().unwrap();
    assert_eq!(tls.cert_file, PathBuf::from("/etc/strongroom/cert.pem"));
    assert_eq!((tls.min_version, tls.max_version), (TlsVersion::Tls12, TlsVersion::Tls12));
    let suites = [CipherSuite::EcdheRsaWithAes256GcmSha384, CipherSuite::EcdheRsaWithChacha20Poly1305Sha256];
    assert_eq!(tls.cipher_suites, suites);
    assert_eq!(tls.client_certificates, ClientCertificates::RequiredAndVerified);
    let forwarded = listener.shared.forwarded_for.as_ref().unwrap();
    assert_eq!(forwarded.client_certificate, None);
    assert_eq!((listener.proxy_protocol.as_ref(), listener.shared.max_token_header_size), (None, Some(8192)));
    assert_eq!((listener.shared.chroot_namespace.as_str(), listener.shared.redact), ("", Redact::default()));
    assert_eq!(
        forwarded.authorized_addrs,
        ["10.0.0.0/8".parse().unwrap(), "192.168.1.1/32".parse().unwrap()]
    );
    assert_eq!(forwarded.hop_skips, 1);
    assert!(forwarded.reject_not_authorized);
    assert!(!forwarded.reject_not_present);
    let headers = |status| listener.shared.response_headers.for_status(status);
    assert_eq!(headers(200)["strict-transport-security"], "max-age=31536000; includeSubDomains");
    let tiers: Vec<&str> = [200, 403, 404].map(|status| headers(status)["x-tier"]).to_vec();
    assert_eq!(tiers, ["any", "client", "missing"]);
    assert!(listener.shared.unauthenticated.metrics);
    assert!(!listener.shared.unauthenticated.pprof);
}

fn check_unix(config: &Config) {
    let Some(Listener::Unix(unix)) = config.listeners.get(1) else { panic!("a Unix listener") };
    assert_eq!(unix.address, PathBuf::from("/run/strongroom.sock"));
    assert_eq!(unix.socket_mode, Some(0o660));
    assert_eq!(unix.socket_user, Some(Owner::Id(1000)));
    assert_eq!(unix.socket_group, Some(Owner::Name("vault".into())));
}

#[test]
fn what_is_not_set_has_vaults_defaults() {
    let config = read(&listener(""));
    let listener = tcp(&config);
    assert_eq!(listener.address.to_string(), "127.0.0.1:8200");
    assert_eq!(listener.cluster_address.to_string(), "127.0.0.1:8201");
    assert_eq!(listener.tls, None);
    let shared = &listener.shared;
    let secs = Duration::from_secs;
    let timeouts = shared.timeouts;
    let set = (timeouts.read_header, timeouts.read, timeouts.write, timeouts.idle);
    assert_eq!(set, (secs(10), secs(30), secs(0), secs(300)));
    assert_eq!(shared.max_request_size, Some(32 * 1024 * 1024));
    assert_eq!(shared.max_request_duration, secs(90));
    let json = shared.json;
    assert_eq!((json.max_depth, json.max_string_value_length), (127, Some(1_048_576)));
    assert_eq!((json.max_object_entry_count, json.max_array_element_count), (Some(10_000), Some(10_000)));
    assert_eq!(json.max_token, Some(500_000));
    assert_eq!(shared.forwarded_for, None);
    assert_eq!(config.effective_default_lease_ttl(), Duration::from_hours(768));
    assert_eq!(config.effective_max_lease_ttl(), Duration::from_hours(768));
    assert_eq!(config.policy_deny, PolicyDeny::DenyWins);
    assert_eq!(config.disable_mlock, None);
    assert_eq!(config.log_rotate_duration, Duration::from_hours(24));
    assert_eq!(config.telemetry.prometheus_retention_time, Duration::from_hours(24));
    assert_eq!(config.telemetry.usage_gauge_period, Some(Duration::from_mins(10)));
    assert!(config.telemetry.filter_default);
}

#[test]
fn empty_texts_and_null_are_not_set() {
    let config = read("log_level = \"\"\napi_addr = \"\"\nmax_lease_ttl = \"\"\ndefault_lease_ttl = 0");
    assert_eq!((config.log_level, config.api_addr.clone(), config.max_lease_ttl), (None, None, None));
    assert_eq!(config.default_lease_ttl, None);
    let config = accept("{\"log_level\": null, \"storage\": null, \"ui\": null}");
    assert!(config.log_level.is_none() && config.storage.is_none() && !config.ui);
}

#[test]
fn requests_have_limits_that_listeners_may_change() {
    let config = read(&format!(
        "default_max_request_duration = \"30s\"\n{}\n{}",
        listener("max_request_size = -1\nmax_json_depth = 12\nmax_json_token = 0\nmax_request_duration = 0"),
        listener(
            "address = \"127.0.0.1:0\"\nmax_request_size = \"1024\"\nmax_request_duration = 10\nhttp_idle_timeout = 0"
        ),
    ));
    let [first, second] = [0, 1].map(|index| config.listeners[index].shared().clone());
    assert_eq!((first.max_request_size, first.max_request_duration), (None, Duration::from_secs(30)));
    assert_eq!((first.json.max_depth, first.json.max_token), (12, Some(500_000)));
    assert_eq!((second.max_request_size, second.max_request_duration), (Some(1024), Duration::from_secs(10)));
    assert_eq!(first.timeouts.effective_idle(), Some(Duration::from_mins(5)));
    assert_eq!(second.timeouts.effective_idle(), Some(Duration::from_secs(30)), "the read timeout counts");
}

#[test]
fn addresses() {
    let config = accept(&listener("address = \":8300\"\ncluster_address = \"localhost:9000\""));
    assert_eq!(tcp(&config).address, Address { host: String::new(), port: 8300 });
    assert_eq!(tcp(&config).cluster_address.to_string(), "localhost:9000");
    let config = read(&listener("address = \"127.0.0.1:0\""));
    assert_eq!(tcp(&config).cluster_address.to_string(), "127.0.0.1:0", "the system chooses both");
    let config = read("listener \"unix\" {}");
    assert!(
        matches!(&config.listeners[0], Listener::Unix(unix) if unix.address == Path::new("/run/vault.sock"))
    );
}

#[test]
fn a_listener_may_be_open() {
    let config = accept(&listener(
        "profiling { unauthenticated_pprof_access = true }\n\
         inflight_requests_logging { unauthenticated_in_flight_requests_access = true }",
    ));
    let shared = &tcp(&config).shared;
    assert!(shared.unauthenticated.pprof && shared.unauthenticated.in_flight_requests);
    assert!(!shared.unauthenticated.metrics);
    let config = accept(&listener("profiling { unauthenticated_in_flight_request_access = true }"));
    assert!(tcp(&config).shared.unauthenticated.in_flight_requests, "as an example of Vault's has it");
}

#[test]
fn storage_has_an_old_name_and_several_spellings() {
    for text in [
        "backend \"inmem\" {}",
        "storage inmem {}",
        "storage = { inmem = {} }",
        "{\"backend\": {\"inmem\": {}}}",
        "{\"storage\": [{\"type\": \"inmem\"}]}",
    ] {
        assert!(matches!(read(text).storage, Some(Storage::Inmem)), "{text}");
    }
}

#[test]
fn a_listener_may_name_its_type_within() {
    let config = read("{\"listener\": [{\"type\": \"tcp\", \"tls_disable\": 1}, {\"type\": \"unix\"}]}");
    assert_eq!(config.listeners.iter().map(Listener::kind).collect::<Vec<_>>(), ["tcp", "unix"]);
}

#[test]
fn seals_of_any_type_are_read_and_those_not_supported_are_refused_at_start() {
    let base = format!("storage \"inmem\" {{}}\n{}\n", listener(""));
    let config = read(&format!(
        "{base}seal \"transit\" {{\n  address = \"https://v:8200\"\n  token = \"hush\"\n  disabled = \"true\"\n  n = [1]\n}}"
    ));
    let seal = &config.seals[0];
    assert_eq!((seal.kind.as_str(), seal.disabled), ("transit", true));
    assert_eq!(seal.parameters.keys().collect::<Vec<_>>(), ["address", "n", "token"]);
    assert_eq!(seal.parameters["token"].expose(), "hush");
    assert_eq!(seal.parameters["n"].expose(), "[1]");
    assert!(!format!("{config:?}").contains("hush"), "secrets are not printed");
    let refused = config.check_seals(&["shamir"]).unwrap_err().to_string();
    let text = "server.hcl:6:1: seal \"transit\" is not supported; supported is \"shamir\" (docs/seal.md).";
    assert!(refused.starts_with(text) && refused.ends_with("(docs/migrate.md)"), "{refused}");
    let config = read(&format!("{base}seal \"shamir\" {{}}"));
    config.check().unwrap();
    config.check_seals(&["shamir"]).unwrap();
}

#[test]
fn what_stands_before_a_listener() {
    let text = r#"
listener "tcp" {
  tls_disable                                 = true
  chroot_namespace                            = "/admin/team/"
  proxy_protocol_behavior                     = "allow_authorized"
  proxy_protocol_authorized_addrs             = "10.0.0.0/8, 192.168.1.1"
  x_forwarded_for_authorized_addrs            = "10.0.0.1"
  x_forwarded_for_client_cert_header          = "X-Client-Cert"
  x_forwarded_for_client_cert_header_decoders = "URL,DER"
  redact_addresses                            = true
  redact_version                              = "true"
  max_token_header_size                       = -1
}
"#;
    let config = read(text);
    let tcp = tcp(&config);
    let proxy = tcp.proxy_protocol.as_ref().unwrap();
    assert_eq!((proxy.behavior, proxy.authorized_addrs.len()), (ProxyBehavior::AllowAuthorized, 2));
    let certificate = tcp.shared.forwarded_for.as_ref().unwrap().client_certificate.as_ref().unwrap();
    assert_eq!(certificate.name, "X-Client-Cert");
    assert_eq!(certificate.decoders, [CertificateDecoder::Url, CertificateDecoder::Der]);
    assert_eq!(tcp.shared.chroot_namespace, "admin/team");
    assert_eq!(tcp.shared.redact, Redact { addresses: true, cluster_name: false, version: true });
    assert_eq!(tcp.shared.max_token_header_size, None);
}
