//! Looking up names.

use std::io;
use std::net::IpAddr;

use async_trait::async_trait;

/// Looks up names. It is asked once for each connection, and the connection goes to an address that it answered.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// All addresses of a name.
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>>;

    /// The host and port that stand behind what a URL names without a port; `None` where it means what it says.
    async fn service(&self, _name: &str) -> io::Result<Option<(String, u16)>> {
        Ok(None)
    }
}

/// The operating system's way: its files, name servers and order.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        // The port is not looked up.
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|found| found.ip()).collect())
    }
}
