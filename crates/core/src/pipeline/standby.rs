//! Requests on a node that is not the active one: answered here where that changes nothing, or else handed on.
//!
//! Source: Vault's documentation, "Vault HA" and "Performance standby nodes"; headers `X-Vault-Forward` and
//! `X-Vault-Request`.

use std::sync::Arc;

use strongroom_barrier::BarrierError;
use strongroom_engine_api::EngineError;
use strongroom_storage::CommitError;

use super::{Answer, Asked, Inbound, Refused};
use crate::Core;

/// A client's way of asking for the active node.
const FORWARD: &str = "x-vault-forward";

impl Core {
    /// Answers a request that this standby can answer by itself; `None` for what the active node is to answer.
    ///
    /// A read is tried here. One that turns out to write (a token with limited uses, a lease) has changed nothing when
    /// the store refuses the commit, and begins anew on the active node.
    pub async fn handle_as_standby(self: &Arc<Self>, inbound: Inbound) -> Option<Answer> {
        let inbound = Arc::new(inbound);
        if inbound.path.trim_end_matches('/') == "sys/seal" && inbound.asked == Asked::Write {
            let text = "vault cannot seal when in standby mode; please restart instead";
            return Some(Answer::refusal(&inbound, &Refused::status(500, text)));
        }
        if !self.is_answered_here(&inbound) {
            return None;
        }
        match self.serve(&inbound).await {
            Ok(answer) => Some(answer),
            Err(refused) if refused.needs_active() => None,
            Err(refused) => {
                refused.log(&inbound);
                Some(Answer::refusal(&inbound, &refused))
            }
        }
    }

    fn is_answered_here(&self, inbound: &Inbound) -> bool {
        if inbound.path.starts_with("sys/") && self.is_always_answered(inbound) {
            return !inbound.path.starts_with("sys/storage/raft/bootstrap/");
        }
        let answers = self.cluster().is_some_and(|node| node.answers_reads);
        let reads = answers && matches!(inbound.asked, Asked::Read | Asked::List | Asked::Scan | Asked::Help);
        let wraps = inbound.wrap_ttl.is_some_and(|ttl| !ttl.is_zero());
        reads && !wraps && inbound.headers.get(FORWARD).is_none_or(|value| value != "active-node")
    }
}

impl Refused {
    /// Whether another node may do better: this one may not write, or lacks keys that the active node has made since.
    fn needs_active(&self) -> bool {
        let Self::Engine(EngineError::Barrier(error)) = self else { return false };
        matches!(
            error,
            BarrierError::Commit(CommitError::NotLeader { .. })
                | BarrierError::Keyring(_)
                | BarrierError::Tampered(_)
        )
    }
}
