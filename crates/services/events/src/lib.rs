//! The event bus: delivers the events of commits to bounded queues, one of each subscriber.
//!
//! A commit never waits for a subscriber. A full queue drops events, and counts them: a slow subscriber learns how many
//! are missing, and the commit indexes of those it gets show where. Requests that commit at the same moment publish in
//! any order; by index and position there is one.
//!
//! The bus does not check policies: a subscriber's filter decides which events it gets, and the subscriber has to
//! derive the filter from policies. The bus is on the node that commits: see [`strongroom_barrier::EventSink`]. A
//! subscriber does not get events that were published before it subscribed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use strongroom_barrier::{Emitted, Event, EventSink, MountPlace};
use tokio::sync::Notify;

/// Subscribers at once: each costs every commit that tells an event a look.
const MAX_SUBSCRIBERS: usize = 1024;

/// An event that was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The index of the commit, which with `position` tells the event apart from every other.
    pub index: u64,
    /// Its place among the events of the commit, from zero.
    pub position: usize,
    /// The mount that it comes from; `None`: the server itself.
    pub origin: Option<MountPlace>,
    /// The event.
    pub event: Event,
}

/// Says which events a subscriber is to be told. Runs in requests that commit: it must be quick, and must not wait.
pub type Filter = Box<dyn Fn(&Published) -> bool + Send + Sync>;

/// Too many listen already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManySubscribers;

/// The bus.
#[derive(Default)]
pub struct Bus {
    subscribers: RwLock<Vec<Arc<Queue>>>,
    /// The number of subscribers, readable without a lock.
    count: AtomicUsize,
}

struct Queue {
    filter: Filter,
    capacity: usize,
    waiting: Mutex<VecDeque<Arc<Published>>>,
    dropped: AtomicU64,
    arrived: Notify,
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Arc<Published>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn offer(&self, published: &Arc<Published>) {
        if !(self.filter)(published) {
            return;
        }
        let mut waiting = self.waiting();
        if waiting.len() >= self.capacity {
            self.dropped.fetch_add(1, Ordering::SeqCst);
            return;
        }
        waiting.push_back(published.clone());
        drop(waiting);
        self.arrived.notify_one();
    }
}

impl Bus {
    /// A bus without subscribers.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Listens from now on, with room for `capacity` events that were not yet taken.
    pub fn subscribe(
        self: &Arc<Self>,
        capacity: usize,
        filter: Filter,
    ) -> Result<Subscription, TooManySubscribers> {
        let queue = Arc::new(Queue {
            filter,
            capacity,
            waiting: Mutex::default(),
            dropped: AtomicU64::new(0),
            arrived: Notify::new(),
        });
        let mut subscribers = self.subscribers.write().unwrap_or_else(PoisonError::into_inner);
        if subscribers.len() >= MAX_SUBSCRIBERS {
            return Err(TooManySubscribers);
        }
        subscribers.push(queue.clone());
        self.count.store(subscribers.len(), Ordering::SeqCst);
        Ok(Subscription { queue, bus: Arc::downgrade(self) })
    }

    fn unsubscribe(&self, queue: &Arc<Queue>) {
        let mut subscribers = self.subscribers.write().unwrap_or_else(PoisonError::into_inner);
        subscribers.retain(|other| !Arc::ptr_eq(other, queue));
        self.count.store(subscribers.len(), Ordering::SeqCst);
    }
}

impl EventSink for Bus {
    fn is_heard(&self) -> bool {
        self.count.load(Ordering::SeqCst) > 0
    }

    fn publish(&self, index: u64, events: Vec<Emitted>) {
        let published: Vec<_> = events
            .into_iter()
            .enumerate()
            .map(|(position, Emitted { origin, event })| {
                Arc::new(Published { index, position, origin, event })
            })
            .collect();
        for queue in self.subscribers.read().unwrap_or_else(PoisonError::into_inner).iter() {
            for published in &published {
                queue.offer(published);
            }
        }
    }
}

/// A subscriber's end of its queue. Dropping it ends the subscription.
pub struct Subscription {
    queue: Arc<Queue>,
    bus: Weak<Bus>,
}

impl Subscription {
    /// The next event, as soon as there is one. May be dropped while it waits without losing any.
    pub async fn next(&mut self) -> Arc<Published> {
        loop {
            if let Some(published) = self.try_next() {
                return published;
            }
            self.queue.arrived.notified().await;
        }
    }

    /// The next event, if one is waiting.
    pub fn try_next(&mut self) -> Option<Arc<Published>> {
        self.queue.waiting().pop_front()
    }

    /// The number of events dropped since the last call, because the queue was full.
    pub fn take_dropped(&self) -> u64 {
        self.queue.dropped.swap(0, Ordering::SeqCst)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(bus) = self.bus.upgrade() {
            bus.unsubscribe(&self.queue);
        }
    }
}

#[cfg(test)]
mod tests;
