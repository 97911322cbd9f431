//! The claims of tokens.

use std::time::Duration;

use serde_json::{Map, Value, json};
use strongroom_engine_api::Moment;
use strongroom_identity::Effective;

/// The claims that every token has.
pub(super) struct Base<'a> {
    pub(super) issuer: &'a str,
    pub(super) subject: &'a Effective,
    pub(super) audience: &'a str,
    pub(super) issued: Moment,
    pub(super) ttl: Duration,
    /// The id of the namespace.
    pub(super) namespace: &'a str,
}

impl Base<'_> {
    /// Adds claims of templates, which never stand in the place of these.
    pub(super) fn with(self, templated: Map<String, Value>) -> Map<String, Value> {
        let mut claims = templated;
        let issued = self.issued.as_secs();
        let own = [
            ("iss", json!(self.issuer)),
            ("sub", json!(self.subject.id.to_string())),
            ("aud", json!(self.audience)),
            ("iat", json!(issued)),
            ("exp", json!(issued.saturating_add(self.ttl.as_secs()))),
            ("namespace", json!(self.namespace)),
        ];
        claims.extend(own.map(|(name, value)| (name.to_owned(), value)));
        claims
    }
}
