//! Rules for addresses: which ones the server may connect to.
//!
//! A client that may configure an engine names hosts to which the server then connects, from inside its network
//! (server-side request forgery). So the addresses where that does harm are forbidden unless the server's configuration
//! allows them: the metadata services of clouds, link-local addresses, the cluster's own ports, and addresses that
//! identify no host. Private ranges are not forbidden: that is where databases are.
//!
//! Rules are about addresses and not about names, and are applied to the address that is connected to (see
//! [`crate::Outbound`]): a name may resolve to another address the next time. An IPv6 address that embeds an IPv4
//! address (mapped, NAT64, 6to4, Teredo, ISATAP) must be permitted as both.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;

/// The addresses of the metadata services of clouds that are not link-local.
const METADATA: [IpAddr; 6] = [
    // AWS, Google Cloud, Azure, OpenStack and others.
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    // Alibaba Cloud.
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    // Azure's host (WireServer).
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    // Oracle Cloud.
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    // AWS over IPv6.
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    // Google Cloud over IPv6.
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// The rules of which addresses may be connected to. Cheap to clone.
///
/// The order of the rules: what is denied is forbidden; what is allowed is permitted, even where it is forbidden by
/// itself; what is forbidden by itself is forbidden; the rest is permitted, unless only what is allowed is to be.
#[derive(Clone, Debug, Default)]
pub struct AddressPolicy {
    own: Rules,
    /// Policies that have to permit an address, too; what they allow lifts nothing.
    outer: Vec<Arc<Self>>,
}

#[derive(Clone, Debug, Default)]
struct Rules {
    denied: Vec<IpNet>,
    allowed: Vec<IpNet>,
    only_allowed: bool,
    unrestricted: bool,
}

/// An address that a policy forbids, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("connections to {address} are not permitted: {reason}")]
pub struct Forbidden {
    address: IpAddr,
    reason: &'static str,
}

impl AddressPolicy {
    /// Permits everything: for addresses that the server's configuration or a command's user names.
    pub fn unrestricted() -> Self {
        Self { own: Rules { unrestricted: true, ..Rules::default() }, outer: Vec::new() }
    }

    /// Forbids ranges, whatever else allows them.
    #[must_use]
    pub fn deny(mut self, ranges: impl IntoIterator<Item = IpNet>) -> Self {
        self.own.denied.extend(ranges.into_iter().map(canonical_range));
        self
    }

    /// Permits ranges, also where they are forbidden by themselves.
    #[must_use]
    pub fn allow(mut self, ranges: impl IntoIterator<Item = IpNet>) -> Self {
        self.own.allowed.extend(ranges.into_iter().map(canonical_range));
        self
    }

    /// Forbids everything that is not in an allowed range.
    #[must_use]
    pub fn only_allowed(mut self) -> Self {
        self.own.only_allowed = true;
        self
    }

    /// The same, narrowed by a policy that applies as well: a namespace's under its server's. Neither can permit what the
    /// other forbids.
    #[must_use]
    pub fn within(mut self, outer: &Self) -> Self {
        self.outer.push(Arc::new(outer.clone()));
        self
    }

    /// True if nothing at all is forbidden.
    pub fn is_unrestricted(&self) -> bool {
        self.own.unrestricted
            && self.own.denied.is_empty()
            && self.outer.iter().all(|outer| outer.is_unrestricted())
    }

    /// True if an address that is not known is forbidden.
    pub(crate) fn needs_an_address(&self) -> bool {
        self.own.only_allowed || self.outer.iter().any(|outer| outer.needs_an_address())
    }

    /// Looks an address up in the rules.
    ///
    /// # Errors
    ///
    /// It is forbidden.
    pub fn check(&self, address: IpAddr) -> Result<(), Forbidden> {
        for outer in &self.outer {
            outer.check(address)?;
        }
        for face in faces(address) {
            self.own.check(face).map_err(|reason| Forbidden { address, reason })?;
        }
        Ok(())
    }

    /// True if an address is allowed by name of its range, and not only because nothing forbids it.
    pub(crate) fn allows(&self, address: IpAddr) -> bool {
        let named = |face: &IpAddr| self.own.unrestricted || contains(&self.own.allowed, *face);
        faces(address).iter().any(named) && self.outer.iter().all(|outer| outer.allows(address))
    }
}

impl Rules {
    fn check(&self, address: IpAddr) -> Result<(), &'static str> {
        if contains(&self.denied, address) {
            return Err("the range is denied");
        }
        if self.unrestricted || contains(&self.allowed, address) {
            return Ok(());
        }
        if let Some(reason) = forbidden_by_itself(address) {
            return Err(reason);
        }
        if self.only_allowed { Err("the range is not allowed") } else { Ok(()) }
    }
}

fn contains(ranges: &[IpNet], address: IpAddr) -> bool {
    ranges.iter().any(|range| range.contains(&address))
}

fn forbidden_by_itself(address: IpAddr) -> Option<&'static str> {
    if METADATA.contains(&address) {
        return Some("it is where clouds keep a machine's credentials");
    }
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    if link_local {
        return Some("it is an address of the link");
    }
    let nowhere = match address {
        IpAddr::V4(address) => address.octets()[0] == 0 || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unspecified(),
    };
    (nowhere || address.is_multicast()).then_some("it is no address of a server")
}

/// The addresses that an address denotes: itself and the IPv4 address embedded in it. A mapped IPv4 address is that
/// address alone.
fn faces(address: IpAddr) -> Vec<IpAddr> {
    let address = address.to_canonical();
    let IpAddr::V6(six) = address else { return vec![address] };
    let segments = six.segments();
    let of = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    let mut faces = vec![address];
    let mut add = |high, low| faces.push(of(high, low));
    match segments {
        // IPv4-compatible (RFC 4291, section 2.5.5.1); "::" and "::1" are IPv6's own.
        [0, 0, 0, 0, 0, 0, high, low] if (high, low) != (0, 0) && (high, low) != (0, 1) => add(high, low),
        // IPv4-translated (RFC 2765) and NAT64 (RFC 6052, and RFC 8215 with the address at its end).
        [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low]
        // 6to4 (RFC 3056).
        | [0x2002, high, low, _, _, _, _, _]
        // ISATAP (RFC 5214).
        | [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => add(high, low),
        // Teredo (RFC 4380): a server, and a client with all bits turned.
        [0x2001, 0, high, low, _, _, client_high, client_low] => {
            add(high, low);
            add(!client_high, !client_low);
        }
        _ => {}
    }
    faces
}

/// A range of mapped IPv4 addresses is one of IPv4 addresses.
fn canonical_range(range: IpNet) -> IpNet {
    const MAPPED_BITS: u8 = 96;
    let IpNet::V6(six) = range else { return range };
    let four = six.network().to_ipv4_mapped();
    let bits = six.prefix_len().checked_sub(MAPPED_BITS);
    match four.zip(bits).and_then(|(four, bits)| IpNet::new(four.into(), bits).ok()) {
        Some(range) => range,
        None => range,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn permitted(policy: &AddressPolicy, address: &str) -> bool {
        policy.check(ip(address)).is_ok()
    }

    #[test]
    fn places_that_do_harm_are_forbidden_however_they_are_written() {
        let policy = AddressPolicy::default();
        for address in [
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fe80::1",
            "0.0.0.0",
            "0.1.2.3",
            "255.255.255.255",
            "224.0.0.1",
            "ff02::1",
            "::",
            "::ffff:169.254.169.254",
            "::ffff:0.0.0.0",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::a9fe:a9fe",
            "64:ff9b:1:7:8:9:a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "fd00::5efe:169.254.169.254",
            "fd00::200:5efe:169.254.169.254",
            "2001:0:a9fe:a9fe::",
            "2001::5601:5601",
        ] {
            assert!(!permitted(&policy, address), "{address}");
        }
        for address in
            ["127.0.0.1", "::1", "10.0.0.1", "192.0.2.1", "fd00::1", "2001:db8::1", "64:ff9b::8.8.8.8"]
        {
            assert!(permitted(&policy, address), "{address}");
        }
    }

    #[test]
    fn denied_goes_before_allowed_and_allowed_before_what_is_forbidden_by_itself() {
        let policy = AddressPolicy::default()
            .allow([net("169.254.169.254/32"), net("10.0.0.0/8")])
            .deny([net("10.1.0.0/16"), net("::ffff:192.0.2.0/120")]);
        for (address, wanted) in [
            ("169.254.169.254", true),
            ("169.254.169.253", false),
            ("10.0.0.1", true),
            ("10.1.0.1", false),
            ("::ffff:10.1.0.1", false),
            ("64:ff9b::10.1.0.1", false),
            ("192.0.2.7", false),
            ("8.8.8.8", true),
        ] {
            assert_eq!(permitted(&policy, address), wanted, "{address}");
        }
        let only = policy.only_allowed();
        assert!(permitted(&only, "10.0.0.1") && !permitted(&only, "8.8.8.8"));
        assert!(!permitted(&only, "64:ff9b::10.0.0.1"), "the IPv6 address is not allowed");
    }

    #[test]
    fn a_policy_within_another_only_narrows() {
        let server = AddressPolicy::default().allow([net("fe80::/10")]).deny([net("127.0.0.0/8")]);
        let namespace = AddressPolicy::default()
            .allow([net("127.0.0.0/8"), net("169.254.0.0/16"), net("fe80::1/128"), net("10.0.0.0/8")])
            .only_allowed()
            .within(&server);
        for (address, wanted) in [
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("fe80::1", true),
            ("fe80::2", false),
            ("10.0.0.1", true),
            ("8.8.8.8", false),
        ] {
            assert_eq!(permitted(&namespace, address), wanted, "{address}");
        }
        let open = AddressPolicy::unrestricted();
        assert!(permitted(&open, "169.254.169.254") && open.is_unrestricted());
        assert!(!AddressPolicy::unrestricted().within(&server).is_unrestricted());
    }
}
