//! Ids of entities, aliases and groups.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use strongroom_barrier::NamespaceId;
use strongroom_engine_api::{EngineError, Entropy};
use strongroom_stdx::{uuid_bytes, uuid_text};

/// The bytes of an id, as storage keys have them.
pub(crate) type IdBytes = [u8; 16];

/// The id of an entity, an alias or a group: a UUID that is never given out twice. Storage has its bytes, since a group may
/// have a million members.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentityId(IdBytes);

impl IdentityId {
    /// The id with this text; `None` for any text that no id has.
    pub fn parse(text: &str) -> Option<Self> {
        uuid_bytes(text).map(Self)
    }

    /// A new one.
    pub(crate) fn draw(entropy: &Entropy) -> Result<Self, EngineError> {
        let text = entropy.uuid()?;
        Self::parse(&text).ok_or_else(|| EngineError::Internal("a UUID without its form".to_owned()))
    }

    /// Its bytes.
    pub const fn bytes(self) -> IdBytes {
        self.0
    }

    /// The id with these bytes.
    pub const fn of_bytes(bytes: IdBytes) -> Self {
        Self(bytes)
    }

    /// The key of its own entry in a namespace.
    pub(crate) const fn at(&self, namespace: NamespaceId) -> (NamespaceId, &IdBytes) {
        (namespace, &self.0)
    }
}

impl fmt::Display for IdentityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&uuid_text(self.0))
    }
}

impl fmt::Debug for IdentityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Bytes: there may be millions.
impl Serialize for IdentityId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for IdentityId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = IdentityId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the 16 bytes of an id")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<IdentityId, E> {
                bytes.try_into().map(IdentityId).map_err(|_length| E::invalid_length(bytes.len(), &self))
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}
