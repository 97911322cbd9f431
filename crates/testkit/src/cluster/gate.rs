//! A node's process as far as it shows: it runs, stands still, or is gone.

use std::sync::Arc;

use tokio::sync::watch;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Paused,
    Dead,
}

/// The gate that everything passes which a node does to its store and to the outside. Clones are one gate.
#[derive(Clone)]
pub struct Gate(Arc<watch::Sender<State>>);

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(State::Running)))
    }
}

impl Gate {
    /// The process stands still.
    pub fn pause(&self) {
        self.set(State::Paused);
    }

    /// It goes on.
    pub fn resume(&self) {
        self.set(State::Running);
    }

    /// It is killed: whatever waits at the gate waits for ever.
    pub fn kill(&self) {
        self.set(State::Dead);
    }

    fn set(&self, state: State) {
        self.0.send_if_modified(|current| {
            let changes = *current != State::Dead && *current != state;
            if changes {
                *current = state;
            }
            changes
        });
    }

    /// Whether it was killed.
    pub fn is_dead(&self) -> bool {
        *self.0.borrow() == State::Dead
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        *self.0.borrow() == State::Running
    }

    /// Returns when the process is killed: its clients lose their connections.
    pub async fn died(&self) {
        let mut state = self.0.subscribe();
        let _gone = state.wait_for(|state| *state == State::Dead).await;
    }

    /// Returns while the process runs.
    pub async fn pass(&self) {
        let mut state = self.0.subscribe();
        while *state.borrow_and_update() != State::Running {
            if state.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
