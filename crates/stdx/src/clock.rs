//! Time comes in through [`Clock`], so that a test can step hours in microseconds.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::Notify;

/// A point in time: nanoseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(u64);

impl Moment {
    /// From nanoseconds since the Unix epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// From whole seconds since the Unix epoch.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// This moment and `span` more; stops at the end of representable time (the year 2554).
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// This moment and `span` less; stops at the epoch.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The time from `earlier` to here; zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// RFC 3339 with nanoseconds and `Z`, as Go's `time.RFC3339Nano` prints (no trailing zeros in the fraction).
    pub fn rfc3339(self) -> String {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0))
            .ok()
            .and_then(|at| at.format(&Rfc3339).ok())
            .unwrap_or_else(|| "0001-01-01T00:00:00Z".to_owned())
    }

    /// RFC 3339 in whole seconds (Go's `time.RFC3339`).
    pub fn rfc3339_secs(self) -> String {
        Self::from_secs(self.as_secs()).rfc3339()
    }

    /// Reads RFC 3339; `None` when it is not, or lies before 1970.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        u64::try_from(at.unix_timestamp_nanos()).ok().map(Self)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

/// The source of time. Cheap to clone; all clones of a stepped clock show the same time.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Stepped(Arc<Stepped>),
}

struct Stepped {
    nanos: AtomicU64,
    moved: Notify,
}

impl Clock {
    /// The operating system's clock.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until [`Clock::advance`] moves it.
    pub fn stepped(start: Moment) -> Self {
        Self(Source::Stepped(Arc::new(Stepped { nanos: AtomicU64::new(start.0), moved: Notify::new() })))
    }

    /// The time now.
    #[allow(clippy::disallowed_methods, reason = "the one home of wall-clock access")]
    pub fn now(&self) -> Moment {
        match &self.0 {
            Source::System => {
                let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Moment(u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX))
            }
            Source::Stepped(stepped) => Moment(stepped.nanos.load(Ordering::SeqCst)),
        }
    }

    /// Moves a stepped clock on and wakes its sleepers; the system clock is left alone.
    pub fn advance(&self, by: Duration) {
        if let Source::Stepped(stepped) = &self.0 {
            stepped.nanos.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
            stepped.moved.notify_waiters();
        }
    }

    /// Returns once `span` has passed on this clock.
    pub async fn sleep(&self, span: Duration) {
        match &self.0 {
            Source::System => tokio::time::sleep(span).await,
            Source::Stepped(stepped) => {
                let until = self.now().after(span);
                loop {
                    let moved = stepped.moved.notified();
                    tokio::pin!(moved);
                    // Registered before the time is read, or a step in between would be missed.
                    moved.as_mut().enable();
                    if self.now() >= until {
                        return;
                    }
                    moved.await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_go_does() {
        assert_eq!(Moment::from_secs(0).rfc3339(), "1970-01-01T00:00:00Z");
        assert_eq!(Moment::from_nanos(1_500_000_000).rfc3339(), "1970-01-01T00:00:01.5Z");
        let at = Moment::from_nanos(1_764_000_000_123_456_789);
        assert_eq!(Moment::parse_rfc3339(&at.rfc3339()), Some(at));
    }

    #[tokio::test]
    async fn a_stepped_clock_wakes_its_sleepers() {
        let clock = Clock::stepped(Moment::from_secs(100));
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move {
                clock.sleep(Duration::from_secs(3600)).await;
                clock.now()
            }
        });
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(3599));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.advance(Duration::from_secs(1));
        assert_eq!(sleeper.await.unwrap(), Moment::from_secs(3700));
    }
}
