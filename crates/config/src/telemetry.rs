//! The `telemetry` block.
//!
//! Source: <https://developer.hashicorp.com/vault/docs/configuration/telemetry>.

use std::time::Duration;

use strongroom_hcl::Value;

use crate::fields::Fields;
use crate::{ConfigError, convert, keys};

/// The metrics, and their form. Metrics for other systems are not among it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches, each a documented key")]
pub struct Telemetry {
    /// The time for which Prometheus metrics are kept; zero disables them; 24 h unless set.
    pub prometheus_retention_time: Duration,
    /// Gauges are not prefixed with the host's name.
    pub disable_hostname: bool,
    /// Metrics get the label `host`.
    pub enable_hostname_label: bool,
    /// The first part of each metric's name; `vault` unless set.
    pub metrics_prefix: String,
    /// The interval at which what is costly to count (tokens, entities, secrets) is counted; `None` for never; 10 min
    /// unless set.
    pub usage_gauge_period: Option<Duration>,
    /// The most label values of a gauge; 500 unless set.
    pub maximum_gauge_cardinality: u64,
    /// The span of one bucket in which leases are counted by their expiry; 1 h unless set.
    pub lease_metrics_epsilon: Duration,
    /// The number of those buckets; 168 unless set.
    pub num_lease_metrics_buckets: u64,
    /// Those buckets are counted by namespace.
    pub add_lease_metrics_namespace_labels: bool,
    /// Rollback metrics are counted by mount.
    pub add_mount_point_rollback_metrics: bool,
    /// Metrics that no filter names are allowed; so unless set.
    pub filter_default: bool,
    /// Filters by prefix: `+vault.token` allows, `-vault.expire` blocks.
    pub prefix_filter: Vec<String>,
}

impl Default for Telemetry {
    fn default() -> Telemetry {
        let hour = Duration::from_hours(1);
        Telemetry {
            prometheus_retention_time: hour.saturating_mul(24),
            disable_hostname: false,
            enable_hostname_label: false,
            metrics_prefix: "vault".to_owned(),
            usage_gauge_period: Some(Duration::from_mins(10)),
            maximum_gauge_cardinality: 500,
            lease_metrics_epsilon: hour,
            num_lease_metrics_buckets: 168,
            add_lease_metrics_namespace_labels: false,
            add_mount_point_rollback_metrics: false,
            filter_default: true,
            prefix_filter: Vec::new(),
        }
    }
}

impl Telemetry {
    pub(crate) fn read(mut fields: Fields<'_>) -> Result<Telemetry, ConfigError> {
        let default = Telemetry::default();
        let telemetry = Telemetry {
            prometheus_retention_time: fields
                .duration("prometheus_retention_time")?
                .unwrap_or(default.prometheus_retention_time),
            disable_hostname: fields.switch("disable_hostname")?,
            enable_hostname_label: fields.switch("enable_hostname_label")?,
            metrics_prefix: fields.text("metrics_prefix")?.unwrap_or(default.metrics_prefix),
            usage_gauge_period: fields
                .read("usage_gauge_period", period)?
                .unwrap_or(default.usage_gauge_period),
            maximum_gauge_cardinality: fields
                .integer("maximum_gauge_cardinality", 1..=i64::MAX)?
                .unwrap_or(default.maximum_gauge_cardinality),
            lease_metrics_epsilon: fields
                .read("lease_metrics_epsilon", positive)?
                .unwrap_or(default.lease_metrics_epsilon),
            num_lease_metrics_buckets: fields
                .integer("num_lease_metrics_buckets", 1..=100_000)?
                .unwrap_or(default.num_lease_metrics_buckets),
            add_lease_metrics_namespace_labels: fields.switch("add_lease_metrics_namespace_labels")?,
            add_mount_point_rollback_metrics: fields.switch("add_mount_point_rollback_metrics")?,
            filter_default: fields.flag("filter_default")?.unwrap_or(true),
            prefix_filter: fields.read("prefix_filter", filters)?.unwrap_or_default(),
        };
        fields.finish(&keys::TELEMETRY)?;
        Ok(telemetry)
    }
}

/// A period, or `"none"`.
fn period(value: &Value) -> Result<Option<Duration>, String> {
    match value.as_str() {
        Some("none") => Ok(None),
        _ => convert::duration(value).map(|period| Some(period).filter(|period| !period.is_zero())),
    }
}

fn positive(value: &Value) -> Result<Duration, String> {
    let duration = convert::duration(value)?;
    if duration.is_zero() { Err("must be longer than zero".to_owned()) } else { Ok(duration) }
}

fn filters(value: &Value) -> Result<Vec<String>, String> {
    let filters = convert::list(value)?;
    match filters.iter().find(|filter| !filter.starts_with(['+', '-'])) {
        Some(filter) => Err(format!("must have '+' or '-' before each prefix, not {filter:?}")),
        None => Ok(filters),
    }
}
