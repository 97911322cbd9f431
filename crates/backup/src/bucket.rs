//! A bucket that snapshots are kept in. Source: Vault's API page `sys/storage/raft/snapshot-auto`, "storage_type=aws-s3".

use async_trait::async_trait;
use http::Uri;
use serde::{Deserialize, Serialize};
use strongroom_engine_api::{EngineError, PipeReader, Secret, bad_request};

/// A bucket of a server that speaks S3, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Its name.
    #[serde(rename = "n")]
    pub name: String,
    /// The region that it is in.
    #[serde(rename = "r")]
    pub region: String,
    /// The server: a host, with a port or without, or a URL. Empty: AWS's own in the region.
    #[serde(rename = "e")]
    pub endpoint: String,
    /// A server that is no URL is reached without TLS.
    #[serde(rename = "t")]
    pub disable_tls: bool,
    /// The bucket's name is a part of the path, not of the host.
    #[serde(rename = "p")]
    pub force_path_style: bool,
    /// The encryption of objects by the server.
    #[serde(rename = "x")]
    pub encryption: Encryption,
    /// The credentials; `None`: those in the server's environment.
    #[serde(rename = "c")]
    pub credentials: Option<Credentials>,
}

/// The encryption of objects by the server of a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encryption {
    /// Whatever the bucket is set to.
    #[serde(rename = "d")]
    Default,
    /// A key of its own.
    #[serde(rename = "a")]
    Aes256,
    /// A key of its key management; `None`: the account's.
    #[serde(rename = "k")]
    Kms(Option<String>),
}

/// Keys of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// Names the key.
    #[serde(rename = "i")]
    pub access_key_id: String,
    /// The key.
    #[serde(rename = "s")]
    pub secret_access_key: Secret<String>,
    /// Comes with keys that were lent for a while.
    #[serde(rename = "t")]
    pub session_token: Option<Secret<String>>,
}

/// A store for objects outside the cluster. Its errors are fit for logs and operators.
#[async_trait]
pub trait ObjectStore: Send + Sync + 'static {
    /// The names of a bucket's objects that begin with `prefix`.
    ///
    /// # Errors
    ///
    /// Why they cannot be listed.
    async fn list(&self, bucket: &Bucket, prefix: &str) -> Result<Vec<String>, String>;

    /// Writes an object of about `size` bytes as they come, whole or not at all.
    ///
    /// # Errors
    ///
    /// Why it is not there.
    async fn put(&self, bucket: &Bucket, name: &str, content: PipeReader, size: u64) -> Result<(), String>;

    /// Removes an object; there may be none.
    ///
    /// # Errors
    ///
    /// Why it may still be there.
    async fn delete(&self, bucket: &Bucket, name: &str) -> Result<(), String>;
}

impl Bucket {
    /// Says whether it may be kept.
    ///
    /// # Errors
    ///
    /// [`EngineError`], a 400 that names the field.
    pub fn check(&self) -> Result<(), EngineError> {
        let plain = |text: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(fits)
        };
        if !plain(&self.name) {
            return Err(bad_request("aws_s3_bucket must be the name of a bucket"));
        }
        if !plain(&self.region) {
            return Err(bad_request("aws_s3_region must be the name of a region"));
        }
        if self.server().is_none() {
            return Err(bad_request(
                "aws_s3_endpoint must be a host, with a port or without, or an http or https URL",
            ));
        }
        Ok(())
    }

    /// The URL of the server; `None` where the endpoint is none.
    pub fn server(&self) -> Option<Uri> {
        let scheme = if self.disable_tls { "http" } else { "https" };
        let url = if self.endpoint.contains("://") {
            self.endpoint.clone()
        } else if self.endpoint.is_empty() {
            let of_country = if self.region.starts_with("cn-") { ".cn" } else { "" };
            format!("{scheme}://s3.{}.amazonaws.com{of_country}", self.region)
        } else {
            format!("{scheme}://{}", self.endpoint)
        };
        let url: Uri = url.parse().ok()?;
        let authority = url.authority()?;
        let fits = matches!(url.scheme_str(), Some("http" | "https"))
            && !authority.host().is_empty()
            && !authority.as_str().contains('@')
            && url.query().is_none();
        fits.then_some(url)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn bucket() -> Bucket {
        Bucket {
            name: "backups".into(),
            region: "eu-central-1".into(),
            endpoint: String::new(),
            disable_tls: false,
            force_path_style: false,
            encryption: Encryption::Default,
            credentials: None,
        }
    }

    #[test]
    fn the_server_is_awss_own_where_none_is_given() {
        let server = |change: fn(&mut Bucket)| {
            let mut bucket = bucket();
            change(&mut bucket);
            bucket.server().map(|url| url.to_string())
        };
        let told = |url: &str| Some(url.to_owned());
        assert_eq!(server(|_| ()), told("https://s3.eu-central-1.amazonaws.com/"));
        assert_eq!(
            server(|bucket| bucket.region = "cn-north-1".into()),
            told("https://s3.cn-north-1.amazonaws.com.cn/")
        );
        assert_eq!(server(|bucket| bucket.endpoint = "minio:9000".into()), told("https://minio:9000/"));
        let plain = |bucket: &mut Bucket| {
            bucket.endpoint = "minio:9000".into();
            bucket.disable_tls = true;
        };
        assert_eq!(server(plain), told("http://minio:9000/"));
        assert_eq!(server(|bucket| bucket.endpoint = "http://[::1]:9/s3".into()), told("http://[::1]:9/s3"));
        for bad in ["ftp://minio", "a b", "https://", "https://key:secret@minio", "https://minio?x=1"] {
            assert_eq!(Bucket { endpoint: bad.into(), ..bucket() }.server(), None, "{bad}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused_by_its_field() {
        assert!(bucket().check().is_ok());
        for (bad, field) in [
            (Bucket { name: String::new(), ..bucket() }, "aws_s3_bucket"),
            (Bucket { name: "a/b".into(), ..bucket() }, "aws_s3_bucket"),
            (Bucket { name: "..".into(), ..bucket() }, "aws_s3_bucket"),
            (Bucket { region: "a b".into(), ..bucket() }, "aws_s3_region"),
            (Bucket { endpoint: "a b".into(), ..bucket() }, "aws_s3_endpoint"),
        ] {
            assert!(bad.check().unwrap_err().to_string().starts_with(field));
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let credentials = Credentials {
            access_key_id: "AKID".into(),
            secret_access_key: Secret::new("hunter2".into()),
            session_token: Some(Secret::new("hunter2".into())),
        };
        let bucket = Bucket { credentials: Some(credentials), ..bucket() };
        assert!(!format!("{bucket:?}").contains("hunter2"));
    }
}
