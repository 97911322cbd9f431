//! `auto_join`: finding the nodes of a cluster.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use strongroom_config::{Address, AutoJoin, DEFAULT_PORT, Provider, SCHEMES};
use strongroom_node::Discovery;
use strongroom_stdx::Secret;

/// The time limit of a lookup of a name.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// As [`strongroom_node::JoinClient::discovery`].
pub(crate) fn discovery(
    expression: &Secret<String>,
    scheme: Option<&str>,
    port: Option<u16>,
) -> Result<Arc<dyn Discovery>, String> {
    let known = |wanted: &str| SCHEMES.into_iter().find(|scheme| *scheme == wanted);
    let scheme = known(scheme.unwrap_or("https")).ok_or("needs \"https\" or \"http\" as auto_join_scheme")?;
    Ok(Arc::new(Lookup(AutoJoin::parse(expression, scheme, port.unwrap_or(DEFAULT_PORT))?)))
}

/// Finds what an expression names.
pub(crate) struct Lookup(pub(crate) AutoJoin);

#[async_trait]
impl Discovery for Lookup {
    fn expression(&self) -> Secret<String> {
        Secret::new(format!("{:?}", self.0))
    }

    async fn addresses(&self) -> Result<Vec<String>, String> {
        let Self(auto_join) = self;
        let name = match &auto_join.provider {
            Provider::Static(addresses) => {
                return Ok(addresses.iter().map(|address| auto_join.url(address)).collect());
            }
            Provider::Dns(name) => name,
        };
        let failed = |error: &dyn std::fmt::Display| format!("{name}: {error}");
        let looking = tokio::net::lookup_host((name.as_str(), auto_join.port));
        let found = tokio::time::timeout(LOOKUP_TIMEOUT, looking).await.map_err(|late| failed(&late))?;
        let url = |found: std::net::SocketAddr| {
            auto_join.url(&Address { host: found.ip().to_string(), port: found.port() })
        };
        let mut urls: Vec<String> = found.map_err(|error| failed(&error))?.map(url).collect();
        urls.sort_unstable();
        urls.dedup();
        Ok(urls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn found(expression: &str) -> Result<Vec<String>, String> {
        let discovery = discovery(&Secret::new(expression.to_owned()), Some("http"), Some(8300))?;
        discovery.addresses().await
    }

    #[tokio::test]
    async fn names_are_looked_up() {
        let local = found("provider=dns name=localhost").await.unwrap();
        assert!(local.contains(&"http://127.0.0.1:8300".to_owned()), "{local:?}");
        assert_eq!(found("provider=dns name=127.0.0.1").await.unwrap(), ["http://127.0.0.1:8300"]);
        let unknown = found("provider=dns name=nobody.invalid").await.unwrap_err();
        assert!(unknown.starts_with("nobody.invalid: "), "{unknown}");
    }

    #[tokio::test]
    async fn what_is_listed_is_taken_as_it_is() {
        let listed = found("provider=static addrs=nobody.invalid,10.0.0.2:1").await.unwrap();
        assert_eq!(listed, ["http://nobody.invalid:8300", "http://10.0.0.2:1"]);
        let wrong = discovery(&Secret::new("provider=mdns".to_owned()), None, None).err().unwrap();
        assert_eq!(wrong, "provider \"mdns\" is not supported; supported are \"static\", \"dns\"");
        assert!(discovery(&Secret::new(String::new()), Some("ftp"), None).is_err());
    }
}
