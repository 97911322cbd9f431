//! The options an operator gives when enabling a device, all of them text.
//!
//! Source: [common configuration options](https://developer.hashicorp.com/vault/docs/audit#common-configuration-options).

use std::collections::BTreeMap;

use crate::error::AuditError;

/// The form of a device's records: the options all types of device share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatOptions {
    /// Hash nothing but the headers whose own setting says so. Default: false.
    pub log_raw: bool,
    /// Hash token accessors. Default: true.
    pub hmac_accessor: bool,
    /// In responses to list requests, write how many `keys` and `key_info` there are instead of them. Default: false.
    pub elide_list_responses: bool,
    /// Text before each line. Default: empty.
    pub prefix: String,
}

impl Default for FormatOptions {
    fn default() -> Self {
        Self { log_raw: false, hmac_accessor: true, elide_list_responses: false, prefix: String::new() }
    }
}

/// Options not yet read. Those that are left at the end are unknown.
pub(crate) struct Options<'a> {
    device_type: &'static str,
    given: BTreeMap<&'a str, &'a str>,
}

impl<'a> Options<'a> {
    pub(crate) fn new(device_type: &'static str, given: &'a BTreeMap<String, String>) -> Self {
        Self {
            device_type,
            given: given.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        }
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<&'a str> {
        self.given.remove(name)
    }

    /// The common options.
    pub(crate) fn format(&mut self, allow_prefixing: bool) -> Result<FormatOptions, AuditError> {
        match self.take("format").unwrap_or_default() {
            "" | "json" => {}
            "jsonx" => return Err(AuditError::Jsonx),
            other => return Err(AuditError::UnknownFormat(other.to_owned())),
        }
        let prefix = self.take("prefix").unwrap_or_default();
        if !prefix.is_empty() && !allow_prefixing {
            return Err(AuditError::PrefixNotAllowed);
        }
        Ok(FormatOptions {
            log_raw: self.flag("log_raw", false)?,
            hmac_accessor: self.flag("hmac_accessor", true)?,
            elide_list_responses: self.flag("elide_list_responses", false)?,
            prefix: prefix.to_owned(),
        })
    }

    /// A boolean in any of the spellings Vault reads.
    pub(crate) fn flag(&mut self, option: &'static str, default: bool) -> Result<bool, AuditError> {
        match self.take(option) {
            None => Ok(default),
            Some("1" | "t" | "T" | "true" | "True" | "TRUE") => Ok(true),
            Some("0" | "f" | "F" | "false" | "False" | "FALSE") => Ok(false),
            Some(value) => {
                Err(AuditError::InvalidValue { option, value: value.to_owned(), expected: "true or false" })
            }
        }
    }

    /// Fails if an option is left.
    pub(crate) fn finish(self) -> Result<(), AuditError> {
        match self.given.into_keys().next() {
            None => Ok(()),
            Some(option) => {
                Err(AuditError::UnknownOption { option: option.to_owned(), device_type: self.device_type })
            }
        }
    }
}

#[cfg(test)]
#[path = "tests/options.rs"]
mod tests;
