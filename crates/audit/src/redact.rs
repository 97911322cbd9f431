//! The strings of a request's or response's data that a device hides.

use serde_json::{Map, Value};

use crate::error::AuditError;
use crate::line::{push_array, push_object, push_string};
use crate::record::RawJson;
use crate::salt::Salt;
use crate::transcode::Transcoder;

/// The rule for one `data` object. Strings are hashed; keys, numbers, booleans and nulls are not.
///
/// A string stays in clear if the key it stands under, directly or within arrays, is one of the mount's
/// `audit_non_hmac_*_keys`, at whatever depth, and none of [`SECRET_KEYS`]. So an object under such a key still hides its other strings.
#[derive(Clone, Copy)]
pub(crate) struct Redaction<'a> {
    /// The salt that strings are hashed with; `None` leaves all of them in clear (`log_raw`).
    pub(crate) salt: Option<&'a Salt>,
    /// Keys whose strings are not hashed.
    pub(crate) clear_keys: &'a [String],
    /// Replace top-level `keys` and `key_info` by their sizes (`elide_list_responses`).
    pub(crate) elide_lists: bool,
}

impl Redaction<'_> {
    /// Everything in clear.
    pub(crate) const RAW: Redaction<'static> = Redaction { salt: None, clear_keys: &[], elide_lists: false };

    /// The salt to hash the strings under `key` with, if they are to be hashed.
    pub(crate) fn salt_for(&self, key: &str) -> Option<&Salt> {
        self.salt.filter(|_| !self.clear_keys.iter().any(|clear| clear == key) || is_secret(key))
    }

    /// Appends a request's data.
    pub(crate) fn push_map(&self, out: &mut Vec<u8>, map: &Map<String, Value>) {
        push_object(out, map, |out, key, value| self.push_value(out, value, self.salt_for(key)));
    }

    fn push_value(&self, out: &mut Vec<u8>, value: &Value, salt: Option<&Salt>) {
        match value {
            Value::Null => out.extend_from_slice(b"null"),
            Value::Bool(true) => out.extend_from_slice(b"true"),
            Value::Bool(false) => out.extend_from_slice(b"false"),
            Value::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Value::String(text) => match salt {
                Some(salt) => push_hashed(out, salt, text.as_bytes()),
                None => push_string(out, text),
            },
            Value::Array(items) => push_array(out, items, |out, item| self.push_value(out, item, salt)),
            Value::Object(map) => self.push_map(out, map),
        }
    }

    /// Appends a response's data.
    pub(crate) fn push_text(&self, out: &mut Vec<u8>, text: RawJson<'_>) -> Result<(), AuditError> {
        Transcoder::new(text.0, out, self).run()
    }
}

/// Keys under which engines and the server itself take or give what lets its holder in. No tuning of a mount puts these in
/// clear: whoever may tune a mount, or read its log, does not thereby come to its tokens.
const SECRET_KEYS: [&str; 9] = [
    "id",
    "token",
    "client_token",
    "orphan_token",
    "root_token",
    "secret_id",
    "password",
    "password_hash",
    "private_key",
];

fn is_secret(key: &str) -> bool {
    SECRET_KEYS.iter().any(|secret| secret.eq_ignore_ascii_case(key))
}

/// True if a request header's values let their sender in.
pub(crate) fn is_secret_header(name: &str) -> bool {
    ["x-vault-token", "authorization", "proxy-authorization", "cookie"]
        .iter()
        .any(|secret| secret.eq_ignore_ascii_case(name))
}

/// Appends the JSON string of a hash.
pub(crate) fn push_hashed(out: &mut Vec<u8>, salt: &Salt, input: &[u8]) {
    out.push(b'"');
    salt.push_hash(input, out);
    out.push(b'"');
}
