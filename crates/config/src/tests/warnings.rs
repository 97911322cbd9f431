//! What an operator is told without the start being refused.

use super::{listener, load, tcp, warnings};

fn warned(text: &str) -> Vec<String> {
    warnings(&load(text).unwrap_or_else(|error| panic!("{error}")))
}

#[test]
fn unknown_keys() {
    let text = format!(
        "bogus = 1\n{}\nstorage \"raft\" {{\n  wrong {{}}\n  retry_join {{\n    leader_api_addr = \"http://a:1\"\n    \
         odd = 1 }}\n}}\ntelemetry {{ strange = 1 }}",
        listener("  tls_disabled = true\n  telemetry { no = 1 }\n  profiling { no = 2 }")
    );
    let unknown = |at: &str, what: &str| format!("server.hcl:{at}: unknown or unsupported field {what}");
    assert_eq!(
        warned(&text),
        [
            unknown("1:1", "\"bogus\""),
            unknown("4:3", "\"tls_disabled\" in listener \"tcp\""),
            unknown("5:15", "\"no\" in telemetry"),
            unknown("6:15", "\"no\" in profiling"),
            unknown("9:3", "\"wrong\" in storage \"raft\""),
            unknown("12:5", "\"odd\" in retry_join"),
            unknown("14:13", "\"strange\" in telemetry"),
        ]
    );
}

#[test]
fn keys_without_effect() {
    let text = "plugin_directory = \"/x\"\nlicense_path = \"l\"\nservice_registration \"consul\" {}\n\
                user_lockout \"all\" {}\nuser_lockout \"ldap\" {}\nentropy \"seal\" { mode = \"augmentation\" }\n\
                replication {}\nsentinel {}\nexperiments = [\"x\"]\nadministrative_namespace_path = \"admin/\"";
    let warned = warned(text);
    assert_eq!(warned.len(), 10);
    for (warning, (line, key)) in warned.iter().zip([
        (1, "plugin_directory"),
        (2, "license_path"),
        (3, "service_registration"),
        (4, "user_lockout"),
        (5, "user_lockout"),
        (6, "entropy"),
        (7, "replication"),
        (8, "sentinel"),
        (9, "experiments"),
        (10, "administrative_namespace_path"),
    ]) {
        let start = format!("server.hcl:{line}:1: {key:?} is accepted and has no effect: ");
        assert!(warning.starts_with(&start) && warning.len() > start.len() + 5, "{warning}");
    }
    assert_eq!(
        warned[1],
        "server.hcl:2:1: \"license_path\" is accepted and has no effect: no licence is needed"
    );
}

#[test]
fn metrics_are_not_sent_elsewhere() {
    assert_eq!(
        warned("telemetry {\n  statsd_address = \"s:8125\"\n}"),
        [
            "server.hcl:2:3: \"statsd_address\" is accepted and has no effect: metrics are offered to Prometheus at \
          sys/metrics, and sent nowhere"
        ]
    );
}

#[test]
fn cipher_suites_that_are_not_supported_are_left_out() {
    let text = listener(
        "tls_cipher_suites = \"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_RSA_WITH_AES_128_CBC_SHA\"",
    );
    assert_eq!(
        warned(&text),
        [
            "server.hcl:3:21: \"tls_cipher_suites\": TLS_RSA_WITH_AES_128_CBC_SHA is not supported and left out"
        ]
    );
}

#[test]
fn a_certificate_header_needs_a_trusted_proxy() {
    let loaded = load(&listener("x_forwarded_for_client_cert_header = \"X-Cert\"")).unwrap();
    assert_eq!(
        warnings(&loaded),
        ["server.hcl:3:38: \"x_forwarded_for_client_cert_header\" has no effect without \
          \"x_forwarded_for_authorized_addrs\""]
    );
    assert_eq!(tcp(&loaded.config).shared.forwarded_for, None);
}

#[test]
fn response_headers_of_the_server_are_not_replaced() {
    let loaded =
        load(&listener("custom_response_headers {\n \"default\" = { \"X-Vault-Index\" = \"1\" }\n}"))
            .unwrap();
    assert_eq!(
        warnings(&loaded),
        ["server.hcl:4:34: the header \"X-Vault-Index\" is not accepted: \"X-Vault-\" is reserved"]
    );
    assert!(tcp(&loaded.config).shared.response_headers.for_status(200).is_empty());
}
