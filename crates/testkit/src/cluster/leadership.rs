//! Who leads: one node at a time, each in a later term.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use strongroom_storage::{Active, Coordinator, Role, SteppedDown};

/// The leader of a cluster.
#[derive(Default)]
pub struct Leadership(Mutex<(u64, Option<u64>)>);

impl Leadership {
    /// Has a node lead from now on; `None`: nobody does.
    pub fn elect(&self, node: Option<u64>) {
        let mut leader = self.0.lock().expect("not poisoned");
        *leader = (leader.0 + 1, node);
    }

    /// The node that leads.
    pub fn leader(&self) -> Option<u64> {
        self.0.lock().expect("not poisoned").1
    }

    /// The term in which a node leads, where it does.
    pub fn term_of(&self, node: u64) -> Option<u64> {
        let (term, leader) = *self.0.lock().expect("not poisoned");
        (leader == Some(node)).then_some(term)
    }
}

/// One node's view of it.
pub(super) struct NodeCoordinator {
    pub(super) node: u64,
    pub(super) leadership: Arc<Leadership>,
}

#[async_trait]
impl Coordinator for NodeCoordinator {
    fn role(&self) -> Role {
        if self.leading().is_some() { Role::Leads } else { Role::Follows }
    }

    fn leading(&self) -> Option<u64> {
        self.leadership.term_of(self.node)
    }

    fn set_eligible(&self, _eligible: bool) {}

    fn active(&self) -> Option<Active> {
        self.leadership.leader().map(|number| Active { number, ..Active::default() })
    }

    fn number(&self) -> u64 {
        self.node
    }

    fn cluster_id(&self) -> Arc<str> {
        "a-cluster".into()
    }

    async fn step_down(&self) -> SteppedDown {
        if self.leading().is_none() {
            return SteppedDown::Nothing;
        }
        self.leadership.elect(None);
        SteppedDown::HandedOver
    }
}
