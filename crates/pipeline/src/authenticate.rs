//! Resolves a token to the caller: the third stage.

use std::sync::Arc;

use strongroom_barrier::{NamespaceId, Txn};
use strongroom_engine_api::{Asker, Caller, Secret, TokenKind};
use strongroom_expiry::{EntityKey, TokenId};
use strongroom_identity::{Effective, IdentityId};
use strongroom_mounts::Namespace;
use strongroom_policy::CompiledAcl;
use strongroom_tokens::{Principal, TokenEntry};

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
    /// The entity of its token, and what follows from it.
    pub(crate) identity: Option<Arc<Effective>>,
    /// True if this request takes a use off a limited token: a request to an open route does not.
    pub(crate) counted: bool,
    /// True if the token is not stored and ends with this request.
    pub(crate) ephemeral: bool,
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
            entity_namespace: entry.entity_home(),
            policies: Arc::from(entry.policies.as_slice()),
            identity_policies: self.identity.as_ref().map(|found| found.policies.clone()).unwrap_or_default(),
            metadata: entry.metadata.clone(),
            ephemeral: self.ephemeral,
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
        let found = match inbound.inline.principal() {
            Some(principal) => Some(principal.clone()).filter(|made| !made.entry.has_expired(now)),
            None => self.services.tokens.principal(txn.peek(), token.expose(), now).await?,
        };
        // A token acts in its namespace and in those inside; elsewhere it is as unknown as one that was never made.
        let found = match found {
            Some(found) => self.acting_in(&resolved.to.place, found).await?,
            None => None,
        };
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
        let (namespace, own) = (principal.id.namespace, &principal.entry.policies);
        let identity = match principal.entry.entity() {
            Some((home, id)) => Some(self.identify_entity(&principal.entry, home, id).await?),
            None => None,
        };
        let policies = &self.services.policies;
        let acl = match &identity {
            Some(identity) => {
                let acl = policies.acl_with(txn.peek(), namespace, own, &identity.policies).await?;
                policies.for_path(acl, identity, resolved.to.policy_path().as_request().text())
            }
            None => policies.acl(txn.peek(), namespace, own).await?,
        };
        let (token, granting) = (token.clone(), Vec::new());
        let ephemeral = inbound.inline.principal().is_some();
        let (counted, sudo) = (!ephemeral, false);
        Ok(Authenticated { token, principal, home, acl, identity, counted, ephemeral, sudo, granting })
    }

    /// A token and its namespace, where it acts in `place`: a group of another namespace may reach there.
    async fn acting_in(
        &self,
        place: &Namespace,
        found: Principal,
    ) -> Result<Option<(Principal, Arc<Namespace>)>, RequestError> {
        let Some(home) = self.services.mounts.namespace(found.id.namespace) else { return Ok(None) };
        if place.is_within(&home) {
            return Ok(Some((found, home)));
        }
        let Some((of, id)) = found.entry.entity() else { return Ok(None) };
        let effective = self.services.identity.effective(of, IdentityId::of_bytes(id)).await?;
        let reaches = effective.filter(|effective| effective.everywhere).is_some_and(|effective| {
            let mut namespaces = effective.policies.iter().map(|(of, _)| self.services.mounts.namespace(*of));
            namespaces.any(|of| of.is_some_and(|of| place.is_within(&of)))
        });
        Ok(reaches.then_some((found, home)))
    }

    /// The entity of a token. A token whose entity is gone, disabled, or was revoked since is refused: the first are deleted
    /// before long, the second are good again when the entity is enabled.
    async fn identify_entity(
        &self,
        entry: &TokenEntry,
        home: NamespaceId,
        id: EntityKey,
    ) -> Result<Arc<Effective>, RequestError> {
        let found = self.services.identity.effective(home, IdentityId::of_bytes(id)).await?;
        let refused = |text: &str| Err(RequestError::Denied(text.to_owned()));
        match found {
            None => refused("the token's entity is gone"),
            Some(found) if found.entity.disabled => refused("the token's entity is disabled"),
            Some(found) if found.refuses(entry.created) => refused("the token's entity has been revoked"),
            Some(found) => Ok(found),
        }
    }

    /// Rests what `txn` will commit on the caller's entity being as it is: nothing is granted behind the walk that ends what
    /// the entity holds. A service token's own records do as much.
    pub(super) async fn hold_entity(&self, txn: &Txn, caller: &Authenticated) -> Result<(), RequestError> {
        let entry = &caller.principal.entry;
        let Some((home, id)) = entry.entity().filter(|_| entry.kind == TokenKind::Batch) else {
            return Ok(());
        };
        match self.services.identity.resolve(txn, home, IdentityId::of_bytes(id)).await? {
            Some((_, entity)) if !entity.disabled && entity.revoked.is_none_or(|at| entry.created > at) => {
                Ok(())
            }
            _ => Err(RequestError::Denied("the token's entity is gone or revoked".to_owned())),
        }
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
