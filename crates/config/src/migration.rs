//! The configuration of `operator migrate`.
//!
//! Source: <https://developer.hashicorp.com/vault/docs/commands/operator/migrate>.

use std::path::Path;

use crate::fields::{Fields, Report};
use crate::source::objects;
use crate::{ConfigError, Source, Storage, Warning, convert, keys, source};

/// From where to where.
#[derive(Clone, Debug)]
pub struct Migration {
    /// The storage that has the data.
    pub source: Storage,
    /// The storage that is to have it.
    pub destination: Storage,
    /// The URL under which the node of a destination `raft` is reached by others; needed there.
    pub cluster_addr: Option<String>,
}

impl Migration {
    /// Reads it from a file, or from those of a directory.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] where a file cannot be read, and for what is missing or makes no sense.
    pub fn load(path: &Path) -> Result<(Self, Vec<Warning>), ConfigError> {
        Self::parse(&source::read(path)?)
    }

    /// As [`Migration::load`], from texts.
    ///
    /// # Errors
    ///
    /// [`ConfigError`].
    pub fn parse(sources: &[Source]) -> Result<(Self, Vec<Warning>), ConfigError> {
        let objects = objects(sources)?;
        let report = Report::default();
        let fields =
            Fields::outermost(objects.iter().map(|(file, object)| (*file, object)).collect(), &report);
        let migration = Self::read(fields)?;
        Ok((migration, report.into_warnings()))
    }

    fn read(mut fields: Fields<'_>) -> Result<Self, ConfigError> {
        let source = Self::storage(&mut fields, "storage_source")?;
        let destination = Self::storage(&mut fields, "storage_destination")?;
        let cluster_addr = fields.read("cluster_addr", convert::url)?;
        if matches!(destination, Storage::Raft(_)) && cluster_addr.is_none() {
            return Err(ConfigError::Missing("\"cluster_addr\" is needed with storage_destination \"raft\""));
        }
        for (key, storage) in [("storage_source", &source), ("storage_destination", &destination)] {
            if matches!(storage, Storage::Inmem) {
                let message = "storage \"inmem\" is gone with the process that has it";
                return Err(fields.place_of(key).invalid(message));
            }
        }
        fields.finish(&keys::MIGRATION)?;
        Ok(Self { source, destination, cluster_addr })
    }

    fn storage(fields: &mut Fields<'_>, key: &'static str) -> Result<Storage, ConfigError> {
        let missing = match key {
            "storage_source" => "a \"storage_source\" block is needed",
            _ => "a \"storage_destination\" block is needed",
        };
        let (kind, block) = fields.only_typed(key)?.ok_or(ConfigError::Missing(missing))?;
        let mut storage = Storage::read(&kind, block)?;
        if let Storage::Raft(raft) = &mut storage {
            // A node of its own: the others of a cluster join it again.
            raft.retry_join.clear();
        }
        Ok(storage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(Migration, Vec<Warning>), ConfigError> {
        Migration::parse(&[Source { file: "migrate.hcl".into(), text: text.to_owned() }])
    }

    fn blocks(source: &str, destination: &str) -> String {
        format!("storage_source {source}\nstorage_destination {destination}\n")
    }

    const RAFT: &str = "\"raft\" {\n path = \"/old\"\n}";

    #[test]
    fn source_and_destination_are_read() {
        let text =
            blocks(RAFT, &RAFT.replace("old", "new")) + "cluster_addr = \"https://10.0.0.1:8201\"\nuii = 1";
        let (migration, warnings) = parse(&text).unwrap();
        let path = |storage: &Storage| match storage {
            Storage::Raft(raft) => raft.path.clone().unwrap().display().to_string(),
            other => other.kind().to_owned(),
        };
        assert_eq!((path(&migration.source), path(&migration.destination)), ("/old".into(), "/new".into()));
        assert_eq!(migration.cluster_addr.as_deref(), Some("https://10.0.0.1:8201"));
        assert_eq!(warnings.len(), 1, "an unknown key");
    }

    #[test]
    fn what_is_missing_or_senseless_is_named() {
        for (text, error) in [
            (String::new(), "\"storage_source\" block is needed"),
            (format!("storage_source {RAFT}"), "\"storage_destination\" block is needed"),
            (blocks(RAFT, RAFT), "\"cluster_addr\" is needed"),
            (blocks("\"inmem\" {}", RAFT) + "cluster_addr = \"https://a:1\"", "\"inmem\" is gone"),
            (blocks("\"floppy\" {}", RAFT), "\"floppy\" is not supported"),
        ] {
            let refused = parse(&text).unwrap_err().to_string();
            assert!(refused.contains(error), "{refused}");
        }
    }
}
