//! The name of a token in storage.

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use strongroom_barrier::{NamespaceId, Plain, TableKey};
use strongroom_engine_api::Caller;

/// The part of a service token's HMAC by which it is found: storage tells nothing about tokens, however short an
/// operator chose one.
pub type TokenKey = [u8; 16];

/// The part of an accessor's HMAC by which it is found.
pub type AccessorKey = [u8; 16];

/// The bytes of an entity's id.
pub type EntityKey = [u8; 16];

/// A token in storage: its namespace and its key there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId {
    /// The namespace that the token belongs to.
    pub namespace: NamespaceId,
    /// Its key in that namespace; zero-filled for batch tokens, which are not in storage.
    pub key: TokenKey,
}

impl TokenId {
    /// The key of the token's own records.
    pub fn at(&self) -> (NamespaceId, &TokenKey) {
        (self.namespace, &self.key)
    }

    fn bytes(&self) -> [u8; 20] {
        let mut bytes = [0; 20];
        let (namespace, key) = bytes.split_at_mut(4);
        namespace.copy_from_slice(&self.namespace.get().to_be_bytes());
        key.copy_from_slice(&self.key);
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (namespace, key) = bytes.split_first_chunk::<4>()?;
        let namespace = NamespaceId::new(u32::from_be_bytes(*namespace));
        Some(Self { namespace, key: key.try_into().ok()? })
    }
}

/// The token of a request.
impl From<&Caller> for TokenId {
    fn from(caller: &Caller) -> Self {
        Self { namespace: caller.namespace, key: caller.token_key }
    }
}

/// As part of a key: in indexes that name tokens of any namespace.
impl TableKey for TokenId {
    type Owned = Self;
    type Realm = Plain;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes());
    }

    fn decode(_namespace: NamespaceId, bytes: &[u8]) -> Option<Self> {
        Self::from_bytes(bytes)
    }
}

/// Bytes: there may be millions.
impl Serialize for TokenId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.bytes())
    }
}

impl<'de> Deserialize<'de> for TokenId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = TokenId;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the 20 bytes of a token's namespace and key")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<TokenId, E> {
                TokenId::from_bytes(bytes).ok_or_else(|| E::invalid_length(bytes.len(), &self))
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_comes_back_from_its_bytes() {
        let id = TokenId { namespace: NamespaceId::new(7), key: [9; 16] };
        let packed = rmp_serde::to_vec_named(&id).unwrap();
        assert_eq!(packed.len(), 22);
        assert_eq!(rmp_serde::from_slice::<TokenId>(&packed).unwrap(), id);
        assert!(rmp_serde::from_slice::<TokenId>(&rmp_serde::to_vec_named(&[1u8; 19]).unwrap()).is_err());
        assert!(TokenId::default().namespace.is_root());
    }
}
