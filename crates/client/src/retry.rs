//! The rules of retries: which requests are tried again, and after how long.

use std::time::Duration;

use strongroom_stdx::Entropy;

/// The retry policy. By default two retries, one second to one and a half apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Retries after the first attempt; zero turns retrying off.
    pub max: u32,
    /// Shortest pause before a retry.
    pub wait_min: Duration,
    /// Longest pause before the first retry; the n-th waits up to n times as long.
    pub wait_max: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { max: 2, wait_min: Duration::from_secs(1), wait_max: Duration::from_millis(1500) }
    }
}

impl Retry {
    /// True if an answer of this status is worth another attempt: `412` (the node has not caught up with what the
    /// client wrote) and `5xx`, but not `501`.
    pub const fn wants(status: u16) -> bool {
        status == 412 || (status >= 500 && status != 501)
    }

    /// The pause before retry number `attempt` (the first is 1): a random span between the bounds, times `attempt`,
    /// so that clients that failed together do not come back together.
    pub(crate) fn pause(&self, attempt: u32, entropy: &Entropy) -> Duration {
        let spread = self.wait_max.saturating_sub(self.wait_min);
        // Without randomness the pause is the longest, which is always safe.
        let share = entropy.bytes::<2>().map_or(u16::MAX, u16::from_le_bytes);
        let jitter = spread.mul_f64(f64::from(share) / f64::from(u16::MAX));
        self.wait_min.saturating_add(jitter).saturating_mul(attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_what_is_documented() {
        for status in [412, 500, 502, 503, 504] {
            assert!(Retry::wants(status), "{status}");
        }
        for status in [200, 204, 307, 400, 403, 404, 429, 501] {
            assert!(!Retry::wants(status), "{status}");
        }
    }

    #[test]
    fn pauses_stay_in_bounds_and_grow() {
        let retry = Retry::default();
        let least = Entropy::given(|out| out.fill(0));
        let most = Entropy::given(|out| out.fill(255));
        assert_eq!(retry.pause(1, &least), Duration::from_secs(1));
        assert_eq!(retry.pause(1, &most), Duration::from_millis(1500));
        assert_eq!(retry.pause(2, &most), Duration::from_secs(3));
    }
}
