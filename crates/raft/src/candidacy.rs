//! The choice of a leader: a node that can serve, and that has free space for writes.
//!
//! A leader whose disk is full transfers leadership to a voter with free space. A node without free space does not stand for
//! election and takes no leadership that is offered. If all are full, one leads all the same, because reads need a leader, too.

use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use strongroom_stdx::Clock;
use strongroom_storage::Role;

use crate::RaftStore;
use crate::peer_health::{Change, PeerHealth};

/// The interval of checks for free space.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Looks in a row without room after which a leader gives way: making room by itself comes first.
const MAX_POLLS: u32 = 3;
/// The time for which a leader that has offered its leadership, or found no node to take it, keeps it before it looks
/// again.
const OFFER_PAUSE: Duration = Duration::from_secs(10);
/// The time without a leader after which a node without room stands for election.
const LEADERLESS_TIMEOUT: Duration = Duration::from_secs(5);

impl RaftStore {
    /// Decides again whether this node stands for election.
    pub(crate) fn settle_candidacy(&self) {
        let eligible = self.inner.eligible.load(Ordering::Acquire);
        let alone = || {
            let members = self.members();
            let mut voters = members.iter().filter(|member| member.voter);
            voters.next().is_some_and(|voter| voter.member.raft_id == self.raft_id())
                && voters.next().is_none()
        };
        let needed =
            || alone() || self.role().without_quorum().is_some_and(|since| since >= LEADERLESS_TIMEOUT);
        self.inner
            .raft
            .runtime_config()
            .elect(eligible && !self.inner.terms.has_forgotten_vote() && (self.has_room() || needed()));
    }
}

/// Watches the others, and the room for writes, until the store is closed.
pub(crate) async fn watch(store: Weak<RaftStore>, clock: Clock) {
    let (mut without, mut pause, mut told) = (0u32, Duration::ZERO, false);
    let mut peer_health = PeerHealth::default();
    loop {
        clock.sleep(POLL_INTERVAL).await;
        let Some(store) = store.upgrade().filter(|store| !store.is_closed()) else { return };
        if let Err(error) = store.check_running() {
            tracing::error!(%error, "raft has stopped: this node no longer participates in the cluster");
            return;
        }
        if store.role() == Role::Leads {
            store.inner.contact.lead();
        }
        store.settle_candidacy();
        let term = store.is_leader().then(|| store.status().term);
        for change in peer_health.look(term, &store.members(), POLL_INTERVAL) {
            match change {
                Change::Lost(node) => tracing::warn!(node, "lost contact with node"),
                Change::Back(node) => tracing::warn!(node, "regained contact with node"),
            }
        }
        pause = pause.saturating_sub(POLL_INTERVAL);
        without = if store.has_room() { 0 } else { without.saturating_add(1) };
        told &= without > 0;
        if without >= MAX_POLLS && pause.is_zero() && store.role() == Role::Leads {
            if !give_way(&store).await && !std::mem::replace(&mut told, true) {
                tracing::warn!("out of space, and so are all other voters: this node stays active");
            }
            pause = OFFER_PAUSE;
        }
    }
}

/// Offers the leadership to a voter that has room; false where there is none.
async fn give_way(store: &RaftStore) -> bool {
    let Some(successor) = store.successors().await.into_iter().next() else { return false };
    match store.hand_over(&successor).await {
        Ok(true) => tracing::warn!(successor, "out of space: transferring leadership"),
        Ok(false) => {}
        Err(error) => {
            tracing::warn!(successor, %error, "out of space, and leadership could not be transferred");
        }
    }
    true
}
