//! `math`: arithmetic on the addresses of interfaces.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Interface;
use crate::address::masked;

/// An interface with another address. `operation` is `address`, `network` or `mask`, and `value` a number: signed for the
/// first two, the size of a network for `mask`.
///
/// # Errors
///
/// An unknown operation, or a value that is no number for it.
pub(crate) fn math(one: Interface, operation: &str, value: &str) -> Result<Interface, String> {
    match operation.to_ascii_lowercase().as_str() {
        "address" => Ok(Interface { ip: plus(one.ip, signed(operation, value)?), ..one }),
        "network" => {
            let by = signed(operation, value)?;
            let hosts = hosts(one.ip, one.prefix);
            let network = masked(one.ip, one.prefix);
            // Within the network: counted from its first address, or backwards, where -1 is the last.
            let steps = by.unsigned_abs() & hosts;
            let offset = if by < 0 { 0u128.wrapping_sub(steps) & hosts } else { steps };
            let offset = i128::from_ne_bytes(offset.to_ne_bytes());
            Ok(Interface { ip: plus(network, offset), ..one })
        }
        "mask" => {
            let most: u8 = if one.ip.is_ipv4() { 32 } else { 128 };
            let bits = value.trim_start_matches('/').parse().ok().filter(|bits| *bits <= most);
            let bits: u8 = bits.ok_or_else(|| format!("{value:?} is not the size of a network"))?;
            Ok(Interface { ip: masked(one.ip, bits), prefix: one.prefix.min(bits), ..one })
        }
        _ => Err(format!("unknown math operation {operation:?}")),
    }
}

/// A number with its sign, which go-sockaddr wants written.
fn signed(operation: &str, value: &str) -> Result<i128, String> {
    let number = value.parse().ok().filter(|_| value.starts_with(['+', '-']));
    number.ok_or_else(|| {
        format!("math {operation:?} takes a number with its sign, such as \"+1\", not {value:?}")
    })
}

/// The last address of a network, counted from its first.
fn hosts(ip: IpAddr, prefix: u8) -> u128 {
    let bits = if ip.is_ipv4() { 32_u32 } else { 128 };
    let hosts = bits.saturating_sub(prefix.into());
    u128::MAX.checked_shr(128_u32.saturating_sub(hosts)).unwrap_or(0)
}

/// An address so many further on; behind the last one comes the first.
fn plus(ip: IpAddr, by: i128) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => {
            let sum = i128::from(v4.to_bits()).wrapping_add(by).rem_euclid(1 << 32);
            Ipv4Addr::from_bits(u32::try_from(sum).unwrap_or_default()).into()
        }
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits().wrapping_add_signed(by)).into(),
    }
}
