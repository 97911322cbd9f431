//! Credentials of second factors as clients give them: a passcode, a passkey's answer, or nothing, for each method by its id or name.

use http::HeaderMap;
use strongroom_engine_api::{EngineError, Secret, bad_request};

use crate::methods::FoundMethod;

/// The header that has them in a login's own request.
const HEADER: &str = "x-vault-mfa";
/// Methods, and passcodes of each, that a request may have: each is looked at.
const MAX_GIVEN: usize = 64;
/// Bytes of a passcode.
const MAX_PASSCODE: usize = 256;
/// Bytes of a passkey's answer, which is JSON.
const MAX_ANSWER: usize = 16 * 1024;

/// A method's id or name, and what is given for it.
#[derive(Debug)]
struct Given {
    method: String,
    passcode: Secret<String>,
}

/// The credentials of one request.
#[derive(Debug, Default)]
pub struct Credentials(Vec<Given>);

impl Credentials {
    /// Those in a login's headers, each `method[:passcode]`; `None` where there are none.
    ///
    /// # Errors
    ///
    /// 400 for a header that cannot be read.
    pub fn of_headers(headers: &HeaderMap) -> Result<Option<Self>, EngineError> {
        let mut all = Self::default();
        for value in headers.get_all(HEADER) {
            let text = value.to_str().map_err(|_not_text| bad_request("invalid X-Vault-MFA header"))?;
            let (method, passcode) = text.split_once(':').unwrap_or((text, ""));
            all.add(method, passcode)?;
        }
        Ok((!all.0.is_empty()).then_some(all))
    }

    /// Adds what is given for a method: a passcode, with or without `passcode=` in front, or a passkey's answer.
    ///
    /// # Errors
    ///
    /// 400 where no method is named, or too much is given.
    pub fn add(&mut self, method: &str, passcode: &str) -> Result<(), EngineError> {
        let method = method.trim();
        if method.is_empty() {
            return Err(bad_request("MFA credentials name no method"));
        }
        let most = if passcode.starts_with('{') { MAX_ANSWER } else { MAX_PASSCODE };
        if self.0.len() >= MAX_GIVEN || passcode.len() > most {
            return Err(bad_request("too many MFA credentials, or too long ones"));
        }
        let passcode = passcode.trim();
        let passcode = passcode.strip_prefix("passcode=").unwrap_or(passcode);
        self.0.push(Given { method: method.to_owned(), passcode: Secret::new(passcode.to_owned()) });
        Ok(())
    }

    /// What is given for a method: the first passcode, or an empty one; `None` where it is not named.
    pub(crate) fn of_method(&self, found: &FoundMethod) -> Option<&Secret<String>> {
        let (id, name) = (found.id.to_string(), &found.method.name);
        let is_meant = |given: &&Given| given.method == id || (!name.is_empty() && given.method == *name);
        let meant = || self.0.iter().filter(is_meant);
        let with_passcode = meant().find(|given| !given.passcode.expose().is_empty());
        with_passcode.or_else(|| meant().next()).map(|given| &given.passcode)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::HeaderValue;
    use strongroom_engine_api::NamespaceId;
    use strongroom_identity::IdentityId;

    use super::*;
    use crate::methods::{Method, MethodKind};
    use crate::totp::TotpSettings;

    fn found(name: &str) -> FoundMethod {
        let kind = MethodKind::Totp(TotpSettings::default());
        let method = Arc::new(Method { name: name.to_owned(), kind });
        FoundMethod { namespace: NamespaceId::ROOT, id: IdentityId::of_bytes([7; 16]), method }
    }

    #[test]
    fn headers_name_a_method_and_a_passcode() {
        let id = IdentityId::of_bytes([7; 16]).to_string();
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(HEADER, HeaderValue::from_str(value).unwrap());
            }
            Credentials::of_headers(&headers)
        };
        assert!(of(&[]).unwrap().is_none());
        let given = |values: &[&str], name: &str| {
            let all = of(values).unwrap().unwrap();
            all.of_method(&found(name)).map(|passcode| passcode.expose().clone())
        };
        assert_eq!(given(&[&format!("{id}:123456")], ""), Some("123456".to_owned()));
        assert_eq!(given(&[&format!("{id}:passcode=123456")], ""), Some("123456".to_owned()));
        assert_eq!(given(&["other:1", &id], ""), Some(String::new()), "no passcode");
        assert_eq!(given(&["phone: 123 456"], "phone"), Some("123 456".to_owned()));
        assert_eq!(given(&["phone", "phone:1"], "phone"), Some("1".to_owned()));
        assert_eq!(given(&["Phone:1"], "phone"), None);
        assert_eq!(given(&["x:1"], ""), None);
        assert!(of(&[":123456"]).is_err() && of(&[""]).is_err());
        assert!(of(&[&format!("a:{}", "1".repeat(300))]).is_err());
        assert!(of(&["a:1"; 65]).is_err());
    }
}
