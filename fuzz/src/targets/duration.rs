//! Durations and times as text.

use strongroom_stdx::{Moment, format_duration, parse_duration};

use super::text;
use crate::Target;

pub(super) const DURATION: Target = Target {
    name: "duration",
    run: duration,
    made: crate::no_inputs,
    seeds: &[
        b"1h30m",
        b"90",
        b"2d",
        b"1.5s",
        b"+3us",
        b"100ns",
        "7µs".as_bytes(),
        b"-0",
        b"18446744073s",
        b"0.000000001s",
    ],
    words: &[
        "ns",
        "us",
        "µs",
        "ms",
        "s",
        "m",
        "h",
        "d",
        ".",
        "-",
        "+",
        "0",
        "9",
        "18446744073709551615",
        "999999999",
        " ",
    ],
};

pub(super) const TIME: Target = Target {
    name: "time",
    run: time,
    made: crate::no_inputs,
    seeds: &[
        b"2026-11-23T18:14:57.947815764Z",
        b"1970-01-01T00:00:00Z",
        b"2026-11-23T18:14:57+01:00",
        b"9999-12-31T23:59:59.999999999Z",
    ],
    words: &["-", ":", "T", "Z", "+", "00", "60", "24", "9999", ".", "999999999", "t", "z", " "],
};

/// A duration prints as text that reads as the same duration.
fn duration(input: &[u8]) {
    let text = text(input);
    match parse_duration(&text) {
        Ok(span) => {
            let printed = format_duration(span);
            assert_eq!(parse_duration(&printed), Ok(span), "{text:?} printed as {printed:?}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// So does a time.
fn time(input: &[u8]) {
    if let Some(moment) = Moment::parse_rfc3339(&text(input)) {
        assert_eq!(Moment::parse_rfc3339(&moment.rfc3339()), Some(moment));
        let whole = Moment::from_secs(moment.as_secs());
        assert_eq!(Moment::parse_rfc3339(&moment.rfc3339_secs()), Some(whole));
    }
}
