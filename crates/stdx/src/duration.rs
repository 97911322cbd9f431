//! Durations as Go writes them (`1h30m0s`) and as Vault reads them (`90`, `"90"`, `"1h30m"`, `"2d"`).
//!
//! Source: Vault's documentation, "Duration string format".

use std::time::Duration;

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// No number where one is due, or an unknown unit.
    #[error("time: invalid duration {0:?}")]
    Invalid(String),
    /// Below zero where only spans forward make sense.
    #[error("cannot provide negative value '{0}'")]
    Negative(String),
    /// More than a `u64` of nanoseconds (584 years).
    #[error("time: duration {0:?} out of range")]
    TooLong(String),
}

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Reads a duration: a bare number is seconds, otherwise numbers with units (`ns us ms s m h d`), added up.
/// An empty text is zero, as in Vault.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Ok(Duration::ZERO);
    }
    if trimmed.starts_with('-') && trimmed != "-0" {
        return Err(DurationError::Negative(text.to_owned()));
    }
    let invalid = || DurationError::Invalid(text.to_owned());
    let too_long = || DurationError::TooLong(text.to_owned());
    if trimmed.bytes().all(|b| b.is_ascii_digit()) {
        let secs: u64 = trimmed.parse().map_err(|_error| too_long())?;
        let nanos = secs.checked_mul(1_000_000_000).ok_or_else(too_long)?;
        return Ok(Duration::from_nanos(nanos));
    }
    let mut rest = trimmed.strip_prefix('+').unwrap_or(trimmed);
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(invalid)?;
        let (number, tail) = rest.split_at_checked(number_end).ok_or_else(invalid)?;
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, next) = tail.split_at_checked(unit_end).ok_or_else(invalid)?;
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(invalid)?;
        total = total.checked_add(scaled(number, *scale).ok_or_else(invalid)?).ok_or_else(too_long)?;
        rest = next;
    }
    Ok(Duration::from_nanos(total))
}

/// `number` (digits with at most one point) times `scale` nanoseconds, the part below a nanosecond dropped.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
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
        assert_eq!(parse_duration("-1h"), Err(DurationError::Negative("-1h".into())));
        for bad in ["h", "1x", "1h2", "..s", "1.2.3s", "one"] {
            assert_eq!(parse_duration(bad), Err(DurationError::Invalid(bad.into())), "{bad}");
        }
        assert_eq!(
            parse_duration("99999999999999999999"),
            Err(DurationError::TooLong("99999999999999999999".into()))
        );
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
