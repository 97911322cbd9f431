//! The server's `Outbound`, made of its configuration and environment.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use strongroom_config::{Config, Listener};
use strongroom_outbound::{AddressPolicy, Outbound, Proxies, Settings};
use strongroom_raft::RaftStore;
use strongroom_stdx::Clock;

/// The `Outbound` for all addresses that come from API users. `others` are the configurations of more nodes in this process,
/// whose ports are its own, too.
pub(crate) fn outbound(
    config: &Config,
    others: &[Config],
    env: impl Fn(&str) -> Option<String>,
    clock: &Clock,
) -> Outbound {
    let outbound = Outbound::new(Settings {
        proxies: Proxies::from_env(env),
        policy: policy(config),
        clock: clock.clone(),
        ..Settings::default()
    });
    let own = std::iter::once(config).chain(others).flat_map(own_addresses);
    outbound.own_addresses().set(own.collect());
    outbound
}

fn policy(config: &Config) -> AddressPolicy {
    let rules = &config.outbound;
    let policy = AddressPolicy::default().allow(rules.allowed.clone()).deny(rules.denied.clone());
    if rules.only_allowed { policy.only_allowed() } else { policy }
}

/// The ports at which this node listens, and what it advertises; names are left out.
fn own_addresses(config: &Config) -> Vec<SocketAddr> {
    let listening = config.listeners.iter().filter_map(|listener| match listener {
        Listener::Tcp(tcp) => Some([&tcp.address, &tcp.cluster_address]),
        Listener::Unix(_) => None,
    });
    let mut own: Vec<_> = listening
        .flatten()
        .filter_map(|address| {
            let everywhere = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
            let ip = if address.host.is_empty() { Some(everywhere) } else { address.host.parse().ok() };
            Some(SocketAddr::new(ip?, address.port))
        })
        .collect();
    let advertised = [&config.api_addr, &config.cluster_addr];
    own.extend(
        advertised
            .into_iter()
            .flatten()
            .filter_map(|url| url.split("://").nth(1)?.parse::<SocketAddr>().ok()),
    );
    own
}

/// The URLs at which the members of a cluster are reached.
pub(crate) fn addresses_of(peers: &RaftStore) -> Vec<String> {
    let members = peers.members().into_iter().map(|status| status.member);
    members.flat_map(|member| [member.api_address, member.cluster_address]).collect()
}

#[cfg(test)]
mod tests {
    use strongroom_outbound::{Reason, Request};

    use super::*;

    fn configured(lines: &str) -> Outbound {
        let text = format!(
            "api_addr = \"http://127.0.0.1:8210\"\ncluster_addr = \"https://192.0.2.1:8211\"\n\
             listener \"tcp\" {{\naddress = \"127.0.0.1:8200\"\ncluster_address = \":8201\"\ntls_disable = true\n}}\n{lines}"
        );
        let source = strongroom_config::Source { file: "server.hcl".into(), text };
        let config = strongroom_config::parse(&[source]).unwrap().config;
        outbound(&config, &[], |_| None, &Clock::system())
    }

    async fn is_forbidden(outbound: &Outbound, url: &str) -> bool {
        let answer = outbound.http(Request::get(url)).await;
        answer.is_err_and(|error| matches!(error.reason(), Reason::Forbidden(_)))
    }

    #[tokio::test]
    async fn the_nodes_own_ports_are_no_place_to_go() {
        let outbound = configured("");
        for url in [
            "http://127.0.0.1:8200/",
            "http://127.0.0.7:8201/",
            "http://[::1]:8201/",
            "http://127.0.0.1:8210",
            "http://192.0.2.1:8211/",
        ] {
            assert!(is_forbidden(&outbound, url).await, "{url}");
        }
        assert!(!is_forbidden(&outbound, "http://127.0.0.2:8200/").await);
    }

    #[tokio::test]
    async fn ranges_are_the_operators_choice() {
        let outbound = configured(
            "outbound_denied_ranges = [\"10.0.0.0/8\"]\noutbound_only_allowed = true\noutbound_allowed_ranges = \"127.0.0.0/8,fe80::/10\"",
        );
        for (url, forbidden) in [
            ("http://10.0.0.1/", true),
            ("http://192.0.2.9/", true),
            ("http://169.254.169.254/", true),
            ("http://127.0.0.3:1/", false),
            ("http://127.0.0.1:8200/", false),
        ] {
            assert_eq!(is_forbidden(&outbound, url).await, forbidden, "{url}");
        }
    }
}
