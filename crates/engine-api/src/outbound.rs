//! Outgoing connections of engines, in the steps that may use them.
//!
//! The server decides which addresses may be reached: they are checked against the rules of its configuration, which an
//! engine can neither see nor widen. [`Outbound`] is drawn by what runs once and in no transaction (the middle steps of
//! [`Route::ask`](crate::Route::ask), [`Route::issue`](crate::Route::issue) and
//! [`Route::settle`](crate::Route::settle), a lease's renewal), and by what is run again until it has succeeded and is
//! idempotent for that (a lease's revocation, a settlement, a job). No handler that reads or writes can draw it. It
//! ends with its step: kept for later, it leads nowhere.
//!
//! A failure is an [`outbound::Error`](Error), which says whether anything may have arrived and holds no part of a URL but scheme,
//! host and port. `?` turns it into what a step's own error says of that: [`ActError::NotSent`] or [`ActError::Unanswered`], a
//! [`RevokeError`], or the answer for the client.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use strongroom_outbound_api::{
    Error, Manner, Phase, Reason, Request, Response, SharedTls, Stream, Timeouts, WayOut, authority,
};
use strongroom_stdx::{Clock, Moment};

use crate::steps::{Background, Once, Outgoing};
use crate::{ActError, Call, EngineError, RevokeError, bad_request};

/// The way out of one step. Cheap to clone; clones end with the step, too.
#[derive(Clone)]
pub struct Outbound {
    way: Arc<dyn WayOut>,
    clock: Clock,
    until: Moment,
    manner: Manner,
}

impl Outbound {
    fn of(call: &Call, once: &Once) -> Self {
        Self {
            way: call.facilities.way_out().clone(),
            clock: call.environment.clock.clone(),
            until: once.until(),
            manner: Manner::default(),
        }
    }

    /// The same with another trust and identity.
    #[must_use]
    pub fn with_tls(&self, tls: SharedTls) -> Self {
        Self { manner: Manner { tls: Some(tls), ..self.manner }, ..self.clone() }
    }

    /// The same with other time-outs. None is longer than what is left of the step.
    #[must_use]
    pub fn with_timeouts(&self, timeouts: Timeouts) -> Self {
        Self { manner: Manner { timeouts, ..self.manner.clone() }, ..self.clone() }
    }

    /// The time that is left of the step: the bound for whatever is done over a [`Stream`].
    pub fn left(&self) -> Duration {
        self.until.since(self.clock.now())
    }

    /// Sends a request and reads its answer whole. An error status of the server is an answer.
    pub async fn http(&self, request: Request) -> Result<Response, Error> {
        let manner = self.manner(|| request.shown())?;
        self.way.http(request, manner).await
    }

    /// Connects to a port of a host, without TLS and through no proxy.
    pub async fn tcp(&self, host: &str, port: u16) -> Result<Stream, Error> {
        let manner = self.manner(|| authority(host, port))?;
        self.way.connect(host, port, manner).await
    }

    /// Connects to a port of a host and secures the connection. `protocols` are offered in the handshake.
    pub async fn tls(&self, host: &str, port: u16, protocols: &[&[u8]]) -> Result<Stream, Error> {
        self.start_tls(self.tcp(host, port).await?, host, protocols).await
    }

    /// Secures a connection whose protocol begins without TLS. Data that was read from it before must not be trusted.
    pub async fn start_tls(&self, stream: Stream, host: &str, protocols: &[&[u8]]) -> Result<Stream, Error> {
        let manner = self.manner(|| host.to_owned())?;
        self.way.secure(stream, host, protocols, manner).await
    }

    /// The manner of what is begun now; an error where the step is over.
    fn manner(&self, to: impl FnOnce() -> String) -> Result<Manner, Error> {
        let left = self.left();
        if left.is_zero() {
            return Err(Error::NotSent { to: to(), reason: Reason::TimedOut(Phase::Whole) });
        }
        Ok(Manner { timeouts: self.manner.timeouts.within(left), tls: self.manner.tls.clone() })
    }
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outbound")
    }
}

impl Outgoing for Outbound {
    fn draw(call: &Arc<Call>, once: &Once) -> Result<Self, EngineError> {
        Ok(Self::of(call, once))
    }
}

impl Background for Outbound {
    fn draw(call: &Arc<Call>, once: &Once) -> Result<Self, EngineError> {
        Ok(Self::of(call, once))
    }
}

/// True if the error lasts until a configuration changes, so that another attempt would fail too.
const fn is_settled(reason: &Reason) -> bool {
    matches!(reason, Reason::Forbidden(_) | Reason::Unusable(_) | Reason::Redirect(_))
}

/// 400 where the address is not permitted or none, 504 where there was no answer in time, else 502: Vault's status for what
/// another server has answered wrongly, or not at all.
impl From<Error> for EngineError {
    fn from(error: Error) -> Self {
        match error.reason() {
            reason if is_settled(reason) => bad_request(error.to_string()),
            Reason::TimedOut(_) => Self::Status(504, error.to_string()),
            _ => Self::Status(502, error.to_string()),
        }
    }
}

impl From<Error> for ActError {
    fn from(error: Error) -> Self {
        if error.is_not_sent() { Self::NotSent(error.into()) } else { Self::Unanswered(error.into()) }
    }
}

/// An address that is not permitted is a refusal, after which an operator is asked; everything else may pass by itself.
impl From<Error> for RevokeError {
    fn from(error: Error) -> Self {
        if is_settled(error.reason()) {
            Self::Refused(error.to_string())
        } else {
            Self::Unreachable(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(is_sent: bool, reason: Reason) -> Error {
        let to = "https://u.example:443".to_owned();
        if is_sent { Error::MayHaveArrived { to, reason } } else { Error::NotSent { to, reason } }
    }

    #[test]
    fn failures_say_what_a_step_has_to_know() {
        let forbidden = || Reason::Forbidden("no".to_owned());
        let broken = || Reason::Broken("EOF".to_owned());
        assert!(
            matches!(failed(false, forbidden()).into(), EngineError::Invalid(text) if text == "https://u.example:443: no")
        );
        assert!(matches!(
            failed(false, Reason::TimedOut(Phase::Connect)).into(),
            EngineError::Status(504, _)
        ));
        assert!(matches!(failed(true, broken()).into(), EngineError::Status(502, _)));
        assert!(matches!(failed(false, broken()).into(), ActError::NotSent(_)));
        assert!(matches!(failed(true, broken()).into(), ActError::Unanswered(_)));
        assert!(matches!(failed(false, forbidden()).into(), RevokeError::Refused(_)));
        assert!(matches!(failed(true, broken()).into(), RevokeError::Unreachable(_)));
    }
}
