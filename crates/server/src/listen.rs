//! Listeners: accepting connections, TLS handshakes, and what can be reloaded.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use arc_swap::ArcSwap;
use bytes::Bytes;
use rustls::ServerConfig;
use strongroom_config::{
    self as config, Config, Listener, Owner, ProxyProtocol, ResponseHeaders, Shared, Tls, UnixListener,
};
use strongroom_core::Assembly;
use strongroom_engine_api::{Peer, Redactions};
use strongroom_http::{
    CertificateDecoder, CertificateHeader, Edge, EdgeSettings, ForwardedFor, Intake, JsonLimits, RequestLog,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::admission::Admission;
use crate::plain_http::ExpectingTls;
use crate::{logs, proxy_protocol, tls};

/// The time limit of a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause of accepting when the process has no file descriptors left.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// A TLS listener's settings and what is in force.
struct Reloadable {
    settings: Tls,
    current: Arc<ArcSwap<ServerConfig>>,
}

/// The part of a listener's configuration that can change while it serves.
struct Live {
    intake: Arc<Intake>,
    headers: Arc<ArcSwap<ResponseHeaders>>,
    request_log: RequestLog,
}

/// All listeners of a server.
pub(crate) struct Listeners {
    addresses: Vec<String>,
    reloadable: Vec<Reloadable>,
    headers: Vec<(Listener, Arc<ArcSwap<ResponseHeaders>>)>,
    request_log: RequestLog,
    tasks: JoinSet<()>,
    draining: watch::Sender<bool>,
    admission: Admission,
    sockets: Vec<std::path::PathBuf>,
}

impl Listeners {
    /// Opens every listener of the configuration and serves it.
    pub(crate) async fn start(core: &Arc<Assembly>, config: &Config, node_id: Option<&str>) -> Result<Self> {
        let (draining, _) = watch::channel(false);
        let mut listeners = Self {
            addresses: Vec::new(),
            reloadable: Vec::new(),
            headers: Vec::new(),
            request_log: RequestLog::default(),
            tasks: JoinSet::new(),
            draining,
            admission: Admission::of_process(),
            sockets: Vec::new(),
        };
        listeners.request_log.set(config.log_requests_level.and_then(logs::event_level));
        let (in_flight, intake) = (Arc::new(AtomicU64::new(0)), Arc::<Intake>::default());
        for listener in &config.listeners {
            let headers = ArcSwap::from_pointee(listener.shared().response_headers.clone());
            let live = Live {
                intake: intake.clone(),
                headers: Arc::new(headers),
                request_log: listeners.request_log.clone(),
            };
            let settings = edge_settings(listener.shared(), config, node_id, &live);
            listeners.headers.push((listener.clone(), live.headers));
            let edge = Arc::new(Edge::new(core.clone(), settings, in_flight.clone()));
            match listener {
                Listener::Tcp(tcp) => listeners.tcp(tcp, edge).await?,
                Listener::Unix(unix) => listeners.unix(unix, edge)?,
            }
        }
        Ok(listeners)
    }

    /// The addresses at which clients can connect.
    pub(crate) fn addresses(&self) -> &[String] {
        &self.addresses
    }

    async fn tcp(&mut self, tcp: &config::TcpListener, edge: Arc<Edge>) -> Result<()> {
        let (address, tls) = (&tcp.address, tcp.tls.as_ref());
        let host = if address.host.is_empty() { "::" } else { &address.host };
        let listener = match TcpListener::bind((host, address.port)).await {
            Err(_no_ipv6) if address.host.is_empty() => TcpListener::bind(("0.0.0.0", address.port)).await,
            bound => bound,
        };
        let listener =
            listener.with_context(|| format!("Error initializing listener of type tcp: listen {address}"))?;
        let bound = listener.local_addr()?;
        let acceptor = match tls {
            None => None,
            Some(settings) => {
                let current = Arc::new(ArcSwap::new(tls::server_config(settings)?));
                self.reloadable.push(Reloadable { settings: settings.clone(), current: current.clone() });
                Some(current)
            }
        };
        self.addresses.push(format!("{}://{bound}", if tls.is_some() { "https" } else { "http" }));
        let door = Door { tls: acceptor, proxy: tcp.proxy_protocol.clone().map(Arc::new), edge };
        self.tasks.spawn(accept_tcp(listener, door, self.admission.clone(), self.draining.subscribe()));
        Ok(())
    }

    fn unix(&mut self, unix: &UnixListener, edge: Arc<Edge>) -> Result<()> {
        let path = &unix.address;
        let named = || format!("Error initializing listener of type unix: {}", path.display());
        if check_place(path)? {
            fs::remove_file(path).with_context(named)?;
        }
        let listener = tokio::net::UnixListener::bind(path).with_context(named)?;
        if let Some(mode) = unix.socket_mode {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).with_context(named)?;
        }
        let (user, group) = owners(unix)?;
        if user.is_some() || group.is_some() {
            std::os::unix::fs::chown(path, user, group).with_context(named)?;
        }
        self.sockets.push(path.clone());
        self.addresses.push(format!("unix://{}", path.display()));
        self.tasks.spawn(accept_unix(listener, edge, self.admission.clone(), self.draining.subscribe()));
        Ok(())
    }

    /// Takes over what can change of a configuration that was loaded again: whether requests are logged, and the headers
    /// that answers get.
    pub(crate) fn reconfigure(&self, config: &Config) {
        self.request_log.set(config.log_requests_level.and_then(logs::event_level));
        for (started, headers) in &self.headers {
            let now = config.listeners.iter().find(|listener| listener.is_at_same_address(started));
            if let Some(now) = now {
                headers.store(Arc::new(now.shared().response_headers.clone()));
            }
        }
    }

    /// Loads certificates and keys again; a listener whose new files are wrong keeps its old ones.
    pub(crate) fn reload_certificates(&self) {
        for listener in &self.reloadable {
            match tls::server_config(&listener.settings) {
                Ok(config) => listener.current.store(config),
                Err(error) => {
                    let file = listener.settings.cert_file.display();
                    tracing::error!(%file, error = format!("{error:#}"), "TLS certificate was not reloaded");
                }
            }
        }
    }

    /// Stops accepting, and waits at most `patience` for requests under way.
    pub(crate) async fn drain(mut self, patience: Duration) {
        self.draining.send_replace(true);
        let finished = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(patience, finished).await.is_err() {
            tracing::warn!("aborted in-flight requests at shutdown");
        }
        for socket in &self.sockets {
            if let Err(error) = fs::remove_file(socket) {
                tracing::debug!(%error, "socket was not removed");
            }
        }
    }
}

/// Failures to accept, of which the first in a row is logged. Running out of descriptors must not spin.
#[derive(Default)]
struct AcceptFailures {
    told: bool,
}

impl AcceptFailures {
    async fn failed(&mut self, error: &std::io::Error) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(%error, "accepting a connection failed; it is tried again");
        }
        tokio::time::sleep(ACCEPT_BACKOFF).await;
    }
}

/// The entrance that a connection comes through.
#[derive(Clone)]
struct Door {
    tls: Option<Arc<ArcSwap<ServerConfig>>>,
    proxy: Option<Arc<ProxyProtocol>>,
    edge: Arc<Edge>,
}

async fn accept_tcp(
    listener: TcpListener,
    door: Door,
    admission: Admission,
    mut draining: watch::Receiver<bool>,
) {
    let (mut connections, mut failures) = (JoinSet::new(), AcceptFailures::default());
    loop {
        let (accepted, place) = tokio::select! {
            accepted = async {
                let place = admission.place().await;
                (listener.accept().await, place)
            } => accepted,
            () = async { drop(draining.wait_for(|draining| *draining).await) } => break,
        };
        while connections.try_join_next().is_some() {}
        let (stream, peer) = match accepted {
            Ok(accepted) => {
                failures = AcceptFailures::default();
                accepted
            }
            Err(error) => {
                failures.failed(&error).await;
                continue;
            }
        };
        // A latency setting that some systems refuse; requests are served without it.
        let _ = stream.set_nodelay(true);
        let (door, draining) = (door.clone(), draining.clone());
        match &door.proxy {
            None => connections.spawn(async move {
                let _place = place;
                door.serve(stream, peer, draining).await;
            }),
            Some(rule) => {
                let rule = rule.clone();
                connections.spawn(async move {
                    let _place = place;
                    door.serve_proxied(rule, stream, peer, draining).await;
                })
            }
        };
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

impl Door {
    async fn serve_proxied(
        self,
        rule: Arc<ProxyProtocol>,
        stream: tokio::net::TcpStream,
        from: SocketAddr,
        draining: watch::Receiver<bool>,
    ) {
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, proxy_protocol::begin(&rule, stream, from)).await {
            Ok(Ok((stream, peer))) => self.serve(stream, peer, draining).await,
            Ok(Err(error)) => tracing::debug!(%from, %error, "connection refused"),
            Err(_elapsed) => tracing::debug!(%from, "the beginning of the PROXY protocol took too long"),
        }
    }

    async fn serve<T>(self, stream: T, from: SocketAddr, draining: watch::Receiver<bool>)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let peer = Peer::at(from);
        let Some(config) = &self.tls else { return self.edge.serve(stream, peer, draining).await };
        let acceptor = TlsAcceptor::from(config.load_full());
        let handshake = acceptor.accept(ExpectingTls::new(stream)).into_fallible();
        let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err((error, stream))) => {
                tracing::debug!(peer = %from, %error, "TLS handshake failed");
                return stream.answer().await;
            }
            Err(_elapsed) => return tracing::debug!(peer = %from, "TLS handshake took too long"),
        };
        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let certificates = shown.iter().map(|certificate| Bytes::copy_from_slice(certificate)).collect();
        self.edge.serve(stream, peer.with(certificates), draining).await;
    }
}

async fn accept_unix(
    listener: tokio::net::UnixListener,
    edge: Arc<Edge>,
    admission: Admission,
    mut draining: watch::Receiver<bool>,
) {
    let (mut connections, mut failures) = (JoinSet::new(), AcceptFailures::default());
    loop {
        let (accepted, place) = tokio::select! {
            accepted = async {
                let place = admission.place().await;
                (listener.accept().await, place)
            } => accepted,
            () = async { drop(draining.wait_for(|draining| *draining).await) } => break,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            // Callers on the same machine count as coming from it.
            Ok((stream, _)) => {
                let peer = Peer::at(([127, 0, 0, 1], 0));
                let serving = edge.clone().serve(stream, peer, draining.clone());
                connections.spawn(async move {
                    let _place = place;
                    serving.await;
                });
                failures = AcceptFailures::default();
            }
            Err(error) => failures.failed(&error).await,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// True if a socket that a killed server left behind is in the way; anything else there must not be removed.
pub(crate) fn check_place(path: &Path) -> Result<bool> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(false) };
    if !std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) {
        bail!("{}: exists and is not a socket", path.display());
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        bail!("{}: another server listens there", path.display());
    }
    Ok(true)
}

/// The numbers of a socket's user and group.
pub(crate) fn owners(unix: &UnixListener) -> Result<(Option<u32>, Option<u32>)> {
    let number =
        |owner: &Option<Owner>, file: &str| owner.as_ref().map(|owner| number_of(owner, file)).transpose();
    Ok((number(&unix.socket_user, "/etc/passwd")?, number(&unix.socket_group, "/etc/group")?))
}

/// A user's or group's number, looked up in the system's file where a name is given.
fn number_of(owner: &Owner, file: &str) -> Result<u32> {
    let name = match owner {
        Owner::Id(id) => return Ok(*id),
        Owner::Name(name) => name,
    };
    let text = fs::read_to_string(file).with_context(|| file.to_owned())?;
    let line = text.lines().find(|line| line.split(':').next() == Some(name));
    let id = line.and_then(|line| line.split(':').nth(2)).and_then(|id| id.parse().ok());
    id.with_context(|| format!("{name:?} is not in {file}"))
}

fn edge_settings(shared: &Shared, config: &Config, node_id: Option<&str>, live: &Live) -> EdgeSettings {
    let forwarded = shared.forwarded_for.as_ref();
    let headers = live.headers.clone();
    let hostname = config
        .enable_response_header_hostname
        .then(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
    EdgeSettings {
        max_request_size: or_none(shared.max_request_size),
        max_request_duration: shared.max_request_duration,
        header_timeout: shared.timeouts.read_header,
        read_timeout: shared.timeouts.read,
        write_timeout: shared.timeouts.write,
        idle_timeout: shared.timeouts.effective_idle().unwrap_or_default(),
        json: JsonLimits {
            max_depth: or_none(Some(shared.json.max_depth)),
            max_string_value_length: or_none(shared.json.max_string_value_length),
            max_object_entry_count: or_none(shared.json.max_object_entry_count),
            max_array_element_count: or_none(shared.json.max_array_element_count),
            max_token: or_none(shared.json.max_token),
        },
        intake: live.intake.clone(),
        request_log: live.request_log.clone(),
        forwarded_for: forwarded.map_or_else(ForwardedFor::default, |rule| ForwardedFor {
            authorized: rule.authorized_addrs.clone(),
            hop_skips: rule.hop_skips,
            reject_not_authorized: rule.reject_not_authorized,
            reject_not_present: rule.reject_not_present,
            certificate: rule.client_certificate.as_ref().and_then(certificate_header),
        }),
        max_token_size: or_none(shared.max_token_header_size),
        chroot_namespace: shared.chroot_namespace.clone(),
        redactions: Redactions {
            addresses: shared.redact.addresses,
            cluster_name: shared.redact.cluster_name,
            version: shared.redact.version,
        },
        custom_headers: Arc::new(move |status| {
            let headers = headers.load();
            let pairs = headers.for_status(status).into_iter();
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        }),
        hostname,
        raft_node_id: node_id.filter(|_| config.enable_response_header_raft_node_id).map(str::to_owned),
    }
}

/// The header of clients' certificates; the configuration has checked its name.
fn certificate_header(configured: &config::ClientCertificateHeader) -> Option<CertificateHeader> {
    let decoders = configured.decoders.iter().map(|decoder| match decoder {
        config::CertificateDecoder::Base64 => CertificateDecoder::Base64,
        config::CertificateDecoder::Der => CertificateDecoder::Der,
        config::CertificateDecoder::Url => CertificateDecoder::Url,
    });
    Some(CertificateHeader { name: configured.name.parse().ok()?, decoders: decoders.collect() })
}

/// A limit as the edge takes it, to which all there can be is no limit.
fn or_none(limit: Option<u64>) -> usize {
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}
