//! Objects in a bucket of a server that speaks S3: AWS's own, or one of the many compatible ones.
//!
//! Requests are signed with AWS Signature Version 4, over their content too, and tried again where a later attempt may
//! succeed. An object is sent in parts of a fixed size, one at a time, so that nothing but a part is held in memory.
//! Source: the Amazon S3 API reference (`ListObjectsV2`, `PutObject`, `CreateMultipartUpload`, `UploadPart`,
//! `CompleteMultipartUpload`, `AbortMultipartUpload`, `DeleteObject`, "Error responses").

#![cfg_attr(
    test,
    allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")
)]

mod answers;
mod content;
mod objects;
mod request;
mod upload;
mod url;

use std::time::Duration;

use async_trait::async_trait;
use strongroom_backup::{Bucket, Credentials, ObjectStore};
use strongroom_outbound::Outbound;
use strongroom_stdx::{Clock, Entropy, PipeReader, Secret};

use request::Session;

/// The error where there are no credentials.
const NO_CREDENTIALS: &str = "no credentials: set aws_access_key_id and aws_secret_access_key, or AWS_ACCESS_KEY_ID and \
                              AWS_SECRET_ACCESS_KEY in the environment of the server; files and the metadata of instances \
                              are not asked";

/// Speaks S3 to whatever servers buckets are on.
pub struct S3 {
    outbound: Outbound,
    /// The credentials for buckets that have none of their own.
    from_environment: Option<Credentials>,
    clock: Clock,
    entropy: Entropy,
    /// The longest pause before a request is tried again for the first time.
    pause: Duration,
}

impl S3 {
    /// One that knows what the environment says: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
    /// `lookup` answers for one variable.
    pub fn new(
        outbound: Outbound,
        lookup: impl Fn(&str) -> Option<String>,
        clock: Clock,
        entropy: Entropy,
    ) -> Self {
        let given = |name| lookup(name).filter(|value| !value.is_empty());
        let named = given("AWS_ACCESS_KEY_ID").zip(given("AWS_SECRET_ACCESS_KEY"));
        let from_environment = named.map(|(access_key_id, key)| Credentials {
            access_key_id,
            secret_access_key: Secret::new(key),
            session_token: given("AWS_SESSION_TOKEN").map(Secret::new),
        });
        Self { outbound, from_environment, clock, entropy, pause: Duration::from_millis(500) }
    }

    fn session<'s>(&'s self, bucket: &'s Bucket) -> Result<Session<'s>, String> {
        let credentials = bucket.credentials.as_ref().or(self.from_environment.as_ref());
        let credentials = credentials.ok_or(NO_CREDENTIALS)?;
        Session::new(self, bucket, credentials)
    }
}

#[async_trait]
impl ObjectStore for S3 {
    async fn list(&self, bucket: &Bucket, prefix: &str) -> Result<Vec<String>, String> {
        self.session(bucket)?.list(prefix).await.map_err(|failure| failure.to_string())
    }

    async fn put(&self, bucket: &Bucket, name: &str, content: PipeReader, size: u64) -> Result<(), String> {
        self.session(bucket)?.put(name, content, size).await.map_err(|failure| failure.to_string())
    }

    async fn delete(&self, bucket: &Bucket, name: &str) -> Result<(), String> {
        self.session(bucket)?.delete(name).await.map_err(|failure| failure.to_string())
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
