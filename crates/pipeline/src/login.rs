//! Logins: the one place where what an auth method grants becomes a token.
//!
//! Each way to a token by a login comes through here, whatever the method, the kind of token and the wrapping: so here it is asked
//! which second factors the login needs. What is needed is given in the same request, or the login waits and is concluded by
//! another ([`SecondFactor`]), which is judged by what holds then: the mount, the entity, its groups and policies, and the
//! enforcements. Where it cannot be found out what is needed, there is no token.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use strongroom_barrier::{NamespaceId, Txn};
use strongroom_engine_api::{AuthGrant, EngineError, Json};
use strongroom_identity::{Effective, LoggedIn, Login};
use strongroom_mfa::{Claimed, Credentials, FirstFactor, PendingLogin, RequirementView};
use strongroom_mounts::MountHandle;
use strongroom_tokens::{IssuedIdentity, IssuedToken};

use super::authorize::Authorized;
use super::{Pipeline, RequestError};
use crate::envelope::Envelope;
use crate::server_reply::{AfterCommit, SecondFactor};

/// Vault's warning with a login that waits.
const WAITS: &str = "A login request was issued that is subject to MFA validation. Please make sure to validate the login by \
                     sending another request to mfa/validate endpoint.";

/// The outcome of a login.
#[derive(Default)]
pub(super) struct Entered {
    /// The token; `None` while the login waits for its second factor.
    pub(super) made: Option<Box<IssuedToken>>,
    /// The change in memory that goes with the commit.
    pub(super) after_commit: AfterCommit,
    /// True if the login waits: there is nothing to wrap yet.
    pub(super) waits: bool,
    /// The wrapping that the login asked for, where another request concludes it.
    pub(super) wrap_ttl: Option<Duration>,
}

/// The refusal of a login that would wait, and that another request waits for.
const INLINE: &str =
    "login MFA is required: requests with inline authentication give it in X-Vault-MFA headers";

/// A login that has all it needs.
struct Granted {
    grant: AuthGrant,
    known: Option<Known>,
    /// False for a token that ends with its request.
    is_stored: bool,
}

/// The entity of a login, and its rights with what the login has written.
type Known = (LoggedIn, Arc<Effective>);

/// The `auth` member of a login that waits, in the order Vault writes it.
#[derive(Serialize)]
struct WaitingAuth<'a> {
    client_token: &'static str,
    accessor: &'static str,
    policies: (),
    token_policies: (),
    identity_policies: (),
    metadata: (),
    lease_duration: u64,
    renewable: bool,
    entity_id: &'static str,
    token_type: &'static str,
    orphan: bool,
    mfa_requirement: &'a RequirementView,
    num_uses: u32,
}

impl Pipeline {
    /// Makes the token of a login whose first factor is good, or lets it wait for its second.
    pub(super) async fn log_in(
        &self,
        txn: &Txn,
        authorized: &Authorized<'_>,
        grant: AuthGrant,
        envelope: &mut Envelope,
    ) -> Result<Entered, RequestError> {
        let (mounted, to) = (&authorized.at.mounted, &authorized.resolved.to);
        let mfa = &self.services.mfa;
        let known = self.entity_of(txn, mounted, &grant).await?;
        let required = mfa.required(txn, mounted, known.as_ref().map(|(_, rights)| &**rights)).await?;
        let mut entered = Entered::default();
        if let Some((login, rights)) = known.as_ref().filter(|_| !required.is_empty()) {
            if self.services.node.is_standby() {
                // Attempts are counted, and logins wait, on the node that makes the tokens.
                return Err(RequestError::not_leader());
            }
            let entity = (mounted.mount.namespace, rights.id);
            let Some(given) = Credentials::of_headers(&authorized.inbound().headers)? else {
                if authorized.inbound().inline.logs_in() {
                    return Err(EngineError::Denied(INLINE.to_owned()).into());
                }
                let first = FirstFactor {
                    namespace: to.place.id,
                    path: &to.path,
                    mount: (mounted.mount.namespace, mounted.mount.id),
                    grant,
                    entity: login.entity,
                    wrap_ttl: authorized.inbound().wrap_ttl,
                };
                let waiting = mfa.wait_for(txn, first, &required).await?;
                envelope.auth = Some(waiting_auth(&waiting.requirement)?);
                envelope.warnings.push(WAITS.to_owned());
                entered.after_commit = AfterCommit::Then(waiting.add);
                entered.waits = true;
                return Ok(entered);
            };
            let satisfied = mfa.validate(txn, entity, &required, None, &given).await?;
            entered.after_commit = AfterCommit::Then(Box::new(move || satisfied.end()));
        }
        let is_stored = !authorized.inbound().inline.logs_in();
        let login = Granted { grant, known, is_stored };
        let made = self.make_token(txn, mounted, (to.place.id, &to.path), login, envelope).await?;
        entered.made = Some(Box::new(made));
        Ok(entered)
    }

    /// Concludes a login that waits, with what is given as its second factor.
    pub(super) async fn conclude_login(
        &self,
        txn: &Txn,
        authorized: &Authorized<'_>,
        second: &SecondFactor,
        envelope: &mut Envelope,
    ) -> Result<Entered, RequestError> {
        let mfa = &self.services.mfa;
        let claimed = mfa.claim(&second.request_id, authorized.resolved.to.place.id).await;
        let claimed = claimed.ok_or_else(|| EngineError::Denied("invalid request ID".to_owned()))?;
        let (made, satisfied, wrap_ttl) = {
            let login = waiting_login(&claimed)?;
            let router = self.services.mounts.router().await?;
            let mounted = router.by_id(login.mount.0, login.mount.1).ok_or_else(outdated)?;
            let known = self.entity_again(txn, &mounted, login).await?;
            let required = mfa.required(txn, &mounted, Some(&known.1)).await?;
            let entity = (mounted.mount.namespace, known.1.id);
            let satisfied = mfa.validate(txn, entity, &required, Some(login), &second.given).await;
            let satisfied = satisfied.map_err(|error| match error {
                EngineError::Denied(_) => RequestError::SecondFactor(error),
                other => other.into(),
            })?;
            let place = (login.namespace, &*login.path);
            let granted = Granted { grant: login.grant.clone(), known: Some(known), is_stored: true };
            let made = self.make_token(txn, &mounted, place, granted, envelope).await?;
            envelope.mount_type = Some(mounted.kind.clone());
            (made, satisfied, login.wrap_ttl)
        };
        let end = move || {
            satisfied.end();
            claimed.end();
        };
        let after_commit = AfterCommit::Then(Box::new(end));
        Ok(Entered { made: Some(Box::new(made)), after_commit, waits: false, wrap_ttl })
    }

    async fn make_token(
        &self,
        txn: &Txn,
        mounted: &MountHandle,
        (namespace, path): (NamespaceId, &str),
        login: Granted,
        envelope: &mut Envelope,
    ) -> Result<IssuedToken, RequestError> {
        let Granted { grant, known, is_stored } = login;
        let identity = match &known {
            Some((login, rights)) => IssuedIdentity {
                policies: rights.policies_of(namespace).to_vec(),
                elsewhere: self.services.identity.policies_elsewhere(rights, namespace).await?,
                is_new: login.is_new,
            },
            None => IssuedIdentity::default(),
        };
        let entity_id = known.map_or_else(String::new, |(login, _)| login.entity.to_string());
        let (tokens, from) = (&self.services.tokens, (namespace, path));
        let mut made = if is_stored {
            tokens.grant(txn, mounted, from, grant, entity_id).await?
        } else {
            tokens.grant_unstored(txn, mounted, from, grant, entity_id).await?
        };
        made.identity = identity;
        envelope.warnings.append(&mut made.warnings);
        envelope.auth = Some(made.auth_member()?);
        Ok(made)
    }

    /// The entity that a login is of, made where there is none, and the rights that follow from it, external groups included.
    async fn entity_of(
        &self,
        txn: &Txn,
        mounted: &MountHandle,
        grant: &AuthGrant,
    ) -> Result<Option<Known>, RequestError> {
        if grant.alias.is_empty() {
            return Ok(None);
        }
        let identity = &self.services.identity;
        let login = Login {
            mount: &mounted.mount,
            name: &grant.alias,
            metadata: &grant.alias_metadata,
            groups: grant.groups.as_deref(),
        };
        let login = identity.log_in(txn, &login).await?;
        if login.changed {
            // Aliases go with their mount: none is added behind the walk that removes them.
            self.services.mounts.require_mount(txn, mounted).await?;
        }
        let rights = identity.rights_of(txn, mounted.mount.namespace, login).await?;
        Ok(Some((login, rights)))
    }

    /// The entity of a login that has waited, as it is now: the alias still leads to it, and nobody has disabled it or ended what
    /// it holds. Its groups are those of now, too: another login may have changed them meanwhile.
    async fn entity_again(
        &self,
        txn: &Txn,
        mounted: &MountHandle,
        login: &PendingLogin,
    ) -> Result<Known, RequestError> {
        let (identity, namespace) = (&self.services.identity, mounted.mount.namespace);
        let (accessor, alias) = (&mounted.mount.accessor, &login.grant.alias);
        let now = identity.entity_of_alias(txn, namespace, accessor, alias).await?;
        let then = identity.resolve(txn, namespace, login.entity).await?;
        let entity = match (now, then) {
            (Some(now), Some((then, _))) if now == then => now,
            _ => return Err(outdated().into()),
        };
        let found = LoggedIn { entity, is_new: false, changed: true };
        let rights = identity.rights_of(txn, namespace, found).await?;
        if rights.refuses(login.began) {
            return Err(outdated().into());
        }
        Ok((found, rights))
    }
}

fn waiting_login(claimed: &Claimed) -> Result<&PendingLogin, EngineError> {
    claimed.login().ok_or_else(|| EngineError::Internal("a login was claimed that is over".to_owned()))
}

/// The refusal of a login that no longer holds: its mount, its entity or its alias is another than it was.
fn outdated() -> EngineError {
    EngineError::Denied("the login does not hold any more; log in again".to_owned())
}

fn waiting_auth(requirement: &RequirementView) -> Result<Json, EngineError> {
    Ok(Json::of(&WaitingAuth {
        client_token: "",
        accessor: "",
        policies: (),
        token_policies: (),
        identity_policies: (),
        metadata: (),
        lease_duration: 0,
        renewable: false,
        entity_id: "",
        token_type: "default",
        orphan: false,
        mfa_requirement: requirement,
        num_uses: 0,
    })?)
}
