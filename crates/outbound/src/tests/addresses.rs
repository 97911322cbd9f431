//! Rules for addresses: at each connection, at each redirect, behind each name.

use std::sync::Arc;

use super::{Names, Server, named, ok, outbound};
use crate::{AddressPolicy, Error, Outbound, Proxies, Reason, Request, Settings};

fn net(text: &str) -> ipnet::IpNet {
    text.parse().unwrap()
}

async fn refused(outbound: &Outbound, url: &str) -> String {
    let error = outbound.http(Request::get(url).follow(5)).await.unwrap_err();
    assert!(matches!(error.reason(), Reason::Forbidden(_)), "{url}: {error:?}");
    error.to_string()
}

#[tokio::test]
async fn metadata_and_addresses_of_the_link_are_not_reached() {
    let outbound = outbound();
    for url in [
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/",
        "http://[fe80::1]/",
        "http://[::ffff:169.254.169.254]/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://0.0.0.0:8200/",
        "http://0/",
        "http://[::]:8200/",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://0xA9.254.0251.0xfe/",
        "http://0251.0376.0251.0376/",
        "http://169.254.43518/",
        "http://127.1/",
        "http://2130706433/",
        "http://0177.0.0.1/",
    ] {
        let text = refused(&outbound, url).await;
        assert!(!text.contains("meta-data"), "{text}");
        let host = url.strip_prefix("http://").unwrap().split('/').next().unwrap();
        if !host.contains([':', '[']) {
            assert!(outbound.tcp(host, 80).await.unwrap_err().is_not_sent(), "{host}");
        }
    }
}

#[tokio::test]
async fn a_name_is_looked_up_once_and_its_address_checked() {
    let server = Server::start(ok).await;
    let names = Names::default();
    names.lead("inside.example", &["169.254.169.254"]).lead("empty.example", &[]);
    // The first lookup is harmless, the second is what an attacker waits for.
    names.lead("rebound.example", &["127.0.0.1"]).lead("rebound.example", &["169.254.169.254"]);
    let outbound = Outbound::new(named(&names));
    refused(&outbound, "http://inside.example/").await;
    let empty = outbound.http(Request::get("http://empty.example/")).await.unwrap_err();
    assert!(matches!(empty, Error::NotSent { reason: Reason::Lookup(_), .. }), "{empty:?}");
    let url = format!("http://rebound.example:{}/", server.port);
    outbound.http(Request::get(&url)).await.unwrap();
    // The connection that waits goes to the address that was checked; a new one is checked again.
    outbound.http(Request::get(&url)).await.unwrap();
    outbound.close_idle();
    refused(&outbound, &url).await;
    assert!(outbound.tcp("rebound.example", server.port).await.is_err());
    assert_eq!(server.arrived().len(), 2);
}

#[tokio::test]
async fn of_a_name_with_many_addresses_only_permitted_ones_are_used() {
    let server = Server::start(ok).await;
    let names = Names::default();
    names.lead("mixed.example", &["169.254.169.254", "::ffff:169.254.169.254", "127.0.0.1"]);
    let outbound = Outbound::new(named(&names));
    outbound.http(Request::get(format!("http://mixed.example:{}/", server.port))).await.unwrap();
}

#[tokio::test]
async fn each_redirect_is_looked_at_anew() {
    let names = Names::default();
    names.lead("inside.example", &["169.254.169.254"]);
    let outbound = Outbound::new(named(&names));
    for location in ["http://169.254.169.254/", "http://inside.example/", "http://0xa9fea9fe/", "//[::]/"] {
        let server = Server::start(move |_| Some(format!("302 x\nLocation: {location}\n\n"))).await;
        let error = outbound.http(Request::get(server.url("/")).follow(2)).await.unwrap_err();
        assert!(matches!(&error, Error::MayHaveArrived { reason: Reason::Forbidden(_), .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_connection_that_waits_is_only_for_those_who_may_open_it() {
    let server = Server::start(ok).await;
    let open = outbound();
    open.http(Request::get(server.url("/"))).await.unwrap();
    let narrow = open.narrowed(&AddressPolicy::default().deny([net("127.0.0.0/8")]));
    refused(&narrow, &server.url("/")).await;
    open.http(Request::get(server.url("/"))).await.unwrap();
    let connections: Vec<_> = server.arrived().iter().map(|arrived| arrived.connection).collect();
    assert_eq!(connections, [0, 0], "whoever may uses it still");
}

#[tokio::test]
async fn members_of_the_cluster_are_not_reached() {
    let server = Server::start(ok).await;
    let names = Names::default();
    names.lead("node2.example", &["127.0.0.1"]);
    names.lead("other.example", &["127.0.0.1"]);
    let outbound = Outbound::new(named(&names));
    let by_name = format!("https://node2.example:{}", server.port);
    outbound.own_addresses().add_members(move || vec![by_name.clone()]);
    let url = |host: &str| format!("http://{host}:{}/", server.port);
    assert!(refused(&outbound, &url("node2.example")).await.contains("a port of this cluster"));
    outbound.http(Request::get(url("other.example"))).await.unwrap();
    // The node is known by its address now, and so is every name of it.
    let by_address = format!("https://127.0.0.1:{}", server.port);
    outbound.own_addresses().add_members(move || vec![by_address.clone()]);
    refused(&outbound, &url("other.example")).await;
}

#[tokio::test]
async fn the_clusters_own_ports_are_not_reached_unless_allowed() {
    let server = Server::start(ok).await;
    let names = Names::default();
    names.lead("me.example", &["127.0.0.2"]);
    let outbound = Outbound::new(named(&names));
    outbound.http(Request::get(server.url("/"))).await.unwrap();
    outbound.own_addresses().set(vec![format!("0.0.0.0:{}", server.port).parse().unwrap()]);
    // The connection that waits, too.
    assert!(refused(&outbound, &server.url("/")).await.contains("a port of this cluster"));
    refused(&outbound, &format!("http://me.example:{}/", server.port)).await;
    outbound.own_addresses().set(vec![format!("127.0.0.1:{}", server.port).parse().unwrap()]);
    refused(&outbound, &server.url("/")).await;
    refused(&outbound, &format!("http://[::ffff:127.0.0.1]:{}/", server.port)).await;
    let allowed = outbound.with_policy(AddressPolicy::default().allow([net("127.0.0.1/32")]));
    allowed.http(Request::get(server.url("/"))).await.unwrap();
    let elsewhere = Server::start(ok).await;
    outbound.http(Request::get(elsewhere.url("/"))).await.unwrap();
}

/// This machine by an address that is no loopback address, where it has one.
#[tokio::test]
async fn a_port_of_this_machine_is_known_by_whatever_address() {
    let probe = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let _ = probe.connect("192.0.2.1:9");
    let here = probe.local_addr().unwrap().ip();
    if here.is_loopback() || here.is_unspecified() {
        eprintln!("skipped: no address but loopback");
        return;
    }
    let listener = tokio::net::TcpListener::bind((here, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let outbound = outbound();
    outbound.tcp(&here.to_string(), port).await.unwrap();
    outbound.own_addresses().set(vec![format!("[::]:{port}").parse().unwrap()]);
    let error = outbound.tcp(&here.to_string(), port).await.unwrap_err();
    assert!(matches!(error, Error::NotSent { reason: Reason::Forbidden(_), .. }), "{error:?}");
}

#[tokio::test]
async fn behind_a_proxy_what_can_be_known_is_checked() {
    let proxy = Server::start(ok).await;
    let names = Names::default();
    names.lead("inside.example", &["8.8.8.8", "169.254.169.254"]).lead("fine.example", &["192.0.2.1"]);
    let url = format!("http://127.0.0.1:{}", proxy.port);
    let proxies = Proxies::by_scheme(Some(&url), Some(&url), None);
    let outbound = Outbound::new(Settings { proxies, ..named(&names) });
    for url in [
        "http://169.254.169.254/",
        "https://[::ffff:a9fe:a9fe]/",
        "http://inside.example/",
        "http://2852039166/",
    ] {
        refused(&outbound, url).await;
    }
    assert!(proxy.arrived().is_empty());
    outbound.http(Request::get("http://fine.example/")).await.unwrap();
    outbound.http(Request::get("http://only-the-proxy-knows.example/")).await.unwrap();
    let ranges = [net("127.0.0.0/8"), net("192.0.2.0/24")];
    let strict = outbound.with_policy(AddressPolicy::default().allow(ranges).only_allowed());
    strict.http(Request::get("http://fine.example/")).await.unwrap();
    // The connection that waits for it is no way around.
    refused(&strict, "http://only-the-proxy-knows.example/").await;
    let without_proxy = outbound.with_policy(AddressPolicy::default().deny([net("127.0.0.0/8")]));
    assert!(
        refused(&without_proxy, "http://fine.example/").await.contains("127.0.0.1"),
        "the proxy's own address"
    );
    assert_eq!(proxy.arrived().len(), 3);
}

#[tokio::test]
async fn who_may_do_everything_may() {
    let server = Server::start(ok).await;
    let policy = AddressPolicy::unrestricted();
    let outbound =
        Outbound::new(Settings { policy, resolver: Arc::new(crate::SystemResolver), ..Settings::default() });
    outbound.own_addresses().set(vec![format!("127.0.0.1:{}", server.port).parse().unwrap()]);
    outbound.http(Request::get(format!("http://0.0.0.0:{}/", server.port))).await.unwrap();
    outbound.http(Request::get(format!("http://localhost:{}/", server.port))).await.unwrap();
}
