//! Connections to one server: over TCP or a Unix socket, through a proxy or not, with TLS or without.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use strongroom_outbound::{
    AddressPolicy, Outbound, Proxies, Resolver, Settings, SystemResolver, Timeouts, Tls,
};

use crate::address::Target;
use crate::config::{Config, Proxy};
use crate::error::ConfigError;
use crate::{Address, srv, tls};

/// The way out for the requests of a client. Files are read now, what the system trusts where HTTPS needs it.
pub(crate) fn outbound(config: &Config, address: &Address) -> Result<Outbound, ConfigError> {
    let settings = tls::settings(&config.tls)?;
    let given = &config.tls;
    let files = [&given.ca_cert, &given.ca_path, &given.client_cert, &given.client_key];
    let is_needed = address.https || given.ca_bytes.is_some() || files.iter().any(|file| file.is_some());
    let tls = if is_needed { Tls::new(settings)? } else { Tls::lazy(settings) };
    let unix_socket = match &address.target {
        Target::Unix(path) => Some(path.clone()),
        Target::Tcp { host, .. } => {
            // A name that cannot be verified is better told now than at the first request.
            tls.server_name(host)?;
            None
        }
    };
    let resolver: Arc<dyn Resolver> =
        if config.srv_lookup { Arc::new(ServiceRecords) } else { Arc::new(SystemResolver) };
    Ok(Outbound::new(Settings {
        resolver,
        proxies: config.proxy.proxies(),
        // Whoever uses the client says where it goes.
        policy: AddressPolicy::unrestricted(),
        tls,
        // The client has a limit around all of its attempts.
        timeouts: Timeouts::NONE,
        unix_socket,
        ..Settings::default()
    }))
}

impl Proxy {
    fn proxies(&self) -> Proxies {
        match &self.all {
            Some(all) => Proxies::all(all),
            None => Proxies::by_scheme(self.http.as_deref(), self.https.as_deref(), self.no_proxy.as_deref()),
        }
    }
}

/// Names as `VAULT_SRV_LOOKUP` has them: one without a port is a service.
struct ServiceRecords;

#[async_trait]
impl Resolver for ServiceRecords {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        SystemResolver.addresses(name).await
    }

    async fn service(&self, name: &str) -> io::Result<Option<(String, u16)>> {
        srv::lookup(name).await.map(Some)
    }
}
