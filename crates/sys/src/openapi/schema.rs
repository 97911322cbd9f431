//! From the JSON Schema that types derive to the one of `OpenAPI` 3.0, which has no type lists and no `null`.
//! Source: <https://spec.openapis.org/oas/v3.0.2#schema-object>.

use serde_json::{Map, Value, json};
use strongroom_engine_api::Field;

/// A member's schema with its description.
pub(super) fn of_field(field: &Field) -> Value {
    let mut schema = field.schema.clone();
    adapt(&mut schema);
    if let Some(members) = schema.as_object_mut().filter(|_| !field.description.is_empty()) {
        members.insert("description".to_owned(), json!(field.description));
    }
    schema
}

/// The schema of an object with these members.
pub(super) fn of_object<'a>(fields: impl IntoIterator<Item = &'a Field>, open_ended: bool) -> Value {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for field in fields {
        if field.required {
            required.push(field.name.clone());
        }
        properties.insert(field.name.clone(), of_field(field));
    }
    let mut schema = json!({ "type": "object", "properties": properties });
    if let Some(members) = schema.as_object_mut() {
        if !required.is_empty() {
            members.insert("required".to_owned(), json!(required));
        }
        if open_ended {
            members.insert("additionalProperties".to_owned(), json!(true));
        }
    }
    schema
}

/// Replaces what `OpenAPI` 3.0 does not have, all the way down.
fn adapt(schema: &mut Value) {
    if schema.is_boolean() {
        // "Anything": an empty schema says so in every version.
        *schema = json!({});
        return;
    }
    let Some(members) = schema.as_object_mut() else { return };
    if let Some(Value::Array(types)) = members.get("type") {
        let named: Vec<Value> = types.iter().filter(|kind| *kind != "null").cloned().collect();
        let nullable = named.len() < types.len();
        match named.as_slice() {
            [only] => members.insert("type".to_owned(), only.clone()),
            _ => members.remove("type"),
        };
        if nullable {
            members.insert("nullable".to_owned(), json!(true));
        }
    }
    if let Some(Value::Array(choices)) = members.get_mut("anyOf") {
        let before = choices.len();
        choices.retain(|choice| choice.get("type") != Some(&json!("null")));
        let nullable = choices.len() < before;
        if let [only] = choices.as_mut_slice() {
            let only = std::mem::take(only);
            members.remove("anyOf");
            if let Value::Object(only) = only {
                members.extend(only);
            }
        }
        if nullable {
            members.insert("nullable".to_owned(), json!(true));
        }
    }
    for name in ["items", "additionalProperties"] {
        if let Some(inner) = members.get_mut(name).filter(|inner| inner.is_object()) {
            adapt(inner);
        }
    }
    for name in ["anyOf", "oneOf", "allOf"] {
        members.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten().for_each(adapt);
    }
    members
        .get_mut("properties")
        .and_then(Value::as_object_mut)
        .into_iter()
        .flatten()
        .for_each(|(_, inner)| adapt(inner));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_becomes_nullable_at_any_depth() {
        let mut schema = json!({
            "type": "object",
            "properties": {
                "a": { "type": ["string", "null"], "format": "x" },
                "b": { "anyOf": [{ "type": "array", "items": { "type": ["integer", "null"] } }, { "type": "null" }] },
                "c": true,
            },
            "additionalProperties": false,
        });
        adapt(&mut schema);
        let expected = json!({
            "type": "object",
            "properties": {
                "a": { "type": "string", "format": "x", "nullable": true },
                "b": { "type": "array", "items": { "type": "integer", "nullable": true }, "nullable": true },
                "c": {},
            },
            "additionalProperties": false,
        });
        assert_eq!(schema, expected);
    }
}
