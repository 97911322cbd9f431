//! The answers of servers: XML.

use quick_xml::de::from_str;
use quick_xml::escape::escape;
use serde::Deserialize;

/// Characters of a server's message that are shown.
const SHOWN: usize = 300;

/// An error, in the server's words.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Complaint {
    pub(crate) code: String,
    pub(crate) message: String,
}

impl Complaint {
    /// Reads a body: one that is no complaint is none.
    pub(crate) fn read(body: &str) -> Option<Self> {
        let complaint: Self = from_str(body).ok()?;
        (root(body) == Some("Error"))
            .then(|| Self { code: shown(&complaint.code), message: shown(&complaint.message) })
    }
}

/// A part of an untrusted text, on one line.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}

/// The name of a document's root element.
fn root(document: &str) -> Option<&str> {
    let elements = document.split('<').skip(1).filter(|rest| !rest.starts_with(['?', '!']));
    elements.map(|rest| rest.split([' ', '>', '/', '\n', '\t']).next().unwrap_or_default()).next()
}

/// A page of a bucket's objects.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Page {
    #[serde(default)]
    contents: Vec<Object>,
    #[serde(default)]
    is_truncated: bool,
    next_continuation_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Object {
    key: String,
}

impl Page {
    pub(crate) fn read(body: &str) -> Option<Self> {
        (root(body) == Some("ListBucketResult")).then(|| from_str(body).ok()).flatten()
    }

    /// The names, and what to ask for the next page with, if there is one.
    pub(crate) fn into_parts(self) -> (impl Iterator<Item = String>, Option<String>) {
        let next = self.next_continuation_token.filter(|_| self.is_truncated);
        (self.contents.into_iter().map(|object| object.key), next)
    }
}

/// Names an upload that has been begun.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Begun {
    pub(crate) upload_id: String,
}

impl Begun {
    pub(crate) fn read(body: &str) -> Option<Self> {
        from_str(body).ok().filter(|begun: &Self| !begun.upload_id.is_empty())
    }
}

/// The request that ends an upload: its parts by their tags, the first is number 1.
pub(crate) fn completion(tags: &[String]) -> String {
    let part = |(number, tag): (u32, &String)| {
        let tag = escape(tag.as_str());
        format!("<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>")
    };
    let parts: String = (1_u32..).zip(tags).map(part).collect();
    format!(
        r#"<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{parts}</CompleteMultipartUpload>"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_page_by_page() {
        let body = r#"<?xml version="1.0" encoding="UTF-8"?>
            <ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix>a</Prefix>
            <IsTruncated>true</IsTruncated><Contents><Key>a&amp;1.snap</Key><Size>3</Size></Contents>
            <CommonPrefixes><Prefix>x/</Prefix></CommonPrefixes><Contents><Key>a 2.snap</Key></Contents>
            <NextContinuationToken>1/+=</NextContinuationToken></ListBucketResult>"#;
        let (names, next) = Page::read(body).unwrap().into_parts();
        assert_eq!(names.collect::<Vec<_>>(), ["a&1.snap", "a 2.snap"]);
        assert_eq!(next.as_deref(), Some("1/+="));
        let last = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
        let (mut names, next) = Page::read(last).unwrap().into_parts();
        assert_eq!((names.next(), next), (None, None));
        for other in ["", "<html></html>", "no XML", "<Error><Code>x</Code></Error>"] {
            assert!(Page::read(other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_complaint_is_told_from_an_answer() {
        let body = "<?xml version=\"1.0\"?>\n<Error><Code>SlowDown</Code><Message>Please\n reduce</Message>\
                    <AWSAccessKeyId>AKID</AWSAccessKeyId><StringToSign>x</StringToSign></Error>";
        let complaint = Complaint::read(body).unwrap();
        assert_eq!((complaint.code.as_str(), complaint.message.as_str()), ("SlowDown", "Please reduce"));
        assert!(Complaint::read("<Error/>").is_some());
        assert!(
            Complaint::read("<CompleteMultipartUploadResult><Key>a</Key></CompleteMultipartUploadResult>")
                .is_none()
        );
        let long = format!("<Error><Code>x</Code><Message>{}</Message></Error>", "m".repeat(9999));
        assert_eq!(Complaint::read(&long).unwrap().message.len(), SHOWN);
    }

    #[test]
    fn parts_are_named_by_number_and_tag() {
        assert_eq!(
            completion(&["\"a\"".into(), "b<".into()]),
            "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <Part><PartNumber>1</PartNumber><ETag>&quot;a&quot;</ETag></Part>\
             <Part><PartNumber>2</PartNumber><ETag>b&lt;</ETag></Part></CompleteMultipartUpload>"
        );
        let begun = "<InitiateMultipartUploadResult><Key>k</Key><UploadId>u-1</UploadId></InitiateMultipartUploadResult>";
        assert_eq!(Begun::read(begun).unwrap().upload_id, "u-1");
        assert!(Begun::read("<InitiateMultipartUploadResult/>").is_none());
    }
}
