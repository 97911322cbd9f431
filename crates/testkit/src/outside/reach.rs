//! The way from a node to the system: to the one in this process, which a simulation steps, or to a real one over HTTP.

use std::time::Duration;

use serde_json::{Value, json};
use strongroom_engine_api::Moment;
use strongroom_outbound::{Outbound, Request, Timeouts};

use super::system::{self, Failure, Message, System, Told};
use crate::cluster::Gate;

/// The longest time for which an answer is waited for. What was sent arrives within it or not at all, or after as long as the
/// process stood still meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);

/// A node's way to the system.
pub(crate) enum Way {
    /// The system of a simulation, from a node behind a gate.
    Simulated(System, Gate),
    /// A server that a setting names.
    Real(Outbound),
}

/// A connection, on which one message is sent.
pub(super) enum Connection {
    Simulated(system::Connection),
    Real(Outbound, String),
}

impl Way {
    /// To whatever server settings name.
    pub(super) fn real(outbound: &Outbound) -> Self {
        let timeouts = Timeouts { whole: Some(PATIENCE), ..Timeouts::default() };
        Self::Real(outbound.with_timeouts(timeouts))
    }

    /// Opens a connection, to `url` where it is to a real server.
    pub(super) async fn connect(&self, url: &str) -> Result<Connection, Failure> {
        match self {
            Self::Simulated(system, gate) => Ok(Connection::Simulated(system.connect(gate).await?)),
            Self::Real(_) if url.is_empty() => Err(Failure::NotSent),
            Self::Real(outbound) => Ok(Connection::Real(outbound.clone(), url.to_owned())),
        }
    }

    /// A pool was made, or is gone.
    pub(super) fn count_pool(&self, made: bool) {
        if let Self::Simulated(system, _) = self {
            system.count_pool(made);
        }
    }
}

impl Connection {
    /// Sends a message and waits for the answer. Dropping the future takes nothing back.
    pub(super) async fn send(self, message: Message) -> Result<Told, Failure> {
        let (outbound, url) = match self {
            Self::Simulated(connection) => return connection.send(message).await,
            Self::Real(outbound, url) => (outbound, url),
        };
        let (name, fields) = written(&message);
        let answer = outbound.http(Request::post(format!("{url}/{name}")).json(&fields)).await;
        let answer =
            answer.map_err(|error| if error.is_not_sent() { Failure::NotSent } else { Failure::NoAnswer })?;
        match answer.status.as_u16() {
            200 => {
                let told: Value = answer.json().map_err(|_garbled| Failure::NoAnswer)?;
                Ok(Told::Done(told.get("number").and_then(Value::as_u64).unwrap_or_default()))
            }
            403 => Ok(Told::Refused),
            _ => Err(Failure::NoAnswer),
        }
    }
}

/// A message as it is sent: its name, and what it says.
fn written(message: &Message) -> (&'static str, Value) {
    let seconds = |until: &Moment| until.as_secs();
    match message {
        Message::Create(mark, until) => ("create", json!({ "mark": mark, "until": seconds(until) })),
        Message::Drop(mark) => ("drop", json!({ "mark": mark })),
        Message::Extend(mark, until) => ("extend", json!({ "mark": mark, "until": seconds(until) })),
        Message::Password(from, to) => ("password", json!({ "from": from, "to": to })),
        Message::Login(password) => ("login", json!({ "password": password })),
        Message::Rotate(account, from, to) => {
            ("rotate", json!({ "account": account, "from": from, "to": to }))
        }
        Message::Enter(account, password) => ("enter", json!({ "account": account, "password": password })),
        Message::Account(name) => ("account", json!({ "name": name })),
        Message::Code(code) => ("code", json!({ "code": code })),
    }
}
