//! Requests on a node that is not the active one: answered here where that changes nothing, or else handed on.
//!
//! Source: Vault's documentation, "Vault HA" and "Performance standby nodes"; headers `X-Vault-Forward` and
//! `X-Vault-Request`.

use std::sync::Arc;

use strongroom_barrier::BarrierError;
use strongroom_engine_api::EngineError;
use strongroom_storage::CommitError;

use super::{Answer, Asked, Inbound, Place, Progress, Refused};
use crate::Core;
use crate::cluster::Freshness;

/// A client's way of asking for the active node.
const FORWARD: &str = "x-vault-forward";

impl Core {
    /// Answers a request that this standby can answer by itself; `None` for what the active node is to answer.
    ///
    /// An operation that may write goes to the active node before anything has run: its handler's types say so. A read
    /// runs here; one that turns out to write (a token with limited uses, a wrapped response, a lease) has changed nothing
    /// and begins anew on the active node.
    pub async fn handle_as_standby(self: &Arc<Self>, inbound: Inbound) -> Option<Answer> {
        let inbound = Arc::new(self.locate(inbound).await.ok()?);
        if inbound.path.trim_end_matches('/') == "sys/seal" && inbound.asked == Asked::Write {
            let text = "vault cannot seal when in standby mode; please restart instead";
            return Some(Answer::refusal(&inbound, &Refused::status(500, text)));
        }
        let freshness = match self.is_answered_here(&inbound).await {
            Ok(Freshness::Unknown) => return None,
            Ok(freshness) => freshness,
            Err(refused) => return Some(Answer::refusal(&inbound, &refused)),
        };
        let mut answer = match self.serve(&inbound, &mut Progress::default(), Place::Request).await {
            Ok(answer) => answer,
            Err(Refused::NeedsTask) => return None,
            Err(refused) if refused.needs_active() => return None,
            Err(refused) => {
                refused.log(&inbound);
                Answer::refusal(&inbound, &refused)
            }
        };
        freshness.mark(&mut answer);
        Some(answer)
    }

    async fn is_answered_here(&self, inbound: &Inbound) -> Result<Freshness, Refused> {
        if inbound.path.starts_with("sys/") && self.is_always_answered(inbound) {
            return Ok(Freshness::Fresh);
        }
        let answers = self.cluster().is_some_and(|node| node.conduct.answers_reads);
        let forwards = inbound.headers.get(FORWARD).is_some_and(|value| value == "active-node");
        if !answers || !inbound.reads() || inbound.wraps() || forwards || self.may_write(inbound).await {
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

impl Core {
    /// Whether the operation's handler may write. A path that leads nowhere is refused here as well as anywhere.
    async fn may_write(&self, inbound: &Inbound) -> bool {
        let resolved = self.resolve(inbound).await;
        resolved.is_ok_and(|resolved| !resolved.mode().only_reads())
    }
}

impl Refused {
    /// What a node says that lacks what the active node has; nothing was done.
    pub(super) fn not_leader() -> Self {
        Self::Engine(BarrierError::Commit(CommitError::NotLeader { leader: None }).into())
    }

    /// Whether another node may do better: this one may not write, or lacks keys that the active node has made since.
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
