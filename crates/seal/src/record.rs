//! The bootstrap record: all that must be known before there are keys.
//!
//! It is the one entry that a sealed server reads, in clear, under the name `seal` in the bootstrap space. It holds
//! nothing secret that is not wrapped: by a seal (the root key), or by the root key (the HMAC key of tokens). The keyring
//! is an entry of its own, because it is rewritten whenever keys are rotated and counted, whereas every commit that rests
//! on nothing else rests on this record not having changed.
//!
//! # The encoding
//!
//! A JSON object. `version` is read first, whatever else there is; a version that this program does not know is refused
//! with a sentence, and so is a field that the version does not have. Bytes are base64.
//!
//! ```json
//! { "version": 1, "generation": 1, "cluster_name": "…", "cluster_id": "…", "token_salt": "…",
//!   "seals": [{ "id": "shamir", "kind": "shamir", "priority": 1, "disabled": false, "parameters": { … } }],
//!   "root_key": [{ "seal": "shamir", "blob": "…" }],
//!   "recovery": null }
//! ```

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{Parameters, Seals, Wrapped};

/// The version that this program writes, and the only one that it reads.
const VERSION: u64 = 1;

/// The entry with which storage of the time before there was a record began.
pub const EARLIER_ENTRY: &str = "seal-config";

/// The reasons why a record cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Storage is of the time before there was a record.
    #[error(
        "this storage was written by an earlier version of Strongroom, in a format that this version does not read; \
         start anew with empty storage, or go on with the version that wrote it (\"operator migrate\" copies storage \
         as it is and does not convert it)"
    )]
    Earlier,
    /// The record is of another version.
    #[error(
        "this storage was written by another version of Strongroom: its bootstrap record is of version {0}, and this \
         one reads version {VERSION}; go on with the version that wrote it"
    )]
    OtherVersion(u64),
    /// The record is not what its version says.
    #[error("the bootstrap record is malformed: {0}")]
    Malformed(String),
}

/// A seal that a cluster has been sealed with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealEntry {
    /// Its name among the cluster's seals.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// The order in which seals are asked: the lowest first.
    pub priority: u32,
    /// It is not asked.
    pub disabled: bool,
    /// Its public parameters.
    pub parameters: Parameters,
}

/// The root key as one seal has wrapped it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootKeyEntry {
    /// The seal's id.
    pub seal: String,
    /// The wrapped key.
    #[serde(with = "base64_text")]
    pub blob: Vec<u8>,
}

/// The root key once more, for when the seals fail: wrapped under a key whose parts people hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoveryEntry {
    /// The kind of seal that the key parts belong to.
    pub kind: String,
    /// Its public parameters.
    pub parameters: Parameters,
    /// The wrapped key.
    #[serde(with = "base64_text")]
    pub blob: Vec<u8>,
}

/// One way to the root key: a seal and what it wrapped. Also what a node that wants to join is told of each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootKeySource {
    /// The seal's id.
    pub id: String,
    /// The seal's kind.
    pub kind: String,
    /// The order in which seals are asked: the lowest first.
    pub priority: u32,
    /// The seal's public parameters.
    pub parameters: Parameters,
    /// The wrapped key, or what the seal shows in its place.
    #[serde(with = "base64_text")]
    pub challenge: Vec<u8>,
}

impl RootKeySource {
    /// The wrapped key as the seal is given it to open.
    pub fn wrapped(&self) -> Wrapped {
        Wrapped { parameters: self.parameters.clone(), blob: self.challenge.clone() }
    }
}

/// All that must be known before there are keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootstrapRecord {
    version: u64,
    /// Raised with every change of the record.
    pub generation: u64,
    /// The cluster's name.
    pub cluster_name: String,
    /// The cluster's id.
    pub cluster_id: String,
    /// The HMAC key under which tokens are kept, wrapped by the root key.
    #[serde(with = "base64_text")]
    pub token_salt: Vec<u8>,
    /// The seals.
    pub seals: Vec<SealEntry>,
    /// The root key, wrapped by each seal that has been asked.
    pub root_key: Vec<RootKeyEntry>,
    /// The way in when no seal opens.
    pub recovery: Option<RecoveryEntry>,
}

/// The part of a record that every version has.
#[derive(Deserialize)]
struct AnyVersion {
    version: u64,
}

impl BootstrapRecord {
    /// The first record of a cluster, as yet without a seal.
    pub fn new(cluster_name: String, cluster_id: String, token_salt: Vec<u8>) -> Self {
        Self {
            version: VERSION,
            generation: 1,
            cluster_name,
            cluster_id,
            token_salt,
            seals: Vec::new(),
            root_key: Vec::new(),
            recovery: None,
        }
    }

    /// The record's bytes.
    ///
    /// # Errors
    ///
    /// [`RecordError::Malformed`] for one that could not be read again.
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        self.check()?;
        serde_json::to_vec(self).map_err(|error| RecordError::Malformed(error.to_string()))
    }

    /// Reads a record.
    ///
    /// # Errors
    ///
    /// [`RecordError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let malformed = |error: serde_json::Error| RecordError::Malformed(error.to_string());
        let AnyVersion { version } = serde_json::from_slice(bytes).map_err(malformed)?;
        if version != VERSION {
            return Err(RecordError::OtherVersion(version));
        }
        let record: Self = serde_json::from_slice(bytes).map_err(malformed)?;
        record.check()?;
        Ok(record)
    }

    fn check(&self) -> Result<(), RecordError> {
        let malformed = |text: &str| Err(RecordError::Malformed(text.to_owned()));
        let ids: BTreeSet<&str> = self.seals.iter().map(|seal| seal.id.as_str()).collect();
        if ids.len() != self.seals.len() {
            return malformed("two seals have the same id");
        }
        let wrapped: BTreeSet<&str> = self.root_key.iter().map(|entry| entry.seal.as_str()).collect();
        if wrapped.len() != self.root_key.len() {
            return malformed("a seal has wrapped the root key twice");
        }
        if !wrapped.is_subset(&ids) {
            return malformed("the root key is wrapped by a seal that is not in the record");
        }
        if !self.seals.iter().any(|seal| !seal.disabled && wrapped.contains(seal.id.as_str())) {
            return malformed("no seal that is enabled has wrapped the root key");
        }
        Ok(())
    }

    /// The ways to the root key, the first to be tried first.
    pub fn sources(&self) -> Vec<RootKeySource> {
        let enabled = self.seals.iter().filter(|seal| !seal.disabled);
        let source = |seal: &SealEntry| {
            let entry = self.root_key.iter().find(|entry| entry.seal == seal.id)?;
            Some(RootKeySource {
                id: seal.id.clone(),
                kind: seal.kind.clone(),
                priority: seal.priority,
                parameters: seal.parameters.clone(),
                challenge: entry.blob.clone(),
            })
        };
        let mut sources: Vec<RootKeySource> = enabled.filter_map(source).collect();
        sources.sort_by_key(|source| source.priority);
        sources
    }

    /// The challenges of the seals that this server has, for a node that wants to join.
    pub fn join_challenges(&self, seals: &Seals) -> Vec<RootKeySource> {
        let shown = |source: RootKeySource| {
            let seal = seals.find(&source.id, &source.kind)?;
            let Wrapped { parameters, blob } = seal.seal.join_challenge(&source.wrapped());
            Some(RootKeySource { parameters, challenge: blob, ..source })
        };
        self.sources().into_iter().filter_map(shown).collect()
    }
}

/// Bytes as base64 in JSON.
mod base64_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        STANDARD.decode(text.as_bytes()).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn seal(id: &str, priority: u32, disabled: bool) -> SealEntry {
        let parameters = json!({ "key": id }).as_object().unwrap().clone();
        SealEntry { id: id.to_owned(), kind: "fake".to_owned(), priority, disabled, parameters }
    }

    fn wrapped(seal: &str) -> RootKeyEntry {
        RootKeyEntry { seal: seal.to_owned(), blob: seal.as_bytes().to_vec() }
    }

    fn record() -> BootstrapRecord {
        BootstrapRecord {
            seals: vec![seal("far", 2, false), seal("near", 1, false), seal("old", 0, true)],
            root_key: vec![wrapped("near"), wrapped("far"), wrapped("old")],
            recovery: Some(RecoveryEntry {
                kind: "shamir".to_owned(),
                parameters: Parameters::new(),
                blob: vec![7],
            }),
            ..BootstrapRecord::new("c".to_owned(), "id".to_owned(), vec![1, 2, 3])
        }
    }

    fn changed(change: impl FnOnce(&mut Value)) -> Result<BootstrapRecord, RecordError> {
        let mut value: Value = serde_json::from_slice(&record().encode().unwrap()).unwrap();
        change(&mut value);
        BootstrapRecord::decode(&serde_json::to_vec(&value).unwrap())
    }

    #[test]
    fn reads_back_and_orders_the_seals() {
        let bytes = record().encode().unwrap();
        assert_eq!(BootstrapRecord::decode(&bytes).unwrap(), record());
        let sources = record().sources();
        assert_eq!(sources.iter().map(|source| source.id.as_str()).collect::<Vec<_>>(), ["near", "far"]);
        assert_eq!(sources[0].wrapped().blob, b"near");
        assert_eq!(sources[1].wrapped().parameters["key"], "far");
    }

    /// The layout is for ever: a later version of the program reads it, or says that it does not.
    #[test]
    fn the_encoding_of_version_1_stays() {
        let text = "{\"version\":1,\"generation\":1,\"cluster_name\":\"c\",\"cluster_id\":\"id\",\"token_salt\":\"AQID\",\
                    \"seals\":[{\"id\":\"s\",\"kind\":\"fake\",\"priority\":1,\"disabled\":false,\"parameters\":{\"key\":\"s\"}}],\
                    \"root_key\":[{\"seal\":\"s\",\"blob\":\"cw==\"}],\"recovery\":null}";
        let record = BootstrapRecord {
            seals: vec![seal("s", 1, false)],
            root_key: vec![wrapped("s")],
            recovery: None,
            ..record()
        };
        assert_eq!(String::from_utf8(record.encode().unwrap()).unwrap(), text);
        assert_eq!(BootstrapRecord::decode(text.as_bytes()).unwrap(), record);
    }

    #[test]
    fn another_version_is_named_whatever_else_it_has() {
        let told = changed(|record| *record = json!({ "version": 2, "shape": [] })).unwrap_err();
        assert_eq!(told, RecordError::OtherVersion(2));
        assert!(told.to_string().contains("of version 2, and this one reads version 1"), "{told}");
        assert!(matches!(changed(|record| record["version"] = json!("1")), Err(RecordError::Malformed(_))));
    }

    #[test]
    fn nothing_unknown_missing_or_contradictory_is_taken() {
        type Change = fn(&mut Value);
        let changes: [(&str, Change); 9] = [
            ("unknown field `more`", |record| record["more"] = json!(1)),
            ("unknown field `more`", |record| record["seals"][0]["more"] = json!(1)),
            ("unknown field `more`", |record| record["recovery"]["more"] = json!(1)),
            ("missing field `token_salt`", |record| {
                record.as_object_mut().unwrap().retain(|name, _| name != "token_salt");
            }),
            ("Invalid symbol", |record| record["root_key"][0]["blob"] = json!("not base64!")),
            ("two seals have the same id", |record| record["seals"][0]["id"] = json!("near")),
            ("wrapped the root key twice", |record| record["root_key"][1]["seal"] = json!("near")),
            ("a seal that is not in the record", |record| record["root_key"][0]["seal"] = json!("gone")),
            ("no seal that is enabled", |record| record["root_key"] = json!([{ "seal": "old", "blob": "" }])),
        ];
        for (text, change) in changes {
            let told = changed(change).unwrap_err().to_string();
            assert!(told.contains(text), "{told}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_alike(text in "\\PC*") {
            if let Ok(record) = BootstrapRecord::decode(text.as_bytes()) {
                prop_assert_eq!(BootstrapRecord::decode(&record.encode().unwrap()).unwrap(), record);
            }
        }
    }
}
