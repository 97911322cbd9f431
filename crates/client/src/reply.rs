//! The envelope of an answer: lease, data, login, wrapping and warnings.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use strongroom_stdx::Secret;

/// The server's answer. The order of the fields is the order in which `-format=json` prints them.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Reply {
    /// The request's id, as in the audit log.
    #[serde(deserialize_with = "nullable")]
    pub request_id: String,
    /// The lease of a dynamic secret; empty without one.
    #[serde(deserialize_with = "nullable")]
    pub lease_id: String,
    /// The TTL of the secret, in seconds.
    #[serde(deserialize_with = "nullable")]
    pub lease_duration: i64,
    /// True if the lease can be renewed.
    #[serde(deserialize_with = "nullable")]
    pub renewable: bool,
    /// The answer's own fields.
    pub data: Option<Map<String, Value>>,
    /// The server's warnings for the caller.
    pub warnings: Option<Vec<String>>,
    /// The login, for answers that create or renew tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// The wrapping token, for wrapped answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrap_info: Option<WrapInfo>,
    /// The type of the mount that answered.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub mount_type: String,
}

/// A login: the token and what is attached to it.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Auth {
    /// The token.
    pub client_token: Secret<String>,
    /// The token's accessor.
    #[serde(deserialize_with = "nullable")]
    pub accessor: String,
    /// All policies of the token.
    pub policies: Option<Vec<String>>,
    /// Policies attached to the token itself.
    pub token_policies: Option<Vec<String>>,
    /// Policies that come from the entity and its groups.
    pub identity_policies: Option<Vec<String>>,
    /// Metadata of the login.
    pub metadata: Option<BTreeMap<String, String>>,
    /// True if the token has no parent.
    #[serde(deserialize_with = "nullable")]
    pub orphan: bool,
    /// The entity logged in; empty for none.
    #[serde(deserialize_with = "nullable")]
    pub entity_id: String,
    /// The TTL of the token, in seconds; zero for ever.
    #[serde(deserialize_with = "nullable")]
    pub lease_duration: i64,
    /// True if the token can be renewed.
    #[serde(deserialize_with = "nullable")]
    pub renewable: bool,
    /// The multi-factor authentication that is still required.
    pub mfa_requirement: Option<Value>,
}

/// A wrapped answer.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct WrapInfo {
    /// The wrapping token, good for one `unwrap`.
    pub token: Secret<String>,
    /// The wrapping token's accessor.
    #[serde(deserialize_with = "nullable")]
    pub accessor: String,
    /// The TTL of the wrapping token, in seconds.
    #[serde(deserialize_with = "nullable")]
    pub ttl: i64,
    /// The time at which the answer was wrapped (RFC 3339).
    #[serde(deserialize_with = "nullable")]
    pub creation_time: String,
    /// The path whose answer was wrapped.
    #[serde(deserialize_with = "nullable")]
    pub creation_path: String,
    /// The accessor of the token inside, where a login was wrapped.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub wrapped_accessor: String,
}

impl Reply {
    /// Reads a response's body; an empty body is no reply. The fields of a response without the envelope
    /// (`sys/health`, `sys/leader`) are its data; one that has nothing but errors is no reply.
    pub fn parse(body: &[u8]) -> Result<Option<Self>, serde_json::Error> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        let reply: Option<Self> = serde_json::from_slice(body)?;
        match reply {
            Some(reply) if reply.is_blank() => Self::bare(body),
            reply => Ok(reply),
        }
    }

    /// True if no field of the envelope says anything.
    fn is_blank(&self) -> bool {
        let texts = [&self.request_id, &self.lease_id, &self.mount_type];
        texts.iter().all(|text| text.is_empty())
            && self.lease_duration == 0
            && !self.renewable
            && self.data.is_none()
            && self.warnings.is_none()
            && self.auth.is_none()
            && self.wrap_info.is_none()
    }

    /// A response without the envelope: its fields are the data.
    fn bare(body: &[u8]) -> Result<Option<Self>, serde_json::Error> {
        let data: Map<String, Value> = serde_json::from_slice(body)?;
        if data.len() == 1 && data.contains_key("errors") {
            return Ok(None);
        }
        Ok(Some(Self { data: Some(data), ..Self::default() }))
    }

    /// A field of the data.
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.data.as_ref()?.get(name)
    }

    /// The names a list answer carries.
    pub fn keys(&self) -> Option<&Vec<Value>> {
        self.field("keys")?.as_array()
    }

    /// The warnings, none if there are none.
    pub fn warnings(&self) -> &[String] {
        self.warnings.as_deref().unwrap_or_default()
    }
}

/// Data may hold secrets, so that only the envelope is shown.
impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("request_id", &self.request_id)
            .field("lease_id", &self.lease_id)
            .field("lease_duration", &self.lease_duration)
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

/// Reads `null` as the type's default: the API writes absent values both ways.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_servers_send() {
        let body = br#"{"request_id":"r","lease_id":"","renewable":false,"lease_duration":2764800,
            "data":{"keys":["a","b"]},"wrap_info":null,"warnings":null,"auth":null,"unknown":1}"#;
        let reply = Reply::parse(body).unwrap().unwrap();
        assert_eq!(reply.lease_duration, 2_764_800);
        assert_eq!(reply.keys().unwrap().len(), 2);
        assert!(reply.auth.is_none() && reply.wrap_info.is_none() && reply.warnings().is_empty());
        assert!(Reply::parse(b" \n").unwrap().is_none());
        assert!(Reply::parse(b"hello").is_err());
    }

    #[test]
    fn a_response_without_an_envelope_is_its_data() {
        let reply =
            Reply::parse(br#"{"initialized":true,"sealed":false,"version":"2.0.0"}"#).unwrap().unwrap();
        assert_eq!(reply.data.as_ref().unwrap().len(), 3);
        assert_eq!(reply.field("sealed"), Some(&Value::Bool(false)));
        assert!(Reply::parse(br#"{"errors":[]}"#).unwrap().is_none());
        assert!(Reply::parse(b"null").unwrap().is_none());
        let enveloped = Reply::parse(br#"{"request_id":"r","data":null,"more":1}"#).unwrap().unwrap();
        assert!(enveloped.data.is_none());
    }

    #[test]
    fn numbers_keep_their_digits() {
        let reply =
            Reply::parse(br#"{"data":{"big":123456789012345678901234567890,"f":1.50}}"#).unwrap().unwrap();
        assert_eq!(reply.field("big").unwrap().to_string(), "123456789012345678901234567890");
        assert_eq!(reply.field("f").unwrap().to_string(), "1.50");
    }

    #[test]
    fn a_login_prints_without_its_token() {
        let reply =
            Reply::parse(br#"{"auth":{"client_token":"hunter2","policies":["default"]}}"#).unwrap().unwrap();
        assert_eq!(reply.auth.as_ref().unwrap().client_token.expose(), "hunter2");
        assert!(!format!("{reply:?}").contains("hunter2"));
    }
}
