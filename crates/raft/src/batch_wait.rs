//! The time that an entry waits for more commits to go into it.
//!
//! With peers, an entry costs each of them a message, a sync and an answer, whatever is in it. Callers who have just been answered
//! mostly come back at once with their next request. An entry that leaves without them makes them wait for the next one, and
//! callers end up in two halves that take turns. So an entry waits for most of the callers of the last one, for a moment that is
//! short compared with its cost. A node alone has no such cost, and does not wait.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::Receiver;

/// The longest wait of an entry.
const MAX_WAIT: Duration = Duration::from_millis(1);
/// The most doublings of the number of entries that do not wait. After several waits in vain one after the other,
/// callers seem to arrive independently.
const MAX_DOUBLINGS: u32 = 6;

/// A mark that an entry is being put together, and will leave within moments.
#[derive(Debug, Default)]
pub(crate) struct BatchSoon(AtomicBool);

impl BatchSoon {
    pub(crate) fn is_soon(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, soon: bool) {
        self.0.store(soon, Ordering::Relaxed);
    }
}

/// The callers that are expected.
#[derive(Debug, Default)]
pub(crate) struct BatchWait {
    /// The number of commits in the last entry.
    last: usize,
    /// The number of waits in vain since one that was not.
    in_vain: u32,
    /// Entries yet to leave without waiting.
    no_wait: u32,
}

impl BatchWait {
    /// Waits for those who are expected to join the `waiting`, but no more than `most` in all.
    pub(crate) async fn gather<T>(
        &mut self,
        waiting: &mut VecDeque<T>,
        queue: &mut Receiver<T>,
        most: usize,
    ) {
        if let Some(fewer) = self.no_wait.checked_sub(1) {
            self.no_wait = fewer;
            return;
        }
        let known = self.last.saturating_add(waiting.len());
        // Three of four: some have left, or are late, and the others need not wait for them.
        let expected = known.saturating_sub(known / 4).min(most);
        let gathered = tokio::time::timeout(MAX_WAIT, async {
            while waiting.len() < expected
                && let Some(next) = queue.recv().await
            {
                waiting.push_back(next);
            }
        });
        if gathered.await.is_ok() {
            self.in_vain = 0;
        } else {
            self.no_wait = 1u32.wrapping_shl(self.in_vain).saturating_sub(1);
            self.in_vain = self.in_vain.saturating_add(1).min(MAX_DOUBLINGS);
        }
    }

    /// Takes note of how many go with an entry.
    pub(crate) fn leave(&mut self, count: usize) {
        self.last = count;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::{Sender, channel};
    use tokio::time::Instant;

    use super::*;

    struct Callers {
        batch_wait: BatchWait,
        waiting: VecDeque<u32>,
        queue: Receiver<u32>,
        ask: Sender<u32>,
    }

    impl Callers {
        /// Of which some wait, and others were in the last entry.
        fn new(waiting: u32, last: usize) -> Self {
            let (ask, queue) = channel(100);
            let batch_wait = BatchWait { last, ..BatchWait::default() };
            Self { batch_wait, waiting: (0..waiting).collect(), queue, ask }
        }

        /// The time it took to gather them, and their number.
        async fn gather(&mut self, most: usize) -> (Duration, usize) {
            let began = Instant::now();
            self.batch_wait.gather(&mut self.waiting, &mut self.queue, most).await;
            (began.elapsed(), self.waiting.len())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn most_of_the_last_entrys_callers_are_waited_for() {
        let mut callers = Callers::new(30, 34);
        let ask = callers.ask.clone();
        let back = tokio::spawn(async move {
            for caller in 0..34 {
                tokio::task::yield_now().await;
                ask.send(caller).await.unwrap();
            }
        });
        assert_eq!(callers.gather(1000).await, (Duration::ZERO, 48));
        back.await.unwrap();
        assert_eq!(callers.gather(40).await, (Duration::ZERO, 48), "no more are taken than fit");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_long_for_callers_who_do_not_come_back() {
        let mut callers = Callers::new(2, 30);
        for not_waiting in [0, 1, 3, 7, 15, 31, 63, 63] {
            assert_eq!(callers.gather(1000).await, (MAX_WAIT, 2));
            for _ in 0..not_waiting {
                assert_eq!(callers.gather(1000).await, (Duration::ZERO, 2));
            }
        }
        callers.waiting.extend(0..100);
        callers.batch_wait.no_wait = 0;
        assert_eq!(callers.gather(1000).await, (Duration::ZERO, 102), "they are all there");
        callers.waiting.truncate(2);
        for _ in 0..2 {
            assert_eq!(callers.gather(1000).await, (MAX_WAIT, 2), "waiting once in vain means nothing");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_is_closed_is_not_waited_for() {
        let mut callers = Callers::new(1, 30);
        (_, callers.queue) = channel(1);
        assert_eq!(callers.gather(1000).await, (Duration::ZERO, 1));
    }
}
