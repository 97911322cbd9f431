//! Reads the connection string: where the database is, how to log in, and how the connection is secured.
//!
//! It is libpq's language (<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING>). The driver
//! knows a part of it and would name a piece of a password in the error for a string with a wrong quote; so the string is
//! taken apart here, and the driver gets what is left of it in a form that it cannot misread.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::path::PathBuf;
use std::str::Chars;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use strongroom_stdx::Secret;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::tls::{self, Trust};

/// The options that the driver takes as they are.
const PASSED_ON: [&str; 17] = [
    "user",
    "password",
    "dbname",
    "options",
    "application_name",
    "host",
    "hostaddr",
    "port",
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "sslnegotiation",
    "channel_binding",
    "load_balance_hosts",
];

/// The options that are read here.
const OURS: [&str; 5] = ["sslmode", "sslrootcert", "sslcert", "sslkey", "target_session_attrs"];

/// The time limit of each address to answer, unless the string says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// After how long of silence it is checked whether a connection still stands, unless the string says otherwise.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// The address of the database and how a connection to it is made.
pub(crate) struct Target {
    pub(crate) config: Config,
    pub(crate) tls: MakeRustlsConnect,
}

impl Target {
    /// Reads a URL or `key=value` pairs. The error never has a part of the string in it but known keys.
    pub(crate) fn read(text: &str) -> Result<Target, String> {
        let url = ["postgres://", "postgresql://"].iter().find_map(|scheme| text.strip_prefix(scheme));
        let mut settings = match url {
            Some(rest) => Settings::of_url(rest)?,
            None => Settings::of_pairs(text)?,
        };
        let tls = tls_options(&mut settings)?;
        match settings.take("target_session_attrs").as_deref() {
            None | Some("any" | "read-write" | "primary") => {}
            Some(_) => return Err("must lead to a server that can be written to".to_owned()),
        }
        let mut config = settings.into_config()?;
        // A standby of the database would show the past.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        let mode = ssl_mode(&config, tls.mode)?;
        config.ssl_mode(mode);
        let trust = match tls.mode {
            Mode::Disable | Mode::Prefer => Trust::Anyone,
            Mode::Require if tls.authority.is_none() => Trust::Anyone,
            Mode::Require | Mode::VerifyCa => Trust::Authority(tls.authority),
            Mode::VerifyFull => Trust::AuthorityAndName(tls.authority),
        };
        Ok(Target { config, tls: tls::connector(&trust, tls.identity)? })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

struct TlsOptions {
    mode: Mode,
    /// The file of the authority's certificate; `None`: those that the operating system trusts.
    authority: Option<PathBuf>,
    /// The files of our certificate and its key.
    identity: Option<(PathBuf, PathBuf)>,
}

fn tls_options(settings: &mut Settings) -> Result<TlsOptions, String> {
    let mode = match settings.take("sslmode").as_deref() {
        Some("disable") => Mode::Disable,
        Some("prefer") => Mode::Prefer,
        None | Some("require") => Mode::Require,
        Some("verify-ca") => Mode::VerifyCa,
        Some("verify-full") => Mode::VerifyFull,
        Some(_) => {
            let allowed = "disable, prefer, require, verify-ca or verify-full";
            return Err(format!("has an \"sslmode\" that is not supported; it must be {allowed}"));
        }
    };
    let authority = match settings.take("sslrootcert") {
        Some(system) if system == "system" => {
            if mode != Mode::VerifyFull {
                return Err("has \"sslrootcert=system\", which needs \"sslmode=verify-full\"".to_owned());
            }
            None
        }
        other => other.map(PathBuf::from),
    };
    let identity = match (settings.take("sslcert"), settings.take("sslkey")) {
        (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
        (None, None) => None,
        _ => return Err("must have \"sslcert\" together with \"sslkey\"".to_owned()),
    };
    Ok(TlsOptions { mode, authority, identity })
}

/// The TLS mode for the driver. The database has no TLS on Unix sockets, and libpq asks for none.
fn ssl_mode(config: &Config, mode: Mode) -> Result<SslMode, String> {
    let local = config.get_hosts().iter().filter(|host| matches!(host, Host::Unix(_))).count();
    match mode {
        Mode::Disable => Ok(SslMode::Disable),
        _ if local > 0 && local == config.get_hosts().len() => Ok(SslMode::Disable),
        _ if local > 0 => Err("has Unix sockets among hosts with TLS; give only one kind of them".to_owned()),
        Mode::Prefer => Ok(SslMode::Prefer),
        Mode::Require | Mode::VerifyCa | Mode::VerifyFull => Ok(SslMode::Require),
    }
}

/// The keys and values of a connection string; of a key that is there twice the last value.
#[derive(Default)]
struct Settings(BTreeMap<&'static str, Secret<String>>);

impl Settings {
    fn of_url(rest: &str) -> Result<Settings, String> {
        let mut settings = Settings::default();
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (login, None),
        };
        for (key, value) in [("user", user), ("dbname", database)] {
            if !value.is_empty() {
                settings.set(key, decoded(value)?);
            }
        }
        if let Some(password) = password {
            settings.set("password", decoded(password)?);
        }
        if !hosts.is_empty() {
            let (names, ports): (Vec<_>, Vec<_>) = hosts.split(',').map(host_and_port).unzip();
            settings.set("host", decoded(&names.join(","))?);
            settings.set("port", decoded(&ports.join(","))?);
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or("has an option without a value")?;
            settings.set(known(&decoded(key)?)?, decoded(value)?);
        }
        Ok(settings)
    }

    fn of_pairs(text: &str) -> Result<Settings, String> {
        let mut settings = Settings::default();
        let mut letters = text.chars().peekable();
        loop {
            while letters.next_if(|letter| letter.is_whitespace()).is_some() {}
            if letters.peek().is_none() {
                return Ok(settings);
            }
            let mut key = String::new();
            while let Some(letter) = letters.next_if(|letter| *letter != '=' && !letter.is_whitespace()) {
                key.push(letter);
            }
            while letters.next_if(|letter| letter.is_whitespace()).is_some() {}
            letters.next_if_eq(&'=').ok_or("is neither a URL nor made of pairs key=value")?;
            while letters.next_if(|letter| letter.is_whitespace()).is_some() {}
            let value = value_of_pair(&mut letters)?;
            settings.set(known(&key)?, value);
        }
    }

    fn set(&mut self, key: &'static str, value: String) {
        self.0.insert(key, Secret::new(value));
    }

    fn take(&mut self, key: &str) -> Option<String> {
        self.0.remove(key).map(|value| value.expose().clone())
    }

    fn into_config(mut self) -> Result<Config, String> {
        // The driver calls it otherwise than libpq.
        if let Some(count) = self.0.remove("keepalives_count") {
            self.0.insert("keepalives_retries", count);
        }
        // Without a host, the address is what certificates are for.
        if let (None, Some(addresses)) = (self.0.get("host"), self.0.get("hostaddr")) {
            let addresses = addresses.clone();
            self.0.insert("host", addresses);
        }
        let quoted = |value: &str| value.replace('\\', "\\\\").replace('\'', "\\'");
        let mut pairs = Vec::new();
        for (key, value) in &self.0 {
            let pair = Secret::new(format!("{key}='{}'", quoted(value.expose())));
            if pair.expose().parse::<Config>().is_err() {
                return Err(format!("has a {key:?} that cannot be used"));
            }
            pairs.push(pair);
        }
        let all = Secret::new(pairs.iter().map(|pair| pair.expose().as_str()).collect::<Vec<_>>().join(" "));
        let mut config: Config = all.expose().parse().map_err(|_may_quote| "cannot be used".to_owned())?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if !self.0.contains_key("keepalives_idle") {
            config.keepalives_idle(KEEPALIVE);
        }
        if config.get_application_name().is_none() {
            config.application_name("strongroom");
        }
        if config.get_hosts().is_empty() {
            return Err("names no host".to_owned());
        }
        let hosts = config.get_hosts().len();
        if config.get_ports().len() > 1 && config.get_ports().len() != hosts {
            return Err("must have one port, or as many as hosts".to_owned());
        }
        if !config.get_hostaddrs().is_empty() && config.get_hostaddrs().len() != hosts {
            return Err("must have as many \"hostaddr\" as \"host\"".to_owned());
        }
        Ok(config)
    }
}

/// A host and its port as texts, percent-encoded still; the port is empty where the default is meant.
fn host_and_port(text: &str) -> (&str, &str) {
    if let Some((host, port)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (host, port.strip_prefix(':').unwrap_or(port));
    }
    text.split_once(':').unwrap_or((text, ""))
}

fn decoded(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(String::from).map_err(|_quotes_nothing| "has a part that is no UTF-8 when decoded".to_owned())
}

/// The key of this name. One that is not known is not repeated: it may be what follows a blank in a password.
fn known(key: &str) -> Result<&'static str, String> {
    PASSED_ON.into_iter().chain(OURS).find(|known| *known == key).ok_or_else(|| {
        "has an option that is not supported, or a character that must be percent-encoded or quoted"
            .to_owned()
    })
}

/// The value of a pair: up to a blank, or in single quotes; a backslash takes the next character as it is.
fn value_of_pair(letters: &mut Peekable<Chars<'_>>) -> Result<String, String> {
    let quoted = letters.next_if_eq(&'\'').is_some();
    let ends = |letter: char| if quoted { letter == '\'' } else { letter.is_whitespace() };
    let mut value = String::new();
    while let Some(letter) = letters.next_if(|letter| !ends(*letter)) {
        value.extend(if letter == '\\' { letters.next() } else { Some(letter) });
    }
    if quoted && letters.next().is_none() {
        return Err("has a quote that is not closed".to_owned());
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Config {
        Target::read(text).unwrap_or_else(|error| panic!("{text}: {error}")).config
    }

    #[test]
    fn a_url_and_pairs_mean_the_same() {
        let url = read(
            "postgres://us%40er:p%2Fa's%20s%5C@db.example:5433,[::1]/na%20me?sslmode=disable&connect_timeout=3",
        );
        let pairs = read(
            r"user=us@er password='p/a\'s s\\' host=db.example,::1 port = 5433, dbname='na me' sslmode=disable connect_timeout=3",
        );
        assert_eq!(url, pairs);
        assert_eq!(url.get_user(), Some("us@er"));
        assert_eq!(url.get_password(), Some(&b"p/a's s\\"[..]));
        assert_eq!(url.get_dbname(), Some("na me"));
        assert_eq!(url.get_ports(), [5433, 5432]);
        assert_eq!(url.get_connect_timeout(), Some(&Duration::from_secs(3)));
    }

    #[test]
    fn the_last_of_two_values_counts() {
        let config = read("postgres://u@h:1/d?host=other&port=2&user=v&sslmode=disable");
        assert_eq!(config.get_hosts(), [Host::Tcp("other".to_owned())]);
        assert_eq!((config.get_ports(), config.get_user()), (&[2][..], Some("v")));
    }

    #[test]
    fn tls_is_wanted_unless_it_is_disabled() {
        for (query, wanted) in [
            ("", SslMode::Require),
            ("?sslmode=require", SslMode::Require),
            ("?sslmode=verify-full", SslMode::Require),
            ("?sslmode=verify-full&sslrootcert=system", SslMode::Require),
            ("?sslmode=prefer", SslMode::Prefer),
            ("?sslmode=disable", SslMode::Disable),
        ] {
            assert_eq!(read(&format!("postgres://u@h/d{query}")).get_ssl_mode(), wanted, "{query}");
        }
        assert_eq!(read("postgres://u@%2Frun%2Fpostgresql/d").get_ssl_mode(), SslMode::Disable);
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_repeating_it() {
        for text in [
            "",
            "hush",
            "postgres://",
            "postgres://u:hush@/d",
            "postgres://u:hu/sh@h/d",
            "postgres://u:hu?sh=hush@h/d",
            "postgres://u:hush%ff@h/d",
            "postgres://u:hush@h/d?hush=hush",
            "postgres://u:hush@h:hush/d",
            "postgres://u:hush@h/d?sslmode=hush",
            "postgres://u:hush@h/d?sslmode=allow",
            "postgres://u:hush@h/d?sslmode=require&sslrootcert=system",
            "postgres://u:hush@h/d?sslmode=verify-full&sslrootcert=/none",
            "postgres://u:hush@h/d?sslcert=/none",
            "postgres://u:hush@h/d?target_session_attrs=standby",
            "postgres://u:hush@h,%2Frun/d",
            "postgres://u:hush@h/d?connect_timeout=hush",
            "postgres://u:hush@a,b,c/d?port=1,2",
            "host=h password=my hush user=u",
            "host=h password='hush",
            "host=h password=hush ssl=true",
        ] {
            let error = Target::read(text).map(|_| ()).expect_err(text);
            assert!(!error.contains("hush") && !error.contains("sh@"), "{text}: {error}");
        }
    }

    #[test]
    fn a_standby_of_the_database_will_not_do() {
        assert_eq!(read("postgres://u@h/d").get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
    }
}
