//! The messages of etcd's version 3 API as its JSON gateway has them: bytes in Base64, 64-bit numbers as texts, and
//! nothing said of what is empty or zero.
//!
//! Source: <https://etcd.io/docs/v3.5/dev-guide/api_reference_v3/>.

use std::fmt;

use base64::Engine;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes as etcd's messages have them.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Octets(pub(crate) Vec<u8>);

impl From<&[u8]> for Octets {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl Serialize for Octets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(&self.0, &STANDARD))
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InBase64;
        impl Visitor<'_> for InBase64 {
            type Value = Octets;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes in Base64")
            }

            // The text is not repeated in an error.
            fn visit_str<E: Error>(self, text: &str) -> Result<Octets, E> {
                STANDARD.decode(text).map(Octets).map_err(|_unfit| E::custom("not Base64"))
            }
        }
        deserializer.deserialize_str(InBase64)
    }
}

/// A 64-bit number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Number(pub(crate) i64);

impl Number {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands on a reference")]
    fn is_zero(&self) -> bool {
        self.0 == 0
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InDigits;
        impl Visitor<'_> for InDigits {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number as a text")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Number, E> {
                text.parse().map(Number).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(InDigits)
    }
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Header {
    pub(crate) revision: Number,
}

#[derive(Clone, Default, Serialize)]
pub(crate) struct RangeRequest {
    pub(crate) key: Octets,
    #[serde(skip_serializing_if = "is_empty")]
    pub(crate) range_end: Octets,
    #[serde(skip_serializing_if = "Number::is_zero")]
    pub(crate) limit: Number,
    #[serde(skip_serializing_if = "Number::is_zero")]
    pub(crate) revision: Number,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) serializable: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) keys_only: bool,
}

fn is_empty(bytes: &Octets) -> bool {
    bytes.0.is_empty()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands on a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RangeResponse {
    pub(crate) header: Header,
    pub(crate) kvs: Vec<KeyValue>,
    pub(crate) more: bool,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct KeyValue {
    pub(crate) key: Octets,
    pub(crate) value: Octets,
    pub(crate) mod_revision: Number,
    pub(crate) lease: Number,
}

/// A step of a transaction.
#[derive(Clone, Serialize)]
pub(crate) enum Step {
    #[serde(rename = "request_range")]
    Range(RangeRequest),
    #[serde(rename = "request_put")]
    Put(PutRequest),
    #[serde(rename = "request_delete_range")]
    Delete(DeleteRequest),
    #[serde(rename = "request_txn")]
    Txn(TxnRequest),
}

#[derive(Clone, Default, Serialize)]
pub(crate) struct PutRequest {
    pub(crate) key: Octets,
    pub(crate) value: Octets,
    #[serde(skip_serializing_if = "Number::is_zero")]
    pub(crate) lease: Number,
}

#[derive(Clone, Serialize)]
pub(crate) struct DeleteRequest {
    pub(crate) key: Octets,
}

/// A condition of a transaction.
#[derive(Clone, Serialize)]
pub(crate) struct Compare {
    key: Octets,
    result: &'static str,
    #[serde(flatten)]
    target: Target,
}

#[derive(Clone, Serialize)]
#[serde(tag = "target", rename_all = "UPPERCASE")]
enum Target {
    Value { value: Octets },
    Mod { mod_revision: Number },
}

impl Compare {
    /// The key has this value.
    pub(crate) fn value(key: &[u8], value: &[u8]) -> Self {
        Self { key: key.into(), result: "EQUAL", target: Target::Value { value: value.into() } }
    }

    /// The key was last changed at this revision; zero: it is not there.
    pub(crate) fn changed_at(key: &[u8], mod_revision: Number) -> Self {
        Self { key: key.into(), result: "EQUAL", target: Target::Mod { mod_revision } }
    }
}

#[derive(Clone, Default, Serialize)]
pub(crate) struct TxnRequest {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) compare: Vec<Compare>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) success: Vec<Step>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TxnResponse {
    pub(crate) succeeded: bool,
    pub(crate) responses: Vec<StepAnswer>,
}

/// The outcome of one step of a transaction; only what was read is of interest.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StepAnswer {
    pub(crate) response_range: RangeResponse,
}

#[derive(Serialize)]
pub(crate) struct LeaseGrantRequest {
    #[serde(rename = "TTL")]
    pub(crate) ttl: Number,
}

#[derive(Serialize)]
pub(crate) struct LeaseRequest {
    #[serde(rename = "ID")]
    pub(crate) id: Number,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LeaseResponse {
    #[serde(rename = "ID")]
    pub(crate) id: Number,
    /// Seconds; zero for a lease that is over.
    #[serde(rename = "TTL")]
    pub(crate) ttl: Number,
}

/// The first message of a stream.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Streamed<T: Default> {
    pub(crate) result: Option<T>,
    pub(crate) error: Option<ErrorAnswer>,
}

#[derive(Serialize)]
pub(crate) struct AuthenticateRequest<'a> {
    pub(crate) name: &'a str,
    pub(crate) password: &'a str,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct AuthenticateResponse {
    pub(crate) token: strongroom_stdx::Secret<String>,
}

#[derive(Serialize)]
pub(crate) struct Nothing {}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Ignored {}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct MemberListResponse {
    pub(crate) members: Vec<Member>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Member {
    #[serde(rename = "clientURLs")]
    pub(crate) client_urls: Vec<String>,
}

/// An error, in the words of any version of the gateway.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct ErrorAnswer {
    #[serde(alias = "grpc_code")]
    pub(crate) code: Option<u64>,
    pub(crate) message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_what_the_gateway_documents() {
        let range = RangeRequest {
            key: b"a".as_slice().into(),
            range_end: b"b".as_slice().into(),
            limit: Number(7),
            ..RangeRequest::default()
        };
        let put = PutRequest { key: b"k".as_slice().into(), ..PutRequest::default() };
        let txn = TxnRequest {
            compare: vec![Compare::value(b"h", b"1"), Compare::changed_at(b"l", Number(0))],
            success: vec![Step::Put(put), Step::Range(range)],
        };
        assert_eq!(
            serde_json::to_value(&txn).unwrap(),
            serde_json::json!({
                "compare": [
                    {"key": "aA==", "result": "EQUAL", "target": "VALUE", "value": "MQ=="},
                    {"key": "bA==", "result": "EQUAL", "target": "MOD", "mod_revision": "0"},
                ],
                "success": [
                    {"request_put": {"key": "aw==", "value": ""}},
                    {"request_range": {"key": "YQ==", "range_end": "Yg==", "limit": "7"}},
                ],
            })
        );
    }

    #[test]
    fn what_is_left_out_is_empty_or_zero() {
        let answer: RangeResponse =
            serde_json::from_str(r#"{"header":{"revision":"2"},"kvs":[{"key":"YQ==","mod_revision":"2"}]}"#)
                .unwrap();
        assert_eq!(answer.header.revision, Number(2));
        assert_eq!((answer.kvs[0].key.0.as_slice(), answer.kvs[0].value.0.len()), (b"a".as_slice(), 0));
        assert!(!answer.more);
        let lost: Streamed<LeaseResponse> = serde_json::from_str(r#"{"result":{"ID":"7"}}"#).unwrap();
        assert_eq!(lost.result.unwrap().ttl, Number(0));
    }
}
