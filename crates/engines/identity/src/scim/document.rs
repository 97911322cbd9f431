//! Reading resources: the members of a request in the names and types of the schema.
//!
//! Members that no schema has are passed over, as are those that only the server sets: identity providers send what they know of
//! people, and which of it a server keeps is the server's affair (RFC 7644, section 3.3). A value of the wrong type is refused. Names are
//! the same in any case; booleans may be texts, as Entra ID sends them.

use serde_json::{Map, Value};

use super::failing::Failure;
use super::schema::{Attribute, Kind, ResourceType, Schema};

/// Bytes of a text.
const MAX_TEXT: usize = 4096;
/// Values of an attribute.
const MAX_VALUES: usize = 128;

/// A boolean as a text.
pub(super) fn boolean(text: &str) -> Option<bool> {
    let is = |wanted: &str| text.eq_ignore_ascii_case(wanted);
    if is("true") { Some(true) } else { is("false").then_some(false) }
}

/// The members of a resource that a client sets.
pub(super) fn read(of: &ResourceType, given: &Map<String, Value>) -> Result<Map<String, Value>, Failure> {
    let mut kept = Map::new();
    for (name, value) in given {
        if let Some(extension) = of.extension.filter(|extension| extension.id.eq_ignore_ascii_case(name)) {
            if let Some(members) = read_extension(extension, value)? {
                kept.insert(extension.id.to_owned(), Value::Object(members));
            }
            continue;
        }
        let Some(attribute) = of.core(name).filter(|attribute| !attribute.read_only) else { continue };
        put(&mut kept, attribute, read_value(attribute, value)?)?;
    }
    Ok(kept)
}

/// The members of an extension; `None` where there are none.
pub(super) fn read_extension(
    extension: &Schema,
    value: &Value,
) -> Result<Option<Map<String, Value>>, Failure> {
    if value.is_null() {
        return Ok(None);
    }
    let members = value.as_object().ok_or_else(|| wrong(extension.id, "an object"))?;
    let mut kept = Map::new();
    for (name, value) in members {
        let Some(attribute) = extension.attribute(name).filter(|attribute| !attribute.read_only) else {
            continue;
        };
        put(&mut kept, attribute, read_value(attribute, value)?)?;
    }
    Ok((!kept.is_empty()).then_some(kept))
}

fn put(kept: &mut Map<String, Value>, attribute: &Attribute, value: Option<Value>) -> Result<(), Failure> {
    let Some(value) = value else { return Ok(()) };
    if kept.insert(attribute.name.to_owned(), value).is_some() {
        return Err(Failure::syntax(format!("{:?} is given twice", attribute.name)));
    }
    Ok(())
}

/// The value of an attribute; `None` where it is none.
pub(super) fn read_value(attribute: &Attribute, value: &Value) -> Result<Option<Value>, Failure> {
    if !attribute.multi {
        return read_one(attribute, value);
    }
    let given = match value {
        Value::Array(values) => values.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut values: Vec<Value> = Vec::new();
    for value in given {
        if let Some(value) = read_one(attribute, value)?
            && !values.contains(&value)
        {
            values.push(value);
        }
        if values.len() > MAX_VALUES {
            return Err(Failure::value(format!("{:?} has more than {MAX_VALUES} values", attribute.name)));
        }
    }
    if values.iter().filter(|value| is_primary(value)).count() > 1 {
        return Err(Failure::value(format!("{:?} has more than one primary value", attribute.name)));
    }
    Ok((!values.is_empty()).then_some(Value::Array(values)))
}

/// True if a value is the one to be preferred.
pub(super) fn is_primary(value: &Value) -> bool {
    value.get("primary").and_then(Value::as_bool) == Some(true)
}

/// One value of an attribute; `None` where it is none.
pub(super) fn read_one(attribute: &Attribute, value: &Value) -> Result<Option<Value>, Failure> {
    if value.is_null() {
        return Ok(None);
    }
    match (attribute.kind, value) {
        (Kind::Text | Kind::Reference, Value::String(text)) => {
            if text.len() > MAX_TEXT {
                return Err(Failure::value(format!("{:?} is longer than {MAX_TEXT} bytes", attribute.name)));
            }
            Ok(Some(value.clone()))
        }
        (Kind::Text | Kind::Reference, _) => Err(wrong(attribute.name, "a text")),
        (Kind::Boolean, Value::Bool(_)) => Ok(Some(value.clone())),
        (Kind::Boolean, Value::String(text)) => {
            let value = boolean(text).ok_or_else(|| wrong(attribute.name, "true or false"))?;
            Ok(Some(value.into()))
        }
        (Kind::Boolean, _) => Err(wrong(attribute.name, "true or false")),
        (Kind::Complex, Value::Object(members)) => read_parts(attribute, members),
        // The main part by itself: Entra ID sends managers so.
        (Kind::Complex, Value::String(_)) if attribute.part("value").is_some() => {
            read_parts(attribute, &Map::from_iter([("value".to_owned(), value.clone())]))
        }
        (Kind::Complex, _) => Err(wrong(attribute.name, "an object")),
        // Only the server has such.
        (Kind::Integer | Kind::DateTime, _) => Ok(None),
    }
}

fn read_parts(attribute: &Attribute, members: &Map<String, Value>) -> Result<Option<Value>, Failure> {
    let mut kept = Map::new();
    for (name, value) in members {
        let Some(part) = attribute.part(name).filter(|part| !part.read_only) else { continue };
        put(&mut kept, part, read_value(part, value)?)?;
    }
    Ok((!kept.is_empty()).then_some(Value::Object(kept)))
}

fn wrong(name: &str, wanted: &str) -> Failure {
    Failure::value(format!("{name:?} must be {wanted}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::schemas::USERS;
    use super::*;

    fn user(given: &Value) -> Result<Value, String> {
        let read = read(&USERS, given.as_object().unwrap());
        read.map(Value::Object).map_err(|failure| failure.to_string())
    }

    #[test]
    fn members_are_read_by_the_schema() {
        let given = json!({
            "schemas": ["x"], "USERNAME": "ann", "Active": "False", "id": "mine", "meta": { "created": "x" },
            "groups": [{ "value": "1" }], "password": "secret", "nickName": null, "emails": [],
            "name": { "GIVENNAME": "Ann", "unknown": 1 }, "phoneNumbers": { "value": "1", "type": "work" },
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:user": { "manager": "7", "department": "Sales", "x": 1 },
            "urn:other": { "a": 1 },
        });
        let expected = json!({
            "userName": "ann", "active": false, "name": { "givenName": "Ann" },
            "phoneNumbers": [{ "value": "1", "type": "work" }],
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {
                "manager": { "value": "7" }, "department": "Sales",
            },
        });
        assert_eq!(user(&given).unwrap(), expected);
    }

    #[test]
    fn values_of_the_wrong_type_are_refused() {
        let long = "x".repeat(MAX_TEXT + 1);
        let many: Vec<Value> = (0..=MAX_VALUES).map(|n| json!({ "value": n.to_string() })).collect();
        for given in [
            json!({ "userName": 1 }),
            json!({ "userName": ["ann"] }),
            json!({ "active": "maybe" }),
            json!({ "active": 1 }),
            json!({ "name": "Ann" }),
            json!({ "name": { "givenName": {} } }),
            json!({ "emails": [[]] }),
            json!({ "emails": [{ "value": "a", "primary": true }, { "value": "b", "primary": true }] }),
            json!({ "title": long }),
            json!({ "emails": many }),
            json!({ "userName": "a", "username": "b" }),
            json!({ "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": "x" }),
        ] {
            assert!(user(&given).is_err(), "{given}");
        }
    }
}
