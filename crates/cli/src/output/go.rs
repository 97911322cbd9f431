//! Values as Go prints them (`%v`, `%q`), which is how tables show lists, maps and times.

use serde_json::Value;

/// `[a b]`, `map[k:v]`, `<nil>`, and scalars as they are.
pub(crate) fn value(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(self::value).collect::<Vec<_>>().join(" "))
        }
        Value::Object(fields) => {
            let mut pairs: Vec<_> = fields.iter().collect();
            pairs.sort_by(|a, b| a.0.cmp(b.0));
            let pairs: Vec<_> =
                pairs.into_iter().map(|(key, value)| format!("{key}:{}", self::value(value))).collect();
            format!("map[{}]", pairs.join(" "))
        }
    }
}

/// A list of texts, each quoted: `["a" "b"]`.
pub(crate) fn quoted(items: &[String]) -> String {
    format!("[{}]", items.iter().map(|item| format!("{item:?}")).collect::<Vec<_>>().join(" "))
}

/// True if numbers under this name are seconds, which tables show as durations.
pub(crate) fn is_duration(key: &str) -> bool {
    key == "lease_max"
        || ["ttl", "duration", "period"]
            .iter()
            .any(|end| key.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('_')))
}

/// Seconds as people write them: `768h`, `1h1m40s`, `5m`, `0s`.
pub(crate) fn duration(seconds: i64) -> String {
    let sign = if seconds < 0 { "-" } else { "" };
    let total = seconds.unsigned_abs();
    let (hours, minutes, seconds) = (total / 3600, total / 60 % 60, total % 60);
    let text = match (hours, minutes, seconds) {
        (0, 0, s) => format!("{s}s"),
        (0, m, 0) => format!("{m}m"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, 0, 0) => format!("{h}h"),
        (h, m, 0) => format!("{h}h{m}m"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    };
    format!("{sign}{text}")
}

/// An RFC 3339 time as Go's `time.Time` prints itself: `2026-11-23 18:14:32.33 +0000 UTC`.
pub(crate) fn time(text: &str) -> String {
    let Some((date, clock)) = text.split_once('T') else { return text.to_owned() };
    let trimmed = |clock: &str| match clock.split_once('.') {
        Some((whole, fraction)) => {
            format!("{whole}.{}", fraction.trim_end_matches('0')).trim_end_matches('.').to_owned()
        }
        None => clock.to_owned(),
    };
    if let Some(clock) = clock.strip_suffix('Z') {
        return format!("{date} {} +0000 UTC", trimmed(clock));
    }
    match clock.rfind(['+', '-']).and_then(|at| clock.split_at_checked(at)) {
        Some((clock, offset)) => {
            let offset = offset.replace(':', "");
            format!("{date} {} {offset} {offset}", trimmed(clock))
        }
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values() {
        assert_eq!(value(&json!(["a", "b", 1, null, {"x": 1}])), "[a b 1 <nil> map[x:1]]");
        assert_eq!(value(&json!({"b": 1, "a": [1, 2], "e": ""})), "map[a:[1 2] b:1 e:]");
        assert_eq!(value(&json!([])), "[]");
        assert_eq!(quoted(&["default".into(), "p".into()]), "[\"default\" \"p\"]");
    }

    #[test]
    fn durations() {
        for (seconds, text) in [
            (0, "0s"),
            (90, "1m30s"),
            (300, "5m"),
            (3600, "1h"),
            (3601, "1h0m1s"),
            (3660, "1h1m"),
            (90_061, "25h1m1s"),
            (2_764_800, "768h"),
            (-5, "-5s"),
        ] {
            assert_eq!(duration(seconds), text);
        }
        for key in ["ttl", "max_ttl", "period", "grace_period", "duration", "lease_duration", "lease_max"] {
            assert!(is_duration(key), "{key}");
        }
        for key in ["ttls", "tttl", "ttl_x", "lease", "a-ttl", "TTL", "xperiod", "interval"] {
            assert!(!is_duration(key), "{key}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(time("2026-11-23T18:14:32.330Z"), "2026-11-23 18:14:32.33 +0000 UTC");
        assert_eq!(time("2026-11-23T18:14:32Z"), "2026-11-23 18:14:32 +0000 UTC");
        assert_eq!(time("2026-11-23T18:14:32+01:00"), "2026-11-23 18:14:32 +0100 +0100");
        assert_eq!(time("soon"), "soon");
    }
}
