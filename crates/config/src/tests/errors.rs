//! The messages about a configuration that cannot be used.

use super::{error, listener, read};

fn raft(lines: &str) -> String {
    format!("storage \"raft\" {{\n  path = \"d\"\n{lines}\n}}")
}

#[test]
fn values_of_the_wrong_kind() {
    for (text, wanted) in [
        ("ui = \"maybe\"", "server.hcl:1:6: \"ui\" must be true or false, not \"maybe\""),
        ("ui = 2", "server.hcl:1:6: \"ui\" must be true or false, not 2"),
        ("ui = []", "server.hcl:1:6: \"ui\" must be true or false, not a list"),
        ("ui {}", "server.hcl:1:4: \"ui\" must be true or false, not an object"),
        ("ui \"x\" {}", "server.hcl:1:8: \"ui\" takes a value, not a block with labels"),
        ("cluster_name = true", "server.hcl:1:16: \"cluster_name\" must be a string, not a boolean"),
        ("cluster_name = [\"x\"]", "server.hcl:1:16: \"cluster_name\" must be a string, not a list"),
        ("cache_size = -1", "server.hcl:1:14: \"cache_size\" must be a whole number of at least 0, not -1"),
        ("cache_size = 1.5", "server.hcl:1:14: \"cache_size\" must be a whole number of at least 0, not 1.5"),
        (
            "cache_size = \"many\"",
            "server.hcl:1:14: \"cache_size\" must be a whole number of at least 0, not \"many\"",
        ),
        (
            "cache_size = 99999999999999999999",
            "server.hcl:1:14: \"cache_size\" must be a whole number of at least 0, not 99999999999999999999",
        ),
        (
            "log_rotate_duration = \"1 fortnight\"",
            "server.hcl:1:23: \"log_rotate_duration\" must be a duration such as \"30s\", \"1h\" or a number of seconds, \
             not \"1 fortnight\"",
        ),
        (
            "max_lease_ttl = -1",
            "server.hcl:1:17: \"max_lease_ttl\" must be a duration such as \"30s\", \"1h\" or a number of seconds, not -1",
        ),
        (
            "max_lease_ttl = true",
            "server.hcl:1:17: \"max_lease_ttl\" must be a duration such as \"30s\", \"1h\" or a number of seconds, not true",
        ),
        (
            "log_level = \"loud\"",
            "server.hcl:1:13: \"log_level\" must be one of \"trace\", \"debug\", \"info\", \"warn\", \"error\", \"off\", \
             \"notice\", \"warning\", \"err\", not \"loud\"",
        ),
        (
            "log_format = \"xml\"",
            "server.hcl:1:14: \"log_format\" must be one of \"standard\", \"json\", not \"xml\"",
        ),
        (
            "policy_deny = \"never\"",
            "server.hcl:1:15: \"policy_deny\" must be one of \"deny-wins\", \"most-specific\", not \"never\"",
        ),
        (
            "outbound_denied_ranges = \"10.0.0.0/8,db.example\"",
            "server.hcl:1:26: \"outbound_denied_ranges\" must be IP addresses or networks such as \"10.0.0.0/8\", not \
             \"db.example\"",
        ),
        (
            "api_addr = \"10.0.0.5:8200\"",
            "server.hcl:1:12: \"api_addr\" must be a URL such as \"https://10.0.0.5:8200\", not \"10.0.0.5:8200\"",
        ),
        (
            "cluster_addr = \"https://\"",
            "server.hcl:1:16: \"cluster_addr\" must be a URL such as \"https://10.0.0.5:8200\", not \"https://\"",
        ),
        (
            "api_addr = \"https://{{ GetPrivateIP }}:8200\"",
            "server.hcl:1:12: \"api_addr\" must be an address; templates such as \"https://{{ GetPrivateIP }}:8200\" are \
             not supported",
        ),
        ("telemetry = 3", "server.hcl:1:13: \"telemetry\" must be a block, not a number"),
        ("listener = 3", "server.hcl:1:12: \"listener\" must be a block, not a number"),
        ("listener \"tcp\" \"x\" {}", "server.hcl:1:1: \"listener\" takes one label, not 2"),
        ("telemetry \"x\" {}", "server.hcl:1:1: \"telemetry\" takes no label, not 1"),
    ] {
        assert_eq!(error(text), wanted, "{text}");
    }
}

#[test]
fn long_values_are_cut() {
    let text = format!("log_format = \"{}\"", "é".repeat(100));
    let shown = "é".repeat(60);
    let wanted = format!(
        "server.hcl:1:14: \"log_format\" must be one of \"standard\", \"json\", not \"{shown}\" and so on"
    );
    assert_eq!(error(&text), wanted);
}

#[test]
fn texts_that_are_not_hcl_or_json() {
    for (text, wanted) in [
        ("ui = tru", "server.hcl:1:6: expected a value, found tru; a text needs quotes: \"tru\""),
        ("listener \"tcp\" {\n", "server.hcl:2:1: expected a key, found the end of the text"),
        ("{\"ui\": }", "server.hcl:1:8: expected a value, found '}'"),
        (
            "ui = true\nui = false",
            "server.hcl:2:1: \"ui\" was already set; each argument can only be defined once",
        ),
        (
            "telemetry {\n  metrics_prefix = \"a\"\n  metrics_prefix = \"b\"\n}",
            "server.hcl:3:3: \"metrics_prefix\" was already set; each argument can only be defined once",
        ),
    ] {
        assert_eq!(error(text), wanted, "{text}");
    }
}

#[test]
fn values_that_do_not_fit_together() {
    for (text, wanted) in [
        (
            "max_lease_ttl = \"1h\"\ndefault_lease_ttl = \"2h\"",
            "server.hcl:2:21: \"default_lease_ttl\" must not be longer than \"max_lease_ttl\"",
        ),
        (
            "default_lease_ttl = \"769h\"",
            "server.hcl:1:21: \"default_lease_ttl\" must not be longer than \"max_lease_ttl\"",
        ),
        (
            "storage \"raft\" {}\ndisable_clustering = true",
            "server.hcl:2:22: \"disable_clustering\" cannot be set to true with storage \"raft\"",
        ),
        (
            "storage \"inmem\" {}\nstorage \"raft\" {}",
            "server.hcl:2:1: only one \"storage\" block is permitted",
        ),
        (
            "storage \"inmem\" {}\nbackend \"raft\" {}",
            "server.hcl:2:1: \"backend\" is an old name of \"storage\"; use only one",
        ),
        ("telemetry {}\ntelemetry {}", "server.hcl:2:1: only one \"telemetry\" block is permitted"),
    ] {
        assert_eq!(error(text), wanted, "{text}");
    }
    let config = read("max_lease_ttl = \"1h\"");
    assert_eq!(config.effective_default_lease_ttl(), config.effective_max_lease_ttl());
}

#[test]
fn what_is_not_supported() {
    for (text, wanted) in [
        (
            "\n  storage \"consul\" {\n  path = \"vault/\" }",
            "server.hcl:2:3: storage \"consul\" is not supported; supported are \"etcd\", \"inmem\", \"postgresql\", \"raft\". \"operator migrate\" copies data between these; secrets of another server are copied over the API (docs/migrate.md)",
        ),
        (
            "{\"storage\": {\n\"file\": {\"path\": \"x\"}}}",
            "server.hcl:2:1: storage \"file\" is not supported; supported are \"etcd\", \"inmem\", \"postgresql\", \"raft\". \"operator migrate\" copies data between these; secrets of another server are copied over the API (docs/migrate.md)",
        ),
        (
            "backend \"mysql\" {}",
            "server.hcl:1:1: backend \"mysql\" is not supported; supported are \"etcd\", \"inmem\", \"postgresql\", \"raft\". \"operator migrate\" copies data between these; secrets of another server are copied over the API (docs/migrate.md)",
        ),
        (
            "ha_storage \"consul\" {}",
            "server.hcl:1:1: \"ha_storage\" is not supported; each storage coordinates its nodes itself: \"raft\" always, \"postgresql\" and \"etcd\" with \"ha_enabled\"",
        ),
        (
            "ha_backend \"etcd\" {}",
            "server.hcl:1:1: \"ha_backend\" is not supported; each storage coordinates its nodes itself: \"raft\" always, \"postgresql\" and \"etcd\" with \"ha_enabled\"",
        ),
        (
            "listener \"quic\" {}",
            "server.hcl:1:1: listener \"quic\" is not supported; supported are \"tcp\", \"unix\"",
        ),
    ] {
        assert_eq!(error(text), wanted, "{text}");
    }
}

#[test]
fn what_proxies_are_believed() {
    for (text, wanted) in [
        (
            "proxy_protocol_behavior = \"always\"",
            "\"proxy_protocol_behavior\" must be one of use_always, allow_authorized, \
             deny_unauthorized, not \"always\"",
        ),
        (
            "proxy_protocol_behavior = \"deny_unauthorized\"",
            "\"proxy_protocol_authorized_addrs\" must name at least one address",
        ),
        (
            "x_forwarded_for_client_cert_header_decoders = \"PEM\"",
            "\"x_forwarded_for_client_cert_header_decoders\" must be some of BASE64, DER, URL, not \
             \"PEM\"",
        ),
        (
            "x_forwarded_for_client_cert_header = \"X Cert\"",
            "\"x_forwarded_for_client_cert_header\" must be the name of a header",
        ),
        (
            "chroot_namespace = \"a/../b\"",
            "\"chroot_namespace\" must be the path of a namespace, not \"a/../b\"",
        ),
    ] {
        let told = error(&listener(text));
        assert!(told.starts_with("server.hcl:3:") && told.ends_with(wanted), "{text}: {told}");
    }
}

#[test]
fn listeners() {
    let address = |text: &str| {
        format!(
            "server.hcl:3:11: \"address\" must be a host and a port such as \"127.0.0.1:8200\", not {text:?}"
        )
    };
    for (lines, wanted) in [
        ("address = \"127.0.0.1\"", address("127.0.0.1")),
        ("address = \"127.0.0.1:http\"", address("127.0.0.1:http")),
        ("address = \"::1:8200\"", address("::1:8200")),
        ("address = \"[nonsense]:8200\"", address("[nonsense]:8200")),
        ("address = \"http://x:8200\"", address("http://x:8200")),
        ("address = \"127.0.0.1:65536\"", address("127.0.0.1:65536")),
        (
            "address = \"{{ GetPrivateIP }}:8200\"",
            "server.hcl:3:11: \"address\" must be an address; templates such as \"{{ GetPrivateIP }}:8200\" are not \
             supported"
                .to_owned(),
        ),
        (
            "address = \"127.0.0.1:65535\"",
            "server.hcl:3:11: \"cluster_address\" must be set: no port is above that of \"address\"".to_owned(),
        ),
        (
            "tls_min_version = \"tls9\"",
            "server.hcl:3:19: \"tls_min_version\" must be one of \"tls12\", \"tls13\", not \"tls9\"".to_owned(),
        ),
        (
            "tls_min_version = \"tls13\"\ntls_max_version = \"tls12\"",
            "server.hcl:4:19: \"tls_max_version\" must not be older than \"tls_min_version\"".to_owned(),
        ),
        (
            "tls_disable_client_certs = true\ntls_require_and_verify_client_cert = true",
            "server.hcl:3:28: \"tls_disable_client_certs\" and \"tls_require_and_verify_client_cert\" are mutually \
             exclusive"
                .to_owned(),
        ),
        (
            "tls_cipher_suites = \"TLS_RSA_WITH_RC4_128_SHA\"",
            "server.hcl:3:21: \"tls_cipher_suites\" must name some of TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, \
             TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, \
             TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, \
             TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"
                .to_owned(),
        ),
        (
            "x_forwarded_for_authorized_addrs = [\"10.0.0.0/8\", \"proxy\"]",
            "server.hcl:3:36: \"x_forwarded_for_authorized_addrs\" must be IP addresses or networks such as \
             \"10.0.0.0/8\", not \"proxy\""
                .to_owned(),
        ),
        (
            "x_forwarded_for_authorized_addrs = [[]]",
            "server.hcl:3:36: \"x_forwarded_for_authorized_addrs\" must be a list of strings: an element must be a \
             string, not a list"
                .to_owned(),
        ),
        (
            "x_forwarded_for_authorized_addrs = true",
            "server.hcl:3:36: \"x_forwarded_for_authorized_addrs\" must be a list of strings, not a boolean".to_owned(),
        ),
        (
            "x_forwarded_for_hop_skips = -1",
            "server.hcl:3:29: \"x_forwarded_for_hop_skips\" must be a whole number from 0 to 1000, not -1".to_owned(),
        ),
        (
            "max_request_size = \"32MB\"",
            "server.hcl:3:20: \"max_request_size\" must be a whole number, not \"32MB\"".to_owned(),
        ),
    ] {
        assert_eq!(error(&listener(lines)), wanted, "{lines}");
    }
}

#[test]
fn tls_needs_certificate_and_key() {
    let wanted = "server.hcl:1:1: listener \"tcp\" needs \"tls_cert_file\" and \"tls_key_file\", or \"tls_disable = \
                  true\" to do without TLS";
    assert_eq!(error("listener \"tcp\" {}"), wanted);
    assert_eq!(error("listener \"tcp\" { tls_cert_file = \"c\" }"), wanted);
    assert_eq!(error("listener \"tcp\" { tls_key_file = \"k\" }"), wanted);
    assert_eq!(error("listener \"tcp\" { tls_disable = 0 }"), wanted);
}

#[test]
fn response_headers() {
    for (lines, wanted) in [
        (
            "\"teapot\" = {}",
            "server.hcl:4:1: \"teapot\" must be \"default\", a class such as \"2xx\" or a status such as \"404\"",
        ),
        (
            "\"6xx\" = {}",
            "server.hcl:4:1: \"6xx\" must be \"default\", a class such as \"2xx\" or a status such as \"404\"",
        ),
        (
            "\"099\" = {}",
            "server.hcl:4:1: \"099\" must be \"default\", a class such as \"2xx\" or a status such as \"404\"",
        ),
        ("\"200\" = 1", "server.hcl:4:1: \"200\" must be an object of headers, not a number"),
        ("\"200\" = { \"X Y\" = [\"a\"] }", "server.hcl:4:19: \"X Y\" is not the name of an HTTP header"),
        ("\"200\" = { \"X\" = {} }", "server.hcl:4:17: \"X\" must be a list of strings, not an object"),
        (
            "\"200\" = { \"X\" = [\"a\\n\"] }",
            "server.hcl:4:17: \"X\" must consist of printable ASCII characters",
        ),
    ] {
        assert_eq!(error(&listener(&format!("custom_response_headers {{\n{lines}\n}}"))), wanted, "{lines}");
    }
}

#[test]
fn unix_sockets() {
    for mode in ["\"0999\"", "\"rw\"", "77777", "[]"] {
        let shown = if mode == "[]" { "a list" } else { mode };
        let wanted =
            format!("server.hcl:1:33: \"socket_mode\" must be permissions such as \"0600\", not {shown}");
        assert_eq!(error(&format!("listener \"unix\" {{ socket_mode = {mode} }}")), wanted);
    }
}

#[test]
fn raft_storage() {
    for (lines, wanted) in [
        (
            "performance_multiplier = 11",
            "server.hcl:3:26: \"performance_multiplier\" must be a whole number from 0 to 10, not 11",
        ),
        (
            "trailing_logs = 0",
            "server.hcl:3:17: \"trailing_logs\" must be a whole number of at least 1, not 0",
        ),
        (
            "max_entry_size = 1000",
            "server.hcl:3:18: \"max_entry_size\" must be a whole number from 65536 to 536870912, not 1000",
        ),
        (
            "retry_join_as_non_voter = true",
            "server.hcl:3:27: \"retry_join_as_non_voter\" is only valid if there is at least one \"retry_join\" block",
        ),
        ("retry_join {}", "server.hcl:3:1: \"retry_join\" needs either \"leader_api_addr\" or \"auto_join\""),
        (
            "retry_join { leader_api_addr = \"http://a:1\"\n auto_join = \"provider=k8s\" }",
            "server.hcl:3:1: \"retry_join\" needs either \"leader_api_addr\" or \"auto_join\"",
        ),
        (
            "retry_join { leader_api_addr = \"a:1\" }",
            "server.hcl:3:32: \"leader_api_addr\" must be a URL such as \"https://10.0.0.5:8200\", not \"a:1\"",
        ),
        (
            "retry_join { auto_join = \"provider=aws secret_access_key=hush\" }",
            "server.hcl:3:26: \"auto_join\" provider \"aws\" is not supported; supported are \"static\", \"dns\"",
        ),
        (
            "retry_join { auto_join = \"x\"\n auto_join_scheme = \"ftp\" }",
            "server.hcl:4:21: \"auto_join_scheme\" must be one of \"https\", \"http\", not \"ftp\"",
        ),
        (
            "retry_join { leader_api_addr = \"http://a:1\"\n leader_ca_cert = \"-----BEGIN C\"\n leader_ca_cert_file = \"f\" }",
            "server.hcl:4:19: \"leader_ca_cert_file\" and \"leader_ca_cert\" are mutually exclusive",
        ),
        (
            "retry_join { leader_api_addr = \"http://a:1\"\n leader_ca_cert = \"-----BEGIN C\"\n leader_client_cert_file = \"f\"\n \
             leader_client_key_file = \"k\" }",
            "server.hcl:3:1: \"retry_join\" must give certificates and key either all as files or all as text",
        ),
        (
            "retry_join { leader_api_addr = \"http://a:1\"\n leader_client_cert = \"-----BEGIN C\" }",
            "server.hcl:3:1: \"retry_join\" must give a client certificate together with its key",
        ),
    ] {
        assert_eq!(error(&raft(lines)), wanted, "{lines}");
    }
}

#[test]
fn telemetry() {
    for (line, wanted) in [
        ("lease_metrics_epsilon = 0", "server.hcl:1:37: \"lease_metrics_epsilon\" must be longer than zero"),
        (
            "prefix_filter = [\"vault\"]",
            "server.hcl:1:29: \"prefix_filter\" must have '+' or '-' before each prefix, not \"vault\"",
        ),
        (
            "usage_gauge_period = \"often\"",
            "server.hcl:1:34: \"usage_gauge_period\" must be a duration such as \"30s\", \"1h\" or a number of seconds, \
             not \"often\"",
        ),
    ] {
        assert_eq!(error(&format!("telemetry {{ {line} }}")), wanted, "{line}");
    }
}

#[test]
fn what_is_missing_is_said_at_start() {
    let missing = |text: &str| read(text).check().expect_err(text).to_string();
    let here = listener("");
    assert_eq!(missing("storage \"inmem\" {}"), "at least one \"listener\" block is needed");
    assert_eq!(missing(&here), "a \"storage\" block is needed");
    assert_eq!(
        missing(&format!("{here}\nstorage \"raft\" {{}}")),
        "\"path\" in storage \"raft\" or VAULT_RAFT_PATH is needed"
    );
    assert_eq!(
        missing(&format!("{here}\n{}", raft(""))),
        "\"cluster_addr\" or VAULT_CLUSTER_ADDR is needed with storage \"raft\""
    );
    read(&format!("{here}\nstorage \"inmem\" {{}}")).check().unwrap();
}

#[test]
fn one_threshold_has_two_names() {
    let text = raft("  snapshot_threshold = 9\n  raft_snapshot_threshold = 9");
    assert!(error(&text).contains("another name of \"snapshot_threshold\"; use only one"));
    let alone = read(&raft("  raft_snapshot_threshold = 9"));
    assert!(matches!(alone.storage, Some(crate::Storage::Raft(raft)) if raft.snapshot_threshold == Some(9)));
}

#[test]
fn addresses_that_cannot_work() {
    for host in ["0.0.0.0:8201", "0.0.0.0", "[::]:8201", "[::0]"] {
        let message = error(&format!("cluster_addr = \"https://{host}\""));
        assert!(message.contains("an address at which other nodes reach this one"), "{message}");
    }
    for key in ["cluster_addr", "api_addr"] {
        for port in ["0", "65536", "", "x"] {
            let message = error(&format!("{key} = \"https://10.0.0.1:{port}\""));
            assert!(message.contains(&format!("{key:?} must have a port from 1 to 65535")), "{message}");
        }
    }
    let message = error(&raft("retry_join { leader_api_addr = \"https://0.0.0.0:1\" }"));
    assert!(message.contains("\"leader_api_addr\" must be the address of another node"), "{message}");
    // What many have in their files, and what works as long as there is one node.
    let all = read("api_addr = \"http://0.0.0.0:8200\"").doubtful_api_addr();
    assert!(all.is_some_and(|remark| remark.contains("means all addresses")), "{all:?}");
    assert_eq!(read("api_addr = \"http://127.0.0.1:8200\"").doubtful_api_addr(), None);
    read("cluster_addr = \"https://10.0.0.1:8201\"");
    read("cluster_addr = \"https://[fd00::1]:8201\"");
}

#[test]
fn a_path_in_the_place_of_a_certificate_names_the_right_key() {
    for (key, file) in [
        ("leader_ca_cert", "leader_ca_cert_file"),
        ("leader_client_cert", "leader_client_cert_file"),
        ("leader_client_key", "leader_client_key_file"),
    ] {
        let message = error(&raft(&format!(
            "retry_join {{ leader_api_addr = \"http://a:1\"\n {key} = \"/etc/x.pem\" }}"
        )));
        assert!(message.contains(&format!("{key:?} must be PEM text")), "{message}");
        assert!(message.ends_with(&format!("a file is named by {file:?}")), "{message}");
    }
}
