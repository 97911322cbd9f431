//! JSON that is already text.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use zeroize::Zeroize;

/// A JSON document as text, made by our own serializer or checked by its parser. Kept as text so that what is
/// stored as JSON can be answered without building a tree; wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Json(String);

impl Json {
    /// Serializes a value.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(Self)
    }

    /// Takes a text over if it is JSON.
    pub fn checked(text: String) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<&RawValue>(&text)?;
        Ok(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As a tree. An own text is always well-formed; `Null` would stand for one that is not.
    pub fn to_value(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or(Value::Null)
    }

    /// As an object's members; empty when it is not an object.
    pub fn to_map(&self) -> Map<String, Value> {
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

impl Default for Json {
    fn default() -> Self {
        Self("null".to_owned())
    }
}

impl Drop for Json {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Serialize for Json {
    /// Into JSON as it is. (Other formats would see serde_json's raw-value convention: store `as_str` there.)
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}
