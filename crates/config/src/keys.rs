//! Every key of Vault's configuration, by block, with its status here.
//!
//! These tables decide what is known of a key: [`Fields::finish`](crate::fields::Fields::finish) warns of or refuses what they
//! say, and `docs/configuration.md` lists the same, which a test compares.
//!
//! Source: <https://developer.hashicorp.com/vault/docs/configuration> and the pages below it.

use Status::{NoEffect, Part, Refused, Served};

/// The status of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It does what it says.
    Served,
    /// It is checked, and a warning says why nothing follows from it.
    NoEffect(&'static str),
    /// Starting without it would be less safe than asked, or keep data elsewhere: an error that says what to do.
    Refused(&'static str),
    /// A key of a block that has no effect as a whole; the block's warning is enough.
    Part,
}

/// The keys of a kind of block.
#[derive(Debug)]
pub struct Block {
    /// The block as it is written in a configuration; empty for the outermost.
    pub name: &'static str,
    keys: &'static [(Status, &'static [&'static str])],
    also: Option<&'static Block>,
}

impl Block {
    const fn new(name: &'static str, keys: &'static [(Status, &'static [&'static str])]) -> Block {
        Block { name, keys, also: None }
    }

    /// The status of a key; `None` if this block has no such key.
    pub fn status(&self, key: &str) -> Option<Status> {
        self.all().find(|(_, known)| *known == key).map(|(status, _)| status)
    }

    /// All keys, those that several kinds of blocks share included.
    pub fn all(&self) -> impl Iterator<Item = (Status, &'static str)> {
        let shared = self.also.map_or(&[][..], |also| also.keys);
        let rows = self.keys.iter().chain(shared);
        rows.flat_map(|(status, keys)| keys.iter().map(move |key| (*status, *key)))
    }
}

/// All kinds of blocks; a kind whose keys the operator chooses, such as `custom_response_headers`, is not among them.
pub const BLOCKS: [&Block; 16] = [
    &OUTERMOST,
    &AUDIT,
    &USER_LOCKOUT,
    &STORAGE_RAFT,
    &STORAGE_INMEM,
    &STORAGE_ETCD,
    &STORAGE_POSTGRESQL,
    &RETRY_JOIN,
    &SEAL_SHAMIR,
    &LISTENER_TCP,
    &LISTENER_UNIX,
    &LISTENER,
    &LISTENER_TELEMETRY,
    &LISTENER_PROFILING,
    &LISTENER_IN_FLIGHT,
    &TELEMETRY,
];

const PLAIN_CLUSTER: &str = "the cluster port has no options";
const NO_METRICS: &str = "this version neither collects nor sends metrics";
const NOT_THERE: &str = "this server does not have what it disables";
const INNER_PART: &str = "it tunes an inner part of Vault that this server does not have";

/// Outside of all blocks.
pub static OUTERMOST: Block = Block::new(
    "",
    &[
        (
            Served,
            &[
                "storage",
                "backend",
                "listener",
                "seal",
                "api_addr",
                "cluster_addr",
                "cluster_name",
                "default_lease_ttl",
                "max_lease_ttl",
                "policy_deny",
                "outbound_allowed_ranges",
                "outbound_denied_ranges",
                "outbound_only_allowed",
                "user_lockout",
                "default_max_request_duration",
                "disable_mlock",
                "disable_cache",
                "disable_performance_standby",
                "cache_size",
                "log_level",
                "log_requests_level",
                "log_format",
                "log_file",
                "log_rotate_bytes",
                "log_rotate_duration",
                "log_rotate_max_files",
                "pid_file",
                "raw_storage_endpoint",
                "introspection_endpoint",
                "enable_unauthenticated_access",
                "audit",
                "allow_audit_log_prefixing",
                "unsafe_allow_api_audit_creation",
                "enable_response_header_hostname",
                "enable_response_header_raft_node_id",
            ],
        ),
        (NoEffect("this version has no web interface"), &["ui"]),
        (NoEffect(NO_METRICS), &["telemetry"]),
        (NoEffect(PLAIN_CLUSTER), &["disable_clustering", "cluster_cipher_suites"]),
        (
            NoEffect("secrets engines and auth methods are built in, no plugin is loaded"),
            &["plugin_directory", "plugin_file_uid", "plugin_file_permissions", "plugin_tmpdir"],
        ),
        (NoEffect("no license is needed"), &["license_path", "license"]),
        (
            NoEffect("this server does not register itself; let the service directory ask sys/health"),
            &["service_registration"],
        ),
        (
            NoEffect("random numbers come from the operating system and the cryptographic library"),
            &["entropy"],
        ),
        (
            NoEffect("this server does not have the feature"),
            &["replication", "sentinel", "reporting", "kms_library", "hcp", "cloud"],
        ),
        (NoEffect("this server has no experiments"), &["experiments", "feature_flags"]),
        (NoEffect("every namespace has the same endpoints"), &["administrative_namespace_path"]),
        (NoEffect(NOT_THERE), &["disable_sealwrap", "disable_indexing", "disable_sentinel_trace"]),
        (
            NoEffect(INNER_PART),
            &[
                "disable_printable_check",
                "detect_deadlocks",
                "imprecise_lease_role_tracking",
                "enable_post_unseal_trace",
                "post_unseal_trace_directory",
                "remove_irrevocable_lease_after",
                "request_limiter",
                "adaptive_overload_protection",
            ],
        ),
        (
            Refused(
                "each storage coordinates its nodes itself: \"raft\" always, \"postgresql\" and \"etcd\" with \"ha_enabled\"",
            ),
            &["ha_storage", "ha_backend"],
        ),
    ],
);

/// `audit`, whatever its labels.
pub static AUDIT: Block = Block::new("audit \"file\"", &[(Served, &["description", "options", "local"])]);

/// `user_lockout`, whatever its label.
pub static USER_LOCKOUT: Block = Block::new(
    "user_lockout \"all\"",
    &[(Served, &["lockout_threshold", "lockout_duration", "lockout_counter_reset", "disable_lockout"])],
);

/// `storage "inmem"`, which has no keys.
pub static STORAGE_INMEM: Block = Block::new("storage \"inmem\"", &[]);

/// The file that `operator migrate` is given. It is a configuration of its own, and not among [`BLOCKS`].
pub static MIGRATION: Block =
    Block::new("", &[(Served, &["storage_source", "storage_destination", "cluster_addr"])]);

/// `storage "etcd"`.
pub static STORAGE_ETCD: Block = Block::new(
    "storage \"etcd\"",
    &[
        (
            Served,
            &[
                "address",
                "etcd_api",
                "ha_enabled",
                "path",
                "sync",
                "username",
                "password",
                "tls_ca_file",
                "tls_cert_file",
                "tls_key_file",
                "request_timeout",
                "lock_timeout",
            ],
        ),
        (Refused(crate::etcd::NO_DISCOVERY), &["discovery_srv", "discovery_srv_name"]),
    ],
);

/// `storage "postgresql"`.
pub static STORAGE_POSTGRESQL: Block = Block::new(
    "storage \"postgresql\"",
    &[(
        Served,
        &[
            "connection_url",
            "table",
            "ha_enabled",
            "ha_table",
            "max_parallel",
            "max_idle_connections",
            "max_connect_retries",
            "skip_create_table",
        ],
    )],
);

/// `storage "raft"`.
pub static STORAGE_RAFT: Block = Block::new(
    "storage \"raft\"",
    &[
        (
            Served,
            &[
                "path",
                "node_id",
                "performance_multiplier",
                "trailing_logs",
                "snapshot_threshold",
                "raft_snapshot_threshold",
                "max_entry_size",
                "retry_join",
                "retry_join_as_non_voter",
                "quorum_loss_read_only",
                "quorum_loss_seal_after",
            ],
        ),
        (
            NoEffect("autopilot looks at the nodes, and acts, every second"),
            &["autopilot_reconcile_interval", "autopilot_update_interval"],
        ),
        (
            NoEffect("there are no automated upgrades and no redundancy zones"),
            &["autopilot_upgrade_version", "autopilot_redundancy_zone"],
        ),
        (NoEffect("every write looks whether a snapshot is due"), &["snapshot_interval"]),
        (
            NoEffect("there is one log store, and it checks what it reads"),
            &["raft_wal", "raft_log_verifier_enabled", "raft_log_verification_interval"],
        ),
        (
            NoEffect("every mount and namespace is an entry of its own"),
            &["max_mount_and_namespace_table_entry_size"],
        ),
    ],
);

/// `retry_join` of `storage "raft"`.
pub static RETRY_JOIN: Block = Block::new(
    "retry_join",
    &[(
        Part,
        &[
            "leader_api_addr",
            "auto_join",
            "auto_join_scheme",
            "auto_join_port",
            "leader_tls_servername",
            "leader_ca_cert_file",
            "leader_ca_cert",
            "leader_client_cert_file",
            "leader_client_cert",
            "leader_client_key_file",
            "leader_client_key",
        ],
    )],
);

/// `seal "shamir"`. Other types have other keys, and are refused.
pub static SEAL_SHAMIR: Block = Block::new(
    "seal \"shamir\"",
    &[(NoEffect("this version does not migrate from one seal to another"), &["disabled"])],
);

/// `listener "tcp"`.
pub static LISTENER_TCP: Block = Block {
    name: "listener \"tcp\"",
    keys: &[
        (
            Served,
            &[
                "address",
                "tls_disable",
                "tls_cert_file",
                "tls_key_file",
                "tls_min_version",
                "tls_max_version",
                "tls_cipher_suites",
                "tls_disable_client_certs",
                "tls_require_and_verify_client_cert",
                "tls_client_ca_file",
                "cluster_address",
                "proxy_protocol_behavior",
                "proxy_protocol_authorized_addrs",
            ],
        ),
        (NoEffect("the server's preference always counts"), &["tls_prefer_server_cipher_suites"]),
    ],
    also: Some(&LISTENER),
};

/// `listener "unix"`.
pub static LISTENER_UNIX: Block = Block {
    name: "listener \"unix\"",
    keys: &[(Served, &["address", "socket_mode", "socket_user", "socket_group"])],
    also: Some(&LISTENER),
};

/// The keys of all listeners.
pub static LISTENER: Block = Block::new(
    "listener",
    &[
        (
            Served,
            &[
                "max_request_size",
                "max_request_duration",
                "max_json_depth",
                "max_json_string_value_length",
                "max_json_object_entry_count",
                "max_json_array_element_count",
                "max_json_token",
                "http_read_header_timeout",
                "http_read_timeout",
                "http_write_timeout",
                "http_idle_timeout",
                "x_forwarded_for_authorized_addrs",
                "x_forwarded_for_hop_skips",
                "x_forwarded_for_reject_not_authorized",
                "x_forwarded_for_reject_not_present",
                "x_forwarded_for_client_cert_header",
                "x_forwarded_for_client_cert_header_decoders",
                "chroot_namespace",
                "redact_addresses",
                "redact_cluster_name",
                "redact_version",
                "max_token_header_size",
                "custom_response_headers",
            ],
        ),
        (NoEffect(NO_METRICS), &["telemetry"]),
        (NoEffect("this version has no sys/pprof"), &["profiling"]),
        (NoEffect("this version has no sys/in-flight-req"), &["inflight_requests_logging"]),
        (NoEffect(NOT_THERE), &["disable_replication_status_endpoints", "disable_request_limiter"]),
    ],
);

/// `telemetry` of a listener.
pub static LISTENER_TELEMETRY: Block =
    Block::new("listener, telemetry", &[(Part, &["unauthenticated_metrics_access"])]);

/// `profiling` of a listener; Vault's documentation has the second key in an example.
pub static LISTENER_PROFILING: Block = Block::new(
    "listener, profiling",
    &[(Part, &["unauthenticated_pprof_access", "unauthenticated_in_flight_request_access"])],
);

/// `inflight_requests_logging` of a listener.
pub static LISTENER_IN_FLIGHT: Block = Block::new(
    "listener, inflight_requests_logging",
    &[(Part, &["unauthenticated_in_flight_requests_access"])],
);

/// `telemetry`.
pub static TELEMETRY: Block = Block::new(
    "telemetry",
    &[(
        Part,
        &[
            "prometheus_retention_time",
            "disable_hostname",
            "enable_hostname_label",
            "metrics_prefix",
            "usage_gauge_period",
            "maximum_gauge_cardinality",
            "lease_metrics_epsilon",
            "num_lease_metrics_buckets",
            "add_lease_metrics_namespace_labels",
            "add_mount_point_rollback_metrics",
            "filter_default",
            "prefix_filter",
            "statsite_address",
            "statsd_address",
            "dogstatsd_addr",
            "dogstatsd_tags",
            "circonus_api_token",
            "circonus_api_app",
            "circonus_api_url",
            "circonus_submission_interval",
            "circonus_submission_url",
            "circonus_check_id",
            "circonus_check_force_metric_activation",
            "circonus_check_instance_id",
            "circonus_check_search_tag",
            "circonus_check_display_name",
            "circonus_check_tags",
            "circonus_broker_id",
            "circonus_broker_select_tag",
            "stackdriver_project_id",
            "stackdriver_location",
            "stackdriver_namespace",
            "stackdriver_debug_logs",
            "disable_dispatched_telemetry",
        ],
    )],
);
