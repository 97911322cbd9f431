//! Writing an object: at once where it fits into a part, else part by part.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use strongroom_backup::Encryption;
use strongroom_stdx::PipeReader;

use crate::answers::{Begun, completion};
use crate::content::{Content, Parts};
use crate::request::{Failure, Request, Session};

/// Bytes of a part. All but the last are of one size, as some servers want it.
const PART: u64 = 8 << 20;
/// Parts of an object at most.
const MAX_PARTS: usize = 10_000;
/// The time limit of a server to put the parts together.
const ASSEMBLY_TIMEOUT: Duration = Duration::from_mins(10);
/// Sizes of parts are multiples of this.
const STEP: u64 = 1 << 20;

/// The size of the parts of an object of about `size` bytes: twice as much fits.
fn part_size(size: u64) -> u64 {
    let parts = u64::try_from(MAX_PARTS).unwrap_or(u64::MAX) / 2;
    PART.max(size.div_ceil(parts).next_multiple_of(STEP))
}

impl Session<'_> {
    /// Writes an object of about `size` bytes, whole or not at all.
    pub(crate) async fn put(&self, key: &str, content: PipeReader, size: u64) -> Result<(), Failure> {
        self.put_in_parts(key, content, part_size(size)).await
    }

    pub(crate) async fn put_in_parts(
        &self,
        key: &str,
        content: PipeReader,
        size: u64,
    ) -> Result<(), Failure> {
        let mut parts = Parts::new(content, size);
        let first = parts.next().await?;
        if !parts.is_full(&first) {
            let request =
                Request { headers: &self.headers(), content: first, ..Request::bare(Method::PUT, key, &[]) };
            return self.send(&request).await.map(|_done| ());
        }
        let id = self.begin(key).await?;
        let done = match self.put_parts(key, &id, first, parts, size).await {
            Ok(tags) => self.complete(key, &id, &tags).await,
            Err(failure) => Err(failure),
        };
        if done.is_err() {
            self.abort(key, &id).await;
        }
        done
    }

    /// The headers of an object when it is made.
    fn headers(&self) -> Vec<(&'static str, String)> {
        const ENCRYPTION: &str = "x-amz-server-side-encryption";
        let mut headers = vec![("content-type", "application/gzip".to_owned())];
        match &self.bucket.encryption {
            Encryption::Default => {}
            Encryption::Aes256 => headers.push((ENCRYPTION, "AES256".to_owned())),
            Encryption::Kms(key) => {
                headers.push((ENCRYPTION, "aws:kms".to_owned()));
                let key = key.iter().cloned();
                headers.extend(key.map(|key| ("x-amz-server-side-encryption-aws-kms-key-id", key)));
            }
        }
        headers
    }

    async fn begin(&self, key: &str) -> Result<String, Failure> {
        let query = [("uploads", "")];
        let request = Request { headers: &self.headers(), ..Request::bare(Method::POST, key, &query) };
        let answer = self.send(&request).await?;
        match Begun::read(&answer.body) {
            Some(begun) => Ok(begun.upload_id),
            None => Err(answer.strange("no UploadId")),
        }
    }

    /// Sends the parts, one at a time; answers their tags.
    async fn put_parts(
        &self,
        key: &str,
        id: &str,
        first: Content,
        mut parts: Parts,
        size: u64,
    ) -> Result<Vec<String>, Failure> {
        let mut tags = vec![self.put_part(key, id, 1, first).await?];
        loop {
            let part = parts.next().await?;
            let more = parts.is_full(&part);
            if part.len() > 0 {
                if tags.len() >= MAX_PARTS {
                    return Err(Failure::TooLarge(size));
                }
                tags.push(self.put_part(key, id, tags.len().saturating_add(1), part).await?);
            }
            if !more {
                return Ok(tags);
            }
        }
    }

    async fn put_part(
        &self,
        key: &str,
        id: &str,
        number: usize,
        content: Content,
    ) -> Result<String, Failure> {
        let number = number.to_string();
        let query = [("partNumber", number.as_str()), ("uploadId", id)];
        let answer = self.send(&Request { content, ..Request::bare(Method::PUT, key, &query) }).await?;
        let tag = answer.headers.get(http::header::ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        tag.ok_or_else(|| answer.strange("a part without ETag"))
    }

    async fn complete(&self, key: &str, id: &str, tags: &[String]) -> Result<(), Failure> {
        let content = Content::new(Bytes::from(completion(tags)));
        let query = [("uploadId", id)];
        let headers = [("content-type", "application/xml".to_owned())];
        let bare = Request::bare(Method::POST, key, &query);
        let request = Request { headers: &headers, content, patience: ASSEMBLY_TIMEOUT, ..bare };
        match self.send(&request).await {
            // An answer may have been lost on its way, and what was asked for be done.
            Err(failure) if failure.code() == "NoSuchUpload" && self.is_there(key).await => Ok(()),
            done => done.map(|_done| ()),
        }
    }

    async fn is_there(&self, key: &str) -> bool {
        self.list(key).await.is_ok_and(|names| names.iter().any(|name| name == key))
    }

    /// Removes the parts of an upload that comes to nothing.
    async fn abort(&self, key: &str, id: &str) {
        let query = [("uploadId", id)];
        if let Err(failure) = self.send(&Request::bare(Method::DELETE, key, &query)).await {
            tracing::warn!(%failure, "parts of an aborted upload remain in the bucket");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_large_enough_for_whatever_size() {
        assert_eq!(part_size(0), 8 << 20);
        assert_eq!(part_size(40 << 30), 9 << 20, "40 GiB");
        assert_eq!(part_size(1 << 40) % STEP, 0);
        assert!(part_size(1 << 40) * 5_000 >= 1 << 40, "1 TiB");
    }
}
