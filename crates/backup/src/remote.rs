//! Snapshots as objects in a bucket.

use strongroom_engine_api::PipeReader;

use super::bucket::{Bucket, ObjectStore};
use super::names::{self, Taken, surplus};

/// The bucket and prefix of snapshots, and how many are kept there.
pub(super) struct RemoteArchive<'s> {
    pub(super) store: &'s dyn ObjectStore,
    pub(super) bucket: &'s Bucket,
    /// The prefix of all objects; a slash comes after it.
    pub(super) path: &'s str,
    /// The beginning of the last part of our names; others are left alone.
    pub(super) file_prefix: &'s str,
    pub(super) retain: u64,
}

impl RemoteArchive<'_> {
    /// The part of a name before the last one.
    fn folder(&self) -> String {
        let path = self.path.trim_matches('/');
        if path.is_empty() { String::new() } else { format!("{path}/") }
    }

    /// The times of the snapshots that are there, the oldest first.
    pub(super) async fn kept(&self) -> Result<Vec<u64>, String> {
        let folder = self.folder();
        let listed = self.store.list(self.bucket, &format!("{folder}{}-", self.file_prefix)).await?;
        let stamp = |name: &String| names::stamp(name.strip_prefix(&folder)?, self.file_prefix);
        let mut kept: Vec<u64> = listed.iter().filter_map(stamp).collect();
        kept.sort_unstable();
        Ok(kept)
    }

    fn key(&self, stamp: u64) -> String {
        format!("{}{}", self.folder(), names::name(self.file_prefix, stamp))
    }

    /// Writes a snapshot of about `size` bytes, named after a time in seconds, and then removes those that are too many.
    /// `kept` are those that are there.
    pub(super) async fn keep(
        &self,
        mut kept: Vec<u64>,
        stamp: u64,
        archive: PipeReader,
        size: u64,
    ) -> Result<Taken, String> {
        let key = self.key(stamp);
        self.store.put(self.bucket, &key, archive, size).await?;
        kept.push(stamp);
        let mut left = None;
        for old in surplus(&kept, self.retain) {
            left = self.store.delete(self.bucket, &self.key(*old)).await.err().or(left);
        }
        Ok(Taken { url: format!("s3://{}/{key}", self.bucket.name), left })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use async_trait::async_trait;
    use strongroom_stdx::pipe;

    use super::*;
    use crate::bucket::tests::bucket;

    /// Names and sizes.
    struct InMemory(Mutex<BTreeMap<String, u64>>);

    impl InMemory {
        fn with(names: &[&str]) -> Self {
            Self(Mutex::new(names.iter().map(|name| ((*name).to_owned(), 0)).collect()))
        }

        fn names(&self) -> Vec<String> {
            self.0.lock().unwrap().keys().cloned().collect()
        }
    }

    #[async_trait]
    impl ObjectStore for InMemory {
        async fn list(&self, _bucket: &Bucket, prefix: &str) -> Result<Vec<String>, String> {
            Ok(self.names().into_iter().filter(|name| name.starts_with(prefix)).collect())
        }

        async fn put(
            &self,
            _: &Bucket,
            name: &str,
            mut content: PipeReader,
            size: u64,
        ) -> Result<(), String> {
            while let Some(piece) = content.next().await {
                piece.map_err(|error| error.to_string())?;
            }
            self.0.lock().unwrap().insert(name.to_owned(), size);
            Ok(())
        }

        async fn delete(&self, _bucket: &Bucket, name: &str) -> Result<(), String> {
            if name.contains("-1.") {
                return Err("not allowed".to_owned());
            }
            self.0.lock().unwrap().remove(name);
            Ok(())
        }
    }

    async fn keep(store: &InMemory, path: &str, stamp: u64) -> Result<Taken, String> {
        let bucket = bucket();
        let remote = RemoteArchive { store, bucket: &bucket, path, file_prefix: "ours", retain: 2 };
        let (writer, archive) = pipe();
        writer.end();
        remote.keep(remote.kept().await?, stamp, archive, 7).await
    }

    #[tokio::test]
    async fn as_many_are_kept_as_wanted_and_others_left_alone() {
        let others =
            ["a/ours-x.snap", "a/ours-5/ours-6.snap", "ours-3.snap", "a/b/ours-4.snap", "a/theirs-2.snap"];
        let store = InMemory::with(&others);
        for stamp in [9, 10, 11] {
            let taken = keep(&store, "/a/", stamp).await.unwrap();
            assert_eq!(taken, Taken { url: format!("s3://backups/a/ours-{stamp}.snap"), left: None });
        }
        let mut there: Vec<String> = others.iter().map(|name| (*name).to_owned()).collect();
        there.extend(["a/ours-10.snap".to_owned(), "a/ours-11.snap".to_owned()]);
        there.sort();
        assert_eq!(store.names(), there);
        assert_eq!(keep(&store, "", 12).await.unwrap().url, "s3://backups/ours-12.snap");
    }

    #[tokio::test]
    async fn one_that_cannot_be_removed_does_not_keep_the_others() {
        let store = InMemory::with(&["ours-1.snap", "ours-2.snap", "ours-3.snap"]);
        let taken = keep(&store, "", 4).await.unwrap();
        assert_eq!(taken.left.as_deref(), Some("not allowed"));
        assert_eq!(store.names(), ["ours-1.snap", "ours-3.snap", "ours-4.snap"]);
    }

    #[tokio::test]
    async fn what_breaks_off_removes_nothing() {
        let store = InMemory::with(&["ours-2.snap", "ours-3.snap"]);
        let bucket = bucket();
        let remote =
            RemoteArchive { store: &store, bucket: &bucket, path: "", file_prefix: "ours", retain: 1 };
        let (writer, archive) = pipe();
        drop(writer);
        assert!(remote.keep(remote.kept().await.unwrap(), 4, archive, 0).await.is_err());
        assert_eq!(store.names(), ["ours-2.snap", "ours-3.snap"]);
    }
}
