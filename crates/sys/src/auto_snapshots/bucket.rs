//! The parameters of a bucket, as they are taken and shown.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_backup::{Bucket, Credentials, Encryption};
use strongroom_engine_api::lenient::{Flag, Text};
use strongroom_engine_api::{EngineError, Secret, bad_request};

/// A bucket that snapshots are kept in, for `storage_type` "aws-s3".
#[derive(Default, Deserialize, JsonSchema)]
#[expect(clippy::struct_field_names, reason = "the members that Vault takes")]
pub(super) struct BucketInput {
    /// The bucket's name.
    aws_s3_bucket: Option<Text>,
    /// The region that it is in.
    aws_s3_region: Option<Text>,
    /// The account's key id. Without one the server's environment is asked.
    aws_access_key_id: Option<Text>,
    /// The account's key. Not shown again.
    aws_secret_access_key: Option<Text>,
    /// The token of keys that were lent for a while. Not shown again.
    aws_session_token: Option<Text>,
    /// The server, where it is not AWS's: a host, with a port or without, or a URL.
    aws_s3_endpoint: Option<Text>,
    /// The server is reached without TLS.
    aws_s3_disable_tls: Option<Flag>,
    /// The bucket's name is a part of the path, not of the host.
    aws_s3_force_path_style: Option<Flag>,
    /// The server encrypts objects with a key of its key management.
    aws_s3_enable_kms: Option<Flag>,
    /// The server encrypts objects with a key of its own (AES256).
    aws_s3_server_side_encryption: Option<Flag>,
    /// The key, for `aws_s3_enable_kms`; without one, the account's.
    aws_s3_kms_key: Option<Text>,
}

/// A bucket, without its secrets.
#[derive(Serialize, JsonSchema)]
#[expect(
    clippy::struct_field_names,
    clippy::struct_excessive_bools,
    reason = "the members that Vault answers"
)]
pub(super) struct BucketView {
    /// The bucket's name.
    aws_s3_bucket: String,
    /// The region that it is in.
    aws_s3_region: String,
    /// The account's key id; empty where the server's environment is asked.
    aws_access_key_id: String,
    /// The server, where it is not AWS's.
    aws_s3_endpoint: String,
    /// True if the server is reached without TLS.
    aws_s3_disable_tls: bool,
    /// True if the bucket's name is a part of the path.
    aws_s3_force_path_style: bool,
    /// True if the server encrypts objects with a key of its key management.
    aws_s3_enable_kms: bool,
    /// True if the server encrypts objects with a key of its own.
    aws_s3_server_side_encryption: bool,
    /// The key, for `aws_s3_enable_kms`.
    aws_s3_kms_key: String,
}

impl BucketView {
    pub(super) fn of(bucket: Bucket) -> Self {
        let (enable_kms, aes256, kms_key) = match bucket.encryption {
            Encryption::Default => (false, false, None),
            Encryption::Aes256 => (false, true, None),
            Encryption::Kms(key) => (true, false, key),
        };
        Self {
            aws_s3_bucket: bucket.name,
            aws_s3_region: bucket.region,
            aws_access_key_id: bucket.credentials.map(|keys| keys.access_key_id).unwrap_or_default(),
            aws_s3_endpoint: bucket.endpoint,
            aws_s3_disable_tls: bucket.disable_tls,
            aws_s3_force_path_style: bucket.force_path_style,
            aws_s3_enable_kms: enable_kms,
            aws_s3_server_side_encryption: aes256,
            aws_s3_kms_key: kms_key.unwrap_or_default(),
        }
    }
}

impl BucketInput {
    /// The name of a parameter that says something, if one does: empty texts and "false" say nothing.
    pub(super) fn given(&self) -> Option<&'static str> {
        let texts = [
            ("aws_s3_bucket", &self.aws_s3_bucket),
            ("aws_s3_region", &self.aws_s3_region),
            ("aws_access_key_id", &self.aws_access_key_id),
            ("aws_secret_access_key", &self.aws_secret_access_key),
            ("aws_session_token", &self.aws_session_token),
            ("aws_s3_endpoint", &self.aws_s3_endpoint),
            ("aws_s3_kms_key", &self.aws_s3_kms_key),
        ];
        let flags = [
            ("aws_s3_disable_tls", &self.aws_s3_disable_tls),
            ("aws_s3_force_path_style", &self.aws_s3_force_path_style),
            ("aws_s3_enable_kms", &self.aws_s3_enable_kms),
            ("aws_s3_server_side_encryption", &self.aws_s3_server_side_encryption),
        ];
        let text = texts.iter().find(|(_, text)| text.as_ref().is_some_and(|text| !text.is_empty()));
        let flag = flags.iter().find(|(_, flag)| flag.as_ref().is_some_and(|flag| flag.0));
        text.map(|(name, _)| *name).or_else(|| flag.map(|(name, _)| *name))
    }

    /// The bucket as asked for; what is not given is as before.
    pub(super) fn merged(self, before: Option<&Bucket>) -> Result<Bucket, EngineError> {
        let encryption = self.encryption(before.map(|before| &before.encryption))?;
        let credentials = self.credentials(before.and_then(|before| before.credentials.as_ref()))?;
        let text = |given: Option<Text>, before: Option<&String>| {
            given.map(|text| text.0).or_else(|| before.cloned()).filter(|text| !text.is_empty())
        };
        let flag = |given: Option<Flag>, before: Option<bool>| {
            given.map(|flag| flag.0).or(before).unwrap_or_default()
        };
        let name = text(self.aws_s3_bucket, before.map(|before| &before.name));
        let region = text(self.aws_s3_region, before.map(|before| &before.region));
        let endpoint = text(self.aws_s3_endpoint, before.map(|before| &before.endpoint));
        Ok(Bucket {
            name: name.ok_or_else(|| bad_request("missing aws_s3_bucket"))?,
            region: region.ok_or_else(|| bad_request("missing aws_s3_region"))?,
            endpoint: endpoint.unwrap_or_default(),
            disable_tls: flag(self.aws_s3_disable_tls, before.map(|before| before.disable_tls)),
            force_path_style: flag(
                self.aws_s3_force_path_style,
                before.map(|before| before.force_path_style),
            ),
            encryption,
            credentials,
        })
    }

    fn encryption(&self, before: Option<&Encryption>) -> Result<Encryption, EngineError> {
        let given = |flag: &Option<Flag>| flag.as_ref().map(|flag| flag.0);
        let kms = given(&self.aws_s3_enable_kms).unwrap_or(matches!(before, Some(Encryption::Kms(_))));
        let aes256 =
            given(&self.aws_s3_server_side_encryption).unwrap_or(before == Some(&Encryption::Aes256));
        let key = self.aws_s3_kms_key.as_ref().map(|key| key.0.clone());
        let key_before = match before {
            Some(Encryption::Kms(key)) if kms => key.clone(),
            _ => None,
        };
        match (kms, aes256, key.or(key_before).filter(|key| !key.is_empty())) {
            (true, true, _) => {
                Err(bad_request("aws_s3_server_side_encryption cannot be used with aws_s3_enable_kms"))
            }
            (true, false, key) => Ok(Encryption::Kms(key)),
            (false, _, Some(_)) => Err(bad_request("aws_s3_kms_key needs aws_s3_enable_kms")),
            (false, true, None) => Ok(Encryption::Aes256),
            (false, false, None) => Ok(Encryption::Default),
        }
    }

    /// A new key comes with its id, and with a token of its own if with any.
    fn credentials(&self, before: Option<&Credentials>) -> Result<Option<Credentials>, EngineError> {
        let filled =
            |text: &Option<Text>| text.as_ref().map(|text| text.0.clone()).filter(|text| !text.is_empty());
        let token = filled(&self.aws_session_token).map(Secret::new);
        if self.aws_access_key_id.is_none() && self.aws_secret_access_key.is_none() {
            return match (before, token) {
                (before, None) if self.aws_session_token.is_none() => Ok(before.cloned()),
                (Some(before), session_token) => Ok(Some(Credentials { session_token, ..before.clone() })),
                (None, Some(_)) => Err(without_keys()),
                (None, None) => Ok(None),
            };
        }
        match (filled(&self.aws_access_key_id), filled(&self.aws_secret_access_key)) {
            (Some(access_key_id), Some(key)) => Ok(Some(Credentials {
                access_key_id,
                secret_access_key: Secret::new(key),
                session_token: token,
            })),
            (None, None) if token.is_some() => Err(without_keys()),
            (None, None) => Ok(None),
            _ => Err(bad_request("aws_access_key_id and aws_secret_access_key must be given together")),
        }
    }
}

fn without_keys() -> EngineError {
    bad_request("aws_session_token needs aws_access_key_id and aws_secret_access_key")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn merged(input: Value, before: Option<&Bucket>) -> Result<Bucket, String> {
        let input: BucketInput = serde_json::from_value(input).unwrap();
        input.merged(before).map_err(|error| error.to_string())
    }

    fn kept() -> Bucket {
        let input = json!({
            "aws_s3_bucket": "b", "aws_s3_region": "r", "aws_s3_endpoint": "h:9000", "aws_s3_disable_tls": "true",
            "aws_s3_force_path_style": true, "aws_access_key_id": "AKID", "aws_secret_access_key": "hunter2",
            "aws_session_token": "hunter3", "aws_s3_enable_kms": true, "aws_s3_kms_key": "k",
        });
        merged(input, None).unwrap()
    }

    #[test]
    fn what_is_not_given_is_as_before() {
        let before = kept();
        assert_eq!(merged(json!({}), Some(&before)).unwrap(), before);
        let changed =
            merged(json!({ "aws_s3_endpoint": "", "aws_s3_disable_tls": false }), Some(&before)).unwrap();
        assert_eq!(changed, Bucket { endpoint: String::new(), disable_tls: false, ..before });
        let least = merged(json!({ "aws_s3_bucket": "b", "aws_s3_region": "r" }), None).unwrap();
        assert_eq!(
            (least.encryption, least.credentials, least.disable_tls),
            (Encryption::Default, None, false)
        );
        assert_eq!(merged(json!({ "aws_s3_region": "r" }), None).unwrap_err(), "missing aws_s3_bucket");
        assert_eq!(merged(json!({ "aws_s3_bucket": "b" }), None).unwrap_err(), "missing aws_s3_region");
    }

    #[test]
    fn keys_change_together() {
        let before = kept();
        let credentials = |input| merged(input, Some(&before)).map(|bucket| bucket.credentials);
        let new = json!({ "aws_access_key_id": "NEW", "aws_secret_access_key": "hunter4" });
        let new = credentials(new).unwrap().unwrap();
        assert_eq!((new.access_key_id.as_str(), new.session_token), ("NEW", None));
        let token = credentials(json!({ "aws_session_token": "hunter5" })).unwrap().unwrap();
        assert_eq!(
            (token.access_key_id.as_str(), token.session_token),
            ("AKID", Some(Secret::new("hunter5".into())))
        );
        let token = credentials(json!({ "aws_session_token": "" })).unwrap().unwrap();
        assert_eq!(token.session_token, None);
        assert_eq!(credentials(json!({ "aws_access_key_id": "", "aws_secret_access_key": "" })), Ok(None));
        for half in ["aws_access_key_id", "aws_secret_access_key"] {
            assert!(credentials(json!({ half: "x" })).unwrap_err().contains("together"));
        }
        let lone = json!({ "aws_s3_bucket": "b", "aws_s3_region": "r", "aws_session_token": "hunter2" });
        assert!(merged(lone, None).unwrap_err().starts_with("aws_session_token needs"));
    }

    #[test]
    fn an_object_is_encrypted_in_one_way() {
        let before = kept();
        let encryption = |input| merged(input, Some(&before)).map(|bucket| bucket.encryption);
        assert_eq!(encryption(json!({ "aws_s3_kms_key": "" })), Ok(Encryption::Kms(None)));
        assert_eq!(encryption(json!({ "aws_s3_enable_kms": false })), Ok(Encryption::Default));
        let aes256 = json!({ "aws_s3_enable_kms": false, "aws_s3_server_side_encryption": true });
        assert_eq!(encryption(aes256), Ok(Encryption::Aes256));
        assert!(
            encryption(json!({ "aws_s3_server_side_encryption": true }))
                .unwrap_err()
                .contains("cannot be used")
        );
        let without = json!({ "aws_s3_enable_kms": false, "aws_s3_kms_key": "k" });
        assert_eq!(encryption(without).unwrap_err(), "aws_s3_kms_key needs aws_s3_enable_kms");
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = serde_json::to_string(&BucketView::of(kept())).unwrap();
        assert!(shown.contains("AKID") && !shown.contains("hunter"), "{shown}");
    }

    #[test]
    fn what_says_something_is_named() {
        let given = |input| serde_json::from_value::<BucketInput>(input).unwrap().given();
        assert_eq!(given(json!({ "aws_s3_bucket": "", "aws_s3_enable_kms": false })), None);
        assert_eq!(given(json!({ "aws_s3_bucket": "b" })), Some("aws_s3_bucket"));
        assert_eq!(given(json!({ "aws_s3_enable_kms": true })), Some("aws_s3_enable_kms"));
    }
}
