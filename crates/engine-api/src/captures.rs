//! Captures: the parts of a request's path that a route's pattern names, and the extractors that draw them.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::de::value::MapDeserializer;
use serde_json::Value;

use crate::{Call, EngineError, Extract, OperationDoc, Pattern, bad_request};

/// The captured parts, in order and by name.
#[derive(Clone, Debug, Default)]
pub struct Captures {
    names: Arc<[String]>,
    values: Arc<[String]>,
}

impl Captures {
    /// Names what `pattern` captured.
    pub(crate) fn new(names: Arc<[String]>, values: Vec<String>) -> Self {
        Self { names, values: values.into() }
    }

    /// The names of a pattern's parts, to be shared by all that it captures.
    pub(crate) fn names_of(pattern: &Pattern) -> Arc<[String]> {
        pattern.parameters().into_iter().map(str::to_owned).collect()
    }

    /// The part at a place, counted from 0.
    pub fn at(&self, at: usize) -> Option<&str> {
        self.values.get(at).map(String::as_str)
    }

    /// The first part.
    pub fn first(&self) -> Option<&String> {
        self.values.first()
    }

    /// The last part.
    pub fn last(&self) -> Option<&str> {
        self.values.last().map(String::as_str)
    }

    /// All parts with their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.names.iter().map(String::as_str).zip(self.values.iter().map(String::as_str))
    }
}

/// The captured parts by position: one text, or two, or three.
pub struct Path<T>(pub T);

impl Extract for Path<String> {
    fn extract(call: &Arc<Call>) -> Result<Self, EngineError> {
        captured(call, 0).map(Self)
    }
}

impl Extract for Path<(String, String)> {
    fn extract(call: &Arc<Call>) -> Result<Self, EngineError> {
        Ok(Self((captured(call, 0)?, captured(call, 1)?)))
    }
}

impl Extract for Path<(String, String, String)> {
    fn extract(call: &Arc<Call>) -> Result<Self, EngineError> {
        Ok(Self((captured(call, 0)?, captured(call, 1)?, captured(call, 2)?)))
    }
}

fn captured(call: &Call, at: usize) -> Result<String, EngineError> {
    let missing =
        || EngineError::Internal("the route captures fewer parts than its handler takes".to_owned());
    call.params.at(at).map(str::to_owned).ok_or_else(missing)
}

/// The captured parts by name, as many as there are: a struct of texts or of [`crate::lenient`] types, whose optional
/// members are what some of the forms of a pattern lack, or a map.
pub struct Named<T>(pub T);

impl<T: DeserializeOwned + Send> Extract for Named<T> {
    fn document(_doc: &mut OperationDoc) {}

    fn extract(call: &Arc<Call>) -> Result<Self, EngineError> {
        let parts = MapDeserializer::<_, serde_json::Error>::new(
            call.params.iter().map(|(name, value)| (name, Value::String(value.to_owned()))),
        );
        T::deserialize(parts).map(Self).map_err(|error| bad_request(format!("path: {error}")))
    }
}

/// The raw tail of a pattern, as sent: the path from there on, with the escapes it had, and the query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawTail {
    /// The path from the tail on.
    pub path: Arc<str>,
    /// The text after the question mark, if there is one.
    pub query: Option<Arc<str>>,
}

impl RawTail {
    /// Takes the tail of a path as it was sent, of which the first `fixed` bytes, decoded, are not the tail's.
    pub fn after(fixed: usize, sent: &str, query: Option<&str>) -> Self {
        let mut bytes = sent.bytes();
        for _ in 0..fixed {
            // An escape is one byte, whichever it is; that it is whole was seen when the path was decoded.
            if bytes.next() == Some(b'%') {
                bytes.nth(1);
            }
        }
        let at = sent.len().saturating_sub(bytes.len());
        Self { path: sent.get(at..).unwrap_or_default().into(), query: query.map(Arc::from) }
    }
}

impl Extract for RawTail {
    fn extract(call: &Arc<Call>) -> Result<Self, EngineError> {
        Ok(call.request.raw_tail.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_tail_keeps_its_escapes() {
        let tail = |fixed, sent| RawTail::after(fixed, sent, Some("a=%2F")).path.to_string();
        assert_eq!(tail(9, "pki/ocsp/MEM%2B//a%2F+b="), "MEM%2B//a%2F+b=");
        assert_eq!(tail(9, "pk%69/%6fcsp%2FMEM"), "MEM", "what is before it may be escaped");
        assert_eq!(tail(9, "pki/ocsp"), "");
        assert_eq!(RawTail::after(0, "x", Some("a=%2F")).query.as_deref(), Some("a=%2F"));
        // Two bytes of one letter.
        assert_eq!(tail(3, "%C3%A4/x"), "x");
        assert_eq!(tail(1, "ä"), "", "half a letter is no tail");
    }
}
