//! One request: signed, sent, and sent again where that may help.

use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials as SigningKey;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4::SigningParams;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use strongroom_backup::{Bucket, Credentials};
use strongroom_outbound::{Body, Error, Reason};

use crate::S3;
use crate::answers::Complaint;
use crate::content::Content;
use crate::url::Place;

/// The number of attempts of a request.
const MAX_ATTEMPTS: u32 = 6;
/// The longest pause between two.
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// The time limit of a request, unless it says otherwise, and the least number of bytes of content sent in a second.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const SLOWEST: u64 = 32 << 10;
/// Bytes of an answer that are read.
const MAX_ANSWER_BYTES: usize = 8 << 20;

/// The failure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// No answer came, or not all of one.
    #[error("{what}: {reason}")]
    Unanswered { what: String, reason: String },
    /// The server refused, or could not.
    #[error("{what}: {status}{}{}", before(" ", &complaint.code), before(": ", &complaint.message))]
    Refused { what: String, status: StatusCode, complaint: Complaint },
    /// The server answered something else than S3 has.
    #[error("{what}: the answer is none of S3: {reason}")]
    Strange { what: String, reason: &'static str },
    /// The content to be sent broke off.
    #[error("{0}")]
    Content(String),
    /// There is more than an object can hold.
    #[error("the snapshot is larger than 10000 parts of {0} bytes")]
    TooLarge(u64),
    /// The request could not be made.
    #[error("the request could not be made: {0}")]
    Unmade(String),
}

fn before(separator: &str, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{separator}{text}") }
}

impl Failure {
    /// True if it may be otherwise soon.
    fn passes(&self) -> bool {
        match self {
            Self::Unanswered { .. } => true,
            Self::Refused { status, complaint, .. } => {
                matches!(status.as_u16(), 408 | 429 | 500 | 502..=504)
                    || matches!(
                        complaint.code.as_str(),
                        "SlowDown"
                            | "InternalError"
                            | "ServiceUnavailable"
                            | "RequestTimeout"
                            | "Throttling"
                            | "RequestLimitExceeded"
                    )
            }
            _ => false,
        }
    }

    /// The server's word for what went wrong.
    pub(crate) fn code(&self) -> &str {
        match self {
            Self::Refused { complaint, .. } => &complaint.code,
            _ => "",
        }
    }
}

/// A request that was not answered; one that may not be sent there will not be sent later either.
fn failed(what: &str, error: &Error) -> Failure {
    match error.reason() {
        Reason::Forbidden(reason) | Reason::Unusable(reason) => Failure::Unmade(format!("{what}: {reason}")),
        reason => Failure::Unanswered { what: what.to_owned(), reason: reason.to_string() },
    }
}

/// A request.
pub(crate) struct Request<'r> {
    pub(crate) method: Method,
    /// The object; empty for the bucket.
    pub(crate) key: &'r str,
    pub(crate) query: &'r [(&'r str, &'r str)],
    pub(crate) headers: &'r [(&'static str, String)],
    pub(crate) content: Content,
    /// Its time limit, besides sending the content.
    pub(crate) patience: Duration,
}

impl<'r> Request<'r> {
    /// One without headers and content.
    pub(crate) fn bare(method: Method, key: &'r str, query: &'r [(&'r str, &'r str)]) -> Self {
        Self {
            method,
            key,
            query,
            headers: &[],
            content: Content::new(Bytes::new()),
            patience: REQUEST_TIMEOUT,
        }
    }
}

/// A good answer.
pub(crate) struct Answer {
    /// The operation, for errors about it.
    pub(crate) what: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn strange(self, reason: &'static str) -> Failure {
        Failure::Strange { what: self.what, reason }
    }
}

/// A bucket, and who asks for what is in it.
pub(crate) struct Session<'s> {
    s3: &'s S3,
    pub(crate) bucket: &'s Bucket,
    place: Place,
    key: SigningKey,
}

impl<'s> Session<'s> {
    pub(crate) fn new(s3: &'s S3, bucket: &'s Bucket, credentials: &Credentials) -> Result<Self, String> {
        let place = Place::of(bucket).ok_or("aws_s3_endpoint is no server")?;
        let key = SigningKey::new(
            credentials.access_key_id.clone(),
            credentials.secret_access_key.expose().clone(),
            credentials.session_token.as_ref().map(|token| token.expose().clone()),
            None,
            "strongroom",
        );
        Ok(Self { s3, bucket, place, key })
    }

    /// Sends a request until it is answered for good.
    pub(crate) async fn send(&self, request: &Request<'_>) -> Result<Answer, Failure> {
        let mut attempt = 1_u32;
        loop {
            let failure = match self.once(request).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            if attempt >= MAX_ATTEMPTS || !failure.passes() {
                return Err(failure);
            }
            let pause = self.pause(attempt);
            tracing::debug!(%failure, attempt, ?pause, "a request is sent again");
            self.s3.clock.sleep(pause).await;
            attempt = attempt.saturating_add(1);
        }
    }

    /// The pause after an attempt: twice as long each time, and never the same for two that failed together.
    fn pause(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(16);
        let longest = self.s3.pause.saturating_mul(1 << doublings).min(MAX_PAUSE);
        // Without randomness the pause is the longest, which is always safe.
        let share = self.s3.entropy.bytes::<2>().map_or(u16::MAX, u16::from_le_bytes);
        longest.mul_f64(0.5 + f64::from(share) / f64::from(u16::MAX) / 2.0)
    }

    async fn once(&self, request: &Request<'_>) -> Result<Answer, Failure> {
        let what = self.what(request);
        let unanswered = |reason| Failure::Unanswered { what: what.clone(), reason };
        let sent = self.signed(request)?;
        let length = request.content.len();
        let patience = request.patience.saturating_add(Duration::from_secs(length / SLOWEST));
        let answered = async {
            let answer = self.s3.outbound.send(sent).await.map_err(|error| failed(&what, &error))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
            Ok((head, body.map_err(|error| unanswered(error.to_string()))?.to_bytes()))
        };
        let answered = tokio::time::timeout(patience, answered).await;
        let (head, body) =
            answered.unwrap_or_else(|_elapsed| Err(unanswered("no answer in time".to_owned())))?;
        let body = String::from_utf8_lossy(&body).into_owned();
        // Some refusals are thought of only after a good status has been sent.
        match (head.status.is_success(), Complaint::read(&body)) {
            (true, None) => Ok(Answer { what, headers: head.headers, body }),
            (_, complaint) => {
                let complaint = complaint.unwrap_or_default();
                Err(Failure::Refused { what, status: head.status, complaint })
            }
        }
    }

    /// Names what is asked for, in errors.
    fn what(&self, request: &Request<'_>) -> String {
        format!("{} s3://{}/{}", request.method, self.bucket.name, request.key)
    }

    pub(crate) fn signed(&self, request: &Request<'_>) -> Result<http::Request<Body>, Failure> {
        let unmade = |error: &dyn std::fmt::Display| Failure::Unmade(error.to_string());
        let url = self.place.url(request.key, request.query);
        let headers = request.headers.iter().map(|(name, value)| (*name, value.as_str()));
        let content = SignableBody::Precomputed(request.content.sha256.clone());
        let signable = SignableRequest::new(request.method.as_str(), url.as_str(), headers, content)
            .map_err(|error| unmade(&error))?;
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        let identity = self.key.clone().into();
        let now = UNIX_EPOCH.checked_add(Duration::from_nanos(self.s3.clock.now().as_nanos()));
        let parameters = SigningParams::builder()
            .identity(&identity)
            .region(&self.bucket.region)
            .name("s3")
            .time(now.unwrap_or(UNIX_EPOCH))
            .settings(settings)
            .build()
            .map_err(|error| unmade(&error))?;
        let (signature, _) = sign(signable, &parameters.into()).map_err(|error| unmade(&error))?.into_parts();
        let mut signed = http::Request::new(request.content.body().boxed_unsync());
        *signed.method_mut() = request.method.clone();
        *signed.uri_mut() = url.parse().map_err(|error: http::uri::InvalidUri| unmade(&error))?;
        for (name, value) in request.headers {
            let value = HeaderValue::try_from(value).map_err(|error| unmade(&error))?;
            signed.headers_mut().insert(*name, value);
        }
        signature.apply_to_request_http1x(&mut signed);
        Ok(signed)
    }
}
