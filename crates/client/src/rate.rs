//! A token bucket that keeps a client below its `VAULT_RATE_LIMIT`.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::config::RateLimit;

/// Lets requests through at the configured rate.
pub(crate) struct Limiter {
    limit: RateLimit,
    bucket: Mutex<Bucket>,
}

struct Bucket {
    permits: f64,
    filled_at: Instant,
}

impl Limiter {
    pub(crate) fn new(limit: RateLimit) -> Self {
        let bucket = Bucket { permits: f64::from(limit.burst), filled_at: Instant::now() };
        Self { limit, bucket: Mutex::new(bucket) }
    }

    /// Waits until one more request may go. Waiters queue behind each other in order of arrival.
    pub(crate) async fn acquire(&self) {
        let mut bucket = self.bucket.lock().await;
        loop {
            let now = Instant::now();
            let earned = now.duration_since(bucket.filled_at).as_secs_f64() * self.limit.per_second;
            bucket.permits = (bucket.permits + earned).min(f64::from(self.limit.burst));
            bucket.filled_at = now;
            if bucket.permits >= 1.0 {
                bucket.permits -= 1.0;
                return;
            }
            let missing = (1.0 - bucket.permits) / self.limit.per_second;
            let pause = Duration::try_from_secs_f64(missing).unwrap_or(Duration::MAX);
            tokio::time::sleep(pause.max(Duration::from_millis(1))).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_burst_goes_at_once_and_the_rest_at_the_rate() {
        let limiter = Limiter::new(RateLimit { per_second: 2.0, burst: 3 });
        let start = Instant::now();
        for _ in 0..3 {
            limiter.acquire().await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..4 {
            limiter.acquire().await;
        }
        let elapsed = start.elapsed();
        assert!(elapsed >= Duration::from_secs(2) && elapsed < Duration::from_millis(2020), "{elapsed:?}");
    }
}
