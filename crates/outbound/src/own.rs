//! The ports of this cluster, to which nothing connects on behalf of a client: whoever is let in by its address, as a
//! proxy is, would be impersonated by the server itself.
//!
//! They are asked for at each connection, since nodes join and leave. Names are not resolved here: an address that only
//! a name leads to is known by that name alone.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};

use http::Uri;

use strongroom_outbound_api::Target;

/// Answers the URLs at which nodes are reached now.
type Members = Box<dyn Fn() -> Vec<String> + Send + Sync>;

/// The addresses at which the nodes of this cluster are reached, with their ports. Clones share them.
///
/// An address without a host (`0.0.0.0`, `::`) is a port of this machine, whatever address of it is used.
#[derive(Clone, Default)]
pub struct OwnAddresses(Arc<RwLock<Known>>);

#[derive(Default)]
struct Known {
    configured: Vec<SocketAddr>,
    members: Vec<Members>,
}

impl OwnAddresses {
    /// Replaces those that are configured.
    pub fn set(&self, addresses: Vec<SocketAddr>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).configured = addresses;
    }

    /// Adds the members of a cluster, as URLs: `members` is asked at each connection.
    pub fn add_members(&self, members: impl Fn() -> Vec<String> + Send + Sync + 'static) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).members.push(Box::new(members));
    }

    /// True if `to` is one of them. `is_here`: it is an address of this machine.
    pub(crate) fn contain(&self, to: SocketAddr, is_here: bool) -> bool {
        let to_ip = to.ip().to_canonical();
        let is_own = |ip: IpAddr, port: u16| {
            let ip = ip.to_canonical();
            port == to.port() && (ip == to_ip || (ip.is_unspecified() && is_here))
        };
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.configured.iter().any(|own| is_own(own.ip(), own.port()))
            || known.any_member(|host, port| host.parse().is_ok_and(|ip| is_own(ip, port)))
    }

    /// True if a member is reached by this name and port.
    pub(crate) fn contain_name(&self, name: &str, port: u16) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.any_member(|host, of| of == port && host.eq_ignore_ascii_case(name.trim_end_matches('.')))
    }
}

impl Known {
    fn any_member(&self, is: impl Fn(&str, u16) -> bool) -> bool {
        self.members.iter().flat_map(|members| members()).any(|url| {
            let target = url.parse::<Uri>().ok().and_then(|uri| Target::of(&uri).ok());
            target.is_some_and(|target| is(&target.host, target.port()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_are_ports_of_nodes() {
        let own = OwnAddresses::default();
        own.clone().set(vec!["10.0.0.1:8201".parse().unwrap(), "0.0.0.0:8200".parse().unwrap()]);
        let is = |to: &str, here| own.contain(to.parse().unwrap(), here);
        assert!(is("10.0.0.1:8201", false) && is("[::ffff:10.0.0.1]:8201", false));
        assert!(!is("10.0.0.1:5432", false) && !is("10.0.0.2:8201", true));
        assert!(is("127.0.0.1:8200", true) && is("192.0.2.9:8200", true) && !is("192.0.2.9:8200", false));
    }

    #[test]
    fn members_are_asked_for_each_time() {
        let own = OwnAddresses::default();
        let members = Arc::new(RwLock::new(vec!["https://10.0.0.2:8201".to_owned()]));
        let asked = members.clone();
        own.add_members(move || asked.read().unwrap().clone());
        let is = |to: &str| own.contain(to.parse().unwrap(), false);
        assert!(is("10.0.0.2:8201") && !is("10.0.0.3:8201") && !is("10.0.0.2:443"));
        *members.write().unwrap() = vec![
            "https://[fd00::3]:8201".to_owned(),
            "https://Node4.example".to_owned(),
            "not an address".to_owned(),
        ];
        assert!(!is("10.0.0.2:8201") && is("[fd00::3]:8201"));
        assert!(own.contain_name("node4.example.", 443) && !own.contain_name("node4.example", 8201));
    }
}
