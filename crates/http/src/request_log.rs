//! A line of the log for each request that is done.
//!
//! Source: Vault's "Log completed requests" page, `log_requests_level`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use http::Request;
use strongroom_stdx::{Clock, Moment};
use tracing::Level;

/// Levels by number; 0 is none.
const LEVELS: [Level; 5] = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];

/// At which level requests are logged when they are done; at none at first. Clones share the level.
#[derive(Clone, Debug, Default)]
pub struct RequestLog(Arc<AtomicU8>);

impl RequestLog {
    /// Logs requests that begin from now on at `level`, or not at all.
    pub fn set(&self, level: Option<Level>) {
        let number =
            (1u8..).zip(LEVELS).find(|(_, named)| Some(*named) == level).map_or(0, |(number, _)| number);
        self.0.store(number, Ordering::Relaxed);
    }

    /// Stores the fields of a request for its line, if there is to be one.
    pub(crate) fn begin<B>(&self, request: &Request<B>, clock: &Clock) -> Option<Begun> {
        let number = usize::from(self.0.load(Ordering::Relaxed));
        let level = number.checked_sub(1).and_then(|index| LEVELS.get(index)).copied()?;
        if level > tracing::level_filters::LevelFilter::current() {
            return None;
        }
        let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
        Some(Begun { level, method, path, at: clock.now() })
    }
}

/// A request whose line is to be logged.
pub(crate) struct Begun {
    level: Level,
    method: String,
    path: String,
    at: Moment,
}

impl Begun {
    /// Logs the line. The names of its fields are Vault's.
    pub(crate) fn end(self, status: u16, caller: Option<SocketAddr>, now: Moment) {
        let Self { level, method, path, at } = self;
        let start_time = at.rfc3339_secs();
        let duration = format!("{}ms", now.since(at).as_millis());
        let client_address = caller.map(|caller| caller.ip().to_string()).unwrap_or_default();
        let client_port = caller.map_or(0, |caller| caller.port());
        // The level of an event is part of its place in the program.
        macro_rules! log {
            ($($level:ident)*) => {
                match level {
                    $(Level::$level => tracing::event!(
                        target: "core", Level::$level, start_time, duration, client_address, client_port,
                        status_code = status, request_path = path, request_method = method, "completed_request"
                    ),)*
                }
            };
        }
        log!(ERROR WARN INFO DEBUG TRACE);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    use super::*;

    /// Keeps what is logged, in the order of the fields.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<String>>>);

    impl Visit for &Kept {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            self.0.lock().unwrap().push(format!("{field}={value:?}"));
        }
    }

    impl Subscriber for Kept {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            self.0.lock().unwrap().push(format!(
                "{} {}",
                event.metadata().level(),
                event.metadata().target()
            ));
            event.record(&mut &*self);
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn a_line_says_who_asked_what_and_how_it_ended() {
        let clock = Clock::stepped(Moment::from_secs(1_700_000_000));
        let log = RequestLog::default();
        let request = Request::put("/v1/secret/data/a?x=hunter2").body(()).unwrap();
        let kept = Kept::default();
        tracing::subscriber::with_default(kept.clone(), || {
            assert!(log.begin(&request, &clock).is_none(), "not asked for");
            log.clone().set(Some(Level::DEBUG));
            let begun = log.begin(&request, &clock).unwrap();
            clock.advance(Duration::from_micros(12_900));
            begun.end(204, Some("10.0.0.1:4711".parse().unwrap()), clock.now());
            log.set(None);
            assert!(log.begin(&request, &clock).is_none());
        });
        let mut lines = kept.0.lock().unwrap().clone();
        lines[1..].sort();
        assert_eq!(
            lines,
            [
                "DEBUG core",
                "client_address=\"10.0.0.1\"",
                "client_port=4711",
                "duration=\"12ms\"",
                "message=completed_request",
                "request_method=\"PUT\"",
                "request_path=\"/v1/secret/data/a\"",
                "start_time=\"2023-11-14T22:13:20Z\"",
                "status_code=204",
            ]
        );
    }
}
