//! The paths of one engine at one place.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use strongroom_engine_api::{Access, Backend, BodyMode, Endpoint, Field, Operation, OperationDoc, Route};

use super::schema;

/// An engine, and the place of its routes.
pub(super) struct Place {
    /// The prefix of its paths: `secret/`, `auth/{approle_mount_path}/`.
    pub(super) base: String,
    /// The parameter in `base` and its usual value.
    pub(super) mount_parameter: Option<(String, String)>,
    /// The prefix of the ids of its operations.
    pub(super) id_prefix: String,
    /// The tag of its operations.
    pub(super) tag: &'static str,
    /// The engine.
    pub(super) engine: Arc<dyn Backend>,
    /// True if it is in the root namespace, where endpoints of the server as a whole answer too.
    pub(super) in_root: bool,
}

/// The document as it grows.
pub(super) struct Document {
    /// Path items by path.
    pub(super) paths: BTreeMap<String, Map<String, Value>>,
    /// The schemas that operations refer to, by name.
    pub(super) schemas: BTreeMap<String, Value>,
    context: String,
}

/// The HTTP request of an operation.
struct Asked {
    method: &'static str,
    verb: &'static str,
    /// The query member that asks for it, for lists.
    flag: Option<&'static str>,
}

fn asked(operation: Operation) -> Option<Asked> {
    let (method, verb, flag) = match operation {
        Operation::Read => ("get", "read", None),
        Operation::Create | Operation::Update => ("post", "write", None),
        Operation::Patch => ("patch", "patch", None),
        Operation::Delete => ("delete", "delete", None),
        Operation::List => ("get", "list", Some("list")),
        Operation::Scan => ("get", "scan", Some("scan")),
        Operation::Help => return None,
    };
    Some(Asked { method, verb, flag })
}

impl Document {
    pub(super) fn new(context: String) -> Self {
        Self { paths: BTreeMap::new(), schemas: BTreeMap::new(), context }
    }

    /// Adds all that `place` offers.
    pub(super) fn add(&mut self, place: &Place) {
        for route in place.engine.routes().iter().filter(|route| place.in_root || !route.is_root_only()) {
            for (operation, endpoint) in route.operations() {
                if let Some(asked) = asked(operation) {
                    self.add_operation(place, route, &asked, endpoint);
                }
            }
        }
    }

    fn add_operation(&mut self, place: &Place, route: &Route, asked: &Asked, endpoint: &Endpoint) {
        let pattern = route.pattern().openapi();
        let path = format!("/{}{}", place.base, pattern.trim_end_matches('/'));
        let path = path.trim_end_matches('/');
        let path = if asked.flag.is_some() { format!("{path}/") } else { path.to_owned() };
        let existing = self.paths.get(&path).and_then(|item| item.get(asked.method));
        if let Some(existing) = existing.filter(|_| asked.flag.is_some()) {
            // A list that can also go all the way down: one operation, told apart by its query.
            let widened = with_other_flag(existing.clone(), asked.flag.unwrap_or_default());
            self.paths.entry(path).or_default().insert(asked.method.to_owned(), widened);
            return;
        }
        let operation = self.operation(place, route, asked, endpoint);
        let item = self.paths.entry(path).or_insert_with(|| path_item(place, route));
        item.insert(asked.method.to_owned(), operation);
    }

    fn operation(&mut self, place: &Place, route: &Route, asked: &Asked, endpoint: &Endpoint) -> Value {
        let id = self.operation_id(place, route, asked.verb);
        let doc = &endpoint.doc;
        let captured = route.pattern().parameters();
        let fields: Vec<&Field> =
            doc.fields.iter().filter(|field| !captured.contains(&field.name.as_str())).collect();
        let mut operation = Map::new();
        operation.insert("summary".to_owned(), json!(doc.summary));
        operation.insert("operationId".to_owned(), json!(id));
        operation.insert("tags".to_owned(), json!([place.tag]));
        match endpoint.access {
            Access::Open | Access::OpenCounting => {
                operation.insert("x-vault-unauthenticated".to_owned(), json!(true))
            }
            Access::Sudo => operation.insert("x-vault-sudo".to_owned(), json!(true)),
            Access::Granted | Access::OpenWhere(_) => None,
        };
        if matches!(asked.method, "post" | "patch") {
            if doc.body != BodyMode::Json {
                operation.insert("requestBody".to_owned(), upload());
            } else if !fields.is_empty() || doc.any_fields {
                let schema = schema::of_object(fields, doc.any_fields);
                let reference = self.keep_schema(&format!("{id}-request"), schema);
                operation.insert("requestBody".to_owned(), body(&reference));
            }
        } else {
            let parameters: Vec<Value> = asked
                .flag
                .map(|flag| list_flag(flag, true))
                .into_iter()
                .chain(fields.into_iter().map(in_query))
                .collect();
            if !parameters.is_empty() {
                operation.insert("parameters".to_owned(), json!(parameters));
            }
        }
        operation.insert("responses".to_owned(), self.responses(&id, asked, doc));
        Value::Object(operation)
    }

    /// Readable, and the same whatever else there is: where it belongs, what is done, and the path.
    fn operation_id(&self, place: &Place, route: &Route, verb: &str) -> String {
        let pattern = route.pattern().openapi();
        let parts = [place.id_prefix.as_str(), verb, &pattern, &self.context];
        let whole = parts.join("-");
        let words = whole.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        words.collect::<Vec<_>>().join("-")
    }

    fn responses(&mut self, id: &str, asked: &Asked, doc: &OperationDoc) -> Value {
        let schema = match (doc.response.is_empty(), asked.flag) {
            (false, _) => schema::of_object(&doc.response, false),
            (true, Some(_)) => {
                json!({ "type": "object", "properties": { "keys": { "type": "array", "items": { "type": "string" } } } })
            }
            (true, None) if asked.verb == "delete" => {
                return json!({ "204": { "description": "empty body" } });
            }
            (true, None) => return json!({ "200": { "description": "OK" } }),
        };
        let name = if doc.response.is_empty() {
            "standard-list-response".to_owned()
        } else {
            format!("{id}-response")
        };
        let reference = self.keep_schema(&name, schema);
        let content = json!({ "application/json": { "schema": { "$ref": reference } } });
        json!({ "200": { "description": "OK", "content": content } })
    }

    /// Keeps a schema under a name in the usual spelling of schemas and answers how to refer to it.
    fn keep_schema(&mut self, name: &str, schema: Value) -> String {
        let name: String = name.split('-').map(capitalised).collect();
        let reference = format!("#/components/schemas/{name}");
        self.schemas.insert(name, schema);
        reference
    }
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

fn path_item(place: &Place, route: &Route) -> Map<String, Value> {
    let mut item = Map::new();
    item.insert("description".to_owned(), json!(route.help()));
    let fields: Vec<&Field> = route.operations().flat_map(|(_, endpoint)| &endpoint.doc.fields).collect();
    let described = |name: &str| {
        let field = fields.iter().find(|field| field.name == name);
        field.map_or("", |field| field.description.as_str())
    };
    let mut parameters: Vec<Value> =
        route.pattern().parameters().into_iter().map(|name| in_path(name, described(name), None)).collect();
    if let Some((name, usual)) = &place.mount_parameter {
        parameters.push(in_path(name, "Path that the backend was mounted at", Some(usual)));
    }
    if !parameters.is_empty() {
        item.insert("parameters".to_owned(), json!(parameters));
    }
    let all = |is: fn(Access) -> bool| route.operations().all(|(_, endpoint)| is(endpoint.access));
    for (name, holds) in [
        ("x-vault-unauthenticated", all(Access::is_open)),
        ("x-vault-sudo", all(|access| access == Access::Sudo)),
        ("x-vault-createSupported", route.tells_create_from_update()),
    ] {
        if holds {
            item.insert(name.to_owned(), json!(true));
        }
    }
    item
}

fn in_path(name: &str, description: &str, usual: Option<&str>) -> Value {
    let mut schema = json!({ "type": "string" });
    if let (Some(usual), Some(members)) = (usual, schema.as_object_mut()) {
        members.insert("default".to_owned(), json!(usual));
    }
    json!({ "name": name, "description": description, "in": "path", "schema": schema, "required": true })
}

fn in_query(field: &Field) -> Value {
    let plain = Field { description: String::new(), ..field.clone() };
    json!({
        "name": field.name,
        "description": field.description,
        "in": "query",
        "schema": schema::of_field(&plain),
        "required": field.required,
    })
}

fn list_flag(name: &str, required: bool) -> Value {
    let schema = json!({ "type": "string", "enum": ["true"] });
    let description = format!("{} be set to `true`", if required { "Must" } else { "May instead" });
    json!({ "name": name, "description": description, "in": "query", "schema": schema, "required": required })
}

/// The operation with one more flag to choose by: none of them is required then.
fn with_other_flag(mut operation: Value, flag: &str) -> Value {
    if let Some(parameters) = operation.get_mut("parameters").and_then(Value::as_array_mut) {
        if let Some(first) = parameters.first_mut().and_then(Value::as_object_mut) {
            first.insert("required".to_owned(), json!(false));
        }
        parameters.insert(1.min(parameters.len()), list_flag(flag, false));
    }
    operation
}

/// A body of any bytes.
fn upload() -> Value {
    let schema = json!({ "type": "string", "format": "binary" });
    json!({ "required": true, "content": { "application/octet-stream": { "schema": schema } } })
}

fn body(reference: &str) -> Value {
    json!({ "required": true, "content": { "application/json": { "schema": { "$ref": reference } } } })
}
