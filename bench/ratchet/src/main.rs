//! Requests to a whole server in one thread, to be counted instruction by instruction: `bench/ratchet/run` does.
//!
//! `strongroom-ratchet WORKLOAD COUNT` answers COUNT requests over HTTP/1.1 on a connection in memory, and nothing else,
//! within [`counted_requests`], which is the function that the counting tool is told of. What is counted is to be the
//! same everywhere: storage is a tree in memory, time stands still, chance comes from a seed, and there is one thread.
//! It measures no speed, and no disk, lock or second thread has a part in it. Any answer but the expected one ends it
//! with an error, for a count of refusals would look like progress.

mod workload;

use std::fmt::Display;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use strongroom_barrier::Barrier;
use strongroom_core::Assembly;
use strongroom_engine_api::{Environment, Peer};
use strongroom_http::{Edge, EdgeSettings};
use strongroom_initialization::InitRequest;
use strongroom_pipeline::Settings;
use strongroom_stdx::{Clock, Entropy, Moment};
use strongroom_storage::InMemory;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use self::workload::{Request, Workload};

#[global_allocator]
static ALLOCATOR: strongroom_zeroizing_alloc::Wiping = strongroom_zeroizing_alloc::Wiping;

/// Bytes of opened entries to keep: all there are.
const CACHE_BYTES: u64 = 64 << 20;
/// Requests before those that are counted: caches are warm, and each secret has as many versions as are kept.
const WARM_UP: usize = 120;
const ROOT: &str = "root";

/// Why nothing was counted.
#[derive(Debug)]
struct Failure(String);

impl<E: Display> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

type Work = Pin<Box<dyn Future<Output = Result<(), Failure>>>>;

/// The requests that count. The counting tool knows this function by its name, so it must stay a function.
#[inline(never)]
fn counted_requests(runtime: &Runtime, work: Work) -> Result<(), Failure> {
    runtime.block_on(work)
}

#[allow(clippy::print_stderr, reason = "a program that says why it ended")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(reason)) => {
            eprintln!("strongroom-ratchet: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), Failure> {
    let [name, count] = arguments else { return Err("usage: strongroom-ratchet WORKLOAD COUNT".into()) };
    let count: usize = count.parse()?;
    let workload = Workload::named(name).ok_or("no such workload")?;
    // A timer would bring in the time of day; nothing here waits long enough to need one.
    let runtime = Builder::new_current_thread().enable_time().build()?;
    let (mut client, requests) = runtime.block_on(async {
        let mut client = Client::connect(server().await?);
        let requests = workload.prepare(&mut client).await?;
        client.send_all(&requests, WARM_UP).await?;
        Ok::<_, Failure>((client, requests))
    })?;
    counted_requests(&runtime, Box::pin(async move { client.send_all(&requests, count).await }))
}

/// Bytes that are the same in every run (`SplitMix64`).
fn seeded() -> Entropy {
    let state = AtomicU64::new(1);
    Entropy::given(move |out| {
        for chunk in out.chunks_mut(8) {
            let drawn = state.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
            let mixed = (drawn ^ (drawn >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            for (to, from) in chunk.iter_mut().zip((mixed ^ (mixed >> 31)).to_le_bytes()) {
                *to = from;
            }
        }
    })
}

/// A server that is unsealed, with KV version 2 at `secret/`.
async fn server() -> Result<Arc<Edge>, Failure> {
    let entropy = seeded();
    let clock = Clock::stepped(Moment::from_secs(1_700_000_000));
    let barrier = Barrier::new(Arc::new(InMemory::new()), entropy.clone(), CACHE_BYTES);
    let core = Assembly::new(
        barrier,
        Environment { clock, entropy },
        Settings::default(),
        strongroom_catalog::catalog(),
        strongroom_catalog::seals(),
    );
    let request = InitRequest { root_token: Some(ROOT.to_owned()), ..InitRequest::key_parts(1, 1) };
    let made = core.services.initialization.initialize(request).await?;
    let part = made.key_parts.first().ok_or("no key part")?.expose().clone();
    core.services.seal_state.offer_key_part(part).await?;
    let mount = strongroom_catalog::development_mount(false);
    let txn = core.services.barrier.transaction(core.services.barrier.view());
    core.services.mounts.add_mount(&txn, strongroom_barrier::NamespaceId::ROOT, "secret/", mount).await?;
    txn.commit().await?;
    Ok(Arc::new(Edge::new(core, EdgeSettings::default(), Arc::default())))
}

/// A client with one connection, which stays open.
struct Client {
    stream: DuplexStream,
    answer: Vec<u8>,
    /// Dropped with the client: the server then drains.
    _running: watch::Sender<bool>,
}

impl Client {
    fn connect(edge: Arc<Edge>) -> Self {
        let (stream, far) = duplex(1 << 20);
        let (running, draining) = watch::channel(false);
        tokio::spawn(edge.serve(far, Peer::at(([127, 0, 0, 1], 5000)), draining));
        Self { stream, answer: Vec::new(), _running: running }
    }

    /// Sends requests in turn until `count` are answered.
    async fn send_all(&mut self, requests: &[Request], count: usize) -> Result<(), Failure> {
        for request in requests.iter().cycle().take(count) {
            self.send(request).await?;
        }
        Ok(())
    }

    /// Sends a request and returns the answer's body.
    async fn send(&mut self, request: &Request) -> Result<&[u8], Failure> {
        self.stream.write_all(request.bytes()).await?;
        self.answer.clear();
        let body = loop {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err("the connection was closed".into());
            }
            if let Some(body) = complete(&self.answer) {
                break body;
            }
        };
        if !self.answer.starts_with(b"HTTP/1.1 20") {
            let answer = String::from_utf8_lossy(&self.answer);
            return Err(format!("{}: {answer}", request.what()).into());
        }
        Ok(self.answer.get(body..).unwrap_or_default())
    }

    /// Sends a request and returns the answer as JSON.
    async fn ask(&mut self, request: &Request) -> Result<Value, Failure> {
        let body = self.send(request).await?;
        Ok(if body.is_empty() { Value::Null } else { serde_json::from_slice(body)? })
    }
}

/// Where the body of an answer begins, once all of it is there.
fn complete(answer: &[u8]) -> Option<usize> {
    let head = answer.windows(4).position(|end| end == b"\r\n\r\n")?;
    let text = std::str::from_utf8(answer.get(..head)?).ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().ok()).flatten()
    });
    let body = head.checked_add(4)?;
    (answer.len() >= body.checked_add(length.unwrap_or(0))?).then_some(body)
}
