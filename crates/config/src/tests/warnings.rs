//! The warnings to an operator that do not prevent a start.

use super::{listener, load, tcp, warnings};
use crate::keys::{
    Block, LISTENER, LISTENER_TCP, LISTENER_UNIX, OUTERMOST, SEAL_SHAMIR, STORAGE_POSTGRESQL, STORAGE_RAFT,
    Status, USER_LOCKOUT,
};

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
    let mut warned = warned(&text);
    warned.retain(|warning| !warning.contains("is accepted and has no effect"));
    let unknown = |at: &str, what: &str| format!("server.hcl:{at}: unknown or unsupported field {what}");
    assert_eq!(
        warned,
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
                kms_library \"a\" {}\nkms_library \"b\" {}\nentropy \"seal\" { mode = \"augmentation\" }\n\
                replication {}\nsentinel {}\nexperiments = [\"x\"]\nadministrative_namespace_path = \"admin/\"";
    let warned = warned(text);
    assert_eq!(warned.len(), 10);
    for (warning, (line, key)) in warned.iter().zip([
        (1, "plugin_directory"),
        (2, "license_path"),
        (3, "service_registration"),
        (4, "kms_library"),
        (5, "kms_library"),
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
        "server.hcl:2:1: \"license_path\" is accepted and has no effect: no license is needed"
    );
}

#[test]
fn a_block_without_effect_is_warned_about_once() {
    assert_eq!(
        warned("telemetry {\n  statsd_address = \"s:8125\"\n  disable_hostname = true\n}"),
        [
            "server.hcl:1:1: \"telemetry\" is accepted and has no effect: this version neither collects nor sends metrics"
        ]
    );
}

#[test]
fn what_is_not_asked_for_needs_no_warning() {
    let text = format!(
        "ui = false\ndisable_clustering = \"false\"\nlicense_path = \"\"\n{}",
        listener("redact_version = false\nchroot_namespace = \"\"")
    );
    assert_eq!(warned(&text), [""; 0]);
}

#[test]
fn every_key_is_served_warned_about_or_refused() {
    let whole = |block: &Block, key: &str| match block.name {
        "" => format!("{key} = true"),
        name if name.starts_with("storage") || name.starts_with("seal") => {
            format!("{name} {{\n{key} = true\n}}")
        }
        "listener" | "listener \"tcp\"" => listener(&format!("{key} = true")),
        name => format!("{name} {{\n{key} = true\n}}"),
    };
    for block in [
        &OUTERMOST,
        &USER_LOCKOUT,
        &STORAGE_RAFT,
        &STORAGE_POSTGRESQL,
        &SEAL_SHAMIR,
        &LISTENER,
        &LISTENER_TCP,
        &LISTENER_UNIX,
    ] {
        for (status, key) in block.all() {
            let told = match load(&whole(block, key)) {
                Ok(loaded) => warnings(&loaded).join("\n"),
                Err(error) => error,
            };
            let quoted = format!("{key:?}");
            match status {
                Status::NoEffect(reason) => {
                    let warning = format!("{quoted} is accepted and has no effect: {reason}");
                    // A value of the wrong kind is refused before, as is a key that needs another.
                    let wrong =
                        told.contains(&format!("{quoted} must be ")) || told.contains("is only valid if");
                    assert!(told.contains(&warning) || wrong, "{key}: {told}");
                }
                Status::Refused(advice) => {
                    assert!(told.ends_with(&format!("{quoted} is not supported; {advice}")), "{key}: {told}");
                }
                Status::Served => {
                    assert!(!told.contains("no effect") && !told.contains("unknown"), "{key}: {told}");
                }
                Status::Part => panic!("{key} is not in a block of its own"),
            }
        }
    }
}

#[test]
fn a_depth_beyond_the_parsers_is_cut() {
    for depth in ["-1", "128"] {
        let loaded = load(&listener(&format!("max_json_depth = {depth}"))).unwrap();
        assert_eq!(
            warnings(&loaded),
            ["server.hcl:3:18: \"max_json_depth\" is taken as 127, which is the most"]
        );
        assert_eq!(tcp(&loaded.config).shared.json.max_depth, 127);
    }
}

#[test]
fn parameters_of_a_seal_that_has_none_are_unknown() {
    assert_eq!(
        warned("seal \"shamir\" {\n  key = \"x\"\n}"),
        ["server.hcl:2:3: unknown or unsupported field \"key\" in seal \"shamir\""]
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
