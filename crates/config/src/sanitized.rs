//! The configuration as `sys/config/state/sanitized` shows it.
//!
//! Source: <https://developer.hashicorp.com/vault/api-docs/system/config-state>.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::config::{LOG_FORMATS, LOG_LEVELS};
use crate::{Config, Listener, LogLevel, Seal, Storage, Telemetry, UserLockout};

impl Config {
    /// The configuration without what may be secret: no parameters of storage and seals. The keys are Vault's;
    /// lease durations are in seconds, other durations in nanoseconds; what is not set is empty, zero or false.
    pub fn sanitized(&self) -> Value {
        let mut map = self.sanitized_scalars();
        map.insert("listeners".into(), self.listeners.iter().map(listener).collect());
        map.insert("seals".into(), seals(&self.seals));
        map.insert("telemetry".into(), telemetry(&self.telemetry));
        if !self.user_lockout.is_empty() {
            map.insert("user_lockout_configs".into(), self.user_lockout.iter().map(user_lockout).collect());
        }
        if let Some(storage) = &self.storage {
            map.insert("storage".into(), self.sanitized_storage(storage));
        }
        Value::Object(map)
    }

    fn sanitized_scalars(&self) -> Map<String, Value> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let secs = |duration: Option<Duration>| duration.unwrap_or_default().as_secs();
        let level = |level: Option<LogLevel>| level.map(|level| name(&LOG_LEVELS, level)).unwrap_or_default();
        let scalars = json!({
            "administrative_namespace_path": "",
            "allow_audit_log_prefixing": self.allow_audit_log_prefixing,
            "api_addr": text(&self.api_addr),
            "cache_size": self.cache_size.unwrap_or_default(),
            "cluster_addr": text(&self.cluster_addr),
            "cluster_cipher_suites": "",
            "cluster_name": text(&self.cluster_name),
            "default_lease_ttl": secs(self.default_lease_ttl),
            "default_max_request_duration": nanos(self.default_max_request_duration.unwrap_or_default()),
            "detect_deadlocks": "",
            "disable_cache": self.disable_cache,
            "disable_clustering": self.disable_clustering,
            "disable_indexing": false,
            "disable_mlock": self.disable_mlock.unwrap_or_default(),
            "disable_performance_standby": self.disable_performance_standby,
            "disable_printable_check": false,
            "disable_sealwrap": false,
            "disable_sentinel_trace": false,
            "enable_response_header_hostname": self.enable_response_header_hostname,
            "enable_response_header_raft_node_id": self.enable_response_header_raft_node_id,
            "enable_ui": self.ui,
            "imprecise_lease_role_tracking": false,
            "introspection_endpoint": self.introspection_endpoint,
            "log_format": self.log_format.map(|format| name(&LOG_FORMATS, format)).unwrap_or_default(),
            "log_level": level(self.log_level),
            "log_requests_level": level(self.log_requests_level),
            "max_lease_ttl": secs(self.max_lease_ttl),
            "pid_file": self.pid_file.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
            "plugin_directory": "",
            "plugin_file_permissions": 0,
            "plugin_file_uid": 0,
            "raw_storage_endpoint": self.raw_storage_endpoint,
        });
        match scalars {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }

    fn sanitized_storage(&self, storage: &Storage) -> Value {
        let mut shown = json!({
            "type": storage.kind(),
            "redirect_addr": self.api_addr.clone().unwrap_or_default(),
            "cluster_addr": self.cluster_addr.clone().unwrap_or_default(),
            "disable_clustering": self.disable_clustering,
        });
        if let (Storage::Raft(raft), Some(shown)) = (storage, shown.as_object_mut()) {
            let size = raft.max_entry_size.map(|size| size.to_string()).unwrap_or_default();
            shown.insert("raft".into(), json!({ "max_entry_size": size }));
        }
        shown
    }
}

/// The first name of a value in a table of names.
fn name<T: Copy + PartialEq>(names: &[(&'static str, T)], value: T) -> &'static str {
    names.iter().find(|(_, named)| *named == value).map(|(name, _)| *name).unwrap_or_default()
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn listener(listener: &Listener) -> Value {
    json!({"type": listener.kind(), "config": listener.shared().configured})
}

fn user_lockout((kind, lockout): (&String, &UserLockout)) -> Value {
    json!({
        "type": kind,
        "lockout_threshold": lockout.threshold,
        "lockout_duration": nanos(lockout.duration),
        "lockout_counter_reset": nanos(lockout.counter_reset),
        "disable_lockout": lockout.disabled,
    })
}

fn seals(seals: &[Seal]) -> Value {
    if seals.is_empty() {
        return json!([{"type": "shamir", "disabled": false}]);
    }
    seals.iter().map(|seal| json!({"type": seal.kind, "disabled": seal.disabled})).collect()
}

/// Vault's keys for destinations that this server does not send to are there and empty.
fn telemetry(telemetry: &Telemetry) -> Value {
    json!({
        "add_lease_metrics_namespace_labels": telemetry.add_lease_metrics_namespace_labels,
        "add_mount_point_rollback_metrics": telemetry.add_mount_point_rollback_metrics,
        "circonus_api_app": "",
        "circonus_api_token": "",
        "circonus_api_url": "",
        "circonus_broker_id": "",
        "circonus_broker_select_tag": "",
        "circonus_check_display_name": "",
        "circonus_check_force_metric_activation": "",
        "circonus_check_id": "",
        "circonus_check_instance_id": "",
        "circonus_check_search_tag": "",
        "circonus_check_tags": "",
        "circonus_submission_interval": "",
        "circonus_submission_url": "",
        "disable_hostname": telemetry.disable_hostname,
        "dogstatsd_addr": "",
        "dogstatsd_tags": null,
        "lease_metrics_epsilon": nanos(telemetry.lease_metrics_epsilon),
        "maximum_gauge_cardinality": telemetry.maximum_gauge_cardinality,
        "metrics_prefix": telemetry.metrics_prefix,
        "num_lease_metrics_buckets": telemetry.num_lease_metrics_buckets,
        "prometheus_retention_time": nanos(telemetry.prometheus_retention_time),
        "stackdriver_debug_logs": false,
        "stackdriver_location": "",
        "stackdriver_namespace": "",
        "stackdriver_project_id": "",
        "statsd_address": "",
        "statsite_address": "",
        "usage_gauge_period": nanos(telemetry.usage_gauge_period.unwrap_or_default()),
    })
}
