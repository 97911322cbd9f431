//! Header fields that decide what a request is: read once, or refused.
//!
//! A field that cannot be read must not count as one that is absent: the namespace would be the root, the wrapping none.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use strongroom_engine_api::{Secret, parse_duration};

use crate::body::EdgeError;

/// The fields that say what a request is, in the spelling that Vault documents.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    ContentType,
    Authorization,
    Token,
    WrapTtl,
    WrapFormat,
    PolicyOverride,
    Namespace,
    Forward,
    Inconsistent,
    Index,
    ForwardedFor,
    InlinePath,
    InlineOperation,
    InlineNamespace,
}

impl Field {
    const COUNT: usize = 14;

    /// The field of this name, which is in lower case.
    fn of(name: &HeaderName) -> Option<Self> {
        Some(match name.as_str() {
            "content-type" => Self::ContentType,
            "authorization" => Self::Authorization,
            "x-vault-token" => Self::Token,
            "x-vault-wrap-ttl" => Self::WrapTtl,
            "x-vault-wrap-format" => Self::WrapFormat,
            "x-vault-policy-override" => Self::PolicyOverride,
            "x-vault-namespace" => Self::Namespace,
            "x-vault-forward" => Self::Forward,
            "x-vault-inconsistent" => Self::Inconsistent,
            "x-vault-index" => Self::Index,
            "x-forwarded-for" => Self::ForwardedFor,
            "x-vault-inline-auth-path" => Self::InlinePath,
            "x-vault-inline-auth-operation" => Self::InlineOperation,
            "x-vault-inline-auth-namespace" => Self::InlineNamespace,
            _ => return None,
        })
    }

    pub(crate) const fn shown(self) -> &'static str {
        match self {
            Self::ContentType => "Content-Type",
            Self::Authorization => "Authorization",
            Self::Token => "X-Vault-Token",
            Self::WrapTtl => "X-Vault-Wrap-TTL",
            Self::WrapFormat => "X-Vault-Wrap-Format",
            Self::PolicyOverride => "X-Vault-Policy-Override",
            Self::Namespace => "X-Vault-Namespace",
            Self::Forward => "X-Vault-Forward",
            Self::Inconsistent => "X-Vault-Inconsistent",
            Self::Index => "X-Vault-Index",
            Self::ForwardedFor => "X-Forwarded-For",
            Self::InlinePath => "X-Vault-Inline-Auth-Path",
            Self::InlineOperation => "X-Vault-Inline-Auth-Operation",
            Self::InlineNamespace => "X-Vault-Inline-Auth-Namespace",
        }
    }
}

/// What a request's headers say of it, found in one pass: most requests have few, and many fields could be there.
pub(crate) struct Fields<'a>([Option<Given<'a>>; Field::COUNT]);

/// A field as it is given.
#[derive(Clone, Copy)]
struct Given<'a> {
    first: &'a HeaderValue,
    /// Whether there is another of the name.
    again: bool,
    /// Whether a value of the name has characters that are not visible ASCII.
    unreadable: bool,
}

impl<'a> Fields<'a> {
    pub(crate) fn of(headers: &'a HeaderMap) -> Self {
        let mut fields = [None; Field::COUNT];
        for (name, value) in headers {
            let Some(slot) = Field::of(name).and_then(|field| fields.get_mut(field as usize)) else {
                continue;
            };
            let unreadable = value.to_str().is_err();
            *slot = Some(match *slot {
                None => Given { first: value, again: false, unreadable },
                Some(Given { first, unreadable: before, .. }) => {
                    Given { first, again: true, unreadable: before || unreadable }
                }
            });
        }
        Self(fields)
    }

    fn given(&self, field: Field) -> Option<Given<'a>> {
        self.0.get(field as usize).copied().flatten()
    }

    /// The value of a field that may be given once, in visible ASCII characters.
    pub(crate) fn single(&self, field: Field) -> Result<Option<&'a str>, EdgeError> {
        let Some(given) = self.given(field) else { return Ok(None) };
        if given.again {
            return Err(EdgeError(400, format!("header {} is given more than once", field.shown())));
        }
        given.first.to_str().map(Some).map_err(|_error| not_ascii(field))
    }

    /// The value of a field that may be given once, in UTF-8.
    pub(crate) fn text(&self, field: Field) -> Result<Option<&'a str>, EdgeError> {
        let Some(given) = self.given(field) else { return Ok(None) };
        if given.again {
            return Err(EdgeError(400, format!("header {} is given more than once", field.shown())));
        }
        let text = std::str::from_utf8(given.first.as_bytes());
        text.map(Some).map_err(|_error| EdgeError(400, format!("header {} is not UTF-8", field.shown())))
    }

    /// `X-Vault-Token`, or a bearer token, of `max` bytes at most.
    pub(crate) fn token(&self, max: usize) -> Result<Option<Secret<String>>, EdgeError> {
        let authorization = self.single(Field::Authorization)?;
        let bearer = authorization
            .and_then(|text| text.strip_prefix("Bearer ").or_else(|| text.strip_prefix("bearer ")));
        let token = self.single(Field::Token)?;
        for (given, field) in [(token, Field::Token), (bearer, Field::Authorization)] {
            if given.is_some_and(|given| given.len() > max) {
                let name = field.shown();
                let text = format!("the authentication token in header {name} is longer than {max} bytes");
                return Err(EdgeError(400, text));
            }
        }
        let given = token.or(bearer).map(str::trim).filter(|token| !token.is_empty());
        Ok(given.map(|token| Secret::new(token.to_owned())))
    }

    /// The wrapping asked for.
    pub(crate) fn wrap_ttl(&self) -> Result<Option<Duration>, EdgeError> {
        let given = self.single(Field::WrapTtl)?;
        if let Some(format) = self.single(Field::WrapFormat)?.filter(|format| !format.is_empty())
            && given.is_some()
        {
            return Err(EdgeError(400, format!("response wrapping format {format:?} is not supported")));
        }
        let Some(text) = given.filter(|text| !text.is_empty()) else { return Ok(None) };
        let ttl = parse_duration(text)
            .map_err(|error| EdgeError(400, format!("error parsing X-Vault-Wrap-TTL header: {error}")))?;
        if !ttl.is_zero() && ttl < Duration::from_secs(1) {
            return Err(EdgeError(400, "error parsing X-Vault-Wrap-TTL header: below one second".to_owned()));
        }
        Ok(Some(Duration::from_secs(ttl.as_secs())))
    }

    /// Refuses fields that another part of the server reads, and that could be misread there: some once, of others every
    /// value.
    pub(crate) fn check(&self) -> Result<(), EdgeError> {
        self.single(Field::Forward)?;
        self.single(Field::Inconsistent)?;
        let unreadable = |field: &Field| self.given(*field).is_some_and(|given| given.unreadable);
        let found = [Field::Index, Field::ForwardedFor].into_iter().find(unreadable);
        found.map_or(Ok(()), |field| Err(not_ascii(field)))
    }
}

fn not_ascii(field: Field) -> EdgeError {
    EdgeError(400, format!("header {} has characters that are not ASCII", field.shown()))
}

/// The namespace asked for, below the listener's own where it has one, without surrounding slashes; empty: the root.
///
/// Within a listener's namespace nothing leads out of it: `root` and the slash are the listener's namespace, and a path
/// that goes up is one of which no part is a namespace.
pub(crate) fn namespace(headers: &HeaderMap, chroot: &str) -> Result<String, EdgeError> {
    let given = Fields::of(headers).single(Field::Namespace)?.unwrap_or_default();
    Ok(within(given, chroot))
}

/// A namespace that a header names, below the listener's own.
pub(crate) fn within(given: &str, chroot: &str) -> String {
    let given = given.trim_matches('/');
    match given {
        given if chroot.is_empty() => given.to_owned(),
        "" | "root" => chroot.to_owned(),
        given => format!("{chroot}/{given}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(fields: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    fn token(headers: &HeaderMap, max: usize) -> Result<Option<Secret<String>>, EdgeError> {
        Fields::of(headers).token(max)
    }

    fn wrap_ttl(headers: &HeaderMap) -> Result<Option<Duration>, EdgeError> {
        Fields::of(headers).wrap_ttl()
    }

    fn check(headers: &HeaderMap) -> Result<(), EdgeError> {
        Fields::of(headers).check()
    }

    fn refused<T>(outcome: Result<T, EdgeError>, name: &str) {
        let Err(EdgeError(status, text)) = outcome else { panic!("{name} was taken") };
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
