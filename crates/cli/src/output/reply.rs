//! The rows of an answer's table, and its single fields.

use serde_json::{Map, Value, json};
use strongroom_client::{Auth, Reply, WrapInfo};

use super::{go, table};

/// The rows of an answer: its lease, its login or what the login still asks for, its wrapping, its data.
pub(crate) fn rows(reply: &Reply) -> Vec<(String, String)> {
    let mut rows = Rows::default();
    if reply.lease_duration > 0 {
        let duration = go::duration(reply.lease_duration);
        if reply.lease_id.is_empty() {
            rows.add("refresh_interval", duration);
        } else {
            rows.add("lease_id", reply.lease_id.clone());
            rows.add("lease_duration", duration);
            rows.add("lease_renewable", reply.renewable.to_string());
        }
    }
    if let Some(auth) = &reply.auth {
        match &auth.mfa_requirement {
            Some(requirement) => rows.mfa(requirement),
            None => rows.auth(auth),
        }
    }
    if let Some(wrap) = &reply.wrap_info {
        rows.wrapping(wrap);
    }
    if let Some(data) = &reply.data {
        rows.data(data);
    }
    rows.0
}

/// The rows of a map of data.
pub(crate) fn data_rows(data: &Map<String, Value>) -> Vec<(String, String)> {
    let mut rows = Rows::default();
    rows.data(data);
    rows.0
}

#[derive(Default)]
struct Rows(Vec<(String, String)>);

impl Rows {
    fn add(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.push((key.into(), value.into()));
    }

    fn auth(&mut self, auth: &Auth) {
        self.add("token", auth.client_token.expose().as_str());
        self.add("token_accessor", auth.accessor.as_str());
        // Zero is for ever.
        let duration =
            if auth.lease_duration > 0 { go::duration(auth.lease_duration) } else { "∞".to_owned() };
        self.add("token_duration", duration);
        self.add("token_renewable", auth.renewable.to_string());
        for (name, policies) in [
            ("token_policies", &auth.token_policies),
            ("identity_policies", &auth.identity_policies),
            ("policies", &auth.policies),
        ] {
            self.add(name, go::quoted(policies.as_deref().unwrap_or_default()));
        }
        for (key, value) in auth.metadata.iter().flatten() {
            self.add(format!("token_meta_{key}"), value.as_str());
        }
    }

    fn mfa(&mut self, requirement: &Value) {
        let text = |value: Option<&Value>| value.map(go::value).unwrap_or_default();
        self.add("mfa_request_id", text(requirement.get("mfa_request_id")));
        let constraints = requirement.get("mfa_constraints").and_then(Value::as_object);
        for (name, constraint) in constraints.into_iter().flatten() {
            for method in constraint.get("any").and_then(Value::as_array).into_iter().flatten() {
                let prefix = format!("mfa_constraint_{name}_{}", text(method.get("type")));
                self.add(format!("{prefix}_id"), text(method.get("id")));
                self.add(format!("{prefix}_uses_passcode"), text(method.get("uses_passcode")));
                if method.get("self_enrollment_enabled") == Some(&json!(true)) {
                    self.add(format!("{prefix}_self_enrollment_enabled"), "true");
                }
                if let Some(method_name) = method.get("name").filter(|name| **name != json!("")) {
                    self.add(format!("{prefix}_name"), text(Some(method_name)));
                }
            }
        }
    }

    fn wrapping(&mut self, wrap: &WrapInfo) {
        self.add("wrapping_token:", wrap.token.expose().as_str());
        self.add("wrapping_accessor:", wrap.accessor.as_str());
        self.add("wrapping_token_ttl:", go::duration(wrap.ttl));
        self.add("wrapping_token_creation_time:", go::time(&wrap.creation_time));
        self.add("wrapping_token_creation_path:", wrap.creation_path.as_str());
        if !wrap.wrapped_accessor.is_empty() {
            self.add("wrapped_accessor:", wrap.wrapped_accessor.as_str());
        }
    }

    fn data(&mut self, data: &Map<String, Value>) {
        let mut pairs: Vec<_> = data.iter().collect();
        pairs.sort_by(|a, b| a.0.cmp(b.0));
        for (key, value) in pairs {
            let seconds = value.as_i64().filter(|_| go::is_duration(key));
            self.add(key.as_str(), seconds.map_or_else(|| go::value(value), go::duration));
        }
    }
}

/// A single field of an answer: of its login or its wrapping if it is one, else of its own data, else of the envelope.
/// A field of the data hides one of the envelope by the same name.
pub(crate) fn field(reply: &Reply, name: &str) -> Option<Value> {
    let auth = |pick: fn(&Auth) -> Value| reply.auth.as_ref().map(pick);
    let wrap = |pick: fn(&WrapInfo) -> Value| reply.wrap_info.as_ref().map(pick);
    let special = match name {
        "wrapping_token" => wrap(|wrap| json!(wrap.token.expose())),
        "wrapping_accessor" => wrap(|wrap| json!(wrap.accessor)),
        "wrapping_token_ttl" => wrap(|wrap| json!(wrap.ttl)),
        "wrapping_token_creation_time" => wrap(|wrap| json!(wrap.creation_time)),
        "wrapping_token_creation_path" => wrap(|wrap| json!(wrap.creation_path)),
        "wrapped_accessor" => wrap(|wrap| json!(wrap.wrapped_accessor)),
        "token" => auth(|auth| json!(auth.client_token.expose())),
        "token_accessor" => auth(|auth| json!(auth.accessor)),
        "token_duration" => auth(|auth| json!(auth.lease_duration)),
        "token_renewable" => auth(|auth| json!(auth.renewable)),
        "token_policies" => auth(|auth| json!(auth.token_policies.as_deref().unwrap_or_default())),
        "identity_policies" => auth(|auth| json!(auth.identity_policies.as_deref().unwrap_or_default())),
        "policies" => auth(|auth| json!(auth.policies.as_deref().unwrap_or_default())),
        _ => None,
    };
    let envelope = || match name {
        "data" => reply.data.clone().map(Value::Object),
        "request_id" => Some(json!(reply.request_id)),
        "lease_id" => Some(json!(reply.lease_id)),
        "lease_duration" | "refresh_interval" => Some(json!(reply.lease_duration)),
        "renewable" => Some(json!(reply.renewable)),
        _ => None,
    };
    match (special, reply.field(name)) {
        (Some(value), _) => Some(value),
        (None, Some(own)) => Some(own.clone()).filter(|value| !value.is_null()),
        (None, None) => envelope(),
    }
}

/// The table of a list answer: its keys, or everything the server says about each of them.
pub(crate) fn listing(keys: &[Value], details: Option<&Map<String, Value>>) -> String {
    let Some(details) = details else {
        return table::headed(&["Keys"], keys.iter().map(|key| vec![go::value(key)]).collect());
    };
    let mut names: Vec<&str> = Vec::new();
    for fields in details.values().filter_map(Value::as_object) {
        for name in fields.keys().map(String::as_str) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names.sort_unstable();
    let row = |key: &Value| {
        let key = go::value(key);
        let fields = details.get(&key).and_then(Value::as_object);
        let cell =
            |name: &&str| fields.and_then(|fields| fields.get(*name)).map(go::value).unwrap_or_default();
        std::iter::once(key.clone()).chain(names.iter().map(cell)).collect()
    };
    let rows = keys.iter().map(row).collect();
    let header: Vec<&str> = std::iter::once("Keys").chain(names.iter().copied()).collect();
    table::headed(&header, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> Reply {
        Reply::parse(text.as_bytes()).unwrap().unwrap()
    }

    fn shown(text: &str) -> Vec<String> {
        rows(&reply(text)).into_iter().map(|(key, value)| format!("{key}={value}")).collect()
    }

    #[test]
    fn leases() {
        let dynamic =
            r#"{"lease_id":"db/creds/x/1","lease_duration":3600,"renewable":true,"data":{"u":"a"}}"#;
        assert_eq!(
            shown(dynamic),
            ["lease_id=db/creds/x/1", "lease_duration=1h", "lease_renewable=true", "u=a"]
        );
        assert_eq!(shown(r#"{"lease_duration":2764800,"data":{"u":"a"}}"#), ["refresh_interval=768h", "u=a"]);
        assert!(shown(r#"{"data":{}}"#).is_empty());
    }

    #[test]
    fn data_with_durations() {
        let text = r#"{"data":{"ttl":3600,"n":null,"ttls":60,"half_ttl":1.5,"str_ttl":"60","l":["a"]}}"#;
        assert_eq!(shown(text), ["half_ttl=1.5", "l=[a]", "n=<nil>", "str_ttl=60", "ttl=1h", "ttls=60"]);
    }

    #[test]
    fn logins() {
        let text = r#"{"auth":{"client_token":"t","accessor":"a","policies":["default","p"],"token_policies":["default"],
            "metadata":{"role":"r"},"lease_duration":0}}"#;
        let wanted = [
            "token=t",
            "token_accessor=a",
            "token_duration=∞",
            "token_renewable=false",
            "token_policies=[\"default\"]",
            "identity_policies=[]",
            "policies=[\"default\" \"p\"]",
            "token_meta_role=r",
        ];
        assert_eq!(shown(text), wanted);
        assert_eq!(field(&reply(text), "token"), Some(json!("t")));
        assert_eq!(field(&reply(text), "accessor"), None);
    }

    #[test]
    fn a_second_factor_still_due() {
        let text = r#"{"auth":{"client_token":"","mfa_requirement":{"mfa_request_id":"d0","mfa_constraints":
            {"enf1":{"any":[{"type":"totp","id":"82","uses_passcode":true}]}}}}}"#;
        let wanted = [
            "mfa_request_id=d0",
            "mfa_constraint_enf1_totp_id=82",
            "mfa_constraint_enf1_totp_uses_passcode=true",
        ];
        assert_eq!(shown(text), wanted);
    }

    #[test]
    fn fields() {
        let secret = reply(r#"{"request_id":"r","data":{"a":1,"n":null,"e":"","data":{"x":1}}}"#);
        assert_eq!(field(&secret, "a"), Some(json!(1)));
        assert_eq!(field(&secret, "e"), Some(json!("")));
        assert_eq!(field(&secret, "n"), None);
        assert_eq!(field(&secret, "request_id"), Some(json!("r")));
        assert_eq!(field(&secret, "zz"), None);
        assert_eq!(field(&secret, "token"), None);
        // The data goes before the envelope, even if it says nothing.
        let shadowed =
            reply(r#"{"lease_duration":1,"renewable":true,"data":{"lease_duration":2,"renewable":null}}"#);
        assert_eq!(field(&shadowed, "lease_duration"), Some(json!(2)));
        assert_eq!(field(&shadowed, "renewable"), None);
        assert_eq!(field(&secret, "data"), Some(json!({"x": 1})));
        assert_eq!(field(&reply(r#"{"data":{"a":1}}"#), "data"), Some(json!({"a": 1})));
    }

    #[test]
    fn lists() {
        assert_eq!(listing(&[json!("a"), json!("b/")], None), "Keys\n----\na\nb/");
        let details = json!({"a": {"x": 1, "name": "n"}, "b/": {"y": 2}});
        let shown = listing(&[json!("a"), json!("b/")], details.as_object());
        assert_eq!(
            shown,
            "Keys    name    x      y\n----    ----    -      -\na       n       1      n/a\nb/      n/a     n/a    2"
        );
    }
}
