//! The `listener` blocks.
//!
//! Source: <https://developer.hashicorp.com/vault/docs/configuration/listener/tcp> and `…/unix`.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::fields::Fields;
use crate::{Address, ConfigError, ResponseHeaders, Tls, convert, keys, outbound};

const MIB: u64 = 1024 * 1024;

/// A listener.
#[derive(Clone, Debug, PartialEq)]
pub enum Listener {
    /// A TCP port.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

/// `listener "tcp"`.
#[derive(Clone, Debug, PartialEq)]
pub struct TcpListener {
    /// The address for clients.
    pub address: Address,
    /// The address for other nodes of the cluster; one port above `address` unless set.
    pub cluster_address: Address,
    /// `None` if TLS is disabled.
    pub tls: Option<Tls>,
    /// The trust in a proxy's statement about the client; `None` if connections do not begin with one.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// The settings that both kinds of listeners have.
    pub shared: Shared,
}

/// `listener "unix"`.
#[derive(Clone, Debug, PartialEq)]
pub struct UnixListener {
    /// The socket's path.
    pub address: PathBuf,
    /// The socket's permissions, such as `0o600`.
    pub socket_mode: Option<u32>,
    /// The socket's owner.
    pub socket_user: Option<Owner>,
    /// The socket's group.
    pub socket_group: Option<Owner>,
    /// The settings that both kinds of listeners have.
    pub shared: Shared,
}

/// A user or group, by name or number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A number.
    Id(u32),
    /// A name, which the system knows.
    Name(String),
}

/// The settings that both kinds of listeners have.
#[derive(Clone, Debug, PartialEq)]
pub struct Shared {
    /// The time limits of clients.
    pub timeouts: Timeouts,
    /// The largest request body in bytes; `None` for no limit.
    pub max_request_size: Option<u64>,
    /// The time limit of a request.
    pub max_request_duration: Duration,
    /// The limits of JSON.
    pub json: JsonLimits,
    /// Trust in `X-Forwarded-For`; `None` if it is ignored.
    pub forwarded_for: Option<ForwardedFor>,
    /// Headers that are added to responses.
    pub response_headers: ResponseHeaders,
    /// The endpoints that need no token.
    pub unauthenticated: Unauthenticated,
    /// The namespace that is the listener's root, without surrounding slashes; empty for the root namespace.
    pub chroot_namespace: String,
    /// The facts that are not shown to those who ask without a token.
    pub redact: Redact,
    /// The longest token in bytes; `None` for no limit.
    pub max_token_header_size: Option<u64>,
    /// The configured values, for `sys/config/state/sanitized`.
    pub(crate) configured: serde_json::Map<String, serde_json::Value>,
}

/// The time limits of clients. Zero means no limit, except where a field says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the headers of a request; 10 s unless set.
    pub read_header: Duration,
    /// For a whole request; 30 s unless set.
    pub read: Duration,
    /// For taking a response, from the end of the request's headers on; no limit unless set.
    pub write: Duration,
    /// Between two requests; 5 min unless set. If zero is set, `read` counts, and if that is zero, `read_header`.
    pub idle: Duration,
}

/// The limits of JSON bodies. `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonLimits {
    /// Nesting; [`JsonLimits::MAX_JSON_DEPTH`] unless less is set.
    pub max_depth: u64,
    /// Bytes of a string, be it a value or a key; 1 MiB unless set.
    pub max_string_value_length: Option<u64>,
    /// Entries of an object; 10,000 unless set.
    pub max_object_entry_count: Option<u64>,
    /// Elements of a list; 10,000 unless set.
    pub max_array_element_count: Option<u64>,
    /// Keys, values, braces and brackets; 500,000 unless set.
    pub max_token: Option<u64>,
}

/// The trust in `X-Forwarded-For`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardedFor {
    /// The proxies whose header counts; at least one.
    pub authorized_addrs: Vec<IpNet>,
    /// The number of addresses at the end of the header that are skipped.
    pub hop_skips: usize,
    /// Connections from elsewhere that bring the header are refused; otherwise the header is ignored.
    pub reject_not_authorized: bool,
    /// Connections without the header are refused; otherwise the connection's address counts.
    pub reject_not_present: bool,
    /// In which header these proxies pass on the certificates of their clients.
    pub client_certificate: Option<ClientCertificateHeader>,
}

/// A header with a client's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificateHeader {
    /// Its name.
    pub name: String,
    /// The decoders that turn its value into a certificate in DER, in order.
    pub decoders: Vec<CertificateDecoder>,
}

/// A step from a header's value to a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateDecoder {
    /// `BASE64` is undone.
    Base64,
    /// PEM becomes `DER`.
    Der,
    /// `URL` encoding is undone.
    Url,
}

const DECODERS: [(&str, CertificateDecoder); 3] = [
    ("BASE64", CertificateDecoder::Base64),
    ("DER", CertificateDecoder::Der),
    ("URL", CertificateDecoder::Url),
];

/// The use of the PROXY protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// The behavior.
    pub behavior: ProxyBehavior,
    /// The proxies; at least one, unless every client is trusted.
    pub authorized_addrs: Vec<IpNet>,
}

/// The trust in statements about the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyBehavior {
    /// Every client is trusted (`use_always`).
    UseAlways,
    /// That of authorized proxies; others count as themselves (`allow_authorized`).
    AllowAuthorized,
    /// That of authorized proxies; others are not let in (`deny_unauthorized`).
    DenyUnauthorized,
}

const BEHAVIORS: [(&str, ProxyBehavior); 3] = [
    ("use_always", ProxyBehavior::UseAlways),
    ("allow_authorized", ProxyBehavior::AllowAuthorized),
    ("deny_unauthorized", ProxyBehavior::DenyUnauthorized),
];

/// The facts that are not shown to those who ask without a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redact {
    /// The addresses of the active node.
    pub addresses: bool,
    /// The cluster's name.
    pub cluster_name: bool,
    /// The version, and when it was built.
    pub version: bool,
}

/// The endpoints of a listener that need no token, where they exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unauthenticated {
    /// `sys/metrics`.
    pub metrics: bool,
    /// `sys/pprof`.
    pub pprof: bool,
    /// `sys/in-flight-req`.
    pub in_flight_requests: bool,
}

impl Listener {
    /// The settings that both kinds of listeners have.
    pub fn shared(&self) -> &Shared {
        match self {
            Listener::Tcp(listener) => &listener.shared,
            Listener::Unix(listener) => &listener.shared,
        }
    }

    /// True if both would listen at the same place, and so are the same listener of two versions of a configuration.
    pub fn is_at_same_address(&self, other: &Listener) -> bool {
        match (self, other) {
            (Listener::Tcp(one), Listener::Tcp(other)) => one.address == other.address,
            (Listener::Unix(one), Listener::Unix(other)) => one.address == other.address,
            _ => false,
        }
    }

    /// `tcp` or `unix`.
    pub fn kind(&self) -> &'static str {
        match self {
            Listener::Tcp(_) => "tcp",
            Listener::Unix(_) => "unix",
        }
    }

    /// Reads a listener; `max_request_duration` counts unless it sets its own.
    pub(crate) fn read(
        kind: &str,
        fields: Fields<'_>,
        max_request_duration: Duration,
    ) -> Result<Listener, ConfigError> {
        match kind {
            "tcp" => Ok(Listener::Tcp(TcpListener::read(fields, max_request_duration)?)),
            "unix" => Ok(Listener::Unix(UnixListener::read(fields, max_request_duration)?)),
            _ => {
                let message = format!("{} is not supported; supported are \"tcp\", \"unix\"", fields.scope());
                Err(fields.place().invalid(message))
            }
        }
    }
}

impl TcpListener {
    fn read(mut fields: Fields<'_>, max_request_duration: Duration) -> Result<TcpListener, ConfigError> {
        let address = address(&mut fields, "address")?.unwrap_or_else(|| Address::new("127.0.0.1", 8200));
        let above = address_above(&address);
        let Some(cluster_address) = self::address(&mut fields, "cluster_address")?.or(above) else {
            let message = "\"cluster_address\" must be set: no port is above that of \"address\"";
            return Err(fields.place_of("address").invalid(message));
        };
        let tls = Tls::read(&mut fields)?;
        let proxy_protocol = ProxyProtocol::read(&mut fields)?;
        let shared = Shared::read(fields, &keys::LISTENER_TCP, max_request_duration)?;
        Ok(TcpListener { address, cluster_address, tls, proxy_protocol, shared })
    }
}

impl UnixListener {
    fn read(mut fields: Fields<'_>, max_request_duration: Duration) -> Result<UnixListener, ConfigError> {
        let address = fields.path("address")?.unwrap_or_else(|| PathBuf::from("/run/vault.sock"));
        let socket_mode = fields.read("socket_mode", |value| {
            // A number is taken as it was written: 0600 and 600 are both octal here.
            let mode = convert::text(value).ok().and_then(|text| u32::from_str_radix(&text, 8).ok());
            mode.filter(|mode| *mode <= 0o7777)
                .ok_or_else(|| format!("must be permissions such as \"0600\", not {}", convert::shown(value)))
        })?;
        let mut owner = |key| {
            let name = fields.text(key)?;
            Ok(name.map(|name| name.parse().map(Owner::Id).unwrap_or(Owner::Name(name))))
        };
        let (socket_user, socket_group) = (owner("socket_user")?, owner("socket_group")?);
        let shared = Shared::read(fields, &keys::LISTENER_UNIX, max_request_duration)?;
        Ok(UnixListener { address, socket_mode, socket_user, socket_group, shared })
    }
}

fn address(fields: &mut Fields<'_>, key: &'static str) -> Result<Option<Address>, ConfigError> {
    fields.read(key, |value| {
        let text = convert::text(value)?;
        convert::refuse_template(&text)?;
        text.parse()
    })
}

/// One port above; with a port that the system chooses, the other is chosen too.
fn address_above(address: &Address) -> Option<Address> {
    let port = if address.port == 0 { 0 } else { address.port.checked_add(1)? };
    Some(Address::new(&address.host, port))
}

impl Shared {
    /// Reads the keys that both kinds have and ends the reading of the listener.
    fn read(
        mut fields: Fields<'_>,
        block: &keys::Block,
        max_request_duration: Duration,
    ) -> Result<Shared, ConfigError> {
        let own_duration = fields.duration("max_request_duration")?.filter(|duration| !duration.is_zero());
        let shared = Shared {
            timeouts: Timeouts::read(&mut fields)?,
            max_request_size: limit(&mut fields, "max_request_size", MIB.saturating_mul(32))?,
            max_request_duration: own_duration.unwrap_or(max_request_duration),
            json: JsonLimits::read(&mut fields)?,
            forwarded_for: ForwardedFor::read(&mut fields)?,
            response_headers: ResponseHeaders::read(&mut fields)?,
            unauthenticated: Unauthenticated::read(&mut fields)?,
            chroot_namespace: chroot_namespace(&mut fields)?,
            redact: Redact {
                addresses: fields.switch("redact_addresses")?,
                cluster_name: fields.switch("redact_cluster_name")?,
                version: fields.switch("redact_version")?,
            },
            max_token_header_size: limit(&mut fields, "max_token_header_size", 8192)?,
            configured: fields.known_as_json(block),
        };
        fields.finish(block)?;
        Ok(shared)
    }
}

/// A limit: 0 is the default, as is leaving it out; below 0 there is none.
fn limit(fields: &mut Fields<'_>, key: &'static str, default: u64) -> Result<Option<u64>, ConfigError> {
    let number = fields.integer::<i64>(key, i64::MIN..=i64::MAX)?.unwrap_or(0);
    Ok(if number == 0 { Some(default) } else { u64::try_from(number).ok() })
}

/// The namespace of a listener. The root namespace is none in particular.
fn chroot_namespace(fields: &mut Fields<'_>) -> Result<String, ConfigError> {
    let given = fields.read("chroot_namespace", |value| {
        let text = convert::text(value)?;
        let path = text.trim_matches('/');
        let is_name =
            |part: &str| !matches!(part, "" | "." | ".." | "root") && !part.contains(char::is_control);
        match path {
            "" | "root" => Ok(String::new()),
            path if path.split('/').all(is_name) => Ok(path.to_owned()),
            _ => Err(format!("must be the path of a namespace, not {text:?}")),
        }
    })?;
    Ok(given.unwrap_or_default())
}

impl ProxyProtocol {
    fn read(fields: &mut Fields<'_>) -> Result<Option<ProxyProtocol>, ConfigError> {
        const ADDRESSES: &str = "proxy_protocol_authorized_addrs";
        let behavior = fields.read("proxy_protocol_behavior", |value| {
            let text = convert::text(value)?;
            if text.is_empty() {
                return Ok(None);
            }
            let known = BEHAVIORS.iter().find(|(name, _)| *name == text).map(|(_, behavior)| Some(*behavior));
            let names = BEHAVIORS.map(|(name, _)| name).join(", ");
            known.ok_or_else(|| format!("must be one of {names}, not {text:?}"))
        })?;
        let authorized_addrs = networks(fields, ADDRESSES)?;
        let Some(behavior) = behavior.flatten() else {
            if !authorized_addrs.is_empty() {
                fields.warn(
                    ADDRESSES,
                    format!("{ADDRESSES:?} means nothing without \"proxy_protocol_behavior\""),
                );
            }
            return Ok(None);
        };
        if authorized_addrs.is_empty() && behavior != ProxyBehavior::UseAlways {
            let message = format!("{ADDRESSES:?} must name at least one address");
            return Err(fields.place_of("proxy_protocol_behavior").invalid(message));
        }
        Ok(Some(ProxyProtocol { behavior, authorized_addrs }))
    }
}

impl ClientCertificateHeader {
    fn read(fields: &mut Fields<'_>) -> Result<Option<ClientCertificateHeader>, ConfigError> {
        const HEADER: &str = "x_forwarded_for_client_cert_header";
        const STEPS: &str = "x_forwarded_for_client_cert_header_decoders";
        let name = fields.read(HEADER, |value| {
            let text = convert::text(value)?;
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            if text.chars().all(fits) { Ok(text) } else { Err("must be the name of a header".to_owned()) }
        })?;
        let decoders = fields.read(STEPS, |value| {
            let names = convert::list(value)?;
            let known = |name: &String| {
                let found = DECODERS.iter().find(|(known, _)| *known == name.trim());
                found.map(|(_, decoder)| *decoder).ok_or_else(|| {
                    format!("must be some of {}, not {name:?}", DECODERS.map(|(name, _)| name).join(", "))
                })
            };
            names.iter().filter(|name| !name.trim().is_empty()).map(known).collect::<Result<Vec<_>, _>>()
        })?;
        let decoders = decoders.unwrap_or_default();
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            if !decoders.is_empty() {
                fields.warn(STEPS, format!("{STEPS:?} means nothing without {HEADER:?}"));
            }
            return Ok(None);
        };
        Ok(Some(ClientCertificateHeader { name, decoders }))
    }
}

impl Timeouts {
    fn read(fields: &mut Fields<'_>) -> Result<Timeouts, ConfigError> {
        let mut or = |key, secs| Ok(fields.duration(key)?.unwrap_or(Duration::from_secs(secs)));
        Ok(Timeouts {
            read_header: or("http_read_header_timeout", 10)?,
            read: or("http_read_timeout", 30)?,
            write: or("http_write_timeout", 0)?,
            idle: or("http_idle_timeout", 300)?,
        })
    }

    /// The longest that a connection may be idle between two requests; `None` for ever.
    pub fn effective_idle(&self) -> Option<Duration> {
        [self.idle, self.read, self.read_header].into_iter().find(|timeout| !timeout.is_zero())
    }
}

impl JsonLimits {
    /// The deepest nesting of JSON, whatever is configured: the parser's own limit.
    pub const MAX_JSON_DEPTH: u64 = 127;

    fn read(fields: &mut Fields<'_>) -> Result<JsonLimits, ConfigError> {
        const DEPTH: &str = "max_json_depth";
        let max_depth = limit(fields, DEPTH, Self::MAX_JSON_DEPTH)?;
        if max_depth.is_none_or(|depth| depth > Self::MAX_JSON_DEPTH) {
            fields.warn(DEPTH, format!("{DEPTH:?} is taken as {}, which is the most", Self::MAX_JSON_DEPTH));
        }
        Ok(JsonLimits {
            max_depth: max_depth.unwrap_or(Self::MAX_JSON_DEPTH).min(Self::MAX_JSON_DEPTH),
            max_string_value_length: limit(fields, "max_json_string_value_length", MIB)?,
            max_object_entry_count: limit(fields, "max_json_object_entry_count", 10_000)?,
            max_array_element_count: limit(fields, "max_json_array_element_count", 10_000)?,
            max_token: limit(fields, "max_json_token", 500_000)?,
        })
    }
}

impl ForwardedFor {
    fn read(fields: &mut Fields<'_>) -> Result<Option<ForwardedFor>, ConfigError> {
        let options = ForwardedFor {
            authorized_addrs: networks(fields, "x_forwarded_for_authorized_addrs")?,
            hop_skips: fields.integer("x_forwarded_for_hop_skips", 0..=1000)?.unwrap_or(0),
            reject_not_authorized: fields.flag("x_forwarded_for_reject_not_authorized")?.unwrap_or(true),
            reject_not_present: fields.flag("x_forwarded_for_reject_not_present")?.unwrap_or(true),
            client_certificate: ClientCertificateHeader::read(fields)?,
        };
        if options.client_certificate.is_some() && options.authorized_addrs.is_empty() {
            const HEADER: &str = "x_forwarded_for_client_cert_header";
            let message = format!(
                "{HEADER:?} is believed from the proxies in \"x_forwarded_for_authorized_addrs\" alone, and none is there"
            );
            fields.warn(HEADER, message);
        }
        // Without a trusted proxy anyone could send the header: then it must not count.
        Ok(Some(options).filter(|options| !options.authorized_addrs.is_empty()))
    }
}

fn networks(fields: &mut Fields<'_>, key: &'static str) -> Result<Vec<IpNet>, ConfigError> {
    Ok(fields.read(key, outbound::networks)?.unwrap_or_default())
}

impl Unauthenticated {
    fn read(fields: &mut Fields<'_>) -> Result<Unauthenticated, ConfigError> {
        let mut access = Unauthenticated::default();
        if let Some(mut telemetry) = fields.block("telemetry")? {
            access.metrics = telemetry.switch("unauthenticated_metrics_access")?;
            telemetry.finish(&keys::LISTENER_TELEMETRY)?;
        }
        if let Some(mut profiling) = fields.block("profiling")? {
            access.pprof = profiling.switch("unauthenticated_pprof_access")?;
            // Vault's documentation shows this spelling in an example.
            access.in_flight_requests = profiling.switch("unauthenticated_in_flight_request_access")?;
            profiling.finish(&keys::LISTENER_PROFILING)?;
        }
        if let Some(mut logging) = fields.block("inflight_requests_logging")? {
            access.in_flight_requests |= logging.switch("unauthenticated_in_flight_requests_access")?;
            logging.finish(&keys::LISTENER_IN_FLIGHT)?;
        }
        Ok(access)
    }
}
