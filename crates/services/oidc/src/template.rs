//! Templates of claims: JSON with gaps, as roles and scopes have them. Source: Vault's page "Identity tokens", "Token contents
//! and templates".
//!
//! A gap stands where a JSON value stands, and is filled with one: a text in quotes, a list, an object or a number. So no
//! value can end a text and begin another member. The names of gaps are those of policies (`strongroom-policy`), and some
//! that are lists or objects, which paths have no use for. A template that is no object, or that names what there is not, is
//! refused when it is written.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use strongroom_engine_api::{EngineError, Moment, bad_request, parse_duration};
use strongroom_identity::Effective;
use strongroom_policy::{TemplateReference, TemplateValues};

/// The claims that the server sets, and templates may not.
pub const RESERVED: [&str; 10] =
    ["iat", "aud", "exp", "iss", "sub", "namespace", "nonce", "auth_time", "at_hash", "c_hash"];

/// The way a gap is filled for which the identity has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// With an empty text or object: claims of roles.
    Empty,
    /// Not at all, and its member is left out: claims of scopes.
    Omitted,
}

/// A template, parsed.
#[derive(Debug, PartialEq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, PartialEq)]
enum Part {
    Written(String),
    Gap(Gap),
}

#[derive(Debug, PartialEq)]
enum Gap {
    Text(TemplateReference),
    GroupIds,
    GroupNames,
    Metadata,
    AliasMetadata {
        accessor: String,
    },
    AliasCustomMetadata {
        accessor: String,
    },
    /// Seconds after now, or before it.
    Time(i64),
}

impl Gap {
    fn parse(name: &str) -> Option<Self> {
        if let Some(time) = name.strip_prefix("time.now") {
            return Self::time(time).map(Self::Time);
        }
        match name {
            "identity.entity.groups.ids" => return Some(Self::GroupIds),
            "identity.entity.groups.names" => return Some(Self::GroupNames),
            "identity.entity.metadata" => return Some(Self::Metadata),
            _ => {}
        }
        let alias = name.strip_prefix("identity.entity.aliases.").and_then(|alias| alias.split_once('.'));
        match alias.filter(|(accessor, _)| !accessor.is_empty()) {
            Some((accessor, "metadata")) => Some(Self::AliasMetadata { accessor: accessor.to_owned() }),
            Some((accessor, "custom_metadata")) => {
                Some(Self::AliasCustomMetadata { accessor: accessor.to_owned() })
            }
            _ => TemplateReference::parse(name).map(Self::Text),
        }
    }

    fn time(rest: &str) -> Option<i64> {
        let seconds = |text: &str| i64::try_from(parse_duration(text).ok()?.as_secs()).ok();
        match rest {
            "" => Some(0),
            _ if rest.starts_with(".plus.") => seconds(rest.strip_prefix(".plus.")?),
            _ => seconds(rest.strip_prefix(".minus.")?)?.checked_neg(),
        }
    }

    /// The value; `None` where the identity has none.
    fn value(&self, identity: &Effective, now: Moment) -> Option<Value> {
        let object = |pairs: &BTreeMap<String, String>| {
            let members = pairs.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
            Value::Object(members.collect())
        };
        let given = |pairs: &BTreeMap<String, String>| (!pairs.is_empty()).then(|| object(pairs));
        match self {
            Self::Text(reference) => identity.value(reference).map(Value::String),
            Self::GroupIds => Some(identity.groups.keys().map(ToString::to_string).collect()),
            Self::GroupNames => Some(identity.groups.values().map(|(_, group)| group.name.clone()).collect()),
            Self::Metadata => given(&identity.entity.metadata),
            Self::AliasMetadata { accessor } => given(&identity.aliases.get(accessor)?.metadata),
            Self::AliasCustomMetadata { accessor } => given(&identity.aliases.get(accessor)?.custom_metadata),
            Self::Time(offset) => {
                i64::try_from(now.as_secs()).ok().and_then(|now| now.checked_add(*offset)).map(Value::from)
            }
        }
    }

    /// The value of an identity that has none.
    fn empty(&self) -> Value {
        match self {
            Self::Text(_) => Value::String(String::new()),
            Self::GroupIds | Self::GroupNames => Value::Array(Vec::new()),
            Self::Metadata | Self::AliasMetadata { .. } | Self::AliasCustomMetadata { .. } => {
                Value::Object(Map::new())
            }
            Self::Time(_) => Value::from(0),
        }
    }
}

impl Template {
    /// Reads a template: JSON, or that in base64. An empty one has no claims.
    ///
    /// # Errors
    ///
    /// 400 for one that is no JSON object when its gaps are filled, or sets a reserved claim.
    pub fn parse(text: &str) -> Result<Self, EngineError> {
        let decoded = STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let template = Self { parts: parts(decoded.as_deref().unwrap_or(text)).map_err(bad_request)? };
        let claims = template.claims(&Effective::default(), Moment::default(), Absent::Empty)?;
        if let Some(key) = claims.keys().find(|key| RESERVED.contains(&key.as_str())) {
            let restricted = RESERVED.join(", ");
            return Err(bad_request(format!(
                "top level key {key:?} not allowed. Restricted keys: {restricted}"
            )));
        }
        Ok(template)
    }

    /// The claims of an identity.
    pub fn claims(
        &self,
        identity: &Effective,
        now: Moment,
        absent: Absent,
    ) -> Result<Map<String, Value>, EngineError> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Written(written) => text.push_str(written),
                Part::Gap(gap) => {
                    let value = gap.value(identity, now).unwrap_or_else(|| match absent {
                        Absent::Empty => gap.empty(),
                        Absent::Omitted => Value::Null,
                    });
                    text.push_str(&value.to_string());
                }
            }
        }
        if text.trim().is_empty() {
            return Ok(Map::new());
        }
        let claims: Map<String, Value> = serde_json::from_str(&text)
            .map_err(|error| bad_request(format!("error parsing template JSON: {error}")))?;
        Ok(if absent == Absent::Omitted { without_nulls(claims) } else { claims })
    }

    /// The names of its claims.
    pub fn names(&self) -> Result<Vec<String>, EngineError> {
        let claims = self.claims(&Effective::default(), Moment::default(), Absent::Empty)?;
        Ok(claims.into_iter().map(|(name, _)| name).collect())
    }
}

/// The parts of a text with gaps.
fn parts(text: &str) -> Result<Vec<Part>, String> {
    let unbalanced = || "error parsing template: unbalanced templating characters".to_owned();
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, tail) = after.split_once("}}").ok_or_else(unbalanced)?;
        let gap = Gap::parse(name.trim());
        let gap = gap.ok_or_else(|| {
            format!(
                "error parsing template: no value could be found for one of the template directives: {:?}",
                name.trim()
            )
        })?;
        parts.push(Part::Written(before.to_owned()));
        parts.push(Part::Gap(gap));
        rest = tail;
    }
    parts.push(Part::Written(rest.to_owned()));
    Ok(parts)
}

fn without_nulls(members: Map<String, Value>) -> Map<String, Value> {
    let members = members.into_iter().filter(|(_, value)| !value.is_null());
    members.map(|(name, value)| (name, pruned(value))).collect()
}

fn pruned(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(without_nulls(members)),
        Value::Array(items) => {
            Value::Array(items.into_iter().filter(|item| !item.is_null()).map(pruned).collect())
        }
        other => other,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail loudly")]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use strongroom_identity::{Alias, Entity, Group, IdentityId};

    use super::*;

    fn identity(name: &str) -> Effective {
        let pairs = |value: &str| BTreeMap::from([("color".to_owned(), value.to_owned())]);
        let alias = Alias { name: "bob".to_owned(), metadata: pairs("blue"), ..Alias::default() };
        let group = Group { name: "web".to_owned(), ..Group::default() };
        Effective {
            entity: Arc::new(Entity { name: name.to_owned(), metadata: pairs("green"), ..Entity::default() }),
            aliases: BTreeMap::from([("acc".to_owned(), Arc::new(alias))]),
            groups: BTreeMap::from([(
                IdentityId::of_bytes([1; 16]),
                (strongroom_barrier::NamespaceId::ROOT, Arc::new(group)),
            )]),
            ..Effective::default()
        }
    }

    #[test]
    fn gaps_are_values_of_their_types() {
        let template = Template::parse(
            r#"{ "color": {{identity.entity.metadata.color}}, "all": {{ identity.entity.metadata }},
                 "user": { "name": {{identity.entity.aliases.acc.name}}, "groups": {{identity.entity.groups.names}},
                           "ids": {{identity.entity.groups.ids}}, "of": {{identity.entity.aliases.acc.metadata}},
                           "none": {{identity.entity.aliases.x.name}}, "nothing": {{identity.entity.aliases.x.metadata}} },
                 "nbf": {{time.now}}, "later": {{time.now.plus.1h}}, "before": {{time.now.minus.10s}} }"#,
        )
        .unwrap();
        let now = Moment::from_secs(1000);
        let id = IdentityId::of_bytes([1; 16]).to_string();
        let mut expected = json!({
            "color": "green", "all": {"color": "green"}, "nbf": 1000, "later": 4600, "before": 990,
            "user": {"name": "bob", "groups": ["web"], "ids": [id], "of": {"color": "blue"}, "none": "", "nothing": {}},
        });
        let claims = template.claims(&identity("bob"), now, Absent::Empty).unwrap();
        assert_eq!(Value::Object(claims), expected);
        let user = expected["user"].as_object_mut().unwrap();
        user.retain(|name, _| !name.starts_with("no"));
        let claims = template.claims(&identity("bob"), now, Absent::Omitted).unwrap();
        assert_eq!(Value::Object(claims), expected);
    }

    #[test]
    fn a_value_stays_a_value() {
        let template = Template::parse(r#"{"name": {{identity.entity.name}}}"#).unwrap();
        let name = r#"x", "sub": "root", "y": "{{identity.entity.id}}"#;
        let claims = template.claims(&identity(name), Moment::default(), Absent::Empty).unwrap();
        assert_eq!(Value::Object(claims), json!({ "name": name }));
    }

    #[test]
    fn a_template_may_be_in_base64_and_may_be_empty() {
        let text = r#"{"name": {{identity.entity.name}}}"#;
        assert_eq!(Template::parse(&STANDARD.encode(text)).unwrap(), Template::parse(text).unwrap());
        assert_eq!(Template::parse("").unwrap().names().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for (text, expected) in [
            ("{", "error parsing template JSON"),
            ("[]", "error parsing template JSON"),
            (r#"{"a": "{{identity.entity.name}}"}"#, "error parsing template JSON"),
            (r#"{"a": {{identity.entity.name}"#, "unbalanced"),
            (r#"{"a": {{identity.foo}}}"#, "no value could be found"),
            (r#"{"a": {{time.now.plus.x}}}"#, "no value could be found"),
            (r#"{"aud": "x"}"#, r#"top level key "aud" not allowed"#),
        ] {
            let refused = Template::parse(text).unwrap_err().to_string();
            assert!(refused.contains(expected), "{text}: {refused}");
        }
    }
}
