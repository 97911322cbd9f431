//! The encoding of values: one version byte, then MessagePack with named fields, so that a later release can add fields
//! (`#[serde(default)]`) and read what an older one wrote, or take over a whole older form by its version.

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::BarrierError;

/// A type that tables can hold.
pub trait Stored: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The version of the form written now.
    const VERSION: u8 = 1;

    /// Reads a form of an older `version`; `None` when there was no such form.
    fn upgrade(_version: u8, _bytes: &[u8]) -> Option<Self> {
        None
    }
}

/// An index entry: the key says it all.
impl Stored for () {}

impl Stored for String {}

/// The bytes of a value that lies inside another's, version first.
pub fn to_bytes<V: Stored>(value: &V) -> Result<Vec<u8>, BarrierError> {
    encode(value).map(|bytes| bytes.to_vec())
}

/// The value that [`to_bytes`] made bytes of, or an older release did.
pub fn from_bytes<V: Stored>(bytes: &[u8]) -> Result<V, BarrierError> {
    decode(&[], bytes)
}

pub(crate) fn encode<V: Stored>(value: &V) -> Result<Zeroizing<Vec<u8>>, BarrierError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(256));
    bytes.push(V::VERSION);
    let mut serializer = rmp_serde::Serializer::new(&mut *bytes).with_struct_map();
    value.serialize(&mut serializer).map_err(|error| BarrierError::Unencodable(error.to_string()))?;
    Ok(bytes)
}

pub(crate) fn decode<V: Stored>(key: &[u8], bytes: &[u8]) -> Result<V, BarrierError> {
    let malformed = |why: String| BarrierError::Malformed(crate::key::describe(key), why);
    match bytes.split_first() {
        Some((version, body)) if *version == V::VERSION => {
            rmp_serde::from_slice(body).map_err(|error| malformed(error.to_string()))
        }
        Some((version, body)) => {
            V::upgrade(*version, body).ok_or_else(|| malformed(format!("unknown version {version}")))
        }
        None => Err(malformed("empty".to_owned())),
    }
}
