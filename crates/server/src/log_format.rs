//! The form of log lines: those that Vault writes, so that what reads Vault's log reads this one.
//!
//! Standard: `2026-11-23T18:14:32.330Z [INFO]  core: vault is unsealed: generation=1`. JSON: the same facts under `@level`,
//! `@message`, `@module`, `@timestamp` and the names of the fields. A line is always one line: line breaks in values are
//! escaped. Spans are not shown; the program has none.

use std::borrow::Cow;
use std::fmt::{self, Debug, Write as _};

use serde_json::{Map, Value};
use strongroom_stdx::Clock;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Writes events as lines.
pub(crate) struct Lines {
    pub(crate) json: bool,
    pub(crate) clock: Clock,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut facts = Facts::default();
        event.record(&mut facts);
        let about = event.metadata();
        let time = self.clock.now().rfc3339();
        let line = if self.json {
            facts.json(&time, *about.level(), &module(about.target()))
        } else {
            facts.plain(&time, *about.level(), &module(about.target()))
        };
        writeln!(writer, "{line}")
    }
}

/// The logger that Vault has for a part of the program. Targets are names of crates and modules; those of libraries stay as
/// they are.
pub(crate) fn module(target: &str) -> Cow<'_, str> {
    let Some(own) = target.strip_prefix("strongroom_") else { return Cow::Owned(target.replace("::", ".")) };
    let (krate, inner) = own.split_once("::").unwrap_or((own, ""));
    let name = match krate {
        "raft" => "storage.raft",
        "cluster" => "core.cluster-listener",
        "node" if inner.starts_with("autopilot") => "storage.raft.autopilot",
        "leased_db" => "storage",
        "etcd" => "storage.etcd",
        "postgresql" => "storage.postgresql",
        "audit" | "auditing" => "audit",
        "expiry" | "leases" | "revocation" => "expiration",
        "policies" | "policy" => "policy",
        "tokens" | "token" => "token",
        "mounts" | "node" | "seal_state" | "pipeline" | "core" | "sys" | "initialization" | "server"
        | "jobs" | "lockout" | "wrapping" | "backup" | "s3" | "barrier" | "events" | "passwords" => "core",
        other => return Cow::Owned(other.replace('_', "-")),
    };
    Cow::Borrowed(name)
}

/// An event's message and fields.
#[derive(Default)]
struct Facts {
    message: String,
    fields: Vec<(&'static str, Value)>,
}

impl Facts {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            ("message", other) => self.message = other.to_string(),
            (name, value) => self.fields.push((name, value)),
        }
    }

    fn plain(&self, time: &str, level: Level, module: &str) -> String {
        let mark = match level {
            Level::TRACE => "[TRACE]",
            Level::DEBUG => "[DEBUG]",
            Level::INFO => "[INFO] ",
            Level::WARN => "[WARN] ",
            Level::ERROR => "[ERROR]",
        };
        let mut line = format!("{time} {mark} {module}: {}", one_line(&self.message));
        for (at, (name, value)) in self.fields.iter().enumerate() {
            line.push_str(if at == 0 { ": " } else { " " });
            let text = match value {
                Value::String(text) => Cow::Borrowed(text.as_str()),
                other => Cow::Owned(other.to_string()),
            };
            let needs_quotes = text.is_empty()
                || text.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '='));
            // Writing to a string cannot fail.
            let _ =
                if needs_quotes { write!(line, "{name}={text:?}") } else { write!(line, "{name}={text}") };
        }
        line
    }

    fn json(self, time: &str, level: Level, module: &str) -> String {
        let mut object = Map::new();
        object.insert("@level".to_owned(), level.as_str().to_ascii_lowercase().into());
        object.insert("@message".to_owned(), self.message.into());
        object.insert("@module".to_owned(), module.into());
        object.insert("@timestamp".to_owned(), time.into());
        for (name, value) in self.fields {
            object.insert(name.to_owned(), value);
        }
        Value::Object(object).to_string()
    }
}

/// A message on one line, whatever is in it.
fn one_line(text: &str) -> Cow<'_, str> {
    if text.contains(char::is_control) {
        Cow::Owned(
            text.chars()
                .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
                .collect(),
        )
    } else {
        Cow::Borrowed(text)
    }
}

impl Visit for Facts {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, Value::String(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::String(value.to_owned()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use strongroom_stdx::Moment;
    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Kept {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    fn logged(json: bool, log: impl FnOnce()) -> String {
        let kept = Kept::default();
        let clock = Clock::stepped(Moment::from_secs(1_700_000_000));
        let layer =
            tracing_subscriber::fmt::layer().with_writer(kept.clone()).event_format(Lines { json, clock });
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        String::from_utf8(kept.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_line_is_vaults() {
        let line = logged(false, || {
            tracing::warn!(target: "strongroom_raft::role", node = 3, error = "no\nway", "a\nmessage");
        });
        assert_eq!(
            line,
            "2023-11-14T22:13:20Z [WARN]  storage.raft: a\\nmessage: node=3 error=\"no\\nway\"\n"
        );
        let line =
            logged(false, || tracing::info!(target: "strongroom_seal_state::unseal", "vault is unsealed"));
        assert_eq!(line, "2023-11-14T22:13:20Z [INFO]  core: vault is unsealed\n");
    }

    #[test]
    fn json_has_vaults_keys() {
        let line = logged(true, || {
            tracing::error!(target: "strongroom_revocation::revoker", mount = "db/", tries = 2_u64, done = false, "failed");
        });
        let wanted = serde_json::json!({
            "@level": "error", "@message": "failed", "@module": "expiration", "@timestamp": "2023-11-14T22:13:20Z",
            "mount": "db/", "tries": 2, "done": false,
        });
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), wanted);
        assert_eq!(line.lines().count(), 1);
    }

    #[test]
    fn loggers_have_vaults_names() {
        for (target, name) in [
            ("strongroom_auditing::broker", "audit"),
            ("strongroom_expiry", "expiration"),
            ("strongroom_node::autopilot::dead", "storage.raft.autopilot"),
            ("strongroom_node::joining", "core"),
            ("strongroom_http::edge", "http"),
            ("h2::codec", "h2.codec"),
        ] {
            assert_eq!(module(target), name);
        }
    }
}
