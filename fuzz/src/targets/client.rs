//! What the client takes from a server and from its environment.

use strongroom_client::{Address, Config, Reply};

use super::{parts, text};
use crate::Target;

pub(super) const REPLY: Target = Target {
    name: "reply",
    run: reply,
    made: crate::no_inputs,
    seeds: &[
        b"{\"request_id\":\"a\",\"lease_id\":\"\",\"renewable\":false,\"lease_duration\":0,\"data\":{\"keys\":[\"a\"]},\"wrap_info\":null,\"warnings\":[\"w\"],\"auth\":null}",
        b"{\"auth\":{\"client_token\":\"t\",\"accessor\":\"a\",\"policies\":[\"p\"],\"metadata\":{\"k\":\"v\"},\"lease_duration\":1,\"renewable\":true}}",
        b"{\"wrap_info\":{\"token\":\"t\",\"accessor\":\"a\",\"ttl\":60,\"creation_time\":\"2026-11-23T18:14:57Z\",\"creation_path\":\"p\",\"wrapped_accessor\":\"\"}}",
        b"",
    ],
    words: &["{", "}", "[", "]", "\"", ":", ",", "null", "auth", "data", "keys", "warnings", "wrap_info", "lease_duration", "1e99", "-1"],
};

pub(super) const SETTINGS: Target = Target {
    name: "settings",
    run: settings,
    made: crate::no_inputs,
    seeds: &[
        b"https://vault.example.com:8200\0secret/a b\0VAULT_CLIENT_TIMEOUT=60s",
        b"unix:///run/vault.sock\0/a/\0VAULT_RATE_LIMIT=10:20",
        b"http://[::1]:8200/prefix/\0a?b\0VAULT_MAX_RETRIES=-1\nVAULT_SKIP_VERIFY=t",
    ],
    words: &[
        "http://", "https://", "unix://", "[::1]", ":", "@", "/", "?", "#", "%2F", "..", "65536", "\0", "é",
        " ", "\n", "VAULT_", "=",
    ],
};

fn reply(input: &[u8]) {
    if let Ok(Some(reply)) = Reply::parse(input) {
        let _ = (reply.keys(), reply.warnings(), reply.field("a"));
    }
}

/// An address, a path, and variables, one a line.
fn settings(input: &[u8]) {
    let [address, path, variables] = parts(input);
    let (address, path, variables) = (text(address), text(path), text(variables));
    if let Ok(parsed) = Address::parse(&address) {
        let again = Address::parse(parsed.as_str()).expect("an address that was read is one");
        assert_eq!(again.as_str(), parsed.as_str());
        let url = parsed.url(&path, &[("a".to_owned(), path.to_string())]);
        let breaks = |c: char| c.is_whitespace() || c.is_control();
        assert!(!url.contains(breaks), "not a URL: {url:?}");
    }
    let lookup = |name: &str| {
        variables
            .lines()
            .find_map(|line| line.split_once('=').filter(|(known, _)| *known == name))
            .map(|(_, value)| value.to_owned())
    };
    let _ = Config::from_env(lookup);
    let _ = Config::from_env(|name| name.starts_with("VAULT_").then(|| address.to_string()));
}
