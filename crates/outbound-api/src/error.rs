//! Failures of outgoing connections.
//!
//! An engine that makes something in an external system must know after a failure whether it may exist there, so the
//! two kinds of [`Error`] tell this apart. Texts name the server by scheme, host and port: never a path, a query, a
//! login or a body, in each of which there may be a secret.

/// A request, or a connection, that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No byte of the request left this machine; connecting may have been tried.
    #[error("{to}: {reason}")]
    NotSent {
        /// The server.
        to: String,
        /// The reason.
        reason: Reason,
    },
    /// The request, or a part of it, was sent, and its answer is missing: it may have had its effect.
    #[error("{to}: {reason}")]
    MayHaveArrived {
        /// The server.
        to: String,
        /// The reason.
        reason: Reason,
    },
}

impl Error {
    /// The reason.
    pub const fn reason(&self) -> &Reason {
        match self {
            Self::NotSent { reason, .. } | Self::MayHaveArrived { reason, .. } => reason,
        }
    }

    /// True if nothing of the request left this machine.
    pub const fn is_not_sent(&self) -> bool {
        matches!(self, Self::NotSent { .. })
    }

    /// The same of a request of which a part was sent before.
    #[must_use]
    pub fn after_sending(self) -> Self {
        match self {
            Self::NotSent { to, reason } | Self::MayHaveArrived { to, reason } => {
                Self::MayHaveArrived { to, reason }
            }
        }
    }
}

/// A step that has a time-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Looking up the name and connecting.
    Connect,
    /// Securing the connection.
    Handshake,
    /// All of it.
    Whole,
}

/// A cause of failure. The texts are for people; programs match the variants.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The rules for addresses forbid it; it will not pass by itself.
    #[error("{0}")]
    Forbidden(String),
    /// The request cannot be sent by anyone.
    #[error("{0}")]
    Unusable(String),
    /// The name is not known.
    #[error("{0}")]
    Lookup(String),
    /// The connection was refused: nothing listens at the address.
    #[error("{0}")]
    Connect(String),
    /// The proxy does not lead there.
    #[error("proxyconnect: {0}")]
    Proxy(String),
    /// The server is not who it should be, or cannot be spoken to.
    #[error("tls: {0}")]
    Tls(String),
    /// It took too long.
    #[error("{}", timed_out(*.0))]
    TimedOut(Phase),
    /// The connection broke off, or what came is no HTTP.
    #[error("{0}")]
    Broken(String),
    /// The answer is longer than is taken, in bytes.
    #[error("the answer has more than {0} bytes")]
    TooLong(usize),
    /// The answer leads to where requests may not follow.
    #[error("{0}")]
    Redirect(String),
}

const fn timed_out(phase: Phase) -> &'static str {
    match phase {
        Phase::Connect => "no connection in time",
        Phase::Handshake => "no TLS handshake in time",
        Phase::Whole => "no answer in time",
    }
}
