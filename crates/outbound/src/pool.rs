//! Connections that wait for the next request.
//!
//! Each keeps the addresses it was opened for, because the next user may have narrower rules than the first.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use strongroom_stdx::{Clock, Moment};

use crate::exchange::Body;
use crate::proxy::Proxy;
use crate::tls::Tls;

/// The time for which an unused connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// Connections that are kept in all.
const MAX_IDLE: usize = 512;

/// The properties that must be the same for a connection to be used again.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) https: bool,
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    pub(crate) proxy: Option<Arc<Proxy>>,
    /// For `https` only.
    pub(crate) tls: Option<Tls>,
}

/// The addresses that a connection was opened for.
#[derive(Clone, Default)]
pub(crate) struct Reached {
    /// The other end: the server, or the proxy.
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) is_here: bool,
    pub(crate) is_behind_proxy: bool,
    /// The addresses that the server's name was resolved to, where the other end is a proxy.
    pub(crate) behind: Vec<SocketAddr>,
}

/// The sending end of a connection.
pub(crate) enum Sender {
    One(http1::SendRequest<Body>),
    /// Many requests at once.
    Many(http2::SendRequest<Body>),
}

struct Idle {
    sender: Sender,
    reached: Reached,
    since: Moment,
}

pub(crate) struct Pool {
    idle: Mutex<HashMap<Key, Vec<Idle>>>,
    max_idle: usize,
    clock: Clock,
    tidying: AtomicBool,
}

impl Pool {
    pub(crate) fn new(max_idle: usize, clock: Clock) -> Self {
        Self { idle: Mutex::default(), max_idle, clock, tidying: AtomicBool::new(false) }
    }

    fn idle(&self) -> MutexGuard<'_, HashMap<Key, Vec<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that waits, if one does and its addresses are permitted.
    pub(crate) fn take(&self, key: &Key, permits: impl Fn(&Reached) -> bool) -> Option<(Sender, Reached)> {
        let now = self.clock.now();
        let mut idle = self.idle();
        let waiting = idle.get_mut(key)?;
        waiting.retain(|idle| idle.is_usable(now));
        let at = waiting.iter().rposition(|idle| permits(&idle.reached))?;
        let found = match waiting.get_mut(at)? {
            Idle { sender: Sender::Many(sender), reached, since } => {
                *since = now;
                (Sender::Many(sender.clone()), reached.clone())
            }
            Idle { sender: Sender::One(_), .. } => {
                let Idle { sender, reached, .. } = waiting.swap_remove(at);
                (sender, reached)
            }
        };
        if waiting.is_empty() {
            idle.remove(key);
        }
        Some(found)
    }

    /// Keeps a connection that can take a request.
    pub(crate) fn keep(self: &Arc<Self>, key: Key, sender: Sender, reached: Reached) {
        if self.max_idle == 0 {
            return;
        }
        let now = self.clock.now();
        let mut idle = self.idle();
        if idle.values().map(Vec::len).sum::<usize>() >= MAX_IDLE {
            return;
        }
        let waiting = idle.entry(key).or_default();
        if waiting.len() < self.max_idle {
            waiting.push(Idle { sender, reached, since: now });
        }
        drop(idle);
        self.tidy_later();
    }

    /// Closes all of them.
    pub(crate) fn clear(&self) {
        self.idle().clear();
    }

    /// Closes unused connections, for as long as there are any.
    fn tidy_later(self: &Arc<Self>) {
        if self.tidying.swap(true, Ordering::SeqCst) {
            return;
        }
        let (pool, clock) = (Arc::downgrade(self), self.clock.clone());
        tokio::spawn(async move {
            loop {
                clock.sleep(IDLE_TIMEOUT).await;
                let Some(pool) = pool.upgrade() else { return };
                if !pool.tidy() {
                    return;
                }
            }
        });
    }

    /// True if anything is left.
    fn tidy(&self) -> bool {
        let now = self.clock.now();
        let mut idle = self.idle();
        idle.retain(|_, waiting| {
            waiting.retain(|idle| idle.is_usable(now));
            !waiting.is_empty()
        });
        if idle.is_empty() {
            self.tidying.store(false, Ordering::SeqCst);
        }
        !idle.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.idle().values().map(Vec::len).sum()
    }
}

impl Idle {
    fn is_usable(&self, now: Moment) -> bool {
        now.since(self.since) < IDLE_TIMEOUT && self.sender.is_open()
    }
}

impl Sender {
    fn is_open(&self) -> bool {
        match self {
            Self::One(sender) => sender.is_ready(),
            Self::Many(sender) => !sender.is_closed(),
        }
    }
}
