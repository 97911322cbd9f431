//! The records of a request and its answer: the fifth stage and the last.

use std::borrow::Cow;
use std::collections::BTreeMap;

use http::HeaderValue;
use strongroom_audit as audit;
use strongroom_auditing::Auditing;
use strongroom_engine_api::{EngineError, Operation};
use strongroom_mounts::MountHandle;
use strongroom_tokens::{IssuedIdentity, IssuedToken, RootUse};

use super::authenticate::Authenticated;
use super::authorize::Authorized;
use super::execute::{Done, Instead, token_of};
use super::resolve::Destination;
use super::{Answer, Inbound, Pipeline, RequestError, Resolved};
use crate::Envelope;

/// Attempts at revoking what an unrecorded response granted.
const WITHDRAWALS: usize = 16;

/// Proof that a request is on record: only this stage makes one.
pub(crate) struct Audited {
    request: audit::AuditedRequest,
}

/// A request that policies grant and that is on record: a handler runs only with it.
pub(crate) struct Recorded<'a> {
    pub(super) authorized: Authorized<'a>,
    proof: Audited,
}

impl Recorded<'_> {
    /// The proof, for the next attempt at the same request.
    pub(super) fn into_proof(self) -> Audited {
        self.proof
    }
}

impl Audited {
    /// True if there is a device that takes records.
    fn is_recorded(&self) -> bool {
        self.request.is_recorded()
    }
}

impl Pipeline {
    /// Puts what policies grant on record, unless an attempt before has.
    pub(super) async fn record<'a>(
        &self,
        authorized: Authorized<'a>,
        proof: Option<Audited>,
    ) -> Result<Recorded<'a>, RequestError> {
        let proof = if let Some(proof) = proof {
            proof
        } else {
            let (caller, operation) = (authorized.caller.as_ref(), Some(authorized.operation));
            self.audit_request(authorized.resolved, caller, operation, "").await?
        };
        Ok(Recorded { authorized, proof })
    }

    /// Puts the request on record, on at least one device where there is any; else it is not answered.
    async fn audit_request(
        &self,
        resolved: &Resolved,
        caller: Option<&Authenticated>,
        operation: Option<Operation>,
        error: &str,
    ) -> Result<Audited, RequestError> {
        if let Some(caller) = caller.filter(|caller| caller.acl.is_root()) {
            self.note_root_use(resolved, caller);
        }
        let auditing = self.services.audit_devices.auditing().await?;
        let mut request = audit::AuditedRequest::default();
        if auditing.broker.is_enabled() {
            let identity = match caller {
                Some(caller) => self.identity_facts(caller).await?,
                None => None,
            };
            let facts = Facts::new(resolved, (caller, identity), operation, &auditing);
            let granting = facts.granting();
            let headers = facts.headers();
            let record = audit::RequestRecord {
                time: self.services.environment.clock.now(),
                auth: &facts.auth(&granting, error.is_empty()),
                request: &facts.request(&headers),
                error,
                forwarded_from: "",
            };
            request = auditing.broker.audit(&record);
            let logged = request.log_request().await;
            logged.map_err(|error| unrecorded(&resolved.inbound, &error))?;
        }
        Ok(Audited { request })
    }

    /// Has a request with a root token be counted and told of.
    fn note_root_use(&self, resolved: &Resolved, caller: &Authenticated) {
        let inbound = &resolved.inbound;
        let address = inbound.peer.ip().map(|ip| ip.to_string()).unwrap_or_default();
        let used = RootUse { request_id: &inbound.id, path: &inbound.path, address: &address };
        self.services.tokens.note_root_use(&caller.principal, used);
    }

    /// The facts of a caller's entity for the record; none where its token has none.
    async fn identity_facts(
        &self,
        caller: &Authenticated,
    ) -> Result<Option<(IssuedIdentity, Vec<String>)>, RequestError> {
        let Some(found) = &caller.identity else { return Ok(None) };
        let namespace = caller.id().namespace;
        let identity = IssuedIdentity {
            policies: found.policies_of(namespace).to_vec(),
            elsewhere: self.services.identity.policies_elsewhere(found, namespace).await?,
            is_new: false,
        };
        let joined = identity.joined(&caller.principal.entry.policies);
        Ok(Some((identity, joined)))
    }

    /// Puts a refused request and its refusal on record.
    pub(super) async fn audit_refusal(
        &self,
        resolved: &Resolved,
        caller: Option<&Authenticated>,
        refused: RequestError,
        audited: &mut Option<Audited>,
    ) -> Result<Answer, RequestError> {
        if refused.is_conflict() {
            return Err(refused);
        }
        let text = refused.to_string();
        let proof = match audited.take() {
            Some(proof) => proof,
            None => self.audit_request(resolved, caller, None, &text).await?,
        };
        if proof.is_recorded() {
            self.record_answer(resolved, &proof, None, &text).await?;
        }
        Err(refused)
    }

    /// Puts the answer on record and makes it the client's.
    pub(super) async fn audit_answer(
        &self,
        recorded: Recorded<'_>,
        outcome: Result<Done, RequestError>,
    ) -> Result<Answer, RequestError> {
        let Recorded { authorized, proof } = recorded;
        if proof.is_recorded() {
            let told = Box::pin(self.record_outcome(&authorized, &proof, outcome.as_ref())).await;
            if let Err(refused) = told {
                if let Ok(done) = &outcome {
                    Box::pin(self.withdraw(&authorized, done)).await;
                }
                return Err(refused);
            }
        }
        let inbound = authorized.inbound();
        let mut done = outcome?;
        if let Some(made) = done.made.take() {
            inbound.inline.hand_over(*made);
        }
        let mut answer = match done.instead {
            Some(Instead::Raw(raw)) => Answer::raw(raw, done.status),
            Some(Instead::Upgrade(upgrade)) => Answer::upgrade(upgrade),
            None => Answer::envelope(&done.envelope, &inbound.id, done.status)?,
        };
        answer.headers = done.headers;
        Ok(answer)
    }

    /// Ends what a response granted that no device recorded and that is not sent: its token, lease and wrapping. Where
    /// that fails too, they end when their time is over, and the log says so.
    async fn withdraw(&self, authorized: &Authorized<'_>, done: &Done) {
        for attempt in 1..=WITHDRAWALS {
            match self.withdraw_once(authorized, done).await {
                Ok(()) => return,
                Err(error) if attempt == WITHDRAWALS => {
                    tracing::error!(%error, "an unrecorded response granted something that could not be revoked");
                }
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }

    async fn withdraw_once(&self, authorized: &Authorized<'_>, done: &Done) -> Result<(), EngineError> {
        let txn = self.services.barrier.transaction(self.services.barrier.pinned_view().await?);
        let made = done.made.as_ref().map(|made| made.token.expose().clone());
        let wrapped = done.envelope.wrap.as_ref().map(|wrap| wrap.token.clone());
        let auth = done.hidden.as_deref().unwrap_or(&done.envelope).auth.as_ref();
        let created = auth.filter(|_| done.is_new_token).map(|auth| token_of(auth).0);
        for token in made.into_iter().chain(wrapped).chain(created) {
            self.services.tokens.revoke_token(&txn, &self.services.tokens.token_id(&token)?).await?;
        }
        let namespace = authorized.at.mounted.mount.namespace;
        if let Some(lease) = &done.lent {
            self.services.revocation.revoke_lease_id(&txn, namespace, lease).await?;
        }
        txn.commit().await?;
        Ok(())
    }

    async fn record_outcome(
        &self,
        authorized: &Authorized<'_>,
        proof: &Audited,
        outcome: Result<&Done, &RequestError>,
    ) -> Result<(), RequestError> {
        match outcome {
            Ok(done) => self.record_answer(authorized.resolved, proof, Some(done), "").await,
            Err(refused) => self.record_answer(authorized.resolved, proof, None, &refused.to_string()).await,
        }
    }

    async fn record_answer(
        &self,
        resolved: &Resolved,
        proof: &Audited,
        done: Option<&Done>,
        error: &str,
    ) -> Result<(), RequestError> {
        let mounted = resolved.to.mount().map(|at| &*at.mounted);
        let empty = Envelope::default();
        let shown = done.map_or(&empty, |done| done.hidden.as_deref().unwrap_or(&done.envelope));
        let (token, accessor) = match (done.and_then(|done| done.made.as_ref()), shown.auth.as_ref()) {
            (None, Some(auth)) => token_of(auth),
            _ => (String::new(), String::new()),
        };
        let made = done.and_then(|done| done.made.as_deref());
        let joined = made.map(|made| made.identity.joined(&made.entry.policies)).unwrap_or_default();
        let login = made.map(|made| issued(made, &joined));
        let is_root = done.is_some_and(|done| done.made_root);
        let made_elsewhere = (is_root || !token.is_empty()).then(|| audit::Auth {
            client_token: &token,
            accessor: &accessor,
            is_root,
            ..audit::Auth::default()
        });
        let wrap = done.and_then(|done| done.envelope.wrap.as_ref());
        let response = audit::Response {
            auth: login.or(made_elsewhere),
            mount: mounted.map(mount_of).unwrap_or_default(),
            lease_id: (!shown.lease_id.is_empty()).then_some(shown.lease_id.as_str()),
            data: shown
                .data
                .as_ref()
                .filter(|data| data.as_str().starts_with('{'))
                .map(|data| audit::RawJson::new(data.as_str())),
            non_hmac_keys: mounted.map_or(&[], |mounted| &mounted.entry.tuning.audit_non_hmac_response_keys),
            warnings: &shown.warnings,
            wrap_info: wrap.map(|wrap| audit::WrapInfo {
                ttl: wrap.ttl,
                token: &wrap.token,
                accessor: &wrap.accessor,
                creation_time: strongroom_engine_api::Moment::parse_rfc3339(&wrap.creation_time)
                    .unwrap_or_default(),
                creation_path: &wrap.creation_path,
                wrapped_accessor: &wrap.wrapped_accessor,
            }),
            ..audit::Response::default()
        };
        let record = audit::ResponseRecord {
            time: self.services.environment.clock.now(),
            auth: login.as_ref(),
            response: &response,
            error,
            forwarded_from: "",
        };
        proof.request.log_response(&record).await.map_err(|error| unrecorded(&resolved.inbound, &error))
    }
}

/// The token that a login made, as its record shows it.
fn issued<'a>(made: &'a IssuedToken, joined: &'a [String]) -> audit::Auth<'a> {
    let auth = auth_of(&made.entry, made.token.expose());
    audit::Auth {
        num_uses: u64::from(made.entry.num_uses),
        entity_created: made.identity.is_new,
        ..with_identity(auth, &made.identity, joined)
    }
}

/// The same with what follows from the token's entity.
fn with_identity<'a>(
    auth: audit::Auth<'a>,
    identity: &'a IssuedIdentity,
    joined: &'a [String],
) -> audit::Auth<'a> {
    audit::Auth {
        policies: joined,
        identity_policies: &identity.policies,
        external_namespace_policies: (!identity.elsewhere.is_empty()).then_some(&identity.elsewhere),
        ..auth
    }
}

fn auth_of<'a>(entry: &'a strongroom_tokens::TokenEntry, token: &'a str) -> audit::Auth<'a> {
    audit::Auth {
        client_token: token,
        accessor: &entry.accessor,
        display_name: &entry.display_name,
        policies: &entry.policies,
        token_policies: &entry.policies,
        no_default_policy: entry.no_default_policy,
        metadata: (!entry.metadata.is_empty()).then_some(&entry.metadata),
        entity_id: &entry.entity_id,
        token_type: entry.kind.name(),
        token_ttl: entry.creation_ttl.as_secs(),
        token_issue_time: Some(entry.created),
        ..audit::Auth::default()
    }
}

fn unrecorded(inbound: &Inbound, error: &audit::AuditError) -> RequestError {
    tracing::error!(request_id = &*inbound.id, path = inbound.path, %error, "request could not be audited");
    RequestError::status(500, "internal error")
}

/// The data that a request's record shows of it.
struct Facts<'a> {
    inbound: &'a Inbound,
    to: &'a Destination,
    mounted: Option<&'a MountHandle>,
    caller: Option<&'a Authenticated>,
    /// The rights of the caller's entity, and all of the caller's policies.
    identity: Option<(IssuedIdentity, Vec<String>)>,
    operation: &'static str,
    path: Cow<'a, str>,
    remote_address: String,
    certificate_serial: String,
    header_values: Vec<(&'a str, bool, Vec<&'a str>)>,
}

impl<'a> Facts<'a> {
    fn new(
        resolved: &'a Resolved,
        (caller, identity): (Option<&'a Authenticated>, Option<(IssuedIdentity, Vec<String>)>),
        operation: Option<Operation>,
        auditing: &'a Auditing,
    ) -> Self {
        let (inbound, to) = (&*resolved.inbound, &resolved.to);
        Self {
            inbound,
            to,
            mounted: to.mount().map(|at| &*at.mounted),
            caller,
            identity,
            operation: operation.unwrap_or(inbound.asked.nominal()).name(),
            path: to.recorded_path(),
            remote_address: inbound.peer.ip().map_or_else(String::new, |ip| ip.to_string()),
            certificate_serial: inbound.peer.certificates.serial().unwrap_or_default(),
            header_values: header_values(inbound, &auditing.headers),
        }
    }

    fn granting(&self) -> Vec<audit::GrantingPolicy<'a>> {
        let (namespace_id, namespace_path) = self
            .caller
            .map_or(("root", ""), |caller| (caller.home.short_id.as_str(), caller.home.path.as_str()));
        let grant = |name| audit::GrantingPolicy { name, namespace_id, namespace_path, policy_type: "acl" };
        match self.caller {
            Some(caller) if caller.acl.is_root() => vec![grant("root")],
            Some(caller) => caller.granting.iter().map(|name| grant(name)).collect(),
            None => Vec::new(),
        }
    }

    fn headers(&self) -> Vec<audit::Header<'_>> {
        self.header_values
            .iter()
            .map(|(name, hmac, values)| audit::Header { name, values, hmac: *hmac })
            .collect()
    }

    fn auth<'b>(&'b self, granting: &'b [audit::GrantingPolicy<'b>], allowed: bool) -> audit::Auth<'b> {
        let Some(caller) = self.caller else { return audit::Auth::default() };
        let token = self.inbound.token.as_ref().map_or("", |token| token.expose().as_str());
        let results =
            audit::PolicyResults { allowed, granting_policies: if allowed { granting } else { &[] } };
        let entry = &caller.principal.entry;
        let auth = auth_of(entry, token);
        let auth = match &self.identity {
            Some((identity, joined)) => with_identity(auth, identity, joined),
            None => auth,
        };
        audit::Auth {
            is_root: caller.acl.is_root(),
            policy_results: Some(results),
            remaining_uses: u64::from(entry.num_uses),
            ..auth
        }
    }

    fn request<'b>(&'b self, headers: &'b [audit::Header<'b>]) -> audit::Request<'b> {
        let inbound = self.inbound;
        audit::Request {
            id: &inbound.id,
            client_id: "",
            operation: self.operation,
            mount: self.mounted.map(mount_of).unwrap_or_default(),
            client_token: inbound.token.as_ref().map_or("", |token| token.expose().as_str()),
            client_token_accessor: self.caller.map_or("", |caller| caller.principal.entry.accessor.as_str()),
            namespace: audit::Namespace { id: &self.to.place.short_id, path: &self.to.place.path },
            path: &self.path,
            data: (!inbound.input.is_empty()).then_some(&inbound.input),
            non_hmac_keys: self
                .mounted
                .map_or(&[], |mounted| &mounted.entry.tuning.audit_non_hmac_request_keys),
            policy_override: inbound.policy_override,
            remote_address: &self.remote_address,
            remote_port: inbound.peer.address.map_or(0, |address| address.port()),
            wrap_ttl: inbound.wrap_ttl.map_or(0, |ttl| ttl.as_secs()),
            headers,
            client_certificate_serial_number: &self.certificate_serial,
            request_uri: "",
        }
    }
}

fn mount_of(mounted: &MountHandle) -> audit::Mount<'_> {
    audit::Mount {
        point: &mounted.path,
        mount_type: &mounted.entry.kind,
        accessor: &mounted.entry.accessor,
        running_version: "",
        class: mounted.class_name(),
        ..audit::Mount::default()
    }
}

fn header_values<'a>(
    inbound: &'a Inbound,
    shown: &'a BTreeMap<String, bool>,
) -> Vec<(&'a str, bool, Vec<&'a str>)> {
    let values = |(name, hmac): (&'a String, &'a bool)| {
        let values = inbound.headers.get_all(name.as_str()).iter();
        // One that is no text is on record all the same.
        let text = |value: &'a HeaderValue| std::str::from_utf8(value.as_bytes()).unwrap_or("(no UTF-8)");
        let values: Vec<&str> = values.map(text).collect();
        (!values.is_empty()).then_some((name.as_str(), *hmac, values))
    };
    shown.iter().filter_map(values).collect()
}
