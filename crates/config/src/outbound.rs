//! The addresses that the server may connect to on behalf of API users. These keys are ours.

use ipnet::IpNet;
use strongroom_hcl::Value;

use crate::fields::Fields;
use crate::{ConfigError, convert};

/// Ranges of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outbound {
    /// Permitted, also where they are forbidden by themselves.
    pub allowed: Vec<IpNet>,
    /// Forbidden, whatever allows them.
    pub denied: Vec<IpNet>,
    /// Whatever is not allowed is forbidden.
    pub only_allowed: bool,
}

impl Outbound {
    pub(crate) fn read(fields: &mut Fields<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            allowed: fields.read("outbound_allowed_ranges", networks)?.unwrap_or_default(),
            denied: fields.read("outbound_denied_ranges", networks)?.unwrap_or_default(),
            only_allowed: fields.switch("outbound_only_allowed")?,
        })
    }
}

/// A list of networks, or of single addresses.
pub(crate) fn networks(value: &Value) -> Result<Vec<IpNet>, String> {
    convert::list(value)?.iter().map(|text| network(text)).collect()
}

fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<std::net::IpAddr>().ok().map(IpNet::from);
    let network = text.parse::<IpNet>().ok().or_else(address);
    network.ok_or_else(|| format!("must be IP addresses or networks such as \"10.0.0.0/8\", not {text:?}"))
}
