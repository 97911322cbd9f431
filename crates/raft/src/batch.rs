//! The commits of one log entry, in the form in which they are applied, stored and sent.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use strongroom_storage::Commit;

use crate::codec::{Malformed, batch_len, put_batch, take_batch};

/// Commits that share an index and a sync. They are encoded once: the log and the messages to all peers hold the same
/// bytes, and what a peer reads from a message or a log shares its memory.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    commits: Arc<[Commit]>,
    encoded: Bytes,
}

impl Batch {
    /// Reads a batch, which must be the whole input.
    pub(crate) fn decode(encoded: Bytes) -> Result<Self, Malformed> {
        let mut input = encoded.clone();
        let commits = take_batch(&mut input)?.into();
        if input.is_empty() { Ok(Self { commits, encoded }) } else { Err(Malformed) }
    }

    pub(crate) fn commits(&self) -> &Arc<[Commit]> {
        &self.commits
    }

    pub(crate) fn encoded(&self) -> &Bytes {
        &self.encoded
    }
}

impl From<Vec<Commit>> for Batch {
    fn from(commits: Vec<Commit>) -> Self {
        let mut encoded = Vec::with_capacity(batch_len(&commits));
        put_batch(&mut encoded, &commits);
        Self { commits: commits.into(), encoded: encoded.into() }
    }
}

impl Serialize for Batch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.encoded)
    }
}

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(Encoded)
    }
}

struct Encoded;

impl Visitor<'_> for Encoded {
    type Value = Batch;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a batch of commits")
    }

    fn visit_bytes<E: Error>(self, encoded: &[u8]) -> Result<Batch, E> {
        Batch::decode(Bytes::copy_from_slice(encoded)).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use strongroom_storage::Write;

    use super::*;
    use crate::network::{decode, encode};

    fn batch() -> Batch {
        let write = |value| Write { key: Bytes::from_static(b"key"), value };
        let writes = vec![write(Some(Bytes::from_static(b"value"))), write(None)];
        Batch::from(vec![Commit { writes, ..Commit::default() }, Commit::default()])
    }

    #[test]
    fn it_arrives_as_it_was_sent() {
        let message = encode(&batch()).unwrap();
        assert!(decode::<Batch>(&message).unwrap() == batch());
        assert!(Batch::decode(batch().encoded().clone()).unwrap() == batch());
    }

    #[test]
    fn what_is_no_batch_or_more_than_one_is_refused() {
        let whole = batch().encoded().clone();
        for cut in 0..whole.len() {
            assert!(Batch::decode(whole.slice(..cut)).is_err(), "{cut}");
        }
        let more = [&*whole, &[0]].concat();
        assert!(Batch::decode(more.clone().into()).is_err());
        assert!(decode::<Batch>(&encode(&Bytes::from(more)).unwrap()).is_err());
        assert!(decode::<Batch>(&encode(&"text").unwrap()).is_err());
    }
}
