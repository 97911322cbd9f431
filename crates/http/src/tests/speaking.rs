//! A server in this process, and a client that sends what the tests say.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use strongroom_barrier::Barrier;
use strongroom_core::Assembly;
use strongroom_engine_api::{Backend as _, Clock, Engine, Entropy, Environment, Moment, Peer, Secret};
use strongroom_initialization::InitRequest;
use strongroom_mounts::{Catalog, NewMount};
use strongroom_pipeline::{Inbound, Settings, Verb};
use strongroom_seal::Seals;
use strongroom_seal_shamir::ShamirSeal;
use strongroom_storage::InMemory;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::watch;

use crate::{Edge, EdgeSettings};

/// A core with one engine, mounted under its type, behind an edge.
pub(super) struct Server {
    pub(super) core: Arc<Assembly>,
    pub(super) root: String,
    edge: Arc<Edge>,
    peer: Peer,
    draining: watch::Sender<bool>,
}

impl Server {
    pub(super) async fn with(engine: Engine, settings: EdgeSettings) -> Self {
        let environment = Environment {
            clock: Clock::stepped(Moment::from_secs(1_700_000_000)),
            entropy: Entropy::system(),
        };
        let barrier = Barrier::new(Arc::new(InMemory::new()), environment.entropy.clone(), 1 << 20);
        let kind = engine.kind().to_owned();
        let parts = [
            strongroom_sys::engine(),
            strongroom_token::engine(),
            Engine::system("cubbyhole", "A stand-in."),
        ];
        let catalog = parts.into_iter().fold(Catalog::new().with(engine), Catalog::with);
        let core = Assembly::new(
            barrier,
            environment,
            Settings::default(),
            catalog,
            Seals::one(Arc::new(ShamirSeal)),
        );
        let made = core.services.initialization.initialize(InitRequest::key_parts(1, 1)).await.unwrap();
        core.services.seal_state.offer_key_part(made.key_parts[0].expose().clone()).await.unwrap();
        let txn = core.services.barrier.transaction(core.services.barrier.view());
        let mount = NewMount { kind: kind.clone(), options: BTreeMap::new(), ..NewMount::default() };
        core.services
            .mounts
            .add_mount(&txn, strongroom_barrier::NamespaceId::ROOT, &format!("{kind}/"), mount)
            .await
            .unwrap();
        txn.commit().await.unwrap();
        let edge = Arc::new(Edge::new(core.clone(), settings, Arc::default()));
        let root = made.root_token.expose().clone();
        Self { core, root, edge, peer: Peer::at(([127, 0, 0, 1], 4000)), draining: watch::channel(false).0 }
    }

    /// The same for clients of another kind.
    pub(super) fn of(self, peer: Peer) -> Self {
        Self { peer, ..self }
    }

    pub(super) fn connect(&self) -> DuplexStream {
        let (client, server) = duplex(1 << 16);
        tokio::spawn(self.edge.clone().serve(server, self.peer.clone(), self.draining.subscribe()));
        client
    }

    /// Ends as a listener does.
    pub(super) fn drain(&self) {
        self.draining.send_replace(true);
    }

    pub(super) async fn get(&self, path: &str, fields: &[&str]) -> Told {
        self.say("GET", path, fields, None).await
    }

    pub(super) async fn post(&self, path: &str, fields: &[&str], body: &[u8]) -> Told {
        self.say("POST", path, fields, Some(body)).await
    }

    /// Fields are sent in Latin-1: what is not ASCII is one byte.
    async fn say(&self, method: &str, path: &str, fields: &[&str], body: Option<&[u8]>) -> Told {
        let mut wire = self.connect();
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n");
        for field in fields {
            head.push_str(field);
            head.push_str("\r\n");
        }
        if let Some(body) = body {
            head.push_str("Content-Length: ");
            head.push_str(&body.len().to_string());
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        let head: Vec<u8> = head.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        wire.write_all(&[&head, body.unwrap_or_default()].concat()).await.unwrap();
        wire.shutdown().await.unwrap();
        let mut told = Told::read_head(&mut wire).await;
        wire.read_to_end(&mut told.body).await.unwrap();
        if told.header("transfer-encoding") == Some("chunked") {
            told.body = unchunked(&told.body);
        }
        told
    }

    /// A token of a policy of its own.
    pub(super) async fn token(&self, policy: &str) -> String {
        let name = format!("p{}", policy.len());
        self.ask(&format!("sys/policies/acl/{name}"), json!({ "policy": policy })).await;
        let made = self.ask("auth/token/create", json!({ "policies": [name] })).await;
        made["auth"]["client_token"].as_str().unwrap().to_owned()
    }

    async fn ask(&self, path: &str, input: Value) -> Value {
        let inbound = Inbound {
            input: Arc::new(input.as_object().cloned().unwrap()),
            token: Some(Arc::new(Secret::new(self.root.clone()))),
            ..Inbound::new("test", Verb::Write, path)
        };
        let answer = self.core.pipeline.handle(inbound).await;
        assert!(answer.status < 300, "{path}: {}", answer.status);
        serde_json::from_slice(answer.body.at_hand()).unwrap_or_default()
    }
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = body.windows(2).position(|pair| pair == b"\r\n") {
        let (length, rest) = body.split_at(end);
        let length = usize::from_str_radix(std::str::from_utf8(length).unwrap(), 16).unwrap();
        let (chunk, rest) = rest[2..].split_at(length);
        whole.extend_from_slice(chunk);
        body = &rest[2..];
    }
    whole
}

/// An answer.
pub(super) struct Told {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Told {
    pub(super) async fn read_head(wire: &mut (impl AsyncRead + Unpin)) -> Self {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(wire.read_u8().await.expect("an answer"));
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.map(|line| line.split_once(": ").unwrap());
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        Self { status, headers, body: Vec::new() }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(given, _)| given == name).map(|(_, value)| value.as_str()).collect()
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn errors(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).expect("JSON");
        body["errors"][0].as_str().unwrap_or_default().to_owned()
    }

    pub(super) fn data(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        serde_json::from_slice::<Value>(&self.body).unwrap()["data"].take()
    }
}
