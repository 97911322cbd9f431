//! Requests to etcd: the choice of a member, the login, and the time limit.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use strongroom_outbound::{Outbound, Tls};
use strongroom_stdx::Secret;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::connection::{self, Answer, Member};
use crate::endpoint::Endpoint;
use crate::error::CallError;
use crate::wire::{
    AuthenticateRequest, AuthenticateResponse, ErrorAnswer, Ignored, LeaseGrantRequest, LeaseRequest,
    LeaseResponse, MemberListResponse, Nothing, Number, RangeRequest, RangeResponse, Streamed, TxnRequest,
    TxnResponse,
};
use crate::{Login, OpenError, Options, tls};

/// Requests that are under way at once; others wait.
const AT_ONCE: usize = 64;
/// The least time that one member is given to answer before another is asked.
const MEMBER_TIMEOUT: Duration = Duration::from_millis(500);

/// The effect of a request on etcd, which decides what may be done when it is not known whether it was done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// None, or the same when done twice: another member is asked.
    Repeatable,
    /// It is sent once.
    Once,
}

/// The login with which requests are sent.
#[derive(Clone)]
enum Session {
    /// It is not known yet whether etcd asks who comes.
    New,
    /// Etcd requires no login, or none is configured.
    Anonymous,
    /// Etcd has given this token.
    Token(Arc<Secret<String>>),
}

impl Session {
    fn is(&self, other: &Session) -> bool {
        match (self, other) {
            (Session::Token(one), Session::Token(other)) => Arc::ptr_eq(one, other),
            (Session::New, Session::New) | (Session::Anonymous, Session::Anonymous) => true,
            _ => false,
        }
    }

    fn token(&self) -> Option<&Secret<String>> {
        match self {
            Session::Token(token) => Some(token),
            Session::New | Session::Anonymous => None,
        }
    }
}

/// A client of etcd.
pub(crate) struct Client {
    /// For members whose addresses are `https`: all or none.
    tls: Option<Tls>,
    outbound: Outbound,
    members: RwLock<Vec<Arc<Member>>>,
    /// The member that answered last.
    current: AtomicUsize,
    login: Option<Login>,
    session: Mutex<Session>,
    timeout: Duration,
    under_way: Semaphore,
    closed: AtomicBool,
}

impl Client {
    pub(crate) fn new(options: &Options) -> Result<Self, OpenError> {
        options.check()?;
        let endpoints = options.parsed_endpoints()?;
        let secured = endpoints.iter().any(|endpoint| endpoint.https);
        let tls = if secured { Some(tls::read(&options.tls)?) } else { None };
        let outbound = connection::outbound(tls.as_ref());
        let members = endpoints
            .into_iter()
            .map(|endpoint| Member::new(endpoint, outbound.clone(), tls.as_ref()).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()
            .map_err(OpenError::Options)?;
        Ok(Self {
            tls,
            outbound,
            members: RwLock::new(members),
            current: AtomicUsize::new(0),
            login: options.login.clone(),
            session: Mutex::new(Session::New),
            timeout: options.request_timeout,
            under_way: Semaphore::new(AT_ONCE),
            closed: AtomicBool::new(false),
        })
    }

    pub(crate) async fn range(&self, request: &RangeRequest) -> Result<RangeResponse, CallError> {
        self.call("/v3/kv/range", request, Effect::Repeatable).await
    }

    /// A transaction that only reads.
    pub(crate) async fn read(&self, request: &TxnRequest) -> Result<TxnResponse, CallError> {
        self.call("/v3/kv/txn", request, Effect::Repeatable).await
    }

    /// A transaction that writes. It reaches etcd once at most.
    pub(crate) async fn write(&self, request: &TxnRequest) -> Result<TxnResponse, CallError> {
        self.call("/v3/kv/txn", request, Effect::Once).await
    }

    pub(crate) async fn grant(&self, seconds: i64) -> Result<LeaseResponse, CallError> {
        self.call("/v3/lease/grant", &LeaseGrantRequest { ttl: Number(seconds) }, Effect::Once).await
    }

    pub(crate) async fn keep_alive(&self, id: Number) -> Result<LeaseResponse, CallError> {
        let streamed: Streamed<LeaseResponse> =
            self.call("/v3/lease/keepalive", &LeaseRequest { id }, Effect::Repeatable).await?;
        match streamed {
            Streamed { result: Some(lease), .. } => Ok(lease),
            Streamed { error: Some(error), .. } => Err(answered(error)),
            Streamed { .. } => Err(CallError::Lost("an answer without content".to_owned())),
        }
    }

    pub(crate) async fn revoke(&self, id: Number) -> Result<(), CallError> {
        let _: Ignored = self.call("/v3/lease/revoke", &LeaseRequest { id }, Effect::Repeatable).await?;
        Ok(())
    }

    /// Asks which members there are and takes those that can be reached from here, too.
    pub(crate) async fn learn_members(&self) -> Result<(), CallError> {
        let answer: MemberListResponse =
            self.call("/v3/cluster/member/list", &Nothing {}, Effect::Repeatable).await?;
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        let Some(first) = members.first().map(|member| member.endpoint.clone()) else { return Ok(()) };
        for url in answer.members.iter().flat_map(|member| &member.client_urls) {
            let Ok(endpoint) = Endpoint::parse(url) else { continue };
            // A member that says "http" does not make us speak without TLS where we were told to use it, and one that
            // says "localhost" means its own.
            let fits = endpoint.https == first.https && (first.is_local() || !endpoint.is_local());
            let known = members.iter().any(|member| {
                (&member.endpoint.host, member.endpoint.port) == (&endpoint.host, endpoint.port)
            });
            if fits && !known {
                match Member::new(endpoint, self.outbound.clone(), self.tls.as_ref()) {
                    Ok(member) => members.push(Arc::new(member)),
                    Err(error) => tracing::warn!(error, "cannot use etcd member"),
                }
            }
        }
        Ok(())
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.outbound.close_idle();
    }

    async fn call<T: DeserializeOwned>(
        &self,
        path: &str,
        request: &impl Serialize,
        effect: Effect,
    ) -> Result<T, CallError> {
        let unfit = |error: serde_json::Error| CallError::Unsent(error.to_string());
        let body = Bytes::from(serde_json::to_vec(request).map_err(unfit)?);
        let until = self.deadline();
        let permit = timeout_at(until, self.under_way.acquire()).await;
        let _permit = match permit {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(CallError::Closed),
            Err(_) => return Err(CallError::Unsent("too many requests wait".to_owned())),
        };
        let session = self.session(&Session::New, until).await?;
        match self.ask(path, &session, &body, effect, until).await {
            // Refused before anything was done, so that it may be asked again.
            Err(error) if error.asks_for_login() && self.login.is_some() => {
                let session = self.session(&session, until).await?;
                self.ask(path, &session, &body, effect, until).await
            }
            answer => answer,
        }
    }

    fn deadline(&self) -> Instant {
        let now = Instant::now();
        now.checked_add(self.timeout).unwrap_or(now)
    }

    /// The login to send with, after etcd has refused that of `refused`.
    async fn session(&self, refused: &Session, until: Instant) -> Result<Session, CallError> {
        let Some(login) = &self.login else { return Ok(Session::Anonymous) };
        // Held during a login: others wait for its outcome.
        let mut held = timeout_at(until, self.session.lock())
            .await
            .map_err(|_elapsed| CallError::Unsent("no login in time".to_owned()))?;
        if held.is(refused) || held.is(&Session::New) {
            *held = self.log_in(login, until).await?;
        }
        Ok(held.clone())
    }

    async fn log_in(&self, login: &Login, until: Instant) -> Result<Session, CallError> {
        let request = AuthenticateRequest { name: &login.username, password: login.password.expose() };
        let unfit = |_: serde_json::Error| CallError::Unsent("the login cannot be sent".to_owned());
        let body = Bytes::from(serde_json::to_vec(&request).map_err(unfit)?);
        let answer: Result<AuthenticateResponse, _> =
            self.ask("/v3/auth/authenticate", &Session::Anonymous, &body, Effect::Repeatable, until).await;
        match answer {
            Ok(answer) => Ok(Session::Token(Arc::new(answer.token))),
            Err(CallError::Answered { message, .. }) if message.contains("authentication is not enabled") => {
                tracing::warn!("authentication is disabled in etcd: username and password are not used");
                Ok(Session::Anonymous)
            }
            // What was to be sent as this user was not.
            Err(CallError::Lost(reason)) => Err(CallError::Unsent(reason)),
            Err(error) => Err(error),
        }
    }

    /// Asks the members in turn, beginning with the one that answered last.
    async fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        session: &Session,
        body: &Bytes,
        effect: Effect,
        until: Instant,
    ) -> Result<T, CallError> {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner).clone();
        let first = self.current.load(Ordering::Relaxed);
        let mut last = CallError::Unsent("no member is known".to_owned());
        for turn in 0..members.len() {
            if self.closed.load(Ordering::SeqCst) {
                return Err(CallError::Closed);
            }
            let at = first.wrapping_add(turn).checked_rem(members.len()).unwrap_or_default();
            let Some(member) = members.get(at) else { continue };
            let others = members.len().saturating_sub(turn);
            let exchange = member.exchange(path, session.token(), body.clone());
            let patience = if effect == Effect::Once { until } else { share(until, others) };
            let answer = match timeout_at(patience, exchange).await {
                Ok(answer) => answer.and_then(|answer| read(&answer, member)),
                Err(_) => Err(CallError::Lost(format!("{}: no answer in time", member.endpoint))),
            };
            match answer {
                Err(error) if error.is_of_one_member() => {
                    let next = at.wrapping_add(1);
                    // Another request may have found out the same.
                    let _ = self.current.compare_exchange(first, next, Ordering::Relaxed, Ordering::Relaxed);
                    let goes_on = effect == Effect::Repeatable || matches!(error, CallError::Unsent(_));
                    if !goes_on {
                        return Err(error);
                    }
                    last = error;
                }
                answer => {
                    if turn > 0 {
                        self.current.store(at, Ordering::Relaxed);
                    }
                    return answer;
                }
            }
            if Instant::now() >= until {
                break;
            }
        }
        Err(last)
    }
}

/// The time to ask the next of `members` that are left.
fn share(until: Instant, members: usize) -> Instant {
    let now = Instant::now();
    let left = until.saturating_duration_since(now);
    let each = left.checked_div(u32::try_from(members).unwrap_or(u32::MAX)).unwrap_or(left);
    now.checked_add(each.max(MEMBER_TIMEOUT)).map_or(until, |at| at.min(until))
}

fn read<T: DeserializeOwned>(answer: &Answer, member: &Member) -> Result<T, CallError> {
    let at = &member.endpoint;
    if answer.status == StatusCode::OK {
        return serde_json::from_slice(&answer.body)
            .map_err(|error| CallError::Lost(format!("{at}: an answer that is not etcd's: {error}")));
    }
    match serde_json::from_slice::<ErrorAnswer>(&answer.body) {
        Ok(error) if error.code.is_some() => Err(answered(error)),
        _ if answer.status == StatusCode::NOT_FOUND => Err(CallError::Unsent(format!(
            "{at}: there is no version 3 API here; etcd 3.4 or newer with \"enable-grpc-gateway\" is needed"
        ))),
        _ => Err(CallError::Lost(format!("{at}: {}", answer.status))),
    }
}

fn answered(error: ErrorAnswer) -> CallError {
    CallError::Answered { code: error.code.unwrap_or_default(), message: error.message }
}
