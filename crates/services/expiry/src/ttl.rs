//! TTLs of tokens and leases. Source: Vault's documentation, "Tokens", "Token time-to-live, periodic tokens, and
//! explicit max TTLs", and "Lease, renew, and revoke".

use std::time::Duration;

use strongroom_engine_api::{Moment, format_duration};

/// A TTL from now, and a warning for the client.
#[derive(Debug, PartialEq, Eq)]
pub struct Granted {
    /// Zero: it is past its end.
    pub ttl: Duration,
    /// The warning for the client: a capped TTL.
    pub warning: Option<String>,
}

/// The TTL from `now` on of a lease issued at `issued`.
pub fn lease_ttl(issued: Moment, wanted: Duration, max: Duration, now: Moment) -> Granted {
    capped("TTL", wanted, max.saturating_sub(now.since(issued)))
}

/// `wanted` within `ceiling`, with Vault's warning where that is less.
pub fn capped(what: &str, wanted: Duration, ceiling: Duration) -> Granted {
    let warning = (wanted > ceiling).then(|| {
        format!(
            "{what} of {:?} exceeded the effective max_ttl of {:?}; {what} value is capped accordingly",
            format_duration(wanted),
            format_duration(Duration::from_secs(ceiling.as_secs()))
        )
    });
    Granted { ttl: wanted.min(ceiling), warning }
}

/// The lesser of two spans, where zero means no bound.
pub fn nonzero_min(a: Duration, b: Duration) -> Duration {
    match (a.is_zero(), b.is_zero()) {
        (true, _) => b,
        (_, true) => a,
        _ => a.min(b),
    }
}
