//! A test double of outgoing connections: it gives the configured answers, late where so configured, fails in either
//! way, and records the requests. Names, address rules and time-outs work as they do outside.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use strongroom_outbound_api::{Error, Reason, Request, Response, Stream, Target, authority};
use strongroom_stdx::Clock;
use tokio::io::DuplexStream;

use crate::Resolver;
use crate::exchange::Progress;
use crate::outbound::{Network, Outbound, Settings};

/// The address of names that the double was told nothing of: one for documentation (RFC 5737).
const ANYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// Bytes on their way in a stream.
const STREAM_BUFFER: usize = 64 << 10;

/// A double. Clones share what they were told and asked.
#[derive(Clone)]
pub struct Double {
    state: Arc<State>,
    clock: Clock,
}

/// The configured answer or failure of a request.
#[derive(Clone, Debug)]
pub struct Reply {
    outcome: Outcome,
    after: Duration,
}

#[derive(Clone, Debug)]
enum Outcome {
    Answer { status: u16, headers: Vec<(&'static str, String)>, body: Vec<u8> },
    NotSent(String),
    Lost(String),
}

/// A request as it was asked.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The method.
    pub method: Method,
    /// The full URL.
    pub url: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// True if it arrived, as opposed to one that was not sent.
    pub arrived: bool,
}

#[derive(Default)]
pub(crate) struct State(Mutex<Script>);

#[derive(Default)]
struct Script {
    replies: VecDeque<(Option<String>, Reply)>,
    always: Vec<(String, Reply)>,
    names: HashMap<String, VecDeque<Vec<IpAddr>>>,
    seen: Vec<Seen>,
    streams: HashMap<String, VecDeque<DuplexStream>>,
}

impl Reply {
    /// An answer with a status and a body.
    pub fn answer(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            outcome: Outcome::Answer { status, headers: Vec::new(), body: body.into() },
            after: Duration::ZERO,
        }
    }

    /// An answer in JSON.
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::answer(status, body.to_string()).header("content-type", "application/json")
    }

    /// A failure before anything was sent.
    pub fn not_sent(reason: &str) -> Self {
        Self { outcome: Outcome::NotSent(reason.to_owned()), after: Duration::ZERO }
    }

    /// A request that arrives and is not answered.
    pub fn lost(reason: &str) -> Self {
        Self { outcome: Outcome::Lost(reason.to_owned()), after: Duration::ZERO }
    }

    /// The same with a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Outcome::Answer { headers, .. } = &mut self.outcome {
            headers.push((name, value.to_owned()));
        }
        self
    }

    /// The same, once so much time has passed on the clock.
    #[must_use]
    pub const fn after(mut self, delay: Duration) -> Self {
        self.after = delay;
        self
    }
}

impl Double {
    /// A double without answers. A request without a configured answer fails as not sent.
    pub fn new(clock: Clock) -> Self {
        Self { state: Arc::default(), clock }
    }

    /// The way out that ends here, with rules and time-outs as everybody's.
    pub fn outbound(&self) -> Outbound {
        let resolver = Arc::new(Names(self.state.clone()));
        let made = Outbound::new(Settings { resolver, clock: self.clock.clone(), ..Settings::default() });
        let Settings { proxies, max_idle, http2, unix_socket, .. } = Settings::default();
        let network = Network {
            resolver: made.network.resolver.clone(),
            clock: self.clock.clone(),
            proxies,
            own: made.network.own.clone(),
            pool: Arc::new(crate::pool::Pool::new(max_idle, self.clock.clone())),
            http2,
            unix_socket,
            double: Some(self.state.clone()),
        };
        Outbound { network: Arc::new(network), ..made }
    }

    /// Answers the next request that nothing else was said of.
    pub fn next(&self, reply: Reply) -> &Self {
        self.state.script().replies.push_back((None, reply));
        self
    }

    /// Answers the next request whose method and URL begin so: `POST https://iam.example/`.
    pub fn next_for(&self, beginning: &str, reply: Reply) -> &Self {
        self.state.script().replies.push_back((Some(beginning.to_owned()), reply));
        self
    }

    /// Answers all requests whose method and URL begin so and for which no next answer waits.
    pub fn always(&self, beginning: &str, reply: Reply) -> &Self {
        self.state.script().always.push((beginning.to_owned(), reply));
        self
    }

    /// Leads a name to addresses when it is looked up; told twice, it leads elsewhere the second time, and stays there.
    pub fn name(&self, name: &str, addresses: &[IpAddr]) -> &Self {
        self.state.script().names.entry(name.to_owned()).or_default().push_back(addresses.to_vec());
        self
    }

    /// The server's end of the next stream to `host:port`.
    pub fn stream(&self, to: &str) -> DuplexStream {
        let (near, far) = tokio::io::duplex(STREAM_BUFFER);
        self.state.script().streams.entry(to.to_owned()).or_default().push_back(near);
        far
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.script().seen.clone()
    }
}

impl State {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reply(&self, request: &Request) -> Option<Reply> {
        let asked = format!("{} {}", request.method, request.url);
        let mut script = self.script();
        let fits = |beginning: &Option<String>| beginning.as_ref().is_none_or(|text| asked.starts_with(text));
        let named = script.replies.iter().position(|(beginning, _)| beginning.is_some() && fits(beginning));
        if let Some(at) =
            named.or_else(|| script.replies.iter().position(|(beginning, _)| beginning.is_none()))
        {
            return script.replies.remove(at).map(|(_, reply)| reply);
        }
        script
            .always
            .iter()
            .find(|(beginning, _)| asked.starts_with(beginning))
            .map(|(_, reply)| reply.clone())
    }

    fn note(&self, request: &Request, arrived: bool) {
        self.script().seen.push(Seen {
            method: request.method.clone(),
            url: request.url.clone(),
            headers: request.headers.clone(),
            body: request.body.clone(),
            arrived,
        });
    }

    /// A stream to a host whose addresses are permitted.
    pub(crate) fn connect(&self, host: &str, port: u16, addresses: &[IpAddr]) -> Result<Stream, Reason> {
        let to = authority(host, port);
        let found = self.script().streams.get_mut(&to).and_then(VecDeque::pop_front);
        let stream =
            found.ok_or_else(|| Reason::Connect(format!("dial tcp {to}: connect: connection refused")))?;
        let peer = addresses.first().map(|address| std::net::SocketAddr::new(*address, port));
        Ok(Stream::new(stream, peer, false))
    }
}

impl Outbound {
    pub(crate) async fn answered_by(
        &self,
        double: &State,
        request: &Request,
        target: &Target,
        progress: &Progress,
    ) -> Result<Response, Error> {
        let not_sent = |reason| Error::NotSent { to: target.shown(), reason };
        self.permitted_addresses(&target.host, target.port()).await.map_err(not_sent)?;
        let Some(Reply { outcome, after }) = double.reply(request) else {
            double.note(request, false);
            return Err(not_sent(Reason::Connect("the double was not told how to answer".to_owned())));
        };
        if let Outcome::NotSent(reason) = outcome {
            self.network.clock.sleep(after).await;
            double.note(request, false);
            return Err(not_sent(Reason::Connect(reason)));
        }
        progress.sending(true);
        double.note(request, true);
        self.network.clock.sleep(after).await;
        let lost = |reason| Error::MayHaveArrived { to: target.shown(), reason };
        match outcome {
            Outcome::NotSent(reason) | Outcome::Lost(reason) => Err(lost(Reason::Broken(reason))),
            Outcome::Answer { body, .. } if body.len() > request.max_answer => {
                Err(lost(Reason::TooLong(request.max_answer)))
            }
            Outcome::Answer { status, headers, body } => {
                let mut map = HeaderMap::new();
                for (name, value) in headers {
                    let value = HeaderValue::try_from(value);
                    map.append(name, value.map_err(|error| lost(Reason::Broken(error.to_string())))?);
                }
                let status = StatusCode::from_u16(status);
                let status = status.map_err(|error| lost(Reason::Broken(error.to_string())))?;
                Ok(Response { status, headers: map, body: body.into() })
            }
        }
    }
}

/// The names that the double was told of.
struct Names(Arc<State>);

#[async_trait]
impl Resolver for Names {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let mut script = self.0.script();
        let Some(answers) = script.names.get_mut(name) else { return Ok(vec![ANYWHERE]) };
        let is_last = answers.len() == 1;
        let answer = if is_last { answers.front().cloned() } else { answers.pop_front() };
        Ok(answer.unwrap_or_default())
    }
}
