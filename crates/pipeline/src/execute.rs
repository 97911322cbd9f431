//! Running the handler and registering what it grants, in one transaction.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use strongroom_barrier::Txn;
use strongroom_engine_api::{
    Asker, Call, Carried, Class, Content, Endpoint, EngineError, Found, Grant, Json, LeaseGrant, Members,
    Operation, OperationDoc, RawBody, RawTail, Reply, Request, Secret, Upgrade, Work,
};
use strongroom_lockout::{Attempt, NotJudged};
use strongroom_mounts::being_moved;
use strongroom_tokens::IssuedToken;

use super::acting::acting;
use super::audit::Recorded;
use super::authenticate::Authenticated;
use super::authorize::Authorized;
use super::inline::NO_LEASES;
use super::login::Entered;
use super::resolve::AtMount;
use super::{Inbound, Pipeline, Place, RequestError, Resolved, Verb};
use crate::envelope::Envelope;
use crate::extensions_for;
use crate::server_reply::{AfterCommit, ServerPart};

/// True if a refusal would tell a caller without a valid token that the namespace is there: the server's own open routes are in
/// every namespace, and so tell no more than that. One in another form than Vault's is of a protocol whose clients have to
/// understand it; whoever may speak that protocol with a namespace knows of it.
fn hides_namespace(authorized: &Authorized<'_>, refused: &RequestError) -> bool {
    let mounted = &authorized.at.mounted;
    let is_of_protocol = matches!(refused, RequestError::Engine(EngineError::Raw(_)));
    authorized.caller.is_none()
        && !is_of_protocol
        && authorized.at.is_open()
        && !mounted.namespace.is_root()
        && mounted.engine.class() == Class::System
}

/// An answer that is committed and not yet sent.
pub(crate) struct Done {
    pub(crate) envelope: Envelope,
    /// The content that is sent in place of the envelope.
    pub(crate) instead: Option<Instead>,
    pub(crate) status: Option<u16>,
    pub(crate) headers: Vec<(String, String)>,
    /// The token that a login made; boxed, since few requests are logins.
    pub(crate) made: Option<Box<IssuedToken>>,
    /// True if the `auth` member is of a token that this request made otherwise.
    pub(crate) is_new_token: bool,
    /// True if this request made a root token.
    pub(crate) made_root: bool,
    /// The lease that this request made.
    pub(crate) lent: Option<String>,
    /// The content of a wrapping: audit records show it (hashed), the client does not see it.
    pub(crate) hidden: Option<Box<Envelope>>,
    /// The way the request ends.
    pub(crate) after_commit: AfterCommit,
}

/// Content that is sent in place of an envelope.
pub(crate) enum Instead {
    /// A body as it is.
    Raw(RawBody),
    /// Another protocol.
    Upgrade(Upgrade),
}

impl Inbound {
    /// The request as an engine sees it.
    pub(crate) fn for_engine<'a>(
        &self,
        rest: Arc<str>,
        raw_tail: RawTail,
        operation: Operation,
        asker: Option<Arc<dyn Asker>>,
        passed_headers: impl Iterator<Item = &'a str>,
    ) -> Request {
        Request {
            id: self.id.clone(),
            operation,
            path: rest,
            input: self.input.clone(),
            peer: self.peer.clone(),
            headers: passed(&self.headers, passed_headers),
            asker,
            wrap_ttl: self.wrap_ttl,
            body: self.body.clone(),
            raw_tail,
            redactions: self.redactions,
            upgrade: self.upgrade.clone(),
        }
    }
}

fn passed<'a>(headers: &HeaderMap, names: impl Iterator<Item = &'a str>) -> BTreeMap<String, Vec<String>> {
    let values = |name: &str| {
        let values = headers.get_all(name).iter();
        // One that is no text is not as good as none.
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let values: Vec<String> = values.map(text).collect();
        (!values.is_empty()).then(|| (name.to_lowercase(), values))
    };
    names.filter_map(values).collect()
}

impl Pipeline {
    /// The call that a handler draws from.
    pub(super) fn call(
        self: &Arc<Self>,
        resolved: &Resolved,
        at: &AtMount,
        txn: &Txn,
        operation: Operation,
        caller: Option<&Authenticated>,
        found: &Found,
    ) -> Arc<Call> {
        let mounted = &at.mounted;
        let asker = caller.map(|caller| Arc::new(caller.clone()) as Arc<dyn Asker>);
        let tuned = mounted.entry.tuning.passthrough_request_headers.iter().map(String::as_str);
        let passed_headers = tuned.chain(found.route.read_headers().iter().map(AsRef::as_ref));
        let tail = resolved.raw_tail();
        let request = resolved.inbound.for_engine(at.rest.clone(), tail, operation, asker, passed_headers);
        Arc::new(Call {
            request: Arc::new(request),
            params: found.params.clone(),
            mount: mounted.mount.clone(),
            txn: txn.mount(mounted.mount.place()),
            server: mounted.server_txn(txn),
            facilities: self.services.facilities.clone(),
            environment: self.services.environment.clone(),
            extensions: extensions_for(&self.extensions, &*mounted.engine),
            renewal: None,
            lease: None,
            warnings: Mutex::default(),
        })
    }

    /// Runs the handler, registers token, lease and wrapping, and commits all of it. The request is on record.
    pub(super) async fn execute(
        self: &Arc<Self>,
        txn: &Txn,
        recorded: &Recorded<'_>,
        answer: &mut Option<Carried>,
        place: Place,
    ) -> Result<Done, RequestError> {
        let authorized = &recorded.authorized;
        let outcome = if authorized.at.mounted.entry.moving {
            Err(being_moved(&authorized.at.mounted.path).into())
        } else if authorized.inbound().asked == Verb::Help {
            help(authorized.at)
        } else {
            match endpoint_of(authorized) {
                Ok(at) => {
                    if let Some(acting) = acting(at) {
                        return Box::pin(self.act_outside(txn, authorized, &acting)).await;
                    }
                    self.run(txn, authorized, at, answer).await
                }
                Err(refused) => Err(refused),
            }
        };
        match outcome {
            Ok(done) if matches!(done.after_commit, AfterCommit::Replaced) => Ok(done),
            Ok(done) => self.finish(txn, authorized, done, place).await,
            Err(refused) if refused.is_not_final() => Err(refused),
            Err(refused) => {
                self.count_use(txn, authorized.caller.as_ref()).await?;
                Err(if hides_namespace(authorized, &refused) {
                    refused.hiding_namespace(authorized.inbound())
                } else {
                    refused
                })
            }
        }
    }

    /// Commits what was written with the token's use.
    async fn finish(
        &self,
        txn: &Txn,
        authorized: &Authorized<'_>,
        mut done: Done,
        place: Place,
    ) -> Result<Done, RequestError> {
        if let Some(caller) = authorized.caller.as_ref().filter(|caller| caller.is_limited()) {
            Box::pin(self.services.tokens.use_token(txn, caller.id())).await?;
        }
        if !txn.is_empty() {
            if place == Place::Request {
                return Err(RequestError::NeedsTask);
            }
            self.services.mounts.hold_mount(txn, &authorized.at.mounted).await?;
            let index = txn.clone().commit().await?;
            done.headers.extend(self.index_header(index));
        }
        match std::mem::take(&mut done.after_commit) {
            AfterCommit::Commit | AfterCommit::Replaced => {}
            AfterCommit::Seal => Box::pin(self.services.seal_state.seal()).await,
            AfterCommit::Then(change) => change(),
        }
        Ok(done)
    }

    async fn run(
        self: &Arc<Self>,
        txn: &Txn,
        authorized: &Authorized<'_>,
        (found, endpoint): (&Found, &Endpoint),
        answer: &mut Option<Carried>,
    ) -> Result<Done, RequestError> {
        let call = self.call_of(txn, authorized, found);
        let login = found.route.login_name(&call);
        let attempt = match &login {
            Some(name) => Some(Box::pin(self.begin_login(authorized, name)).await?),
            None => None,
        };
        let outcome = match &endpoint.work {
            Work::Handler(handler) => handler.run(&call).await,
            Work::Ask(asking) => match Box::pin(self.ask_outside(asking, &call, answer)).await {
                Ok(None) => return Err(RequestError::Asked),
                Ok(Some(reply)) => Ok(reply),
                Err(error) => Err(error),
            },
            Work::Issue(_) | Work::Settle(_) => {
                Err(EngineError::Internal("an act outside is not run by a handler".to_owned()))
            }
        };
        if let Some(attempt) = attempt {
            attempt.end(&outcome);
        }
        let reply = outcome.map_err(|error| refused_by(authorized, found, error))?;
        let reply = passing(authorized, (found, endpoint), &call, reply);
        self.register(txn, authorized, reply).await
    }

    /// Counts a login from its beginning: of those that come at once, no more are judged than one after the other.
    async fn begin_login(
        &self,
        authorized: &Authorized<'_>,
        name: &str,
    ) -> Result<Attempt<'_>, RequestError> {
        let begun = self.services.lockouts.begin(&authorized.at.mounted, name).await;
        begun.map_err(|refused| match refused {
            NotJudged::LockedOut => {
                RequestError::Unauthenticated("the user is locked out after failed logins".to_owned())
            }
            NotJudged::TooMany => {
                RequestError::status(503, "too many logins of this user are under way; try again")
            }
        })
    }

    /// The call of a handler for what is granted.
    pub(super) fn call_of(
        self: &Arc<Self>,
        txn: &Txn,
        authorized: &Authorized<'_>,
        found: &Found,
    ) -> Arc<Call> {
        let Authorized { resolved, at, operation, caller } = authorized;
        self.call(resolved, at, txn, *operation, caller.as_ref(), found)
    }

    /// Makes the token or lease that a reply grants, and wraps it where that is asked for.
    pub(super) async fn register(
        self: &Arc<Self>,
        txn: &Txn,
        authorized: &Authorized<'_>,
        reply: Reply,
    ) -> Result<Done, RequestError> {
        let mounted = &authorized.at.mounted;
        let mut reply = reply;
        let server: ServerPart = reply.take_by_server().unwrap_or_default();
        let (members, instead) = match reply.content {
            Content::Envelope(members) => (members, None),
            Content::Raw(raw) => (Members::default(), Some(Instead::Raw(raw))),
            Content::Upgrade(upgrade) => (Members::default(), Some(Instead::Upgrade(upgrade))),
        };
        let mut envelope = Envelope {
            data: members.data,
            auth: server.auth,
            warnings: members.warnings,
            wrap: server.wrap,
            also_at_top: server.also_at_top,
            mount_type: Some(mounted.kind.clone()),
            ..Envelope::default()
        };
        if let Some(held) = server.lease {
            envelope.name_lease(held);
        }
        let mut lent = None;
        let mut entered = match (members.grant, server.second_factor) {
            (Some(Grant::Login(grant)), _) => {
                Box::pin(self.log_in(txn, authorized, *grant, &mut envelope)).await?
            }
            (Some(Grant::Lease(grant)), _) => {
                Box::pin(self.issue_lease(txn, authorized, *grant, &mut envelope)).await?;
                lent = envelope.held_lease().map(|lease| lease.id);
                Entered::default()
            }
            (None, Some(second)) => {
                Box::pin(self.conclude_login(txn, authorized, &second, &mut envelope)).await?
            }
            (None, None) => Entered { after_commit: server.after_commit, ..Entered::default() },
        };
        let mut done = Done {
            envelope,
            instead,
            status: reply.status,
            headers: reply.headers,
            made: entered.made.take(),
            is_new_token: server.is_new_token,
            made_root: server.made_root,
            lent,
            hidden: None,
            after_commit: std::mem::take(&mut entered.after_commit),
        };
        // Answers to callers without a token are not wrapped: each would be stored, for anyone and any number of times.
        let may_wrap = authorized.caller.is_some() || done.made.is_some();
        let may_wrap = may_wrap && !entered.waits;
        let asked = authorized.inbound().wrap_ttl.or(entered.wrap_ttl);
        if let Some(ttl) = wrapping(asked, &done).filter(|_| may_wrap) {
            Box::pin(self.wrap_answer(txn, authorized.resolved, &mut done, ttl)).await?;
        }
        Ok(done)
    }

    async fn issue_lease(
        &self,
        txn: &Txn,
        authorized: &Authorized<'_>,
        grant: LeaseGrant,
        envelope: &mut Envelope,
    ) -> Result<(), RequestError> {
        let Some(caller) = authorized.caller.as_ref() else {
            return Err(EngineError::Internal("a lease without a token to own it".to_owned()).into());
        };
        if caller.ephemeral && !grant.hint_only {
            return Err(RequestError::status(400, NO_LEASES));
        }
        if caller.is_at_last_use() && !grant.hint_only {
            // The token ends with this request, and the lease with the token.
            return Err(RequestError::status(400, LAST_USE));
        }
        self.hold_entity(txn, caller).await?;
        let (held, warnings) = self
            .services
            .leases
            .make_lease(txn, &authorized.at.mounted, &authorized.resolved.to.path, &caller.principal, grant)
            .await?;
        envelope.warnings.extend(warnings);
        envelope.name_lease(held);
        Ok(())
    }

    async fn wrap_answer(
        &self,
        txn: &Txn,
        resolved: &Resolved,
        done: &mut Done,
        ttl: Duration,
    ) -> Result<(), RequestError> {
        let accessor = match (&done.made, &done.envelope.auth) {
            (Some(made), _) => made.entry.accessor.clone(),
            (None, Some(auth)) => token_of(auth).1,
            (None, None) => String::new(),
        };
        let to = &resolved.to;
        let grant = self
            .services
            .wrapping
            .wrap(txn, to.place.id, Secret::new(done.envelope.to_kept()?), &to.path, ttl, &accessor)
            .await?;
        let hidden = std::mem::take(&mut done.envelope);
        done.envelope = Envelope {
            wrap: Some(Box::new(grant)),
            mount_type: hidden.mount_type.clone(),
            ..Envelope::default()
        };
        done.hidden = Some(Box::new(hidden));
        done.status = None;
        Ok(())
    }
}

/// The operation that a request is for, with its route.
fn endpoint_of<'a>(authorized: &Authorized<'a>) -> Result<(&'a Found, &'a Endpoint), RequestError> {
    let found = authorized.at.found()?;
    let endpoint = found.endpoint(authorized.operation).map_err(RequestError::unrouted)?;
    if !authorized.inbound().body.fits(endpoint.doc.body) {
        return Err(RequestError::status(503, "the mount has changed; send the request again"));
    }
    Ok((found, endpoint))
}

/// A handler's error as the client may see it.
pub(super) fn refused_by(authorized: &Authorized<'_>, found: &Found, error: EngineError) -> RequestError {
    match error {
        EngineError::Raw(mut raw) => {
            raw.headers = passing_headers(raw.headers, authorized, found);
            EngineError::Raw(raw).into()
        }
        error => as_asked(error, found, authorized.operation).into(),
    }
}

/// A handler's answer with what of it may reach the client, and with its warnings.
pub(super) fn passing(
    authorized: &Authorized<'_>,
    (found, endpoint): (&Found, &Endpoint),
    call: &Call,
    mut reply: Reply,
) -> Reply {
    reply.headers = passing_headers(reply.headers, authorized, found);
    if let Content::Envelope(members) = &mut reply.content {
        members.warnings.append(&mut call.warnings.lock().unwrap_or_else(PoisonError::into_inner));
        members.warnings.extend(ignored(authorized.inbound(), &endpoint.doc, found));
    }
    reply
}

/// Vault's refusal of a secret whose lease would end as soon as it is granted.
pub(super) const LAST_USE: &str =
    "Secret cannot be returned; token had one use left, so leased credentials were immediately revoked.";

/// The wrapping asked for, where the answer is one that can be wrapped.
fn wrapping(asked: Option<Duration>, done: &Done) -> Option<Duration> {
    let wrappable = done.envelope.data.is_some() || done.envelope.auth.is_some();
    asked.filter(|ttl| !ttl.is_zero() && wrappable && done.envelope.wrap.is_none() && done.instead.is_none())
}

/// Vault's warning for members that mean nothing to the endpoint.
fn ignored(inbound: &Inbound, doc: &OperationDoc, found: &Found) -> Option<String> {
    if doc.any_fields || inbound.input.is_empty() {
        return None;
    }
    let parameters = found.route.pattern().parameters();
    let known = |name: &str| doc.fields.iter().any(|field| field.name == name) || parameters.contains(&name);
    let unknown: Vec<&str> = inbound.input.keys().map(String::as_str).filter(|name| !known(name)).collect();
    let listed = unknown.join(" ");
    (!unknown.is_empty()).then(|| format!("Endpoint ignored these unrecognized parameters: [{listed}]"))
}

/// Headers that say where an answer ends and what it is: no engine and no tuning sets them.
const FRAMING: [&str; 9] = [
    "connection",
    "content-length",
    "content-type",
    "date",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Those of a handler's headers that reach the client: what its route owns and what the mount's tuning allows.
fn passing_headers(
    headers: Vec<(String, String)>,
    authorized: &Authorized<'_>,
    found: &Found,
) -> Vec<(String, String)> {
    let (owned, allowed) =
        (found.route.owned_headers(), &authorized.at.mounted.entry.tuning.allowed_response_headers);
    let passes = |name: &str| {
        let is = |other: &str| other.eq_ignore_ascii_case(name);
        let wanted = owned.iter().any(|owned| is(owned)) || allowed.iter().any(|allowed| is(allowed));
        wanted && !FRAMING.iter().any(|framing| is(framing))
    };
    headers.into_iter().filter(|(name, _)| passes(name)).collect()
}

/// The `auth` member of an audit record from the JSON of an answer that carries a token the core itself made.
pub(crate) fn token_of(auth: &Json) -> (String, String) {
    let members = auth.to_map();
    let text = |name: &str| members.get(name).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
    (text("client_token"), text("accessor"))
}

/// `path-help`: what a path is for.
fn help(at: &AtMount) -> Result<Done, RequestError> {
    let help = super::help_of(&*at.mounted.engine, &at.rest)?;
    let body = serde_json::json!({ "help": help, "see_also": [], "openapi": null });
    Ok(Done {
        envelope: Envelope::default(),
        instead: Some(Instead::Raw(RawBody {
            content_type: "application/json".into(),
            body: format!("{body}\n").into(),
        })),
        status: Some(200),
        headers: Vec::new(),
        made: None,
        is_new_token: false,
        made_root: false,
        lent: None,
        hidden: None,
        after_commit: AfterCommit::Commit,
    })
}

/// Before Vault asks whether something exists it reads the fields, and says what is wrong with them without the words
/// with which it says so later.
fn as_asked(error: EngineError, found: &Found, operation: Operation) -> EngineError {
    let asked =
        found.route.tells_create_from_update() && matches!(operation, Operation::Create | Operation::Update);
    match error {
        EngineError::Invalid(text) if asked => {
            EngineError::Invalid(text.strip_prefix("Field validation failed: ").unwrap_or(&text).to_owned())
        }
        other => other,
    }
}
