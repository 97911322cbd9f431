//! The addresses of the machine's network interfaces.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The interface's name.
    pub name: String,
    /// The address.
    pub ip: IpAddr,
    /// The bits of its network.
    pub prefix: u8,
    /// True if the interface is up.
    pub up: bool,
    /// True if the default route of the address's family leads through the interface.
    pub default_route: bool,
}

/// The addresses of this machine.
pub(crate) fn system() -> io::Result<Vec<Interface>> {
    let defaults = [default_routes_v4(), default_routes_v6()];
    let found = if_addrs::get_if_addrs()?.into_iter().map(|found| {
        let (ip, prefix) = match &found.addr {
            if_addrs::IfAddr::V4(v4) => (IpAddr::V4(v4.ip), v4.netmask.to_bits().count_ones()),
            if_addrs::IfAddr::V6(v6) => (IpAddr::V6(v6.ip), v6.netmask.to_bits().count_ones()),
        };
        let [v4, v6] = &defaults;
        let through = if ip.is_ipv4() { v4 } else { v6 };
        Interface {
            default_route: through.contains(&found.name),
            up: is_up(&found.name),
            prefix: u8::try_from(prefix).unwrap_or(u8::MAX),
            name: found.name,
            ip,
        }
    });
    Ok(found.collect())
}

/// The flags of an interface as Linux shows them; one that cannot be looked at has an address and counts as up.
fn is_up(name: &str) -> bool {
    const IFF_UP: u32 = 1;
    let flags = fs::read_to_string(format!("/sys/class/net/{name}/flags")).ok();
    let flags = flags.and_then(|text| u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok());
    flags.is_none_or(|flags| flags & IFF_UP != 0)
}

/// The interfaces of IPv4's default routes: lines of `Iface Destination Gateway Flags … Mask …`.
fn default_routes_v4() -> BTreeSet<String> {
    let table = fs::read_to_string("/proc/net/route").unwrap_or_default();
    routes_v4(&table)
}

fn routes_v4(table: &str) -> BTreeSet<String> {
    let default = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [name, "00000000", _gateway, _flags, _refs, _use, _metric, "00000000", ..] = columns[..] else {
            return None;
        };
        Some(name.to_owned())
    };
    table.lines().filter_map(default).collect()
}

/// The interfaces of IPv6's default routes: lines of `destination bits source bits gateway … flags name`.
fn default_routes_v6() -> BTreeSet<String> {
    let table = fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
    routes_v6(&table)
}

fn routes_v6(table: &str) -> BTreeSet<String> {
    const NOWHERE: &str = "00000000000000000000000000000000";
    let default = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [NOWHERE, "00", _source, _bits, gateway, .., name] = columns[..] else { return None };
        (gateway != NOWHERE).then(|| name.to_owned())
    };
    table.lines().filter_map(default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_of_linux_are_read() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                     eth0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
                     eth1\t0000000A\t00000000\t0001\t0\t0\t100\t0000FFFF\t0\t0\t0\n";
        assert_eq!(routes_v4(table), ["eth0".to_owned()].into());
        let table = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
                     fe800000000000000000000000000001 00000400 00000001 00000000 00450003 eth0\n\
                     00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
                     00000000000000000000000000000000 ffffffff 00000001 00000000 00200200 lo\n";
        assert_eq!(routes_v6(table), ["eth0".to_owned()].into());
    }

    #[test]
    fn this_machine_has_a_loopback_address() {
        let all = system().unwrap();
        assert!(all.iter().any(|one| one.ip.is_loopback() && one.up && one.prefix >= 8), "{all:?}");
    }
}
