//! `auto_join`: the discovery of nodes that a new node may join.
//!
//! The expression is written as in go-discover, which Vault uses: `key=value` pairs between spaces; a key or a value with
//! spaces, quotes or backslashes in it is in double quotes, with a backslash before a quote or backslash. Vault's providers ask
//! a cloud; those here need none.
//!
//! Source: <https://github.com/hashicorp/go-discover>, "Usage".

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::net::IpAddr;
use std::str::Chars;

use strongroom_stdx::Secret;

use crate::Address;
use crate::address::unbracketed;

/// The discovery of nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutoJoin {
    /// The source of their addresses.
    pub provider: Provider,
    /// The scheme of their APIs' URLs: `http` or `https`.
    pub scheme: &'static str,
    /// The port of their APIs, where the provider does not say another.
    pub port: u16,
}

/// The source of the addresses of nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provider {
    /// `provider=static addrs=HOST[:PORT],…`: they are these.
    Static(Vec<Address>),
    /// `provider=dns name=NAME`: all addresses (A and AAAA) of a name, looked up as the system does.
    Dns(String),
}

/// The schemes of an API's URL.
pub const SCHEMES: [&str; 2] = ["https", "http"];

/// The port of an API, unless told otherwise.
pub const DEFAULT_PORT: u16 = 8200;

impl AutoJoin {
    /// Reads an expression.
    ///
    /// # Errors
    ///
    /// What is wrong with it, to go behind the key's name. Values are not repeated: for some providers they are secrets.
    pub fn parse(expression: &Secret<String>, scheme: &'static str, port: u16) -> Result<AutoJoin, String> {
        let mut pairs = pairs(expression.expose())?;
        let name =
            pairs.remove("provider").ok_or("names no provider; \"static\" and \"dns\" are supported")?;
        let mut given = |key: &str| {
            let value = pairs.remove(key).filter(|value| !value.is_empty());
            value.ok_or_else(|| format!("needs {key:?} for provider {name:?}"))
        };
        let provider = match name.as_str() {
            "static" => Provider::Static(addresses(&given("addrs")?, port)?),
            "dns" => Provider::Dns(host(&given("name")?)?),
            _ => {
                return Err(format!("provider {name:?} is not supported; supported are \"static\", \"dns\""));
            }
        };
        match pairs.keys().next() {
            Some(key) => Err(format!("has a key {key:?} that provider {name:?} does not know")),
            None => Ok(AutoJoin { provider, scheme, port }),
        }
    }

    /// The URL of the API at an address.
    #[must_use]
    pub fn url(&self, address: &Address) -> String {
        format!("{}://{address}", self.scheme)
    }
}

fn addresses(list: &str, port: u16) -> Result<Vec<Address>, String> {
    list.split(',').map(|text| address(text.trim(), port)).collect()
}

/// A host, with a port or without.
fn address(text: &str, port: u16) -> Result<Address, String> {
    let bare = match text.parse::<IpAddr>() {
        Ok(ip) => Some(ip.to_string()),
        Err(_no_ip) => unbracketed(text).map(str::to_owned),
    };
    let address = match bare {
        Some(host) => Some(Address { host, port }),
        None => text.parse::<Address>().ok(),
    };
    let whole = address.filter(|address| !address.host.is_empty() && address.port != 0);
    whole
        .ok_or_else(|| format!("has an address {text:?} in \"addrs\" that is no host with or without a port"))
}

fn host(text: &str) -> Result<String, String> {
    let name = unbracketed(text).map(str::to_owned);
    name.ok_or_else(|| format!("has a \"name\" {text:?} that is no host name"))
}

/// The keys and values of an expression.
fn pairs(expression: &str) -> Result<BTreeMap<String, String>, String> {
    let mut found = BTreeMap::new();
    let mut rest = expression.chars().peekable();
    loop {
        while rest.next_if(|next| next.is_whitespace()).is_some() {}
        if rest.peek().is_none() {
            return Ok(found);
        }
        let key = word(&mut rest, true)?;
        if rest.next() != Some('=') || key.is_empty() {
            return Err("must be made of key=value pairs".to_owned());
        }
        let value = word(&mut rest, false)?;
        if rest.peek().is_some_and(|next| !next.is_whitespace()) {
            return Err(format!("has something behind the quoted value of {key:?}"));
        }
        if found.insert(key.clone(), value).is_some() {
            return Err(format!("has the key {key:?} twice"));
        }
    }
}

/// A key or a value, in quotes or not.
fn word(rest: &mut Peekable<Chars<'_>>, is_key: bool) -> Result<String, String> {
    let mut word = String::new();
    if rest.next_if_eq(&'"').is_some() {
        loop {
            match rest.next() {
                Some('"') => return Ok(word),
                Some('\\') => match rest.next() {
                    Some(escaped @ ('"' | '\\')) => word.push(escaped),
                    _ => return Err("may have only a quote or a backslash behind a backslash".to_owned()),
                },
                Some(next) => word.push(next),
                None => return Err("has a quote that is not closed".to_owned()),
            }
        }
    }
    while let Some(next) = rest.next_if(|next| !(next.is_whitespace() || (is_key && *next == '='))) {
        if matches!(next, '"' | '\\') {
            return Err("has a quote or a backslash outside of quotes".to_owned());
        }
        word.push(next);
    }
    Ok(word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(expression: &str) -> Result<AutoJoin, String> {
        AutoJoin::parse(&Secret::new(expression.to_owned()), "https", 8200)
    }

    fn urls(expression: &str) -> Vec<String> {
        let parsed = parse(expression).unwrap();
        let Provider::Static(addresses) = &parsed.provider else { panic!("{parsed:?}") };
        addresses.iter().map(|address| parsed.url(address)).collect()
    }

    #[test]
    fn addresses_have_the_port_that_is_said_or_the_common_one() {
        let expression = "provider=static addrs=10.0.0.1,10.0.0.2:8300,::1,[::1],[::1]:8300,node4.internal";
        let expected = [
            "https://10.0.0.1:8200",
            "https://10.0.0.2:8300",
            "https://[::1]:8200",
            "https://[::1]:8200",
            "https://[::1]:8300",
            "https://node4.internal:8200",
        ];
        assert_eq!(urls(expression), expected);
        assert_eq!(urls("  \"provider\"=\"static\"\t addrs=\"a, b:1\" "), ["https://a:8200", "https://b:1"]);
    }

    #[test]
    fn a_name_is_looked_up_when_it_is_needed() {
        let dns = parse("name=\"vault.internal\" provider=dns").unwrap();
        assert_eq!(dns.provider, Provider::Dns("vault.internal".to_owned()));
    }

    #[test]
    fn mistakes_are_named() {
        let wrong = [
            ("", "names no provider; \"static\" and \"dns\" are supported"),
            ("provider=aws secret=x", "provider \"aws\" is not supported; supported are \"static\", \"dns\""),
            ("provider=static", "needs \"addrs\" for provider \"static\""),
            ("provider=dns name=", "needs \"name\" for provider \"dns\""),
            ("provider=dns name=a:b", "has a \"name\" \"a:b\" that is no host name"),
            ("provider=dns name=a resolver=b", "has a key \"resolver\" that provider \"dns\" does not know"),
            ("provider=static provider=dns", "has the key \"provider\" twice"),
            ("provider", "must be made of key=value pairs"),
            ("=static", "must be made of key=value pairs"),
            ("provider=\"static", "has a quote that is not closed"),
            ("provider=\"static\"addrs=a", "has something behind the quoted value of \"provider\""),
            ("provider=\"st\\atic\"", "may have only a quote or a backslash behind a backslash"),
            ("provider=st\"atic", "has a quote or a backslash outside of quotes"),
        ];
        for (expression, expected) in wrong {
            assert_eq!(parse(expression).unwrap_err(), expected, "{expression}");
        }
        for address in ["", ":8200", "a:0", "a:b", "a,", "https://a", "a b", "[x]"] {
            let told = parse(&format!("provider=static addrs=\"{address}\" "));
            assert!(told.is_err_and(|told| told.contains("addrs")), "{address}");
        }
    }

    fn quoted(text: &str) -> String {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    }

    proptest! {
        #[test]
        fn what_is_quoted_is_read_back(given in prop::collection::btree_map(".{1,8}", ".{0,8}", 0..5)) {
            let written: Vec<String> =
                given.iter().map(|(key, value)| format!("{}={}", quoted(key), quoted(value))).collect();
            prop_assert_eq!(pairs(&written.join(" ")), Ok(given));
        }

        #[test]
        fn nothing_panics_and_values_are_not_told(text in "[a-z=\"\\\\ ,:\\[\\]]{0,40}") {
            let _ = parse(&text);
            let _ = parse(&format!("provider=static addrs={text}"));
            let told = parse(&format!("provider=aws secret_access_key=hush {text}")).unwrap_err();
            prop_assert!(!told.contains("hush"), "{}", told);
        }
    }
}
