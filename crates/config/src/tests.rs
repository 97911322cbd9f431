//! Tests of the crate as its users see it.

mod audit;
mod documentation;
mod environment;
mod errors;
mod etcd;
mod examples;
mod files;
mod lockout;
mod postgresql;
mod properties;
mod sanitized;
mod warnings;

use crate::{Config, Listener, Loaded, LockoutTypes, Source, TcpListener, parse};

fn load(text: &str) -> Result<Loaded, String> {
    let source = Source { file: "server.hcl".into(), text: text.to_owned() };
    let mut loaded = parse(&[source]).map_err(|error| error.to_string())?;
    let types = |kinds: &[&str]| kinds.iter().map(|kind| (*kind).to_owned()).collect();
    let types = LockoutTypes { here: types(&["userpass", "approle"]), elsewhere: types(&["ldap"]) };
    loaded.check_user_lockout(&types).map_err(|error| error.to_string())?;
    Ok(loaded)
}

/// Reads a text that must be right and must not be warned about.
fn read(text: &str) -> Config {
    let loaded = load(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(warnings(&loaded), [""; 0], "{text}");
    loaded.config
}

/// Reads a text that must be right, whatever is warned about.
fn accept(text: &str) -> Config {
    load(text).unwrap_or_else(|error| panic!("{error}\n{text}")).config
}

/// The message for a text that must be wrong.
fn error(text: &str) -> String {
    load(text).map(|loaded| loaded.config).expect_err(text)
}

fn warnings(loaded: &Loaded) -> Vec<String> {
    loaded.warnings.iter().map(ToString::to_string).collect()
}

/// The first listener, which must be for TCP.
fn tcp(config: &Config) -> &TcpListener {
    match config.listeners.first() {
        Some(Listener::Tcp(listener)) => listener,
        other => panic!("{other:?}"),
    }
}

/// A TCP listener without TLS that has these lines.
fn listener(lines: &str) -> String {
    format!("listener \"tcp\" {{\n  tls_disable = true\n{lines}\n}}")
}
