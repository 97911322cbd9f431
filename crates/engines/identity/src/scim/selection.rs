//! The attributes of an answer: `attributes` and `excludedAttributes`. Source: RFC 7644, section 3.9.

use serde_json::{Map, Value};

use super::failing::Failure;
use super::path::{AttributePath, resolve};
use super::schema::{ResourceType, Schema};

/// A choice of attributes.
#[derive(Clone, Debug, Default)]
pub(super) enum Selection {
    /// All that are answered by default.
    #[default]
    Default,
    /// These, and those that are always answered.
    Only(Vec<Named>),
    /// All but these.
    Without(Vec<Named>),
}

/// What of an attribute is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Named(&'static str),
}

/// A name that was given.
#[derive(Clone, Copy, Debug)]
pub(super) enum Named {
    Extension(&'static Schema),
    Attribute(AttributePath),
}

impl Named {
    /// Names of no attribute choose nothing.
    fn read(of: &ResourceType, names: &[String]) -> Vec<Self> {
        let read = |name: &String| {
            let name = name.trim();
            let extension = of.extension.filter(|extension| extension.id.eq_ignore_ascii_case(name));
            extension.map(Self::Extension).or_else(|| resolve(of, name).map(Self::Attribute))
        };
        names.iter().filter_map(read).collect()
    }

    /// What of an attribute is named.
    fn part_of(&self, extension: Option<&Schema>, attribute: &str) -> Option<Part> {
        match self {
            Self::Extension(named) => (extension?.id == named.id).then_some(Part::Whole),
            Self::Attribute(path) => {
                let is_there =
                    path.extension.map(|named| named.id) == extension.map(|extension| extension.id);
                let part = path.part.map_or(Part::Whole, |part| Part::Named(part.name));
                (is_there && path.attribute.name == attribute).then_some(part)
            }
        }
    }
}

impl Selection {
    /// Reads what was asked for.
    ///
    /// # Errors
    ///
    /// `invalidValue` where both are given.
    pub(super) fn read(of: &ResourceType, only: &[String], without: &[String]) -> Result<Self, Failure> {
        match (only.is_empty(), without.is_empty()) {
            (true, true) => Ok(Self::Default),
            (false, true) => Ok(Self::Only(Named::read(of, only))),
            (true, false) => Ok(Self::Without(Named::read(of, without))),
            _ => Err(Failure::value("attributes and excludedAttributes are not given together")),
        }
    }

    /// True if an attribute of the core schema is answered, or a part of it.
    pub(super) fn has(&self, attribute: &str) -> bool {
        match self {
            Self::Default => true,
            Self::Only(named) => named.iter().any(|named| named.part_of(None, attribute).is_some()),
            Self::Without(named) => {
                !named.iter().any(|named| named.part_of(None, attribute) == Some(Part::Whole))
            }
        }
    }

    /// The members of a resource that are answered.
    pub(super) fn of(&self, of: &ResourceType, members: Map<String, Value>) -> Map<String, Value> {
        if matches!(self, Self::Default) {
            return members;
        }
        let mut kept = Map::new();
        for (name, value) in members {
            let is_always = name == "schemas" || of.core(&name).is_some_and(|attribute| attribute.always);
            let extension = of.extension.filter(|extension| extension.id == name);
            let value = match (is_always, extension, value) {
                (true, _, value) => Some(value),
                (_, Some(extension), Value::Object(inside)) => {
                    let inside = inside.into_iter();
                    let inside = inside.filter_map(|(name, value)| {
                        self.value(Some(extension), &name, value).map(|value| (name, value))
                    });
                    let inside: Map<String, Value> = inside.collect();
                    (!inside.is_empty()).then_some(Value::Object(inside))
                }
                (_, _, value) => self.value(None, &name, value),
            };
            if let Some(value) = value {
                kept.insert(name, value);
            }
        }
        kept
    }

    /// What is answered of an attribute's value.
    fn value(&self, extension: Option<&Schema>, name: &str, value: Value) -> Option<Value> {
        let (named, is_only) = match self {
            Self::Default => return Some(value),
            Self::Only(named) => (named, true),
            Self::Without(named) => (named, false),
        };
        let parts: Vec<_> = named.iter().filter_map(|named| named.part_of(extension, name)).collect();
        if parts.is_empty() {
            return (!is_only).then_some(value);
        }
        if parts.contains(&Part::Whole) {
            return is_only.then_some(value);
        }
        let is_named =
            |part: &str| parts.iter().any(|named| matches!(named, Part::Named(name) if *name == part));
        Some(with_parts(value, &|part| is_named(part) == is_only))
    }
}

fn with_parts(value: Value, is_kept: &dyn Fn(&str) -> bool) -> Value {
    match value {
        Value::Object(members) => {
            Value::Object(members.into_iter().filter(|(name, _)| is_kept(name)).collect())
        }
        Value::Array(values) => {
            Value::Array(values.into_iter().map(|value| with_parts(value, is_kept)).collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::schemas::USERS;
    use super::*;

    fn selected(only: &[&str], without: &[&str]) -> Value {
        let texts = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let user = json!({
            "schemas": ["s"], "id": "1", "userName": "ann", "name": { "givenName": "A", "familyName": "B" },
            "emails": [{ "value": "a", "type": "work" }], "meta": { "location": "l", "created": "c" },
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": { "department": "d", "division": "e" },
        });
        let selection = Selection::read(&USERS, &texts(only), &texts(without)).unwrap();
        Value::Object(selection.of(&USERS, user.as_object().unwrap().clone()))
    }

    #[test]
    fn attributes_are_chosen_and_left_out() {
        const DEPARTMENT: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department";
        const EXTENSION: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
        let told = selected(&["USERNAME", "emails.value", "nothing", DEPARTMENT], &[]);
        let expected = json!({
            "schemas": ["s"], "id": "1", "userName": "ann", "emails": [{ "value": "a" }], EXTENSION: { "department": "d" },
        });
        assert_eq!(told, expected);
        let told = selected(&[], &["id", "name.givenName", "emails", "meta", DEPARTMENT]);
        let expected = json!({
            "schemas": ["s"], "id": "1", "userName": "ann", "name": { "familyName": "B" }, EXTENSION: { "division": "e" },
        });
        assert_eq!(told, expected);
        assert_eq!(selected(&[], &[EXTENSION]).get(EXTENSION), None);
        assert_eq!(selected(&[EXTENSION], &[])[EXTENSION], json!({ "department": "d", "division": "e" }));
        let both = ["a".to_owned()];
        assert!(Selection::read(&USERS, &both, &both).is_err());
    }
}
