//! The numbers of tests that passed and failed, from the output of a suite.

/// Tests that passed and that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
}

impl Count {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            passed: self.passed.saturating_add(other.passed),
            failed: self.failed.saturating_add(other.failed),
        }
    }

    /// Reads what a suite says at its end: test binaries of Rust (all of them, where there are several), our own runners, or else
    /// Python's unittest. A suite that says nothing of the kind is one test; one that fails without naming a test has one failure.
    pub(crate) fn of(text: &str, succeeded: bool) -> Self {
        let mut of_rust = text.lines().filter_map(rust).peekable();
        let mut count = if of_rust.peek().is_some() {
            of_rust.fold(Self::default(), Self::plus)
        } else if let Some(count) = text.lines().rev().find_map(own) {
            count
        } else if let Some(count) = text.lines().rev().find_map(unittest) {
            let failed = text.lines().rev().find_map(unittest_failures).unwrap_or(0);
            Self { passed: count.saturating_sub(failed), failed }
        } else {
            Self { passed: usize::from(succeeded), failed: 0 }
        };
        if !succeeded && count.failed == 0 {
            count.failed = 1;
        }
        count
    }
}

/// `12 passed, 0 failed`, alone on its line.
fn own(line: &str) -> Option<Count> {
    let (passed, rest) = line.trim().split_once(" passed, ")?;
    let failed = rest.strip_suffix(" failed")?;
    Some(Count { passed: passed.parse().ok()?, failed: failed.parse().ok()? })
}

/// `test result: ok. 12 passed; 0 failed; 1 ignored; …`
fn rust(line: &str) -> Option<Count> {
    let rest = line.trim().strip_prefix("test result: ")?;
    let (_, rest) = rest.split_once(". ")?;
    let (passed, rest) = rest.split_once(" passed; ")?;
    let (failed, _) = rest.split_once(" failed")?;
    Some(Count { passed: passed.parse().ok()?, failed: failed.parse().ok()? })
}

/// `Ran 12 tests in 0.004s`, of which [`unittest_failures`] tells how many failed.
fn unittest(line: &str) -> Option<usize> {
    let (count, rest) = line.strip_prefix("Ran ")?.split_once(' ')?;
    rest.starts_with("test").then(|| count.parse().ok())?
}

/// `FAILED (failures=1, errors=2)`
fn unittest_failures(line: &str) -> Option<usize> {
    let inside = line.strip_prefix("FAILED (")?.strip_suffix(')')?;
    let counts = inside.split(", ").filter_map(|part| {
        let (what, count) = part.split_once('=')?;
        matches!(what, "failures" | "errors").then(|| count.parse::<usize>().ok())?
    });
    Some(counts.fold(0, usize::saturating_add))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, succeeded: bool) -> (usize, usize) {
        let count = Count::of(text, succeeded);
        (count.passed, count.failed)
    }

    #[test]
    fn our_own_runners() {
        assert_eq!(of("round 1: 3 passed\n=== x\n12 passed, 1 failed\n", false), (12, 1));
        assert_eq!(of("0 passed, 0 failed\n", false), (0, 1));
    }

    #[test]
    fn test_binaries_of_rust() {
        let text =
            "running 2 tests\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(of(text, true), (2, 0));
        assert_eq!(of(&text.repeat(3), true), (6, 0));
        assert_eq!(of("test result: FAILED. 2 passed; 3 failed; 0 ignored\n", false), (2, 3));
    }

    #[test]
    fn unittest_of_python() {
        assert_eq!(of("....\nRan 4 tests in 0.004s\n\nOK\n", true), (4, 0));
        assert_eq!(of("Ran 4 tests in 0.004s\n\nFAILED (failures=1, errors=2)\n", false), (1, 3));
    }

    #[test]
    fn what_says_nothing_is_one_test() {
        assert_eq!(of("Finished\n", true), (1, 0));
        assert_eq!(of("error: it does not compile\n", false), (0, 1));
        // Where unittest is below a runner of ours, the runner's line counts.
        assert_eq!(of("Ran 2 tests in 0.1s\n\nOK\n2 passed, 0 failed\n", true), (2, 0));
        // Somebody else's sentence is no count.
        assert_eq!(of("client: 3 passed, 4 failed attempts\n", true), (1, 0));
    }
}
