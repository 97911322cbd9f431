//! The lock: asking for it, keeping it, giving it up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use strongroom_storage::{Active, Role, SteppedDown, StoreError};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use crate::database::{Claim, Database, Fence};
use crate::notifications::Notifications;

/// Between two looks for a successor.
const TRANSFER_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The times of the lock.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// The validity of the lock after it was last renewed. A node that is gone is succeeded after this.
    pub span: Duration,
    /// The interval of renewals.
    pub renew_every: Duration,
    /// The interval at which a standby looks whether it is free.
    pub look_every: Duration,
    /// The time for which a node that has stepped down does not ask for it again.
    pub hold_off: Duration,
    /// The time that a node which steps down waits for a successor.
    pub handover: Duration,
    /// The validity of the lock for a server that is being initialized, and not unsealed yet.
    pub beginning: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            span: Duration::from_secs(5),
            renew_every: Duration::from_secs(1),
            look_every: Duration::from_millis(500),
            hold_off: Duration::from_secs(10),
            handover: Duration::from_secs(3),
            beginning: Duration::from_secs(10),
        }
    }
}

impl Timing {
    /// For how long after it was asked for the lock is counted on.
    fn counted_on(&self) -> Duration {
        self.span.mul_f32(0.9)
    }
}

/// This node's part in who owns the lock.
pub(crate) struct Lock {
    database: Arc<dyn Database>,
    notifications: Arc<Notifications>,
    me: Active,
    timing: Timing,
    /// The lock is taken from whoever has it: there is to be one node only.
    by_force: bool,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    eligible: bool,
    /// The lock is kept until then, eligible or not.
    beginning: Option<Instant>,
    held: Option<Held>,
    other: Option<Active>,
    /// The time at which the database last answered, and whether it has been logged that it does not.
    reached: Instant,
    complained: bool,
    /// Not asked for before.
    not_before: Option<Instant>,
    /// Another has taken it by force.
    deposed: bool,
}

#[derive(Clone, Copy)]
struct Held {
    fence: Fence,
    renewed: Instant,
}

/// The next step.
enum Step {
    Claim,
    Renew(Fence),
    Release(Fence),
    Watch,
    Nothing,
}

impl Lock {
    pub(crate) fn new(
        database: Arc<dyn Database>,
        notifications: Arc<Notifications>,
        me: Active,
        timing: Timing,
        by_force: bool,
    ) -> Self {
        let state = State {
            eligible: true,
            beginning: None,
            held: None,
            other: None,
            reached: Instant::now(),
            complained: false,
            not_before: None,
            deposed: false,
        };
        Self {
            database,
            notifications,
            me,
            timing,
            by_force,
            state: Mutex::new(state),
            changed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) const fn me(&self) -> &Active {
        &self.me
    }

    /// The fence, while this node may count on the lock.
    pub(crate) fn fence(&self) -> Option<Fence> {
        let held = self.state().held?;
        (held.renewed.elapsed() < self.timing.counted_on()).then_some(held.fence)
    }

    /// As [`Lock::fence`], for a node that is to lead, not one that only keeps the lock while it is initialised.
    pub(crate) fn leading(&self) -> Option<Fence> {
        let eligible = self.state().eligible;
        self.fence().filter(|_| eligible)
    }

    pub(crate) fn role(&self) -> Role {
        if self.leading().is_some() {
            return Role::Leads;
        }
        let state = self.state();
        if let Some(held) = state.held {
            return Role::Unsure { since: held.renewed.elapsed().saturating_sub(self.timing.counted_on()) };
        }
        match state.reached.elapsed().checked_sub(self.timing.span) {
            Some(since) => Role::CutOff { since },
            None => Role::Follows,
        }
    }

    /// The owner of the lock, as far as known.
    pub(crate) fn holder(&self) -> Option<Active> {
        if self.leading().is_some() { Some(self.me.clone()) } else { self.state().other.clone() }
    }

    pub(crate) fn set_eligible(&self, eligible: bool) {
        let mut state = self.state();
        state.eligible = eligible;
        state.deposed &= !eligible;
        if !eligible {
            state.beginning = None;
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Takes the lock for a node that is about to initialise the store.
    pub(crate) async fn begin(&self) -> Result<(), StoreError> {
        let until = Instant::now().checked_add(self.timing.beginning);
        self.state().beginning = until;
        if self.fence().is_none() {
            self.claim().await?;
        }
        if self.fence().is_some() {
            return Ok(());
        }
        self.state().beginning = None;
        Err(StoreError::Failed("another node uses the storage".to_owned()))
    }

    /// Another is found to write: the lock is not ours any more, whatever was counted on.
    pub(crate) fn lose(&self, fence: Fence) {
        let mut state = self.state();
        if state.held.is_some_and(|held| held.fence == fence) {
            state.held = None;
            state.deposed = self.by_force;
            tracing::warn!("lost the storage lock to another node");
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Keeps or seeks the lock until told to stop; gives it back then.
    pub(crate) async fn run(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        loop {
            let mut pause = self.timing.look_every;
            if let Err(error) = self.step().await {
                self.complain(&error);
                pause = self.timing.renew_every;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.changed.notified() => {}
                _ = stopped.wait_for(|stopped| *stopped) => break,
            }
        }
        let held = self.state().held.take();
        if let Some(held) = held {
            // Who cannot be reached notices by the time.
            let _ = timeout(self.timing.span, self.database.release(held.fence)).await;
        }
    }

    fn next_step(&self) -> Step {
        let now = Instant::now();
        let state = self.state();
        let wanted = state.eligible || state.beginning.is_some_and(|until| now < until);
        let may_ask = !state.deposed && state.not_before.is_none_or(|begin| now >= begin);
        match state.held {
            Some(held) if !wanted => Step::Release(held.fence),
            Some(held) if held.renewed.elapsed() >= self.timing.renew_every => Step::Renew(held.fence),
            Some(_) => Step::Nothing,
            None if wanted && may_ask => Step::Claim,
            None => Step::Watch,
        }
    }

    async fn step(&self) -> Result<(), StoreError> {
        match self.next_step() {
            Step::Claim => self.claim().await,
            Step::Renew(fence) => self.renew(fence).await,
            Step::Release(fence) => self.release(fence).await,
            Step::Watch => self.look().await,
            Step::Nothing => Ok(()),
        }
    }

    async fn claim(&self) -> Result<(), StoreError> {
        let asked = Instant::now();
        let claim = self.database.claim(&self.me, self.timing.span, self.by_force);
        match self.in_time(claim).await? {
            Claim::Granted(fence) => {
                // What others have written until now is told before this node answers anything.
                let head = self.in_time(self.database.head()).await?;
                self.notifications.outdated(head.index);
                let mut state = self.state();
                if head.fence == fence {
                    state.held = Some(Held { fence, renewed: asked });
                    state.other = None;
                    drop(state);
                    tracing::info!(term = fence, "acquired the storage lock");
                }
            }
            Claim::Held(holder) => {
                self.state().other = Some(holder);
                self.follow().await?;
            }
        }
        Ok(())
    }

    async fn renew(&self, fence: Fence) -> Result<(), StoreError> {
        let asked = Instant::now();
        if !self.in_time(self.database.renew(fence, self.timing.span)).await? {
            self.lose(fence);
            return Ok(());
        }
        if let Some(held) = self.state().held.as_mut().filter(|held| held.fence == fence) {
            held.renewed = asked;
        }
        Ok(())
    }

    async fn release(&self, fence: Fence) -> Result<(), StoreError> {
        self.state().held = None;
        self.in_time(self.database.release(fence)).await?;
        tracing::info!("released the storage lock");
        Ok(())
    }

    async fn look(&self) -> Result<(), StoreError> {
        let holder = self.in_time(self.database.holder()).await?;
        self.state().other = holder.filter(|holder| *holder != self.me);
        self.follow().await
    }

    /// Lets what is kept in memory here follow what the active node writes.
    async fn follow(&self) -> Result<(), StoreError> {
        let head = self.in_time(self.database.head()).await?;
        self.notifications.outdated(head.index);
        Ok(())
    }

    /// Lets another node have the lock; takes it back where none wants it.
    pub(crate) async fn hand_over(&self) -> SteppedDown {
        let Some(fence) = self.leading().filter(|_| !self.by_force) else { return SteppedDown::Nothing };
        let began = Instant::now();
        self.state().not_before = began.checked_add(self.timing.hold_off);
        if let Err(error) = self.release(fence).await {
            self.complain(&error);
        }
        while began.elapsed() < self.timing.handover {
            let holder = self.in_time(self.database.holder()).await;
            if let Ok(Some(holder)) = holder
                && holder != self.me
            {
                tracing::info!(successor = holder.node_id, "stepped down");
                self.state().other = Some(holder);
                return SteppedDown::HandedOver;
            }
            tokio::time::sleep(TRANSFER_POLL_INTERVAL).await;
        }
        self.state().not_before = None;
        self.changed.notify_one();
        tracing::warn!("not stepped down: no other node is waiting for the storage lock");
        SteppedDown::NobodyReady
    }

    /// Waits for the database as long as the lock would be held, and notes that it has answered.
    async fn in_time<T>(&self, asked: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let late = |_elapsed| StoreError::Failed("the database does not answer".to_owned());
        let answer = timeout(self.timing.span, asked).await.map_err(late)??;
        let mut state = self.state();
        state.reached = Instant::now();
        if std::mem::take(&mut state.complained) {
            tracing::info!("connection to the database restored");
        }
        Ok(answer)
    }

    /// Once an outage: it is asked again and again.
    fn complain(&self, error: &StoreError) {
        if std::mem::replace(&mut self.state().complained, true) {
            tracing::debug!(%error, "the database is still not reached");
        } else {
            tracing::warn!(%error, "the database is not reached; it is asked again until it is");
        }
    }
}
