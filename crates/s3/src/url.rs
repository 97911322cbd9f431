//! The URLs of requests for a bucket.

use std::net::IpAddr;

use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use strongroom_backup::Bucket;

/// The characters that S3 signs unescaped in a query; in paths the slash, too.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const PATH: &AsciiSet = &QUERY.remove(b'/');

/// The address of a bucket.
#[derive(Debug)]
pub(crate) struct Place {
    /// The bucket: scheme, host, port and what comes before the names of objects; no slash at its end.
    root: String,
    /// The bucket is a host, whose path is not empty.
    is_host: bool,
}

impl Place {
    /// `None` where the bucket's endpoint is none.
    pub(crate) fn of(bucket: &Bucket) -> Option<Self> {
        let server = bucket.server()?;
        let scheme = server.scheme_str()?;
        let authority = authority(&server)?;
        let before = server.path().trim_end_matches('/');
        let name = &bucket.name;
        let is_host = !in_path(bucket, &server);
        let root = if is_host {
            format!("{scheme}://{name}.{authority}{before}")
        } else {
            format!("{scheme}://{authority}{before}/{name}")
        };
        Some(Self { root, is_host })
    }

    /// The URL of an object, or of the bucket where `key` is empty.
    pub(crate) fn url(&self, key: &str, query: &[(&str, &str)]) -> String {
        let mut url = self.root.clone();
        // A bucket in a path has no slash behind it, as AWS's own clients write it.
        if self.is_host || !key.is_empty() {
            url.push('/');
        }
        url.extend(utf8_percent_encode(key, PATH));
        for (at, (name, value)) in query.iter().enumerate() {
            url.push(if at == 0 { '?' } else { '&' });
            url.extend(utf8_percent_encode(name, QUERY));
            url.push('=');
            url.extend(utf8_percent_encode(value, QUERY));
        }
        url
    }
}

/// Host and port; the port that the scheme implies is not sent, and so not signed.
fn authority(server: &Uri) -> Option<&str> {
    let authority = server.authority()?.as_str();
    let implied = if server.scheme_str() == Some("https") { ":443" } else { ":80" };
    Some(authority.strip_suffix(implied).unwrap_or(authority))
}

/// True if the bucket's name goes into the path: where that is asked for, and where it would make no host, or none that
/// a certificate for `*.host` is good for.
fn in_path(bucket: &Bucket, server: &Uri) -> bool {
    let host = server.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    bucket.force_path_style || host.parse::<IpAddr>().is_ok() || !bucket.name.chars().all(label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::bucket;

    #[test]
    fn a_bucket_is_a_host_or_a_path() {
        let root = |endpoint: &str, name: &str, force_path_style| {
            let bucket =
                Bucket { name: name.into(), disable_tls: false, force_path_style, ..bucket(endpoint) };
            Place::of(&bucket).unwrap().url("", &[])
        };
        assert_eq!(root("", "b", false), "https://b.s3.us-east-1.amazonaws.com/");
        assert_eq!(root("", "b", true), "https://s3.us-east-1.amazonaws.com/b");
        assert_eq!(root("", "a.b", false), "https://s3.us-east-1.amazonaws.com/a.b");
        assert_eq!(root("http://127.0.0.1:9000", "b", false), "http://127.0.0.1:9000/b");
        assert_eq!(root("https://[::1]", "b", false), "https://[::1]/b");
        assert_eq!(root("http://store:80/s3/", "b", false), "http://b.store/s3/");
        assert_eq!(root("https://store:443", "b", true), "https://store/b");
        assert_eq!(root("http://store:443", "b", true), "http://store:443/b");
    }

    #[test]
    fn names_are_escaped_as_they_are_signed() {
        let place = Place::of(&bucket("http://h")).unwrap();
        assert_eq!(place.url("a b/é+%~.snap", &[]), "http://b.h/a%20b/%C3%A9%2B%25~.snap");
        assert_eq!(
            place.url("k", &[("uploads", ""), ("prefix", "a/b c&d")]),
            "http://b.h/k?uploads=&prefix=a%2Fb%20c%26d"
        );
    }
}
