//! Networks and the attributes of addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Interface;

/// An address block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    base: IpAddr,
    prefix: u8,
}

impl Network {
    /// Reads `10.0.0.0/8`, or a single address.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a network such as \"10.0.0.0/8\"");
        let (base, prefix) = match text.split_once('/') {
            Some((base, prefix)) => (base, Some(prefix)),
            None => (text, None),
        };
        let base: IpAddr = base.trim().parse().map_err(|_malformed| wrong())?;
        let most = if base.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.trim().parse().ok().filter(|bits| *bits <= most).ok_or_else(wrong)?,
            None => most,
        };
        Ok(Self { base, prefix })
    }

    pub(crate) fn contains(&self, ip: IpAddr) -> bool {
        self.base.is_ipv4() == ip.is_ipv4() && masked(ip, self.prefix) == masked(self.base, self.prefix)
    }
}

fn mask_v4(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32_u32.saturating_sub(prefix.into())).unwrap_or(0)
}

fn mask_v6(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128_u32.saturating_sub(prefix.into())).unwrap_or(0)
}

/// The first address of the network of this many bits.
pub(crate) fn masked(ip: IpAddr, prefix: u8) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & mask_v4(prefix)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & mask_v6(prefix)).into(),
    }
}

/// The special-purpose addresses of an RFC; `None` for one that is not known.
pub(crate) fn blocks_of_rfc(number: &str) -> Option<&'static [&'static str]> {
    Some(match number {
        "1112" => &["240.0.0.0/4"],
        "1122" => &["0.0.0.0/8", "127.0.0.0/8"],
        "1918" => &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"],
        "2544" => &["198.18.0.0/15"],
        "3927" => &["169.254.0.0/16"],
        "4193" => &["fc00::/7"],
        "4291" => &["::/128", "::1/128", "fe80::/10", "ff00::/8"],
        "5737" => &["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"],
        "6598" => &["100.64.0.0/10"],
        "6890" => &[
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "240.0.0.0/4",
            "255.255.255.255/32",
            "::1/128",
            "::/128",
            "64:ff9b::/96",
            "::ffff:0:0/96",
            "100::/64",
            "2001::/23",
            "2001:db8::/32",
            "2002::/16",
            "fc00::/7",
            "fe80::/10",
        ],
        _ => return None,
    })
}

/// True if an address is in one of the blocks of an RFC.
pub(crate) fn is_of_rfc(ip: IpAddr, number: &str) -> Result<bool, String> {
    let blocks = blocks_of_rfc(number).ok_or_else(|| format!("unknown RFC {number:?}"))?;
    Ok(blocks.iter().any(|block| Network::parse(block).is_ok_and(|network| network.contains(ip))))
}

/// True if an address is one that routers forward.
pub(crate) fn is_forwardable(ip: IpAddr) -> bool {
    let stays = match ip {
        IpAddr::V4(v4) => {
            v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_multicast()
                || v4.is_broadcast()
        }
        IpAddr::V6(v6) => {
            v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast()
        }
    };
    !stays
}

/// True if an interface has a flag, by go-sockaddr's names.
pub(crate) fn has_flag(one: &Interface, flag: &str) -> Result<bool, String> {
    Ok(match flag.to_ascii_lowercase().as_str() {
        "up" => one.up,
        "down" => !one.up,
        "forwardable" | "global unicast" => is_forwardable(one.ip),
        "loopback" => one.ip.is_loopback(),
        "link-local unicast" => match one.ip {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        },
        "multicast" => one.ip.is_multicast(),
        "unspecified" => one.ip.is_unspecified(),
        _ => return Err(format!("unknown flag {flag:?}")),
    })
}

/// An attribute of an address, by go-sockaddr's names.
pub(crate) fn attribute(one: &Interface, name: &str) -> Result<String, String> {
    let network = masked(one.ip, one.prefix);
    let (broadcast, netmask) = match one.ip {
        IpAddr::V4(v4) => {
            let mask = mask_v4(one.prefix);
            (Some(Ipv4Addr::from_bits(v4.to_bits() | !mask)), IpAddr::V4(Ipv4Addr::from_bits(mask)))
        }
        IpAddr::V6(_) => (None, IpAddr::V6(Ipv6Addr::from_bits(mask_v6(one.prefix)))),
    };
    let most: u32 = if one.ip.is_ipv4() { 32 } else { 128 };
    Ok(match name.to_ascii_lowercase().as_str() {
        "address" | "host" => one.ip.to_string(),
        "broadcast" => broadcast.map(|ip| ip.to_string()).unwrap_or_default(),
        "flags" => if one.up { "up" } else { "" }.to_owned(),
        "mask_bits" => one.prefix.to_string(),
        "name" => one.name.clone(),
        "netmask" => netmask.to_string(),
        "network" => format!("{network}/{}", one.prefix),
        "port" => "0".to_owned(),
        "size" => {
            let bits = most.saturating_sub(one.prefix.into());
            1_u128
                .checked_shl(bits)
                .map_or_else(|| "340282366920938463463374607431768211456".to_owned(), |size| size.to_string())
        }
        "string" => format!("{}/{}", one.ip, one.prefix),
        "type" => if one.ip.is_ipv4() { "IPv4" } else { "IPv6" }.to_owned(),
        _ => return Err(format!("unknown attribute {name:?}")),
    })
}
