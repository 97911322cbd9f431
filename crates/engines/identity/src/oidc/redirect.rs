//! Addresses to which codes are sent. Each is one that the client has registered, to the letter; of a loopback address the port
//! is free, since a program on a person's own machine listens where it can (RFC 8252, section 7.3).

/// True if a code may be sent to `given`.
pub(super) fn is_allowed(registered: &[String], given: &str) -> bool {
    let loopback = without_port(given);
    registered.iter().any(|uri| uri == given || (loopback.is_some() && without_port(uri) == loopback))
}

/// The host of a loopback address, and what follows its port; `None` for any other address.
fn without_port(uri: &str) -> Option<(&str, &str)> {
    let rest = uri.strip_prefix("http://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end)?;
    let hosts = ["127.0.0.1", "[::1]", "localhost"];
    let (host, port) =
        hosts.iter().find_map(|host| authority.strip_prefix(host).map(|port| (*host, port)))?;
    let is_port = port.is_empty()
        || port.strip_prefix(':').is_some_and(|port| {
            port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
        });
    is_port.then_some((host, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(registered: &str, given: &str) -> bool {
        is_allowed(&[registered.to_owned()], given)
    }

    #[test]
    fn an_address_is_taken_to_the_letter() {
        assert!(allowed("https://app.example/cb", "https://app.example/cb"));
        for given in [
            "https://app.example/cb/",
            "https://app.example/cb?x=1",
            "https://app.example:443/cb",
            "https://APP.example/cb",
            "http://app.example/cb",
            "https://app.example.evil/cb",
            "https://app.example/c",
            "",
        ] {
            assert!(!allowed("https://app.example/cb", given), "{given}");
        }
    }

    #[test]
    fn the_port_of_a_loopback_address_is_free() {
        for given in ["http://127.0.0.1:8251/cb", "http://127.0.0.1:9/cb", "http://127.0.0.1/cb"] {
            assert!(allowed("http://127.0.0.1:8251/cb", given), "{given}");
            assert!(allowed("http://127.0.0.1/cb", given), "{given}");
        }
        assert!(allowed("http://[::1]/cb", "http://[::1]:99/cb"));
        assert!(allowed("http://localhost:1/cb", "http://localhost:2/cb"));
        for given in [
            "http://127.0.0.1:8251/other",
            "http://127.0.0.1.evil/cb",
            "http://127.0.0.1:80@evil/cb",
            "http://127.0.0.1:x/cb",
            "http://127.0.0.1:+1/cb",
            "http://user@127.0.0.1/cb",
            "http://localhost:8251/cb",
            "https://127.0.0.1:8251/cb",
            "http://127.0.0.1:99999/cb",
        ] {
            assert!(!allowed("http://127.0.0.1:8251/cb", given), "{given}");
        }
    }
}
