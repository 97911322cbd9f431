//! Durations as Go writes them (`1h30m0s`) and as Vault reads them (`90`, `"90"`, `"1h30m"`, `"2d"`).
//!
//! Source: Vault's documentation, "Duration string format".

use std::time::Duration;

/// The reason why a text is not a duration, in the words of Go's `time.ParseDuration` and of Vault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// No number where one is due, or a sum of more than [`LONGEST`].
    #[error("time: invalid duration {0:?}")]
    Invalid(String),
    /// A number without a unit among numbers with units.
    #[error("time: missing unit in duration {0:?}")]
    MissingUnit(String),
    /// The first member is no unit; the second is the whole text.
    #[error("time: unknown unit {0:?} in duration {1:?}")]
    UnknownUnit(String, String),
    /// Below zero where only spans forward make sense; in whole seconds, or as it was given where that is none.
    #[error("cannot provide negative value '{0}'")]
    Negative(String),
    /// A number of seconds beyond [`LONGEST`].
    #[error("multiplication of durations resulted in overflow, one operand may be too large")]
    TooLong,
}

/// The longest span: 292 years, as in Go, where a duration is an `int64` of nanoseconds.
pub const LONGEST: Duration = Duration::from_nanos(i64::MAX.unsigned_abs());

const SECOND: u64 = 1_000_000_000;

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3_600 * SECOND),
    ("d", 86_400 * SECOND),
];

/// Reads a duration: a bare number is seconds, otherwise numbers with units (`ns us ms s m h d`), added up.
/// An empty text is zero, as in Vault.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Ok(Duration::ZERO);
    }
    let below_zero = trimmed.starts_with('-');
    let unsigned = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
    let span = if !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit()) {
        let secs = unsigned.parse::<u64>().map_err(|_error| DurationError::TooLong)?;
        secs.checked_mul(SECOND).map(Duration::from_nanos).filter(within).ok_or(DurationError::TooLong)?
    } else {
        sum(unsigned, text)?
    };
    match (below_zero, span.as_secs()) {
        (true, _) if span.is_zero() => Ok(span),
        (true, 0) => Err(DurationError::Negative(trimmed.to_owned())),
        (true, secs) => Err(DurationError::Negative(format!("-{secs}"))),
        (false, _) => Ok(span),
    }
}

fn within(span: &Duration) -> bool {
    *span <= LONGEST
}

/// Numbers with units, added up; at least one. `text` is the whole text, for errors.
fn sum(unsigned: &str, text: &str) -> Result<Duration, DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let mut rest = unsigned;
    let mut total: u64 = 0;
    loop {
        let (whole, tail) = split(rest, |c| c.is_ascii_digit());
        let (fraction, tail) = match tail.strip_prefix('.') {
            Some(tail) => split(tail, |c| c.is_ascii_digit()),
            None => ("", tail),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let (unit, next) = split(tail, |c| !c.is_ascii_digit() && c != '.');
        if unit.is_empty() {
            return Err(DurationError::MissingUnit(text.to_owned()));
        }
        let known = UNITS.iter().find(|(name, _)| *name == unit);
        let (_, scale) = known.ok_or_else(|| DurationError::UnknownUnit(unit.to_owned(), text.to_owned()))?;
        let part = scaled(whole, fraction, *scale).ok_or_else(invalid)?;
        total = total.checked_add(part).ok_or_else(invalid)?;
        rest = next;
        if rest.is_empty() {
            return Some(Duration::from_nanos(total)).filter(within).ok_or_else(invalid);
        }
    }
}

/// Splits before the first character that does not belong.
fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !belongs(c)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// A number (digits before and after the point) times `scale` nanoseconds, the part below a nanosecond dropped.
fn scaled(whole: &str, fraction: &str, scale: u64) -> Option<u64> {
    let mut nanos = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()?.checked_mul(scale)? };
    let mut place = scale;
    for digit in fraction.bytes() {
        place /= 10;
        nanos = nanos.checked_add(place.checked_mul(u64::from(digit.checked_sub(b'0')?))?)?;
    }
    Some(nanos)
}

/// Prints as Go's `time.Duration.String` for spans of whole milliseconds or more: `0s`, `1.5s`, `2m0s`, `768h0m0s`.
pub fn format_duration(span: Duration) -> String {
    let secs = span.as_secs();
    let fraction = span.subsec_nanos();
    if secs == 0 && fraction > 0 {
        let (value, unit) = match fraction {
            0..1_000 => (f64::from(fraction), "ns"),
            1_000..1_000_000 => (f64::from(fraction) / 1e3, "µs"),
            _ => (f64::from(fraction) / 1e6, "ms"),
        };
        return format!("{value}{unit}");
    }
    let mut seconds = (secs % 60).to_string();
    if fraction > 0 {
        let digits = format!("{fraction:09}");
        seconds = format!("{seconds}.{}", digits.trim_end_matches('0'));
    }
    match (secs / 3600, secs / 60 % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_vault_reads() {
        let secs = |s| Ok(Duration::from_secs(s));
        assert_eq!(parse_duration("3600"), secs(3600));
        assert_eq!(parse_duration("1h"), secs(3600));
        assert_eq!(parse_duration("1h30m5s"), secs(5405));
        assert_eq!(parse_duration("2d"), secs(172_800));
        assert_eq!(parse_duration("1.5h"), secs(5400));
        assert_eq!(parse_duration(""), secs(0));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("+5"), secs(5));
        assert_eq!(parse_duration("5.s"), secs(5));
        assert_eq!(parse_duration(".5m"), secs(30));
        assert_eq!(parse_duration("-0"), secs(0));
        assert_eq!(parse_duration("2562047h"), secs(2_562_047 * 3600));
    }

    #[test]
    fn refuses_in_the_words_of_go() {
        let told = |text| parse_duration(text).unwrap_err().to_string();
        for text in ["h", "..s", ".s", "one", "-", "+", "--1", "2562048h", "99999999999999999999s"] {
            assert_eq!(told(text), format!("time: invalid duration {text:?}"));
        }
        for text in ["1h2", "1.5", "1..5h", "1.2.3s"] {
            assert_eq!(told(text), format!("time: missing unit in duration {text:?}"));
        }
        for (unit, text) in [("x", "1x"), ("h-", "1h-5m"), (" h", "1 h"), ("e+", "1e+300"), ("w", "1w")] {
            assert_eq!(told(text), format!("time: unknown unit {unit:?} in duration {text:?}"));
        }
        for (shown, text) in [("-1", "-1"), ("-3600", "-1h"), ("-1", "-1.5s"), ("-500ms", "-500ms")] {
            assert_eq!(told(text), format!("cannot provide negative value '{shown}'"));
        }
        for text in ["9223372037", "99999999999999999999"] {
            assert_eq!(parse_duration(text), Err(DurationError::TooLong));
        }
    }

    #[test]
    fn prints_as_go_does() {
        for (span, text) in [(0, "0s"), (59, "59s"), (60, "1m0s"), (5405, "1h30m5s"), (2_764_800, "768h0m0s")]
        {
            assert_eq!(format_duration(Duration::from_secs(span)), text);
        }
        assert_eq!(format_duration(Duration::from_millis(1500)), "1.5s");
        assert_eq!(format_duration(Duration::from_millis(250)), "250ms");
    }

    proptest! {
        #[test]
        fn what_is_printed_can_be_read(millis in 0u64..u64::from(u32::MAX)) {
            let span = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(span)), Ok(span));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = parse_duration(&text);
        }
    }
}
