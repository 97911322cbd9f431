use bytes::Bytes;
use strongroom_backup::{Bucket, Credentials, Encryption, ObjectStore as _};
use strongroom_stdx::{Moment, PipeReader, Secret, pipe};

use crate::request::Failure;
use crate::testing::{Arrived, Server, Told, bucket, s3, s3_at};

const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn ok(body: &str) -> Told {
    Told::Answer("200 OK\r\nETag: \"tag\"", body.to_owned())
}

fn error(status: &'static str, code: &str) -> Told {
    Told::Answer(status, format!("<Error><Code>{code}</Code><Message>in words</Message></Error>"))
}

fn content(bytes: &'static [u8]) -> PipeReader {
    let (mut writer, reader) = pipe();
    tokio::spawn(async move {
        for piece in bytes.chunks(3) {
            writer.send(Bytes::from_static(piece)).await?;
        }
        writer.end();
        std::io::Result::Ok(())
    });
    reader
}

/// The answers of a server to the requests of an upload.
fn uploads(_number: usize, request: &Arrived) -> Told {
    let begun = "<InitiateMultipartUploadResult><UploadId>u 1</UploadId></InitiateMultipartUploadResult>";
    match request.line.as_str() {
        "POST /b/k?uploads=" => ok(begun),
        _ => ok(""),
    }
}

/// The example of AWS's page "Signature Calculations for the Authorization Header", "GET Bucket (List Objects)".
#[tokio::test]
async fn requests_are_signed_as_aws_shows_it() {
    let s3 = s3_at(Moment::parse_rfc3339("2013-05-24T00:00:00Z").unwrap());
    let credentials = Credentials {
        access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
        secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into()),
        session_token: None,
    };
    let bucket = Bucket {
        name: "examplebucket".into(),
        endpoint: "https://s3.amazonaws.com".into(),
        credentials: Some(credentials),
        ..bucket("")
    };
    let session = s3.session(&bucket).unwrap();
    let query = [("max-keys", "2"), ("prefix", "J")];
    let request = crate::request::Request::bare(http::Method::GET, "", &query);
    let signed = session.signed(&request).unwrap();
    assert_eq!(signed.uri(), "https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J");
    assert_eq!(signed.headers()["x-amz-content-sha256"], EMPTY);
    assert_eq!(
        signed.headers()["authorization"],
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
         SignedHeaders=host;x-amz-content-sha256;x-amz-date, \
         Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
    );
}

#[tokio::test]
async fn what_fits_into_a_part_is_sent_at_once() {
    let server = Server::start(uploads).await;
    let bucket = Bucket { encryption: Encryption::Kms(Some("key-1".into())), ..bucket(&server.endpoint) };
    s3().put(&bucket, "a b/k", content(b"hello"), 5).await.unwrap();
    let [sent] = server.arrived().try_into().unwrap();
    assert_eq!((sent.line.as_str(), sent.body.as_slice()), ("PUT /b/a%20b/k", b"hello".as_slice()));
    assert_eq!(sent.header("content-length"), "5");
    assert_eq!(sent.header("x-amz-server-side-encryption"), "aws:kms");
    assert_eq!(sent.header("x-amz-server-side-encryption-aws-kms-key-id"), "key-1");
    assert!(sent.header("authorization").contains(
        "SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date;x-amz-server-side-encryption;\
         x-amz-server-side-encryption-aws-kms-key-id,"
    ));
}

#[tokio::test]
async fn what_is_larger_is_sent_in_parts() {
    let server = Server::start(uploads).await;
    let bucket = Bucket { encryption: Encryption::Aes256, ..bucket(&server.endpoint) };
    let s3 = s3();
    s3.session(&bucket).unwrap().put_in_parts("k", content(b"abcdefghij"), 4).await.unwrap();
    assert_eq!(
        server.lines(),
        [
            "POST /b/k?uploads=",
            "PUT /b/k?partNumber=1&uploadId=u%201",
            "PUT /b/k?partNumber=2&uploadId=u%201",
            "PUT /b/k?partNumber=3&uploadId=u%201",
            "POST /b/k?uploadId=u%201",
        ]
    );
    let sent = server.arrived();
    assert_eq!(sent[0].header("x-amz-server-side-encryption"), "AES256");
    let parts: Vec<_> = sent[1..4].iter().map(|part| part.body.as_slice()).collect();
    assert_eq!(parts, [b"abcd".as_slice(), b"efgh", b"ij"]);
    let named = String::from_utf8(sent[4].body.clone()).unwrap();
    assert_eq!(named.matches("<ETag>&quot;tag&quot;</ETag>").count(), 3);
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_aborted() {
    let server = Server::start(uploads).await;
    let bucket = bucket(&server.endpoint);
    let (mut writer, reader) = pipe();
    writer.send(Bytes::from_static(b"abcdefgh")).await.unwrap();
    drop(writer);
    let s3 = s3();
    let failure = s3.session(&bucket).unwrap().put_in_parts("k", reader, 4).await.unwrap_err();
    assert!(matches!(failure, Failure::Content(_)), "{failure}");
    assert_eq!(server.lines().last().unwrap(), "DELETE /b/k?uploadId=u%201");

    let server = Server::start(|number, request| match request.line.as_str() {
        "PUT /b/k?partNumber=2&uploadId=u%201" => error("403 Forbidden", "AccessDenied"),
        _ => uploads(number, request),
    })
    .await;
    let bucket = crate::testing::bucket(&server.endpoint);
    let failure = s3.session(&bucket).unwrap().put_in_parts("k", content(b"abcdefgh"), 4).await.unwrap_err();
    assert_eq!(failure.to_string(), "PUT s3://b/k: 403 Forbidden AccessDenied: in words");
    assert_eq!(server.lines().last().unwrap(), "DELETE /b/k?uploadId=u%201");
}

#[tokio::test]
async fn a_single_request_that_broke_off_writes_nothing() {
    let server = Server::start(uploads).await;
    let (mut writer, reader) = pipe();
    writer.send(Bytes::from_static(b"ab")).await.unwrap();
    drop(writer);
    s3().put(&bucket(&server.endpoint), "k", reader, 2).await.unwrap_err();
    assert_eq!(server.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn what_passes_is_tried_again_and_what_does_not_is_told() {
    let server = Server::start(|number, _| match number {
        1 => error("503 Slow Down", "SlowDown"),
        2 => Told::Nothing,
        3 => error("500 Oops", "InternalError"),
        4 => Told::Answer("429 Too Many Requests", "busy".to_owned()),
        5 => error("400 Bad Request", "RequestTimeout"),
        _ => ok(""),
    })
    .await;
    s3().put(&bucket(&server.endpoint), "k", content(b"hello"), 5).await.unwrap();
    let bodies: Vec<_> = server.arrived().into_iter().map(|sent| sent.body).collect();
    assert_eq!(bodies, vec![b"hello".to_vec(); 6]);

    let server = Server::start(|_, _| error("403 Forbidden", "SignatureDoesNotMatch")).await;
    let refused = s3().delete(&bucket(&server.endpoint), "k").await.unwrap_err();
    assert_eq!(refused, "DELETE s3://b/k: 403 Forbidden SignatureDoesNotMatch: in words");
    assert_eq!(server.lines().len(), 1);

    let server = Server::start(|_, _| Told::Answer("502 Bad Gateway", "<html>".to_owned())).await;
    let refused = s3().delete(&bucket(&server.endpoint), "k").await.unwrap_err();
    assert_eq!(refused, "DELETE s3://b/k: 502 Bad Gateway");
    assert_eq!(server.lines().len(), 6);

    let refused = s3().list(&bucket("127.0.0.1:1"), "").await.unwrap_err();
    assert_eq!(refused, "GET s3://b/: dial tcp 127.0.0.1:1: connect: connection refused");
}

#[tokio::test]
async fn a_refusal_after_a_good_status_is_one() {
    let server = Server::start(|number, request| match request.line.as_str() {
        "POST /b/k?uploadId=u%201" if number == 3 => error("200 OK", "InternalError"),
        "POST /b/k?uploadId=u%201" => error("200 OK", "InvalidPart"),
        _ => uploads(number, request),
    })
    .await;
    let (s3, bucket) = (s3(), bucket(&server.endpoint));
    let failure = s3.session(&bucket).unwrap().put_in_parts("k", content(b"abcd"), 4).await.unwrap_err();
    assert_eq!(failure.code(), "InvalidPart");
    let lines = server.lines();
    assert_eq!(
        lines[2..],
        ["POST /b/k?uploadId=u%201", "POST /b/k?uploadId=u%201", "DELETE /b/k?uploadId=u%201"]
    );
}

#[tokio::test]
async fn an_upload_whose_last_answer_was_lost_is_done() {
    let server = Server::start(|number, request| match request.line.as_str() {
        "POST /b/k?uploadId=u%201" if number == 3 => Told::Nothing,
        "POST /b/k?uploadId=u%201" => error("404 Not Found", "NoSuchUpload"),
        "GET /b?list-type=2&prefix=k" => {
            ok("<ListBucketResult><Contents><Key>k</Key></Contents></ListBucketResult>")
        }
        _ => uploads(number, request),
    })
    .await;
    let (s3, bucket) = (s3(), bucket(&server.endpoint));
    s3.session(&bucket).unwrap().put_in_parts("k", content(b"abcd"), 4).await.unwrap();
    assert!(server.lines().iter().all(|line| !line.starts_with("DELETE")));
}

#[tokio::test]
async fn a_list_goes_on_page_by_page() {
    let server = Server::start(|_, request| {
        let page = |key: &str, more: &str| {
            ok(&format!("<ListBucketResult><Contents><Key>{key}</Key></Contents>{more}</ListBucketResult>"))
        };
        match request.line.as_str() {
            "GET /b?list-type=2&prefix=p%2F" => page(
                "p/1",
                "<IsTruncated>true</IsTruncated><NextContinuationToken>n=1</NextContinuationToken>",
            ),
            "GET /b?list-type=2&prefix=p%2F&continuation-token=n%3D1" => page("p/2", ""),
            _ => ok("<html></html>"),
        }
    })
    .await;
    assert_eq!(s3().list(&bucket(&server.endpoint), "p/").await.unwrap(), ["p/1", "p/2"]);
    let strange = s3().list(&bucket(&server.endpoint), "other").await.unwrap_err();
    assert_eq!(strange, "GET s3://b/: the answer is none of S3: no list");
}

#[tokio::test]
async fn who_asks_is_said_by_the_bucket_or_else_by_the_environment() {
    let server = Server::start(uploads).await;
    let nobody = Bucket { credentials: None, ..bucket(&server.endpoint) };
    let refused = s3().delete(&nobody, "k").await.unwrap_err();
    assert!(refused.starts_with("no credentials"), "{refused}");
    let environment = |name: &str| match name {
        "AWS_ACCESS_KEY_ID" => Some("ENVID".to_owned()),
        "AWS_SECRET_ACCESS_KEY" | "AWS_SESSION_TOKEN" => Some("hunter2".to_owned()),
        _ => None,
    };
    let s3 = crate::S3::new(
        crate::testing::outbound(),
        environment,
        strongroom_stdx::Clock::system(),
        strongroom_stdx::Entropy::system(),
    );
    s3.delete(&nobody, "k").await.unwrap();
    s3.delete(&bucket(&server.endpoint), "k").await.unwrap();
    let sent = server.arrived();
    assert!(sent[0].header("authorization").contains("Credential=ENVID/"));
    assert!(sent[0].header("authorization").contains("x-amz-security-token"));
    assert_eq!(sent[0].header("x-amz-security-token"), "hunter2");
    assert!(sent[1].header("authorization").contains("Credential=AKID/"));
    assert_eq!(sent[1].header("x-amz-security-token"), "");
}

#[tokio::test]
async fn a_bucket_where_a_cloud_keeps_credentials_is_refused_at_once() {
    for endpoint in ["169.254.169.254", "[::ffff:169.254.169.254]:80", "0xa9fea9fe", "0.0.0.0:9000"] {
        let refused = s3().list(&bucket(endpoint), "").await.unwrap_err();
        assert!(
            refused.contains("not permitted") || refused.contains("not accepted"),
            "{endpoint}: {refused}"
        );
    }
}
