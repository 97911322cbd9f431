//! A whole server without its program: requests from anybody, and a storage that somebody has altered.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};
use strongroom_barrier::{BOOTSTRAP, Barrier};
use strongroom_core::Assembly;
use strongroom_engine_api::{Backend, Class, Endpoint, Environment, Operation, Peer};
use strongroom_http::{Edge, EdgeSettings, ForwardedFor};
use strongroom_initialization::InitRequest;
use strongroom_mounts::NewMount;
use strongroom_pipeline::Settings;
use strongroom_stdx::{Clock, Entropy, Moment};
use strongroom_storage::{Commit, InMemory, KeyRange, Store, Write};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use super::text;
use crate::Target;
use crate::mutate::Random;

const PEER: &str = "127.0.0.1:5000";
const ROOT: &str = "root";

pub(super) const REQUESTS: Target = Target {
    name: "requests",
    run: requests,
    made: of_the_catalogue,
    seeds: &[
        b"PUT /v1/secret/data/a\nX-Vault-Token: root\n\n{\"data\":{\"a\":\"b\",\"c\":{\"d\":1}},\"options\":{\"cas\":0}}\n===\n\
          PATCH /v1/secret/data/a\nX-Vault-Token: root\nContent-Type: application/merge-patch+json\n\n{\"data\":{\"a\":null,\"c\":{\"e\":[]}}}\n===\n\
          GET /v1/secret/data/a?version=1\nX-Vault-Token: root\n\n\n===\nLIST /v1/secret/metadata/\nX-Vault-Token: root\n\n",
        b"POST /v1/kv/a/b\nX-Vault-Token: root\nContent-Type: application/x-www-form-urlencoded\n\na=1&b=%20x+y\n===\n\
          GET /v1/kv/a/b\nAuthorization: Bearer root\nX-Vault-Wrap-TTL: 60s\n\n\n===\nGET /v1/kv/?list=true&after=a&limit=1\nX-Vault-Token: root\n\n",
        b"POST /v1/auth/token/create\nX-Vault-Token: root\n\n{\"policies\":\"a,b\",\"ttl\":\"1h\",\"type\":\"batch\",\"meta\":{\"a\":\"b\"},\"num_uses\":0}\n===\n\
          GET /v1/auth/token/lookup-self\nX-Vault-Token: hvb.AAAAAQEFBwcHBwcHBwcHBwcH\nX-Forwarded-For: 203.0.113.7, 10.0.0.1\n\n",
        b"PUT /v1/sys/policies/acl/p\nX-Vault-Token: root\n\n{\"policy\":\"path \\\"a\\\" { capabilities = [\\\"read\\\"] }\"}\n===\n\
          POST /v1/sys/capabilities-self\nX-Vault-Token: root\n\n{\"paths\":[\"a\",\"b/*\"]}\n===\nGET /v1/sys/policies/acl/p\nX-Vault-Token: root\n\n",
        b"POST /v1/sys/auth/approle\nX-Vault-Token: root\n\n{\"type\":\"approle\"}\n===\n\
          POST /v1/auth/approle/role/r\nX-Vault-Token: root\n\n{\"bind_secret_id\":true,\"token_ttl\":\"20m\",\"secret_id_bound_cidrs\":\"127.0.0.0/8\"}\n===\n\
          POST /v1/auth/approle/role/r/secret-id\nX-Vault-Token: root\n\n{\"metadata\":\"{\\\"a\\\":\\\"b\\\"}\",\"cidr_list\":[\"127.0.0.1/32\"]}\n===\n\
          POST /v1/auth/approle/login\n\n{\"role_id\":\"x\",\"secret_id\":\"y\"}",
        b"POST /v1/sys/mounts/x/y\nX-Vault-Token: root\n\n{\"type\":\"kv\",\"options\":{\"version\":2},\"config\":{\"default_lease_ttl\":\"1h\"}}\n===\n\
          POST /v1/sys/mounts/x/y/tune\nX-Vault-Token: root\n\n{\"max_lease_ttl\":-1,\"listing_visibility\":\"unauth\"}\n===\n\
          POST /v1/sys/remount\nX-Vault-Token: root\n\n{\"from\":\"x/y\",\"to\":\"z\"}\n===\nDELETE /v1/sys/mounts/z\nX-Vault-Token: root\n\n",
        b"POST /v1/cubbyhole/a\nX-Vault-Token: root\n\n{\"a\":1}\n===\nPOST /v1/sys/wrapping/wrap\nX-Vault-Token: root\nX-Vault-Wrap-TTL: 1m\n\n{\"a\":\"b\"}\n===\n\
          POST /v1/sys/wrapping/unwrap\nX-Vault-Token: root\n\n{\"token\":\"hvs.x\"}\n===\nGET /v1/sys/internal/specs/openapi\nX-Vault-Token: root\n\n",
        b"PUT /v1/sys/unseal\n\n{\"key\":\"AAAA\"}\n===\nGET /v1/sys/health?standbycode=429\n\n\n===\nGET /v1/sys/seal-status\n\n\n===\n\
          POST /v1/sys/tools/hash\nX-Vault-Token: root\n\n{\"input\":\"YWJj\",\"algorithm\":\"sha2-256\"}\n===\nGET /v1/secret/data/a?help=1\nX-Vault-Token: root\n\n",
        b"PUT /v1/sys/leases/lookup\nX-Vault-Token: root\n\n{\"lease_id\":\"auth/token/create/x\"}\n===\nPUT /v1/sys/leases/revoke-prefix/auth\nX-Vault-Token: root\n\n\n===\n\
          POST /v1/secret/metadata/a\nX-Vault-Token: root\n\n{\"max_versions\":3,\"delete_version_after\":\"1h\",\"custom_metadata\":{\"k\":\"v\"}}\n===\n\
          POST /v1/secret/destroy/a\nX-Vault-Token: root\n\n{\"versions\":[1,\"2\"]}",
    ],
    words: &[
        "\n===\n", "\n\n", "GET /v1/", "POST /v1/", "LIST /v1/", "DELETE /v1/", "X-Vault-Token: root\n", "X-Vault-Wrap-TTL: ", "X-Forwarded-For: ",
        "X-Vault-Namespace: ", "Content-Type: application/merge-patch+json\n", "secret/", "data/", "metadata/", "sys/", "auth/token/", "kv/", "?",
        "&", "list=true", "help=1", "version=", "%2F", "%00", "%ff", "..", "{", "}", "[", "]", "\"", ":", ",", "null", "true", "-1", "1h",
        "{\"data\":{}}", "\"options\":{\"cas\":1}", "\"ttl\":", "\"policies\":", "\"type\":", "root", "hvs.", "hvb.", "é", "*", "+", "role/", "tune",
    ],
};

pub(super) const TAMPERED: Target = Target {
    name: "tampered",
    run: tampered,
    made: crate::no_inputs,
    seeds: &[
        b"\x00\x00",
        b"\x01\x00\x10\x01",
        b"\x02\x01{\"version\":1,\"generation\":1,\"cluster_name\":\"\",\"cluster_id\":\"\",\"token_salt\":\"\",\"seals\":[{\"id\":\"shamir\",\"kind\":\"shamir\",\"priority\":1,\"disabled\":false,\"parameters\":{\"shares\":1,\"threshold\":1}}],\"root_key\":[{\"seal\":\"shamir\",\"blob\":\"\"}],\"recovery\":null}",
        b"\x02\x01{\"version\":2}",
        b"\x03\x02\x05",
    ],
    words: &[
        "\0",
        "\u{1}",
        "\u{2}",
        "\u{3}",
        "{",
        "}",
        "\"version\":",
        "\"seals\":[",
        "\"root_key\":[",
        "\"parameters\":{",
        "\"shares\":",
        "\"threshold\":",
        "\"token_salt\":\"",
        "]",
        "255",
        "0",
        ",",
    ],
};

/// Mounts that inputs can rely on: what the seeds above name, and every other engine of the catalogue at its generic name.
fn mounts() -> Vec<(String, NewMount)> {
    let named = [("kv/", true), ("secret/", false)];
    let named = named.map(|(path, first)| (path.to_owned(), strongroom_catalog::development_mount(first)));
    let catalog = strongroom_catalog::catalog();
    let others = catalog.engines().filter(|engine| engine.class() != Class::System).map(|engine| {
        let options = engine.facts().variant_options();
        (mount_path(&**engine), NewMount { kind: engine.kind().to_owned(), options, ..NewMount::default() })
    });
    named.into_iter().chain(others).collect()
}

fn mount_path(engine: &dyn Backend) -> String {
    let auth = if engine.class() == Class::Auth { "auth/" } else { "" };
    format!("{auth}fuzzed-{}/", engine.generic())
}

/// For each route of each engine an input that asks for all it can do; what takes something away comes last.
fn of_the_catalogue() -> Vec<Vec<u8>> {
    let catalog = strongroom_catalog::catalog();
    let engines = catalog.engines().filter(|engine| engine.class() != Class::System);
    let inputs = engines.flat_map(|engine| {
        let base = mount_path(&**engine);
        engine.routes().iter().map(move |route| {
            let mut operations: Vec<_> = route.operations().collect();
            operations.sort_by_key(|(operation, _)| *operation == Operation::Delete);
            let path = format!("{base}{}", route.pattern().example());
            let requests = operations.into_iter().filter_map(|(operation, at)| request(operation, &path, at));
            requests.collect::<Vec<_>>().join("\n===\n").into_bytes()
        })
    });
    inputs.collect()
}

/// A request for an operation, with a value for each field that it takes.
fn request(operation: Operation, path: &str, endpoint: &Endpoint) -> Option<String> {
    let method = match operation {
        Operation::Create | Operation::Update => "POST",
        Operation::Read => "GET",
        Operation::Patch => "PATCH",
        Operation::Delete => "DELETE",
        Operation::List => "LIST",
        Operation::Scan => "SCAN",
        Operation::Help => return None,
    };
    let fields = endpoint.doc.fields.iter();
    let body: Map<_, _> = fields.map(|field| (field.name.clone(), example(&field.schema))).collect();
    let has_body = matches!(method, "POST" | "PATCH");
    let body = if has_body { Value::Object(body).to_string() } else { String::new() };
    Some(format!("{method} /v1/{path}\nX-Vault-Token: {ROOT}\n\n{body}"))
}

/// A value that a field may have.
fn example(schema: &Value) -> Value {
    match schema["type"].as_str() {
        Some("integer" | "number") => 1.into(),
        Some("boolean") => true.into(),
        Some("array") => Value::Array(vec!["a".into()]),
        Some("object") => Value::Object(Map::from_iter([("a".to_owned(), "b".into())])),
        _ if schema["format"] == "seconds" => "1h".into(),
        _ => "a".into(),
    }
}

/// Chance that is the same every time, so that an input always does the same.
type Chance = Arc<Mutex<Random>>;

fn chance() -> Chance {
    Arc::new(Mutex::new(Random::new(1)))
}

/// A sealed server over a store. Time stands still.
fn server(store: Arc<dyn Store>, chance: Chance) -> Arc<Assembly> {
    let entropy = Entropy::given(move |out| {
        let mut random = chance.lock().expect("nobody panicked");
        out.fill_with(|| random.byte());
    });
    let environment =
        Environment { clock: Clock::stepped(Moment::from_secs(1_700_000_000)), entropy: entropy.clone() };
    let barrier = Barrier::new(store, entropy, 1 << 20);
    let (catalog, seals) = (strongroom_catalog::catalog(), strongroom_catalog::seals());
    Assembly::new(barrier, environment, Settings::default(), catalog, seals)
}

/// A server with KV at `kv/` and `secret/` and every engine there is beside them, and the share that unseals it.
async fn new_server(store: Arc<dyn Store>, chance: Chance) -> (Arc<Assembly>, Vec<u8>) {
    let core = server(store, chance);
    let request = InitRequest { root_token: Some(ROOT.to_owned()), ..InitRequest::key_parts(1, 1) };
    let made = core.services.initialization.initialize(request).await.expect("initialises");
    let share = made.key_parts[0].expose().clone();
    core.services.seal_state.offer_key_part(share.clone()).await.expect("unseals");
    for (path, mount) in mounts() {
        let txn = core.services.barrier.transaction(core.services.barrier.view());
        core.services
            .mounts
            .add_mount(&txn, strongroom_barrier::NamespaceId::ROOT, &path, mount)
            .await
            .expect("mounts");
        txn.commit().await.expect("commits");
    }
    (core, share)
}

/// All that a store holds.
async fn entries(store: &dyn Store) -> BTreeMap<Bytes, Bytes> {
    let everything = KeyRange { start: Vec::new(), end: None };
    let found =
        store.snapshot().await.expect("a snapshot").scan(&everything, 1_000_000).await.expect("entries");
    found.into_iter().map(|(key, found)| (key, found.value)).collect()
}

/// A server that input after input begins with anew. Making one takes longer than most inputs; putting its storage back does not,
/// and what it keeps in memory follows from there.
struct Anew {
    core: Arc<Assembly>,
    store: Arc<InMemory>,
    at_first: BTreeMap<Bytes, Bytes>,
    chance: Chance,
}

impl Anew {
    async fn make() -> Self {
        let (store, chance) = (Arc::new(InMemory::new()), chance());
        let (core, _share) = new_server(store.clone(), chance.clone()).await;
        let server = Self { at_first: entries(&*store).await, core, store, chance };
        server.reset_chance();
        server
    }

    /// Puts everything back; `None` where keys were made or dropped, which storage alone does not bring back.
    async fn begin(self) -> Option<Self> {
        let now = entries(&*self.store).await;
        let gone = now.keys().filter(|key| !self.at_first.contains_key(*key)).map(|key| (key, None));
        let changed = self
            .at_first
            .iter()
            .filter(|(key, value)| now.get(*key) != Some(value))
            .map(|(key, value)| (key, Some(value)));
        let writes: Vec<Write> = gone
            .chain(changed)
            .map(|(key, value)| Write { key: key.clone(), value: value.cloned() })
            .collect();
        let keys_changed = writes.iter().any(|write| write.key.first() == Some(&BOOTSTRAP));
        if keys_changed || self.core.services.barrier.is_sealed() {
            return None;
        }
        self.store.commit(Commit { writes, ..Commit::default() }).await.expect("commits");
        self.reset_chance();
        Some(self)
    }

    fn reset_chance(&self) {
        *self.chance.lock().expect("nobody panicked") = Random::new(2);
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Requests that `===` divides: method and path, headers, a blank line, the body. Each is answered with HTTP, and none with an
/// internal error.
fn requests(input: &[u8]) {
    let input = text(input);
    // The one engine that would write where the input says: audit devices name files.
    if input.to_ascii_lowercase().contains("audit") {
        return;
    }
    let kept = SERVER.lock().expect("nobody panicked").take();
    let server = runtime().block_on(async {
        let server = match kept {
            Some(server) => server.begin().await,
            None => None,
        };
        let server = match server {
            Some(server) => server,
            None => Anew::make().await,
        };
        let settings = EdgeSettings {
            forwarded_for: ForwardedFor {
                authorized: vec!["127.0.0.0/8".parse().expect("a block")],
                ..ForwardedFor::default()
            },
            ..EdgeSettings::default()
        };
        let edge = Arc::new(Edge::new(server.core.clone(), settings, Arc::default()));
        for request in input.split("\n===\n").take(8) {
            if let Some(answer) = ask(&edge, request).await {
                check(request, &answer);
            }
        }
        server
    });
    *SERVER.lock().expect("nobody panicked") = Some(server);
}

/// The server of the last input.
static SERVER: Mutex<Option<Anew>> = Mutex::new(None);

/// One request on a connection of its own; `None` if the server still waits for more of it.
async fn ask(edge: &Arc<Edge>, request: &str) -> Option<Vec<u8>> {
    let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
    let mut lines = head.lines();
    let mut sent = format!(
        "{} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {}\r\n",
        lines.next().unwrap_or_default(),
        body.len()
    );
    for line in lines {
        sent.push_str(line);
        sent.push_str("\r\n");
    }
    sent.push_str("\r\n");
    sent.push_str(body);
    let (mut client, stream) = duplex(1 << 20);
    let peer = PEER.parse::<SocketAddr>().map(Peer::at).unwrap_or_default();
    let (_running, draining) = watch::channel(false);
    let client = async move {
        client.write_all(sent.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_millis(200), client.read_to_end(&mut answer)).await;
        // The rest would be the server's error about a request that ends too soon.
        drop(client);
        read.ok()?.ok().map(|_len| answer)
    };
    tokio::join!(edge.clone().serve(stream, peer, draining), client).1
}

/// What every answer is: a status, headers, and a body that is empty or what its type says.
fn check(request: &str, answer: &[u8]) {
    if answer.is_empty() {
        return;
    }
    let answer = text(answer);
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status: u16 = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    assert!(status != 500, "an internal error: {body} for {request:?}");
    // `HTTP/1.1 400` without headers is the HTTP library's own.
    if head.to_ascii_lowercase().contains("content-type: application/json") && !body.is_empty() {
        serde_json::from_str::<Value>(body).expect("a JSON body");
    }
}

type Entries = Vec<(Bytes, Bytes)>;

/// The entries of a server that holds one secret, and the share that unseals it.
static ENTRIES: LazyLock<(Entries, Vec<u8>)> = LazyLock::new(|| {
    runtime().block_on(async {
        let store = Arc::new(InMemory::new());
        let (core, share) = new_server(store.clone(), chance()).await;
        let edge = Arc::new(Edge::new(core, EdgeSettings::default(), Arc::default()));
        let write =
            format!("PUT /v1/secret/data/a\nX-Vault-Token: {ROOT}\n\n{{\"data\":{{\"a\":\"kept\"}}}}");
        ask(&edge, &write).await.expect("an answer");
        (entries(&*store).await.into_iter().collect(), share)
    })
});

/// Changes to a storage: what, which entry, further bytes. The server does not panic on what it finds, and what it answers was
/// once written.
fn tampered(input: &[u8]) {
    let (entries, share) = &*ENTRIES;
    let mut entries = entries.clone();
    let [what, which, rest @ ..] = input else { return };
    let which = usize::from(*which) % entries.len();
    let with = rest.first().map_or(0, |with| usize::from(*with) % entries.len());
    match what % 4 {
        0 => drop(entries.remove(which)),
        1 => {
            let mut value = entries[which].1.to_vec();
            for (byte, with) in value.iter_mut().zip(rest) {
                *byte ^= with;
            }
            entries[which].1 = value.into();
        }
        2 => entries[which].1 = Bytes::copy_from_slice(rest),
        _ => {
            let other = entries[with].1.clone();
            entries[with].1 = std::mem::replace(&mut entries[which].1, other);
        }
    }
    runtime().block_on(async {
        let store = Arc::new(InMemory::new());
        let writes = entries.into_iter().map(|(key, value)| Write { key, value: Some(value) }).collect();
        store.commit(Commit { writes, ..Commit::default() }).await.expect("commits");
        let core = server(store, chance());
        let _ = core.services.seal_state.status().await;
        let _ = core.services.seal_state.offer_key_part(share.clone()).await;
        let edge = Arc::new(Edge::new(core, EdgeSettings::default(), Arc::default()));
        for path in [
            "sys/seal-status",
            "sys/mounts",
            "auth/token/lookup-self",
            "secret/metadata/a",
            "sys/policies/acl/default",
        ] {
            ask(&edge, &format!("GET /v1/{path}\nX-Vault-Token: {ROOT}\n\n")).await;
        }
        let answer = ask(&edge, &format!("GET /v1/secret/data/a\nX-Vault-Token: {ROOT}\n\n"))
            .await
            .unwrap_or_default();
        let answer = text(&answer);
        if answer.starts_with("HTTP/1.1 200") {
            assert!(answer.contains("{\"a\":\"kept\"}"), "another secret: {answer}");
        }
    });
}
