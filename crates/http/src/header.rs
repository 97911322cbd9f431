//! Header fields that decide what a request is: read once, or refused.
//!
//! A field that cannot be read must not count as one that is absent: the namespace would be the root, the wrapping none.

use std::time::Duration;

use http::{HeaderMap, HeaderName, header};
use strongroom_engine_api::{Secret, parse_duration};

use crate::body::Refusal;

/// A header field: its name as it is looked up, made once, and in the spelling that Vault documents, for refusals.
pub(crate) struct Field {
    name: HeaderName,
    shown: &'static str,
}

impl Field {
    const fn new(name: &'static str, shown: &'static str) -> Self {
        Self { name: HeaderName::from_static(name), shown }
    }

    /// The value of a field that may be given once, in visible ASCII characters.
    pub(crate) fn single<'a>(&self, headers: &'a HeaderMap) -> Result<Option<&'a str>, Refusal> {
        let mut given = headers.get_all(&self.name).iter();
        let Some(value) = given.next() else { return Ok(None) };
        if given.next().is_some() {
            return Err(Refusal(400, format!("header {} is given more than once", self.shown)));
        }
        value.to_str().map(Some).map_err(|_error| self.not_ascii())
    }

    fn not_ascii(&self) -> Refusal {
        Refusal(400, format!("header {} has characters that are not ASCII", self.shown))
    }
}

pub(crate) static CONTENT_TYPE: Field = Field { name: header::CONTENT_TYPE, shown: "Content-Type" };
pub(crate) static POLICY_OVERRIDE: Field = Field::new("x-vault-policy-override", "X-Vault-Policy-Override");
static TOKEN: Field = Field::new("x-vault-token", "X-Vault-Token");
static AUTHORIZATION: Field = Field { name: header::AUTHORIZATION, shown: "Authorization" };
static WRAP_TTL: Field = Field::new("x-vault-wrap-ttl", "X-Vault-Wrap-TTL");
static WRAP_FORMAT: Field = Field::new("x-vault-wrap-format", "X-Vault-Wrap-Format");
static NAMESPACE: Field = Field::new("x-vault-namespace", "X-Vault-Namespace");
/// Fields that another part of the server reads once.
static READ_ONCE: [Field; 2] = [
    Field::new("x-vault-forward", "X-Vault-Forward"),
    Field::new("x-vault-inconsistent", "X-Vault-Inconsistent"),
];
/// Fields of which another part of the server reads every value.
static READ_ALL: [Field; 2] =
    [Field::new("x-vault-index", "X-Vault-Index"), Field::new("x-forwarded-for", "X-Forwarded-For")];

/// `X-Vault-Token`, or a bearer token, of `max` bytes at most.
pub(crate) fn token(headers: &HeaderMap, max: usize) -> Result<Option<Secret<String>>, Refusal> {
    let authorization = AUTHORIZATION.single(headers)?;
    let bearer =
        authorization.and_then(|text| text.strip_prefix("Bearer ").or_else(|| text.strip_prefix("bearer ")));
    let token = TOKEN.single(headers)?;
    for (given, field) in [(token, &TOKEN), (bearer, &AUTHORIZATION)] {
        if given.is_some_and(|given| given.len() > max) {
            let name = field.shown;
            let text = format!("the authentication token in header {name} is longer than {max} bytes");
            return Err(Refusal(400, text));
        }
    }
    let given = token.or(bearer).map(str::trim).filter(|token| !token.is_empty());
    Ok(given.map(|token| Secret::new(token.to_owned())))
}

/// The wrapping asked for.
pub(crate) fn wrap_ttl(headers: &HeaderMap) -> Result<Option<Duration>, Refusal> {
    let given = WRAP_TTL.single(headers)?;
    if let Some(format) = WRAP_FORMAT.single(headers)?.filter(|format| !format.is_empty())
        && given.is_some()
    {
        return Err(Refusal(400, format!("response wrapping format {format:?} is not supported")));
    }
    let Some(text) = given.filter(|text| !text.is_empty()) else { return Ok(None) };
    let ttl = parse_duration(text)
        .map_err(|error| Refusal(400, format!("error parsing X-Vault-Wrap-TTL header: {error}")))?;
    if !ttl.is_zero() && ttl < Duration::from_secs(1) {
        return Err(Refusal(400, "error parsing X-Vault-Wrap-TTL header: below one second".to_owned()));
    }
    Ok(Some(Duration::from_secs(ttl.as_secs())))
}

/// The namespace asked for, below the listener's own where it has one, without surrounding slashes; empty: the root.
///
/// Within a listener's namespace nothing leads out of it: `root` and the slash are the listener's namespace, and a path
/// that goes up is one of which no part is a namespace.
pub(crate) fn namespace(headers: &HeaderMap, chroot: &str) -> Result<String, Refusal> {
    let given = NAMESPACE.single(headers)?.unwrap_or_default().trim_matches('/');
    if chroot.is_empty() {
        return Ok(given.to_owned());
    }
    Ok(match given {
        "" | "root" => chroot.to_owned(),
        given => format!("{chroot}/{given}"),
    })
}

/// Refuses fields that another part of the server reads, and that could be misread there.
pub(crate) fn check(headers: &HeaderMap) -> Result<(), Refusal> {
    for field in &READ_ONCE {
        field.single(headers)?;
    }
    let unreadable =
        |field: &&Field| headers.get_all(&field.name).iter().any(|value| value.to_str().is_err());
    READ_ALL.iter().find(unreadable).map_or(Ok(()), |field| Err(field.not_ascii()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn with(fields: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    fn refused<T>(outcome: Result<T, Refusal>, name: &str) {
        let Err(Refusal(status, text)) = outcome else { panic!("{name} was taken") };
        assert!(status == 400 && text.contains(name), "{status} {text}");
    }

    #[test]
    fn what_cannot_be_read_does_not_count_as_absent() {
        for value in [&b"t\xc3\xa4"[..], b"\xff"] {
            refused(namespace(&with(&[("x-vault-namespace", value)]), ""), "X-Vault-Namespace");
            refused(wrap_ttl(&with(&[("x-vault-wrap-ttl", value)])), "X-Vault-Wrap-TTL");
            refused(token(&with(&[("x-vault-token", value)]), 100), "X-Vault-Token");
            refused(token(&with(&[("authorization", value), ("x-vault-token", b"t")]), 100), "Authorization");
            refused(check(&with(&[("x-forwarded-for", value)])), "X-Forwarded-For");
            refused(check(&with(&[("x-vault-index", b"a"), ("x-vault-index", value)])), "X-Vault-Index");
        }
        assert!(check(&with(&[("x-vault-index", b"a"), ("x-vault-index", b"b")])).is_ok());
    }

    #[test]
    fn what_is_said_twice_is_refused() {
        let twice = |name| with(&[(name, b"1"), (name, b"1")]);
        refused(namespace(&twice("x-vault-namespace"), ""), "X-Vault-Namespace");
        refused(wrap_ttl(&twice("x-vault-wrap-ttl")), "X-Vault-Wrap-TTL");
        refused(token(&twice("x-vault-token"), 100), "X-Vault-Token");
        let basic = with(&[("authorization", b"Basic eA=="), ("authorization", b"Bearer t")]);
        refused(token(&basic, 100), "Authorization");
        refused(check(&twice("x-vault-forward")), "X-Vault-Forward");
    }

    #[test]
    fn tokens_have_a_longest() {
        for fields in [[("x-vault-token", &b"12345"[..])], [("authorization", b"Bearer 12345")]] {
            assert_eq!(token(&with(&fields), 5).unwrap().unwrap().expose(), "12345");
            refused(token(&with(&fields), 4), "authentication token");
        }
        assert!(token(&with(&[("authorization", b"Basic eHh4eHh4eHg=")]), 4).unwrap().is_none());
    }

    #[test]
    fn nothing_leads_out_of_a_listeners_namespace() {
        let within = |given: &[u8]| namespace(&with(&[("x-vault-namespace", given)]), "admin/team").unwrap();
        for home in [&b""[..], b"/", b"root", b"root/", b"/root/", b"//"] {
            assert_eq!(within(home), "admin/team");
        }
        assert_eq!(within(b"/ns1/ns2/"), "admin/team/ns1/ns2");
        for up in [&b".."[..], b"../..", b"/..", b"ns1/../..", b"/admin"] {
            assert!(within(up).starts_with("admin/team/"), "{}", within(up));
        }
        assert_eq!(namespace(&HeaderMap::new(), "admin").unwrap(), "admin");
        assert_eq!(namespace(&with(&[("x-vault-namespace", b"/a/")]), "").unwrap(), "a");
    }
}
