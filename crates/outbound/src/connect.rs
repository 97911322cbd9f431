//! Connecting: a host becomes addresses, addresses are checked, and one of them a stream.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use strongroom_outbound_api::{Error, Phase, Reason, Stream, authority};

use crate::host::Host;
use crate::outbound::Outbound;

/// The time limit for looking up a name behind a proxy, after which it counts as one that only the proxy can resolve.
const PROXIED_LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// The reason of a handshake that a server without TLS answered.
pub const NOT_TLS: &str = "tls: first record does not look like a TLS handshake";

impl Outbound {
    /// Connects to a port of a host, without TLS and without a proxy.
    ///
    /// # Errors
    ///
    /// Always [`Error::NotSent`].
    pub async fn tcp(&self, host: &str, port: u16) -> Result<Stream, Error> {
        self.dial(host, port).await.map_err(|reason| Error::NotSent { to: authority(host, port), reason })
    }

    /// Connects to a port of a host and secures the connection. `protocols` are offered in the handshake.
    ///
    /// # Errors
    ///
    /// Always [`Error::NotSent`].
    pub async fn tls(&self, host: &str, port: u16, protocols: &[&[u8]]) -> Result<Stream, Error> {
        self.start_tls(self.tcp(host, port).await?, host, protocols).await
    }

    /// Secures a connection whose protocol begins without TLS. Data that was read from it before must not be trusted.
    ///
    /// # Errors
    ///
    /// Always [`Error::NotSent`].
    pub async fn start_tls(&self, stream: Stream, host: &str, protocols: &[&[u8]]) -> Result<Stream, Error> {
        self.secure(stream, host, protocols)
            .await
            .map_err(|reason| Error::NotSent { to: host.to_owned(), reason })
    }

    pub(crate) async fn secure(
        &self,
        stream: Stream,
        host: &str,
        protocols: &[&[u8]],
    ) -> Result<Stream, Reason> {
        let unfit = |error: crate::TlsError| Reason::Tls(error.to_string());
        let name = self.tls.server_name(host).map_err(unfit)?;
        let connector = TlsConnector::from(self.tls.client_config(protocols).map_err(unfit)?);
        let below = (stream.peer(), stream.is_here());
        let handshake = self.network.within(self.timeouts.handshake, connector.connect(name, stream)).await;
        let secured = handshake
            .ok_or(Reason::TimedOut(Phase::Handshake))?
            .map_err(|error| Reason::Tls(handshake_error(&error)))?;
        let protocol = secured.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        Ok(Stream::secured(secured, below, protocol.as_deref()))
    }

    /// Connects to an address of the host that the rules permit.
    pub(crate) async fn dial(&self, host: &str, port: u16) -> Result<Stream, Reason> {
        if let Some(path) = &self.network.unix_socket {
            return self.dial_unix(path).await;
        }
        let addresses = self.permitted_addresses(host, port).await?;
        #[cfg(any(test, feature = "double"))]
        if let Some(double) = &self.network.double {
            return double.connect(host, port, &addresses);
        }
        let clock = &self.network.clock;
        let started = clock.now();
        let mut last = None;
        for (turn, address) in addresses.iter().enumerate() {
            let others = u32::try_from(addresses.len().saturating_sub(turn)).unwrap_or(u32::MAX);
            let left = self.timeouts.connect.map(|limit| {
                let left = limit.saturating_sub(clock.now().since(started));
                left.checked_div(others).unwrap_or(left)
            });
            let to = SocketAddr::new(*address, port);
            match self.network.within(left, TcpStream::connect(to)).await {
                Some(Ok(stream)) => return self.connected(stream, to),
                Some(Err(error)) => {
                    last = Some(Reason::Connect(dial_error("tcp", &authority(host, port), &error)));
                }
                None => last = Some(Reason::TimedOut(Phase::Connect)),
            }
        }
        Err(last.unwrap_or_else(|| Reason::Lookup(format!("{host} has no address"))))
    }

    /// Looks at a connection before anything is sent over it.
    fn connected(&self, stream: TcpStream, to: SocketAddr) -> Result<Stream, Reason> {
        let is_here = to.ip().is_loopback() || stream.local_addr().is_ok_and(|own| own.ip() == to.ip());
        self.check_own(to, is_here)?;
        // A latency setting that some systems refuse; requests travel without it.
        let _ = stream.set_nodelay(true);
        Ok(Stream::new(stream, Some(to), is_here))
    }

    async fn dial_unix(&self, path: &Path) -> Result<Stream, Reason> {
        let connecting = self.network.within(self.timeouts.connect, UnixStream::connect(path)).await;
        let stream = connecting.ok_or(Reason::TimedOut(Phase::Connect))?;
        let failed = |error| Reason::Connect(dial_error("unix", &path.to_string_lossy(), &error));
        Ok(Stream::new(stream.map_err(failed)?, None, true))
    }

    /// The addresses of a host that may be connected to; at least one.
    pub(crate) async fn permitted_addresses(&self, host: &str, port: u16) -> Result<Vec<IpAddr>, Reason> {
        let found = match self.read_host(host)? {
            Host::Address(address) => vec![address],
            Host::Name => {
                self.check_name(host, port)?;
                let looking = self.network.resolver.addresses(host);
                let found = self.network.within(self.timeouts.connect, looking).await;
                let failed = |error| Reason::Lookup(dial_error("tcp", &authority(host, port), &error));
                found.ok_or(Reason::TimedOut(Phase::Connect))?.map_err(failed)?
            }
        };
        let (mut permitted, mut forbidden) = (Vec::new(), None);
        for address in found {
            match self.check(SocketAddr::new(address, port)) {
                Ok(()) => permitted.push(address),
                Err(reason) => forbidden = Some(reason),
            }
        }
        if permitted.is_empty() {
            return Err(forbidden.unwrap_or_else(|| Reason::Lookup(format!("{host} has no address"))));
        }
        Ok(permitted)
    }

    /// The addresses of a host that a proxy is to connect to, as far as they are known here: all of them permitted.
    pub(crate) async fn addresses_behind_proxy(&self, host: &str, port: u16) -> Result<Vec<IpAddr>, Reason> {
        if self.policy.is_unrestricted() {
            return Ok(Vec::new());
        }
        let found = match self.read_host(host)? {
            Host::Address(address) => vec![address],
            Host::Name => {
                self.check_name(host, port)?;
                let looking = self.network.resolver.addresses(host);
                let found = self.network.within(Some(PROXIED_LOOKUP_TIMEOUT), looking).await;
                found.and_then(Result::ok).unwrap_or_default()
            }
        };
        for address in &found {
            self.check(SocketAddr::new(*address, port))?;
        }
        if found.is_empty() && self.policy.needs_an_address() {
            return Err(Reason::Forbidden(format!(
                "{host} is not known here, and only what is allowed is permitted"
            )));
        }
        Ok(found)
    }

    /// Reads a host; one that an operator wrote is left to the resolver, whatever its spelling.
    fn read_host(&self, host: &str) -> Result<Host, Reason> {
        match Host::read(host) {
            Ok(host) => Ok(host),
            Err(_spelling) if self.policy.is_unrestricted() => Ok(Host::Name),
            Err(reason) => Err(Reason::Forbidden(reason.to_owned())),
        }
    }

    /// Holds an address against the rules before it is connected to.
    pub(crate) fn check(&self, to: SocketAddr) -> Result<(), Reason> {
        self.policy.check(to.ip()).map_err(|forbidden| Reason::Forbidden(forbidden.to_string()))?;
        self.check_own(to, to.ip().to_canonical().is_loopback())
    }

    pub(crate) fn check_own(&self, to: SocketAddr, is_here: bool) -> Result<(), Reason> {
        if self.network.own.contain(to, is_here) && !self.policy.allows(to.ip()) {
            return Err(own_port(&to.ip().to_string()));
        }
        Ok(())
    }

    /// Holds a name against those of the cluster's nodes. A rule that allows their addresses allows no name.
    fn check_name(&self, name: &str, port: u16) -> Result<(), Reason> {
        if self.network.own.contain_name(name, port) && !self.policy.is_unrestricted() {
            return Err(own_port(name));
        }
        Ok(())
    }
}

fn own_port(host: &str) -> Reason {
    Reason::Forbidden(format!("connections to {host} are not permitted: it is a port of this cluster"))
}

/// Words a failed handshake. The answer of a server without TLS is named as Go's `crypto/tls` names it: it is a wrong
/// scheme or port far more often than a fault of TLS.
fn handshake_error(error: &io::Error) -> String {
    use rustls::{Error, InvalidMessage};
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => NOT_TLS.to_owned(),
        _ => error.to_string(),
    }
}

/// Words a failed attempt as Go's `net.Dial` does; scripts look for these words.
fn dial_error(network: &str, to: &str, error: &io::Error) -> String {
    let reason = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::NotFound => "connect: no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "connect: permission denied".to_owned(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => error.to_string(),
    };
    format!("dial {network} {to}: {reason}")
}
