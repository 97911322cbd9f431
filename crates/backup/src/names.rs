//! The names of automated snapshots, and which of them are too many.

/// The suffix of a finished snapshot.
const SUFFIX: &str = ".snap";

/// The name of a snapshot that was begun at a time in seconds.
pub(super) fn name(file_prefix: &str, stamp: u64) -> String {
    format!("{file_prefix}-{stamp}{SUFFIX}")
}

/// The time at which the snapshot of this name was begun; `None` for a name that is not one of ours.
pub(super) fn stamp(name: &str, file_prefix: &str) -> Option<u64> {
    let stamp = name.strip_prefix(file_prefix)?.strip_prefix('-')?.strip_suffix(SUFFIX)?;
    stamp.bytes().all(|byte| byte.is_ascii_digit()).then(|| stamp.parse().ok()).flatten()
}

/// The outcome of a snapshot that was taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// Its place.
    pub(super) url: String,
    /// The reason why surplus older ones are still there, if they are.
    pub(super) left: Option<String>,
}

/// Of things from the oldest to the newest, those that are more than `retain`.
pub(super) fn surplus<T>(kept: &[T], retain: u64) -> &[T] {
    let retain = usize::try_from(retain).unwrap_or(usize::MAX);
    kept.get(..kept.len().saturating_sub(retain)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_told_from_others() {
        assert_eq!(stamp(&name("ours", 10), "ours"), Some(10));
        for other in [
            "ours-x.snap",
            "ours-2-1.snap",
            "ours-.snap",
            "ours-+1.snap",
            "ours-1",
            "our-1.snap",
            "ours-1/2.snap",
        ] {
            assert_eq!(stamp(other, "ours"), None, "{other}");
        }
    }

    #[test]
    fn the_oldest_are_too_many() {
        assert_eq!(surplus(&[1, 2, 3], 2), [1]);
        assert_eq!(surplus(&[1, 2, 3], 3), [0; 0]);
        assert_eq!(surplus(&[1], u64::MAX), [0; 0]);
    }
}
