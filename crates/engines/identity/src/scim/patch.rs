//! PATCH: what is added, replaced and removed, by paths. Source: RFC 7644, section 3.5.2; the requests of Entra ID and Okta as their
//! makers document them: operations in any case, no path but members that are paths, texts for booleans.
//!
//! All operations of a request count, or none. Here they are read and done to a resource's members; members of groups, which are
//! rows and not members of a document, are done by [`super::groups`].

use serde_json::{Map, Value};

use super::document::{is_primary, read_extension, read_one, read_value};
use super::failing::Failure;
use super::filter::Filter;
use super::path::{AttributePath, Target};
use super::schema::{Attribute, Kind, ResourceType};

/// Operations of a request.
const MAX_OPERATIONS: usize = 1000;

/// The kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Add,
    Replace,
    Remove,
}

/// One change, with what it is about.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) change: Change,
    pub(super) target: Target,
    pub(super) value: Value,
}

/// Reads the operations of a request.
pub(super) fn operations(of: &ResourceType, body: &Map<String, Value>) -> Result<Vec<Operation>, Failure> {
    let given = member(body, "Operations").and_then(Value::as_array);
    let given = given.ok_or_else(|| Failure::syntax("missing \"Operations\""))?;
    if given.is_empty() {
        return Err(Failure::syntax("\"Operations\" is empty"));
    }
    let mut read = Vec::new();
    for operation in given {
        let operation =
            operation.as_object().ok_or_else(|| Failure::syntax("an operation must be an object"))?;
        read_operation(of, operation, &mut read)?;
        if read.len() > MAX_OPERATIONS {
            return Err(Failure::too_many(format!("a request has {MAX_OPERATIONS} operations at most")));
        }
    }
    Ok(read)
}

/// A member of this name, in any case.
fn member<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    members.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn read_operation(
    of: &ResourceType,
    operation: &Map<String, Value>,
    read: &mut Vec<Operation>,
) -> Result<(), Failure> {
    let change = match member(operation, "op").and_then(Value::as_str).unwrap_or_default() {
        op if op.eq_ignore_ascii_case("add") => Change::Add,
        op if op.eq_ignore_ascii_case("replace") => Change::Replace,
        op if op.eq_ignore_ascii_case("remove") => Change::Remove,
        _ => return Err(Failure::syntax("\"op\" must be add, replace or remove")),
    };
    let value = member(operation, "value").cloned().unwrap_or_default();
    match member(operation, "path") {
        Some(Value::String(path)) if !path.is_empty() => {
            let target = Target::parse(of, path)?;
            read.push(Operation { change, target, value });
            return Ok(());
        }
        None | Some(Value::Null | Value::String(_)) => {}
        Some(_) => return Err(Failure::path("\"path\" must be a text")),
    }
    if change == Change::Remove {
        return Err(Failure::no_target("a removal has a \"path\""));
    }
    let Value::Object(members) = value else {
        return Err(Failure::value("without a \"path\", \"value\" is an object"));
    };
    for (path, value) in members {
        if let Ok(target) = Target::parse(of, &path)
            && !is_read_only(&target)
        {
            read.push(Operation { change, target, value });
        }
    }
    Ok(())
}

fn is_read_only(target: &Target) -> bool {
    match target {
        Target::Extension(_) => false,
        Target::Attribute { path, .. } => path.attribute.read_only || path.last().read_only,
    }
}

/// Does one change to the members of a resource.
pub(super) fn apply(members: &mut Map<String, Value>, operation: &Operation) -> Result<(), Failure> {
    if is_read_only(&operation.target) {
        return Err(Failure::mutability("the attribute is set by the server alone"));
    }
    match &operation.target {
        Target::Extension(extension) => {
            let given = match operation.change {
                Change::Remove => None,
                _ => read_extension(extension, &operation.value)?,
            };
            if operation.change == Change::Remove {
                members.remove(extension.id);
            }
            for (name, value) in given.into_iter().flatten() {
                let inside = members.entry(extension.id).or_insert_with(|| Value::Object(Map::new()));
                if let Some(inside) = inside.as_object_mut() {
                    inside.insert(name, value);
                }
            }
            Ok(())
        }
        Target::Attribute { path, chosen } => match path.extension {
            None => apply_to(members, operation, path, chosen.as_ref()),
            Some(extension) => {
                let mut inside = match members.remove(extension.id) {
                    Some(Value::Object(inside)) => inside,
                    _ => Map::new(),
                };
                let done = apply_to(&mut inside, operation, path, chosen.as_ref());
                if !inside.is_empty() {
                    members.insert(extension.id.to_owned(), Value::Object(inside));
                }
                done
            }
        },
    }
}

fn apply_to(
    members: &mut Map<String, Value>,
    operation: &Operation,
    path: &AttributePath,
    chosen: Option<&Filter>,
) -> Result<(), Failure> {
    let attribute = path.attribute;
    if attribute.multi {
        let mut values = match members.remove(attribute.name) {
            Some(Value::Array(values)) => values,
            _ => Vec::new(),
        };
        let changed = match (chosen, path.part) {
            (None, None) => all_values(&mut values, attribute, operation)?,
            _ => chosen_values(&mut values, path, chosen, operation)?,
        };
        settle_primary(&mut values, &changed);
        values.retain(|value| value.as_object().is_none_or(|members| !members.is_empty()));
        // Read again as a whole: limits are of all values together.
        if let Some(values) = read_value(attribute, &Value::Array(values))? {
            members.insert(attribute.name.to_owned(), values);
        }
        return Ok(());
    }
    match path.part {
        Some(part) => {
            let mut inside = match members.remove(attribute.name) {
                Some(Value::Object(inside)) => inside,
                _ => Map::new(),
            };
            set(&mut inside, part, operation)?;
            if !inside.is_empty() {
                members.insert(attribute.name.to_owned(), Value::Object(inside));
            }
            Ok(())
        }
        None => set(members, attribute, operation),
    }
}

/// Sets or removes an attribute with one value. The parts of an object that are not given stay.
fn set(
    members: &mut Map<String, Value>,
    attribute: &Attribute,
    operation: &Operation,
) -> Result<(), Failure> {
    let given = match operation.change {
        Change::Remove => None,
        _ => read_one(attribute, &operation.value)?,
    };
    match (given, members.get_mut(attribute.name)) {
        (None, _) => {
            members.remove(attribute.name);
        }
        (Some(Value::Object(given)), Some(Value::Object(kept))) if attribute.kind == Kind::Complex => {
            kept.extend(given);
        }
        (Some(given), _) => {
            members.insert(attribute.name.to_owned(), given);
        }
    }
    Ok(())
}

/// Changes the values of an attribute as a whole; answers the places of new ones.
fn all_values(
    values: &mut Vec<Value>,
    attribute: &Attribute,
    operation: &Operation,
) -> Result<Vec<usize>, Failure> {
    let given = match read_value(attribute, &operation.value)? {
        Some(Value::Array(given)) => given,
        _ => Vec::new(),
    };
    match operation.change {
        Change::Remove if given.is_empty() => values.clear(),
        Change::Remove => {
            let main = |value: &Value| value.get("value").cloned();
            let is_of = |gone: &Value, value: &Value| main(gone).is_some() && main(gone) == main(value);
            values.retain(|value| !given.iter().any(|gone| gone == value || is_of(gone, value)));
        }
        Change::Replace => *values = given,
        Change::Add => {
            let first = values.len();
            values.extend(given);
            return Ok((first..values.len()).collect());
        }
    }
    Ok(Vec::new())
}

/// Changes the values that a filter chooses, or a part of them; answers their places.
fn chosen_values(
    values: &mut Vec<Value>,
    path: &AttributePath,
    chosen: Option<&Filter>,
    operation: &Operation,
) -> Result<Vec<usize>, Failure> {
    let attribute = path.attribute;
    let is_chosen = |value: &Value| {
        chosen.is_none_or(|chosen| value.as_object().is_some_and(|members| chosen.matches(members)))
    };
    let mut found: Vec<usize> =
        values.iter().enumerate().filter(|(_, value)| is_chosen(value)).map(|(at, _)| at).collect();
    if found.is_empty() {
        let new = chosen.map_or_else(|| Some(Map::new()), Filter::asked_for);
        match (operation.change, new) {
            (Change::Add, Some(new)) => {
                found.push(values.len());
                values.push(Value::Object(new));
            }
            _ => return Err(Failure::no_target(format!("no value of {:?} is chosen", attribute.name))),
        }
    }
    let given = match (operation.change, path.part) {
        (Change::Remove, None) => {
            values.retain(|value| !is_chosen(value));
            return Ok(Vec::new());
        }
        (_, None) => read_one(attribute, &operation.value)?,
        (_, Some(_)) => None,
    };
    for at in &found {
        let Some(Value::Object(kept)) = values.get_mut(*at) else { continue };
        match (path.part, &given) {
            (Some(part), _) => set(kept, part, operation)?,
            (None, Some(Value::Object(given))) => {
                if operation.change == Change::Replace {
                    kept.clear();
                }
                kept.extend(given.clone());
            }
            (None, _) => return Err(Failure::value(format!("{:?} must be an object", attribute.name))),
        }
    }
    Ok(found)
}

/// Of values of which one was made the one to be preferred, no other is any more (RFC 7644, section 3.5.2).
fn settle_primary(values: &mut [Value], changed: &[usize]) {
    let primary = changed.iter().copied().rfind(|at| values.get(*at).is_some_and(is_primary));
    let Some(primary) = primary else { return };
    for (_, value) in values.iter_mut().enumerate().filter(|(at, _)| *at != primary) {
        if is_primary(value)
            && let Some(members) = value.as_object_mut()
        {
            members.insert("primary".to_owned(), false.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::schemas::USERS;
    use super::*;

    const EXTENSION: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

    fn patched(user: &Value, requested: &Value) -> Result<Value, String> {
        let told = |failure: Failure| format!("{failure:?}");
        let body = json!({ "schemas": [], "Operations": requested });
        let mut members = user.as_object().unwrap().clone();
        for operation in operations(&USERS, body.as_object().unwrap()).map_err(told)? {
            apply(&mut members, &operation).map_err(told)?;
        }
        Ok(Value::Object(members))
    }

    fn ann() -> Value {
        json!({
            "userName": "ann", "active": true, "name": { "givenName": "Ann", "familyName": "Lee" },
            "emails": [{ "value": "a@w", "type": "work", "primary": true }, { "value": "a@h", "type": "home" }],
            EXTENSION: { "department": "Sales" },
        })
    }

    #[test]
    #[allow(clippy::too_many_lines, reason = "a table")]
    fn attributes_are_added_replaced_and_removed() {
        for (requested, at, expected) in [
            (json!({"op": "add", "path": "title", "value": "Dr"}), "/title", json!("Dr")),
            (json!({"op": "replace", "path": "title", "value": "Dr"}), "/title", json!("Dr")),
            (json!({"op": "Replace", "path": "active", "value": "False"}), "/active", json!(false)),
            (json!({"op": "replace", "value": {"active": false}}), "/active", json!(false)),
            (
                json!({"OP": "Add", "Value": {"name.givenName": "Anna"}}),
                "/name",
                json!({"givenName": "Anna", "familyName": "Lee"}),
            ),
            (
                json!({"op": "replace", "path": "name", "value": {"givenName": "B"}}),
                "/name",
                json!({"givenName": "B", "familyName": "Lee"}),
            ),
            (json!({"op": "remove", "path": "name.givenName"}), "/name", json!({"familyName": "Lee"})),
            (json!({"op": "remove", "path": "name"}), "/name", Value::Null),
            (
                json!({"op": "replace", "path": "NAME.FamilyName", "value": "X"}),
                "/name/familyName",
                json!("X"),
            ),
            (json!({"op": "remove", "path": "emails"}), "/emails", Value::Null),
            (json!({"op": "replace", "path": "emails", "value": []}), "/emails", Value::Null),
            (json!({"op": "replace", "path": "emails", "value": null}), "/emails", Value::Null),
            (
                json!({"op": "remove", "path": "emails[type eq \"home\"]"}),
                "/emails",
                json!([{"value": "a@w", "type": "work", "primary": true}]),
            ),
            (
                json!({"op": "remove", "path": "emails", "value": [{"value": "a@w"}]}),
                "/emails",
                json!([{"value": "a@h", "type": "home"}]),
            ),
            (
                json!({"op": "replace", "path": "emails[type eq \"work\"].value", "value": "n@w"}),
                "/emails/0/value",
                json!("n@w"),
            ),
            (
                json!({"op": "replace", "path": "emails[type eq \"home\"]", "value": {"value": "z"}}),
                "/emails/1",
                json!({"value": "z"}),
            ),
            (
                json!({"op": "add", "path": "emails[type eq \"other\"].value", "value": "o"}),
                "/emails/2",
                json!({"type": "other", "value": "o"}),
            ),
            (
                json!({"op": "add", "path": "emails", "value": [{"value": "n", "primary": true}]}),
                "/emails/0/primary",
                json!(false),
            ),
            (
                json!({"op": "add", "path": "emails", "value": {"value": "a@h", "type": "home"}}),
                "/emails/2",
                Value::Null,
            ),
            (
                json!({"op": "replace", "path": "emails[type eq \"home\"].primary", "value": true}),
                "/emails/0/primary",
                json!(false),
            ),
            (
                json!({"op": "add", "path": format!("{EXTENSION}:department"), "value": "IT"}),
                &format!("/{EXTENSION}/department"),
                json!("IT"),
            ),
            (
                json!({"op": "add", "path": format!("{EXTENSION}:manager"), "value": "9"}),
                &format!("/{EXTENSION}/manager"),
                json!({"value": "9"}),
            ),
            (
                json!({"op": "replace", "value": {format!("{EXTENSION}:department"): "IT"}}),
                &format!("/{EXTENSION}/department"),
                json!("IT"),
            ),
            (
                json!({"op": "add", "path": EXTENSION, "value": {"division": "D"}}),
                &format!("/{EXTENSION}"),
                json!({"department": "Sales", "division": "D"}),
            ),
            (json!({"op": "remove", "path": EXTENSION}), &format!("/{EXTENSION}"), Value::Null),
            (
                json!({"op": "remove", "path": format!("{EXTENSION}:department")}),
                &format!("/{EXTENSION}"),
                Value::Null,
            ),
            (
                json!({"op": "add", "value": {"unknown": 1, "groups": [], "id": "x", "title": "T"}}),
                "/title",
                json!("T"),
            ),
            (
                json!({"op": "add", "path": "urn:ietf:params:scim:schemas:core:2.0:User:title", "value": "T"}),
                "/title",
                json!("T"),
            ),
        ] {
            let told =
                patched(&ann(), &json!([requested])).unwrap_or_else(|error| panic!("{requested}: {error}"));
            assert_eq!(told.pointer(at).cloned().unwrap_or_default(), expected, "{requested}");
        }
    }

    #[test]
    fn what_leads_nowhere_is_refused_with_its_kind() {
        for (requested, kind) in [
            (json!([]), "invalidSyntax"),
            (json!(null), "invalidSyntax"),
            (json!([1]), "invalidSyntax"),
            (json!([{"op": "move", "path": "title"}]), "invalidSyntax"),
            (json!([{"path": "title"}]), "invalidSyntax"),
            (json!([{"op": "remove"}]), "noTarget"),
            (json!([{"op": "remove", "path": ""}]), "noTarget"),
            (json!([{"op": "add", "path": "nothing", "value": 1}]), "invalidPath"),
            (json!([{"op": "add", "path": 7, "value": 1}]), "invalidPath"),
            (json!([{"op": "add", "path": "title[type eq \"x\"]", "value": 1}]), "invalidPath"),
            (json!([{"op": "add", "path": "emails[type eq \"x\"].kind", "value": 1}]), "invalidPath"),
            (json!([{"op": "add", "path": "emails[type eq \"x\"]x", "value": 1}]), "invalidPath"),
            (json!([{"op": "add", "path": "emails[type eq ]", "value": 1}]), "invalidFilter"),
            (json!([{"op": "replace", "path": "emails[type eq \"other\"].value", "value": "x"}]), "noTarget"),
            (json!([{"op": "remove", "path": "emails[type eq \"other\"]"}]), "noTarget"),
            (json!([{"op": "replace", "path": "id", "value": "x"}]), "mutability"),
            (json!([{"op": "replace", "path": "meta.created", "value": "x"}]), "mutability"),
            (json!([{"op": "add", "path": "groups", "value": [{"value": "x"}]}]), "mutability"),
            (json!([{"op": "replace", "value": "x"}]), "invalidValue"),
            (json!([{"op": "replace", "path": "active", "value": "soon"}]), "invalidValue"),
            (json!([{"op": "replace", "path": "title", "value": {}}]), "invalidValue"),
        ] {
            let error = patched(&ann(), &requested).unwrap_err();
            assert!(error.contains(kind), "{requested}: {error}");
        }
        let many: Vec<Value> =
            (0..=MAX_OPERATIONS).map(|_| json!({"op": "remove", "path": "title"})).collect();
        assert!(patched(&ann(), &json!(many)).unwrap_err().contains("tooMany"));
    }
}
