//! Requests of members to the active node: a sealed node asks for a certificate, which is valid for a day only, and a node whose
//! address has changed asks to be known by the new one, so that its leader finds it.
//!
//! A node that cannot be reached at its address hears no leader and does not know who leads, so it asks all members that it
//! knows. If none accepts its request, it logs why, once, and keeps trying.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use strongroom_cluster::{Announcement, PublicKey, RENEW_AFTER, Registrar, Renewal};
use strongroom_engine_api::EngineError;
use strongroom_raft::{Member, Peer, Role, Sender};

use super::membership::unsigned;
use super::{ClusterNode, joining::not_raft};
use crate::Node;

/// The pause between two announcements while none was accepted.
const RETRY: Duration = Duration::from_secs(5);

/// Answers other members, where this node is the active one.
pub struct Members(Weak<Node>);

impl Members {
    /// Those of the cluster that this node is one of.
    pub fn new(node: &Arc<Node>) -> Self {
        Self(Arc::downgrade(node))
    }
}

#[async_trait]
impl Registrar for Members {
    async fn renew(&self, sender: Sender, key: PublicKey, told: Announcement) -> Result<Renewal, String> {
        let node = self.0.upgrade().ok_or("this node is being stopped")?;
        node.renew_member(&sender, &key, &told).await.map_err(|error| error.to_string())
    }
}

impl Node {
    async fn renew_member(
        &self,
        sender: &Sender,
        key: &PublicKey,
        told: &Announcement,
    ) -> Result<Renewal, EngineError> {
        let node = self.cluster().ok_or_else(not_raft)?;
        let refused = |text: &str| EngineError::Status(503, text.to_owned());
        if self.barrier.is_sealed() || !self.is_active() {
            return Err(refused("this node is not the active one"));
        }
        let mut seen = node.store.introduction().seen;
        let known = node.member(sender.raft_id).ok_or_else(|| refused("it is no member"))?;
        let moved = known.at(told);
        if moved != known {
            seen = node.store.admit(&moved).await.map_err(strongroom_barrier::BarrierError::from)?;
            let (node, address) = (&moved.node_id, &moved.cluster_address);
            tracing::info!(node, address, api_address = moved.api_address, "node changed its address");
        }
        let cluster_id = node.store.cluster_id();
        let authority =
            self.authority(&cluster_id).await?.ok_or_else(|| refused("there is no authority yet"))?;
        let now = self.environment.clock.now().as_secs();
        let sender = Sender { raft_id: sender.raft_id, seen };
        let certificate = authority.sign(key, &cluster_id, &sender, now).map_err(|error| unsigned(&error))?;
        Ok(Renewal { certificate })
    }

    /// Sees to it that the others know where this node is, and that it has a certificate though it is sealed.
    pub async fn keep_in_touch(&self) {
        let Some(node) = self.cluster().filter(|node| !node.store.was_removed()) else { return };
        let Some(known) = node.member(node.store.raft_id()) else { return };
        let here = node.announcement();
        let has_moved = known.at(&here) != known;
        let now = self.environment.clock.now();
        let is_due =
            self.barrier.is_sealed() && node.state().certified.is_none_or(|at| now.since(at) >= RENEW_AFTER);
        let is_alone = node.store.members().len() <= 1;
        if !has_moved && (!is_due || is_alone) {
            return;
        }
        {
            let mut state = node.state();
            if state.announced.is_some_and(|at| now.since(at) < RETRY) {
                return;
            }
            state.announced = Some(now);
        }
        let told = if node.store.role() == Role::Leads {
            // The only one that need not ask: sealed nodes do not lead.
            let moved = node.store.admit(&known.at(&here)).await;
            moved.map(|_at| ()).map_err(|error| error.to_string())
        } else {
            self.announce(node, &here).await
        };
        let has_ended = node.network.credentials().is_none_or(|own| !own.are_current());
        let before = std::mem::replace(
            &mut node.state().unannounced,
            told.clone().err().filter(|_| has_moved || has_ended),
        );
        match told {
            Ok(()) if has_moved => {
                tracing::info!(
                    address = here.cluster_address,
                    "the cluster accepted this node's new address"
                );
            }
            Ok(()) => node.state().certified = Some(now),
            Err(error) if before.is_none() && has_moved => tracing::error!(
                address = here.cluster_address,
                known = known.cluster_address,
                error,
                "no other node accepted this node's new address; retrying"
            ),
            Err(error) if before.is_none() && has_ended => tracing::warn!(
                error,
                "this node's certificate for the cluster port has ended, and no other node has signed another: it takes \
                 part again when it is unsealed"
            ),
            Err(_) => {}
        }
    }

    /// Asks the others, the leader first, until one answers with a certificate. The error has what each said.
    async fn announce(&self, node: &ClusterNode, here: &Announcement) -> Result<(), String> {
        let mut others = node.store.members();
        others.retain(|status| status.member.raft_id != node.store.raft_id());
        others.sort_by_key(|status| !status.leader);
        let mut errors = Vec::new();
        for Member { raft_id, node_id, cluster_address, .. } in others.into_iter().map(|status| status.member)
        {
            let peer = Peer { raft_id, node_id, cluster_address };
            match node.network.announce(&peer, here).await {
                Ok(Renewal { certificate }) => {
                    let (cluster_id, raft_id) = (node.store.cluster_id(), node.store.raft_id());
                    let made = node.identity.keep_renewed(&certificate, &cluster_id, raft_id);
                    node.network.set_credentials(made.map_err(|error| error.to_string())?);
                    return Ok(());
                }
                Err(error) => errors.push(error.to_string()),
            }
        }
        Err(errors.join("; "))
    }
}

/// A member, as it says where it is.
trait Moves {
    fn at(&self, told: &Announcement) -> Self;
}

impl Moves for Member {
    fn at(&self, told: &Announcement) -> Self {
        let or = |new: &str, old: &str| if new.is_empty() { old.to_owned() } else { new.to_owned() };
        Self {
            api_address: or(&told.api_address, &self.api_address),
            cluster_address: or(&told.cluster_address, &self.cluster_address),
            ..self.clone()
        }
    }
}

impl ClusterNode {
    fn member(&self, raft_id: u64) -> Option<Member> {
        let members = self.store.members();
        members.into_iter().map(|status| status.member).find(|member| member.raft_id == raft_id)
    }

    fn announcement(&self) -> Announcement {
        Announcement { api_address: self.api_address.clone(), cluster_address: self.cluster_address.clone() }
    }
}
