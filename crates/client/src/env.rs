//! Reads a [`Config`] from the variables documented for Vault's command line and clients.

use std::path::PathBuf;
use std::time::Duration;

use strongroom_stdx::{Secret, parse_duration, variable};

use crate::config::{Config, Proxy, RateLimit};
use crate::error::ConfigError;

/// Looks variables up under every prefix ([`variable`]). Empty counts as unset.
struct Variables<L>(L);

impl<L: Fn(&str) -> Option<String>> Variables<L> {
    fn plain(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    /// The value and the name it was found under.
    fn named(&self, name: &str) -> Option<(String, String)> {
        variable(&self.0, name)
    }

    fn text(&self, name: &str) -> Option<String> {
        self.named(name).map(|(_, value)| value)
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    fn boolean(&self, name: &str) -> Result<bool, ConfigError> {
        let Some((variable, value)) = self.named(name) else { return Ok(false) };
        parse_bool(&value)
            .ok_or_else(|| ConfigError::Variable { variable, reason: format!("not a boolean: {value:?}") })
    }

    fn duration(&self, name: &str) -> Result<Option<Duration>, ConfigError> {
        let Some((variable, value)) = self.named(name) else { return Ok(None) };
        match parse_duration(&value) {
            Ok(span) => Ok(Some(span)),
            Err(source) => Err(ConfigError::Duration { variable, source }),
        }
    }
}

impl Config {
    /// Reads the documented variables, each as `STRONGROOM_X`, `BAO_X` or `VAULT_X`: `ADDR`, `AGENT_ADDR` (goes before
    /// `ADDR`), `CACERT`, `CACERT_BYTES`, `CAPATH`, `CLIENT_CERT`, `CLIENT_KEY`, `CLIENT_TIMEOUT`,
    /// `DISABLE_REDIRECTS`, `HTTP_PROXY`, `MAX_RETRIES`, `MFA`, `NAMESPACE`, `PROXY_ADDR`, `RATE_LIMIT`,
    /// `SKIP_VERIFY`, `SRV_LOOKUP`, `TLS_SERVER_NAME`, `TOKEN`, `WRAP_TTL`; and the usual `HTTP_PROXY`, `HTTPS_PROXY`
    /// and `NO_PROXY` (in lower case too) where no proxy of its own is set.
    ///
    /// `lookup` answers for one variable, so that tests and embedding programs decide what the environment is.
    pub fn from_env(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let env = Variables(lookup);
        let mut config = Self::default();
        if let Some(address) = env.text("AGENT_ADDR").or_else(|| env.text("ADDR")) {
            config.address = address;
        }
        config.token = env.text("TOKEN").map(Secret::new);
        config.namespace = env.text("NAMESPACE");
        config.mfa = env.text("MFA").into_iter().collect();
        config.wrap_ttl = env.duration("WRAP_TTL")?;
        config.tls.ca_bytes = env.text("CACERT_BYTES").map(String::into_bytes);
        config.tls.ca_cert = env.path("CACERT");
        config.tls.ca_path = env.path("CAPATH");
        config.tls.client_cert = env.path("CLIENT_CERT");
        config.tls.client_key = env.path("CLIENT_KEY");
        config.tls.server_name = env.text("TLS_SERVER_NAME");
        config.tls.skip_verify = env.boolean("SKIP_VERIFY")?;
        config.srv_lookup = env.boolean("SRV_LOOKUP")?;
        config.disable_redirects = env.boolean("DISABLE_REDIRECTS")?;
        if let Some(timeout) = env.duration("CLIENT_TIMEOUT")? {
            config.timeout = timeout;
        }
        if let Some((variable, value)) = env.named("MAX_RETRIES") {
            let retries: i64 = value.trim().parse().map_err(|_ignored| ConfigError::Variable {
                variable,
                reason: format!("not a number: {value:?}"),
            })?;
            config.retry.max = u32::try_from(retries.max(0)).unwrap_or(u32::MAX);
        }
        if let Some((variable, value)) = env.named("RATE_LIMIT") {
            let reason = format!("{value:?} should be of the form rate or rate:burst");
            config.rate_limit =
                Some(RateLimit::parse(&value).ok_or(ConfigError::Variable { variable, reason })?);
        }
        config.proxy.all = env.text("PROXY_ADDR").or_else(|| env.text("HTTP_PROXY"));
        config.proxy = Proxy { all: config.proxy.all, ..Proxy::from_env(&env.0) };
        Ok(config)
    }
}

impl Proxy {
    /// Reads the usual `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, in upper or lower case.
    pub fn from_env(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let env = Variables(lookup);
        let either = |upper: &str| env.plain(upper).or_else(|| env.plain(&upper.to_lowercase()));
        Self {
            all: None,
            http: either("HTTP_PROXY"),
            https: either("HTTPS_PROXY"),
            no_proxy: either("NO_PROXY"),
        }
    }
}

impl RateLimit {
    /// Reads `rate` or `rate:burst`; the burst defaults to the rate.
    fn parse(text: &str) -> Option<Self> {
        let (rate, burst) = match text.split_once(':') {
            Some((rate, burst)) => (rate, Some(burst)),
            None => (text, None),
        };
        let per_second: f64 =
            rate.trim().parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0)?;
        let burst: u32 = match burst {
            Some(burst) => burst.trim().parse().ok().filter(|burst| *burst > 0)?,
            None => format!("{:.0}", per_second.ceil().min(f64::from(u32::MAX))).parse().ok()?,
        };
        Some(Self { per_second, burst })
    }
}

/// The words Go's `strconv.ParseBool` accepts.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_env(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn nothing_set_is_the_default() {
        let config = config(&[("VAULT_ADDR", "")]).unwrap();
        assert_eq!(config.address, "https://127.0.0.1:8200");
        assert_eq!(config.timeout, Duration::from_mins(1));
        assert_eq!(config.retry.max, 2);
        assert!(config.token.is_none());
        assert_eq!(config.proxy, crate::Proxy::default());
    }

    #[test]
    fn reads_the_documented_variables() {
        let config = config(&[
            ("VAULT_ADDR", "http://a"),
            ("VAULT_AGENT_ADDR", "http://agent"),
            ("VAULT_TOKEN", "t"),
            ("VAULT_NAMESPACE", "team"),
            ("VAULT_CACERT", "/ca"),
            ("VAULT_CACERT_BYTES", "pem"),
            ("VAULT_CAPATH", "/cas"),
            ("VAULT_CLIENT_CERT", "/cert"),
            ("VAULT_CLIENT_KEY", "/key"),
            ("VAULT_CLIENT_TIMEOUT", "90"),
            ("VAULT_MAX_RETRIES", "-3"),
            ("VAULT_SKIP_VERIFY", "true"),
            ("VAULT_SRV_LOOKUP", "1"),
            ("VAULT_TLS_SERVER_NAME", "vault.example"),
            ("VAULT_WRAP_TTL", "5m"),
            ("VAULT_RATE_LIMIT", "10:20"),
            ("VAULT_MFA", "m:1"),
            ("VAULT_DISABLE_REDIRECTS", "true"),
            ("VAULT_HTTP_PROXY", "http://p1"),
            ("VAULT_PROXY_ADDR", "http://p2"),
        ])
        .unwrap();
        assert_eq!(config.address, "http://agent");
        assert_eq!(config.token.unwrap().expose(), "t");
        assert_eq!(config.namespace.as_deref(), Some("team"));
        assert_eq!(config.tls.ca_bytes.as_deref(), Some(b"pem".as_slice()));
        assert_eq!(config.tls.ca_cert, Some("/ca".into()));
        assert_eq!(config.tls.ca_path, Some("/cas".into()));
        assert_eq!(config.tls.client_cert, Some("/cert".into()));
        assert_eq!(config.tls.client_key, Some("/key".into()));
        assert_eq!(config.tls.server_name.as_deref(), Some("vault.example"));
        assert!(config.tls.skip_verify && config.srv_lookup && config.disable_redirects);
        assert_eq!(config.timeout, Duration::from_secs(90));
        assert_eq!(config.retry.max, 0);
        assert_eq!(config.wrap_ttl, Some(Duration::from_mins(5)));
        assert_eq!(config.rate_limit, Some(RateLimit { per_second: 10.0, burst: 20 }));
        assert_eq!(config.mfa, ["m:1"]);
        assert_eq!(config.proxy.all.as_deref(), Some("http://p2"));
    }

    #[test]
    fn our_own_prefix_goes_first() {
        let set = [("VAULT_ADDR", "http://a"), ("STRONGROOM_ADDR", "http://b"), ("BAO_TOKEN", "t")];
        let config = config(&set).unwrap();
        assert_eq!((config.address.as_str(), config.token.unwrap().expose().as_str()), ("http://b", "t"));
    }

    #[test]
    fn wrong_values_name_their_variable() {
        for (name, value) in [
            ("VAULT_SKIP_VERIFY", "maybe"),
            ("VAULT_CLIENT_TIMEOUT", "soon"),
            ("VAULT_MAX_RETRIES", "two"),
            ("VAULT_RATE_LIMIT", "0"),
            ("VAULT_RATE_LIMIT", "1:0"),
            ("VAULT_WRAP_TTL", "-5m"),
        ] {
            let error = config(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn the_burst_defaults_to_the_rate() {
        assert_eq!(RateLimit::parse("2.5"), Some(RateLimit { per_second: 2.5, burst: 3 }));
        assert_eq!(RateLimit::parse("0.1"), Some(RateLimit { per_second: 0.1, burst: 1 }));
        assert_eq!(RateLimit::parse("inf"), None);
    }
}
