//! Requests on a node that is not the active one: answered here where that changes nothing, or else handed on.
//!
//! Source: Vault's documentation, "Vault HA" and "Performance standby nodes"; headers `X-Vault-Forward` and
//! `X-Vault-Request`.

use std::sync::Arc;

use strongroom_barrier::BarrierError;
use strongroom_engine_api::EngineError;
use strongroom_storage::CommitError;

use super::freshness::Freshness;
use super::{Answer, Destination, Inbound, Pipeline, Place, Progress, RequestError, Resolved, Verb};

/// A client's way of asking for the active node.
const FORWARD: &str = "x-vault-forward";

impl Pipeline {
    /// Answers a request that this standby can answer by itself; `None` for what the active node is to answer.
    ///
    /// An operation that may write goes to the active node before anything has run: its handler's types say so. A read
    /// runs here; one that turns out to write (a token with limited uses, a wrapped response, a lease) has changed nothing
    /// and begins anew on the active node.
    pub async fn handle_as_standby(self: &Arc<Self>, inbound: Inbound) -> Option<Answer> {
        let is_always_answered = inbound.destination.as_ref().is_some_and(Destination::is_always_answered);
        if inbound.inline.is_carried() && !is_always_answered {
            // The login may write.
            return None;
        }
        let resolved = match self.resolve_inbound(inbound).await {
            Ok(resolved) => Arc::new(resolved),
            Err((_, refused)) if refused.needs_active() => return None,
            Err((inbound, refused)) => return Some(Answer::refusal(&inbound, &refused)),
        };
        let inbound = &resolved.inbound;
        if resolved.to.path.trim_end_matches('/') == "sys/seal" && inbound.asked == Verb::Write {
            let text = "vault cannot seal when in standby mode; please restart instead";
            return Some(Answer::refusal(inbound, &RequestError::status(500, text)));
        }
        let freshness = match self.is_answered_here(&resolved).await {
            Ok(Freshness::Unknown) => return None,
            Ok(freshness) => freshness,
            Err(refused) => return Some(Answer::refusal(inbound, &refused)),
        };
        let mut answer = match self.serve(&resolved, &mut Progress::default(), Place::Request).await {
            Ok(answer) => answer,
            Err(RequestError::NeedsTask) => return None,
            Err(refused) if refused.needs_active() => return None,
            Err(refused) => {
                refused.log(inbound);
                Answer::refusal(inbound, &refused)
            }
        };
        freshness.mark(&mut answer);
        Some(answer)
    }

    async fn is_answered_here(&self, resolved: &Resolved) -> Result<Freshness, RequestError> {
        let (inbound, to) = (&resolved.inbound, &resolved.to);
        if to.is_always_answered() {
            return Ok(Freshness::Fresh);
        }
        let answers = self.services.node.cluster().is_some_and(|node| node.standby_policy.answers_reads);
        let forwards = inbound.headers.get(FORWARD).is_some_and(|value| value == "active-node");
        if !answers || !inbound.reads() || inbound.wraps() || forwards || to.may_write() {
            return Ok(Freshness::Unknown);
        }
        // What is no index is refused here as there, however old the data are.
        self.check_index(&inbound.headers)?;
        match self.freshness() {
            Freshness::Fresh if !self.catches_up_with(&inbound.headers).await? => Ok(Freshness::Unknown),
            freshness => Ok(freshness),
        }
    }
}

impl RequestError {
    /// The answer of a node that lacks what the active node has; nothing was done.
    pub(super) fn not_leader() -> Self {
        Self::Engine(BarrierError::Commit(CommitError::NotLeader { leader: None }).into())
    }

    /// True if another node may do better: this one may not write, or lacks keys that the active node has made since.
    pub(super) fn needs_active(&self) -> bool {
        let Self::Engine(EngineError::Barrier(error)) = self else { return false };
        matches!(
            error,
            BarrierError::Commit(CommitError::NotLeader { .. })
                | BarrierError::Keyring(_)
                | BarrierError::Tampered(_)
        )
    }
}
