//! Resolves a token to the caller: the third stage.

use std::sync::Arc;

use strongroom_barrier::Txn;
use strongroom_engine_api::{Asker, Caller, Secret, TokenKind};
use strongroom_expiry::TokenId;
use strongroom_mounts::Namespace;
use strongroom_policy::CompiledAcl;
use strongroom_tokens::Principal;

use super::admit::Admitted;
use super::resolve::AtMount;
use super::{Pipeline, RequestError, Resolved};

/// A caller whose token is in force.
#[derive(Clone)]
pub(crate) struct Authenticated {
    pub(crate) token: Arc<Secret<String>>,
    pub(crate) principal: Principal,
    /// The namespace that its token belongs to.
    pub(crate) home: Arc<Namespace>,
    pub(crate) acl: Arc<CompiledAcl>,
    /// True if this request takes a use off a limited token: a request to an open route does not.
    pub(crate) counted: bool,
    /// True if policies grant `sudo` on this path.
    pub(crate) sudo: bool,
    /// The policies that allowed the request, for its audit record.
    pub(crate) granting: Vec<Arc<str>>,
}

impl Authenticated {
    pub(crate) fn id(&self) -> &TokenId {
        &self.principal.id
    }

    /// True if the token has a limited number of uses of which this request takes one.
    pub(crate) fn is_limited(&self) -> bool {
        let entry = &self.principal.entry;
        self.counted && entry.kind == TokenKind::Service && entry.num_uses > 0
    }

    /// True if this request takes the token's last use.
    pub(crate) fn is_at_last_use(&self) -> bool {
        self.is_limited() && self.principal.entry.num_uses == 1
    }
}

/// The caller as handlers see it.
impl Asker for Authenticated {
    fn caller(&self) -> Caller {
        let entry = &self.principal.entry;
        Caller {
            token: self.token.clone(),
            token_key: self.principal.id.key,
            namespace: self.principal.id.namespace,
            kind: entry.kind,
            accessor: entry.accessor.clone(),
            display_name: entry.display_name.clone(),
            entity_id: entry.entity_id.clone(),
            policies: Arc::from(entry.policies.as_slice()),
            metadata: entry.metadata.clone(),
            sudo: self.sudo,
        }
    }
}

/// A request of which it is known who asks. Only [`Pipeline::identify`] makes one.
pub(crate) struct Identified<'a> {
    admitted: Admitted<'a>,
    caller: Option<Authenticated>,
}

impl<'a> Identified<'a> {
    pub(super) fn into_parts(self) -> (&'a Arc<Resolved>, Option<Authenticated>) {
        (self.admitted.resolved(), self.caller)
    }

    /// True if the token has a limited number of uses.
    pub(super) fn is_limited(&self) -> bool {
        self.caller.as_ref().is_some_and(Authenticated::is_limited)
    }
}

impl Pipeline {
    /// Identifies the caller. Open routes need no token, so an invalid token is no obstacle there.
    pub(super) async fn identify<'a>(
        &self,
        admitted: Admitted<'a>,
        txn: &Txn,
    ) -> Result<Identified<'a>, RequestError> {
        let resolved = admitted.resolved();
        let caller = match self.authenticate(resolved, txn).await {
            Ok(caller) => Some(caller),
            Err(_) if resolved.to.mount().is_some_and(AtMount::is_open) => None,
            Err(refused) => return Err(refused),
        };
        Ok(Identified { admitted, caller })
    }

    async fn authenticate(&self, resolved: &Resolved, txn: &Txn) -> Result<Authenticated, RequestError> {
        let inbound = &resolved.inbound;
        let Some(token) = &inbound.token else {
            return Err(RequestError::Unauthenticated("missing client token".to_owned()));
        };
        let now = self.services.environment.clock.now();
        // A token acts in its namespace and in those inside; elsewhere it is as unknown as one that was never made.
        let found = self.services.tokens.principal(txn.peek(), token.expose(), now).await?;
        let found = found.and_then(|found| {
            let home = self.services.mounts.namespace(found.id.namespace)?;
            resolved.to.place.is_within(&home).then_some((found, home))
        });
        let Some((principal, home)) = found else {
            if self.services.node.is_standby() && self.services.node.without_quorum().is_none() {
                // It may have been made a moment ago: the active node knows.
                return Err(RequestError::not_leader());
            }
            return Err(RequestError::invalid_token());
        };
        if !principal.entry.may_come_from(inbound.peer.ip()) {
            return Err(RequestError::Unauthenticated(
                "the address is outside the token's bound CIDRs".to_owned(),
            ));
        }
        let acl =
            self.services.policies.acl(txn.peek(), principal.id.namespace, &principal.entry.policies).await?;
        let token = token.clone();
        Ok(Authenticated { token, principal, home, acl, counted: true, sudo: false, granting: Vec::new() })
    }

    /// Takes one use off a limited token and commits that alone: a request that fails counts, too.
    pub(super) async fn count_use(
        &self,
        txn: &Txn,
        caller: Option<&Authenticated>,
    ) -> Result<(), RequestError> {
        let Some(caller) = caller.filter(|caller| caller.is_limited()) else { return Ok(()) };
        txn.discard();
        Box::pin(self.services.tokens.use_token(txn, caller.id())).await?;
        txn.clone().commit().await?;
        Ok(())
    }
}
