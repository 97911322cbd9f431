//! Names and addresses of servers as they are written.

use std::net::IpAddr;

/// Longest name of a host (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 253;

/// A host as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// An address in the one way it is written.
    Address(IpAddr),
    /// A name, to be looked up.
    Name,
}

impl Host {
    /// Reads a host without brackets. Other spellings of an address (`2130706433`, `0x7f.1`, `0177.0.0.1`), which some
    /// systems read as one when they look up a name, are refused: they have no legitimate use.
    pub(crate) fn read(text: &str) -> Result<Self, &'static str> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Address(address));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let fits = |letter: u8| letter.is_ascii_alphanumeric() || matches!(letter, b'-' | b'_' | b'.');
        if name.is_empty()
            || name.len() > MAX_NAME
            || !name.bytes().all(fits)
            || name.split('.').any(str::is_empty)
        {
            return Err("the host is neither a name nor an address");
        }
        let last = name.rsplit('.').next().unwrap_or_default();
        let hexadecimal = last.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("0x"));
        if last.bytes().all(|letter| letter.is_ascii_digit()) || hexadecimal {
            return Err("the host is an address in a spelling that is not accepted");
        }
        Ok(Self::Name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_one_spelling() {
        for text in ["127.0.0.1", "::1", "::ffff:10.0.0.1"] {
            assert_eq!(Host::read(text), Ok(Host::Address(text.parse().unwrap())));
        }
        for text in ["localhost", "db.example", "db.example.", "a_b.1e", "x0.0x7g.example", "1.example"] {
            assert_eq!(Host::read(text), Ok(Host::Name), "{text}");
        }
        for text in [
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "127.1",
            "0177.0.0.1",
            "127.0.0.01",
            "127.0.0.1.",
            "1.2.3.4.5",
            "a.0X1",
            "017700000001",
            "127.0.0.0x1",
            "169.254.43518",
            "",
            ".",
            "a..b",
            "a b",
            "a%31",
            "ⓛocalhost",
            "fe80::1%eth0",
            "[::1]",
            "a/b",
            "user@host",
            "a\\b",
        ] {
            assert!(Host::read(text).is_err(), "{text}");
        }
        assert!(Host::read(&"a".repeat(254)).is_err());
    }
}
