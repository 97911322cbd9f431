//! Logins and their second factors: what a login waits for, and whether what is given is enough.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use strongroom_barrier::{NamespaceId, Reads, Txn};
use strongroom_engine_api::{AuthGrant, EngineError, MountId};
use strongroom_identity::{IdentityId, Placed};

use crate::Mfa;
use crate::attempts::Attempt;
use crate::credentials::Credentials;
use crate::enforcements::Requirement;
use crate::methods::{FoundMethod, MethodKind};
use crate::pending::{Claimed, PendingLogin};
use crate::secrets::Judgment;
use crate::webauthn::Challenges;

/// Attempts that were right. They end once the token that rests on them is committed.
#[derive(Default)]
pub struct Satisfied(Vec<Attempt>);

impl Satisfied {
    /// The token is committed.
    pub fn end(self) {
        for attempt in self.0 {
            attempt.succeed();
        }
    }
}

/// A login whose first factor was good, as the server knows it.
pub struct FirstFactor<'a> {
    /// The namespace that it was sent to.
    pub namespace: NamespaceId,
    /// Its path.
    pub path: &'a str,
    /// The mount's namespace and number.
    pub mount: (NamespaceId, MountId),
    /// The grant.
    pub grant: AuthGrant,
    /// The entity.
    pub entity: IdentityId,
    /// The wrapping asked for.
    pub wrap_ttl: Option<Duration>,
}

/// The `mfa_requirement` of an answer.
#[derive(Clone, Debug, Serialize)]
pub struct RequirementView {
    mfa_request_id: String,
    mfa_constraints: BTreeMap<String, ConstraintView>,
}

#[derive(Clone, Debug, Serialize)]
struct ConstraintView {
    any: Vec<MethodView>,
}

#[derive(Clone, Debug, Serialize)]
struct MethodView {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    uses_passcode: bool,
    name: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    self_enrollment_enabled: bool,
}

/// A login that waits once `add` is called: what the client is told, and the change in memory.
pub struct Waiting {
    /// What the client is told.
    pub requirement: RequirementView,
    /// Adds it to those that wait; for when what the login has written is committed.
    pub add: Box<dyn FnOnce() + Send + Sync>,
}

impl Mfa {
    /// Lets a login wait for its second factors.
    ///
    /// # Errors
    ///
    /// 503 where too many wait.
    pub async fn wait_for(
        &self,
        reads: &impl Reads,
        login: FirstFactor<'_>,
        required: &[Requirement],
    ) -> Result<Waiting, EngineError> {
        let began = self.environment.clock.now();
        if !self.pending.has_room(began) {
            let text = "too many logins wait for their second factor; try again";
            return Err(EngineError::Status(503, text.to_owned()));
        }
        let id = self.environment.entropy.uuid()?;
        let entity = (login.mount.0, login.entity);
        let (mut constraints, mut offered) = (BTreeMap::new(), BTreeSet::new());
        for requirement in required {
            let mut any = Vec::with_capacity(requirement.methods.len());
            for found in &requirement.methods {
                offered.insert(found.id);
                let enrolls = found.method.allows_self_enrollment();
                any.push(MethodView {
                    kind: found.method.type_name(),
                    id: found.id.to_string(),
                    uses_passcode: found.method.uses_passcode(),
                    name: found.method.name.clone(),
                    self_enrollment_enabled: enrolls && !self.has_key(reads, entity, found.id).await?,
                });
            }
            constraints.insert(requirement.name.clone(), ConstraintView { any });
        }
        let pending = PendingLogin {
            namespace: login.namespace,
            path: login.path.to_owned(),
            mount: login.mount,
            grant: login.grant,
            entity: login.entity,
            wrap_ttl: login.wrap_ttl,
            began,
            offered,
            term: self.leadership.term(),
            enrolling: BTreeMap::new(),
            challenges: Challenges::default(),
        };
        let requirement = RequirementView { mfa_request_id: id.clone(), mfa_constraints: constraints };
        let all = self.pending.clone();
        Ok(Waiting { requirement, add: Box::new(move || all.add(id, pending)) })
    }

    /// The login that waits under this id in a namespace, for one request at a time.
    pub async fn claim(&self, id: &str, namespace: NamespaceId) -> Option<Claimed> {
        let at = (namespace, self.leadership.term());
        self.pending.claim(id, at, &self.environment.clock).await
    }

    /// Judges what is given for each requirement. Passcodes that are good are used up with the transaction. Of a login that has
    /// waited, the methods count that its client was told of.
    ///
    /// # Errors
    ///
    /// 403 where a requirement is not satisfied, in Vault's words.
    pub async fn validate(
        &self,
        txn: &Txn,
        entity: Placed,
        required: &[Requirement],
        waited: Option<&PendingLogin>,
        given: &Credentials,
    ) -> Result<Satisfied, EngineError> {
        let mut satisfied = Satisfied::default();
        // A method that several enforcements name is judged once: its passcode would be used up.
        let mut judged: BTreeMap<IdentityId, Arc<[String]>> = BTreeMap::new();
        for requirement in required {
            let (mut reasons, mut is_satisfied) = (Vec::new(), false);
            for found in &requirement.methods {
                let was_offered = waited.is_none_or(|login| login.offered.contains(&found.id));
                let Some(passcode) = given.of_method(found).filter(|_| was_offered) else { continue };
                let why = match judged.get(&found.id) {
                    Some(why) => why.clone(),
                    None => match self.judge(txn, entity, found, passcode.expose(), waited).await? {
                        Judgment::Good(attempt) => {
                            satisfied.0.push(attempt);
                            Arc::default()
                        }
                        Judgment::Bad(reason) => {
                            let of_method =
                                format!("login MFA validation failed for methodID: [{}]", found.id);
                            Arc::from([reason, of_method])
                        }
                    },
                };
                judged.insert(found.id, why.clone());
                is_satisfied |= why.is_empty();
                reasons.extend(why.iter().cloned());
                if is_satisfied {
                    break;
                }
            }
            if !is_satisfied {
                return Err(EngineError::Denied(unsatisfied(&requirement.name, &reasons)));
            }
        }
        Ok(satisfied)
    }

    async fn judge(
        &self,
        txn: &Txn,
        entity: Placed,
        found: &FoundMethod,
        given: &str,
        waited: Option<&PendingLogin>,
    ) -> Result<Judgment, EngineError> {
        match &found.method.kind {
            MethodKind::Totp(settings) => {
                self.judge_passcode(txn, entity, (found, settings), given, waited).await
            }
            MethodKind::Webauthn(settings) => {
                self.judge_passkey(txn, entity, (found, settings), given, waited).await
            }
        }
    }
}

fn unsatisfied(name: &str, reasons: &[String]) -> String {
    let none = ["MFA credentials not supplied".to_owned()];
    let reasons = if reasons.is_empty() { &none[..] } else { reasons };
    let plural = if reasons.len() == 1 { "" } else { "s" };
    let mut text =
        format!("failed to satisfy enforcement {name}. error: {} error{plural} occurred:\n", reasons.len());
    for reason in reasons {
        text.push_str("\t* ");
        text.push_str(reason);
        text.push('\n');
    }
    text.push('\n');
    text
}
