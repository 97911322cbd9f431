//! The `audit` blocks: audit devices that the configuration declares.
//!
//! A block is checked for its form alone. Whether the device can be opened is found out where it is made, by the active
//! node; types of devices and their options are facts of the audit devices, which this crate does not know.
//!
//! Source: <https://openbao.org/docs/configuration/audit>.

use std::collections::BTreeMap;

use strongroom_hcl::Value;

use crate::fields::Fields;
use crate::{ConfigError, Place, convert, keys};

/// An audit device that the configuration declares: `audit "TYPE" "PATH" { … }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditDevice {
    /// The type, such as `file`.
    pub kind: String,
    /// The path in the root namespace, with one slash at its end.
    pub path: String,
    /// A description for people.
    pub description: String,
    /// The device's options.
    pub options: BTreeMap<String, String>,
    /// The device is left out of replication.
    pub local: bool,
    /// The place of the block.
    pub place: Place,
}

/// The declared devices of all files, in their order.
pub(crate) fn read(fields: &mut Fields<'_>) -> Result<Vec<AuditDevice>, ConfigError> {
    let mut devices = Vec::<AuditDevice>::new();
    for ([kind, path], mut block) in fields.labelled_twice("audit")? {
        let place = block.place();
        let path = as_kept(&path).map_err(|reason| place.invalid(format!("{} {reason}", block.scope())))?;
        // As over the API: a device's path is not within that of another.
        let other =
            devices.iter().find(|other| other.path.starts_with(&path) || path.starts_with(&other.path));
        if let Some(other) = other {
            let message = format!("{}: the path is taken by the block at {}", block.scope(), other.place);
            return Err(place.invalid(message));
        }
        let device = AuditDevice {
            kind,
            path,
            description: block.text("description")?.unwrap_or_default(),
            options: options(&mut block)?,
            local: block.switch("local")?,
            place,
        };
        block.finish(&keys::AUDIT)?;
        devices.push(device);
    }
    Ok(devices)
}

/// A path as devices have it.
fn as_kept(path: &str) -> Result<String, &'static str> {
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("needs a path such as \"to-disk\", without empty parts");
    }
    if path.chars().any(|c| c.is_control() || (c.is_whitespace() && c != ' ')) || path.trim() != path {
        return Err("has a path with characters that cannot be printed");
    }
    Ok(format!("{path}/"))
}

/// The options: `options { file_path = "…" }`, or `options = { … }`.
fn options(block: &mut Fields<'_>) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut options = BTreeMap::new();
    let Some(given) = block.block("options")? else { return Ok(options) };
    for (place, item) in given.into_items() {
        let value = match &item.value {
            Value::Bool(_) | Value::Number(_) => Ok(item.value.to_json().to_string()),
            other => convert::text(other),
        };
        let value = value.map_err(|reason| place.invalid(format!("{:?} {reason}", item.key)))?;
        if options.insert(item.key.clone(), value).is_some() {
            return Err(place.invalid(format!("{:?} is set twice", item.key)));
        }
    }
    Ok(options)
}
