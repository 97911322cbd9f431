//! What an operation says of itself, drawn from the types of its handler.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use crate::{BodyMode, Name};

/// One documented member of a body or an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its JSON schema without the description.
    pub schema: Value,
    /// Its doc comment.
    pub description: String,
    /// Whether it must be given.
    pub required: bool,
}

/// What is known of one operation at one route.
#[derive(Clone, Debug, Default)]
pub struct OperationDoc {
    /// One line: what it does.
    pub summary: Name,
    /// The members it takes.
    pub fields: Vec<Field>,
    /// Whether members beyond `fields` mean something (KV v1 data, for instance).
    pub any_fields: bool,
    /// The members of its answer's `data`.
    pub response: Vec<Field>,
    /// How the body of its requests is read.
    pub body: BodyMode,
    /// The way it runs.
    pub mode: Mode,
}

/// The way an operation runs, as the types say that its handler draws, or the number of its steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Reads, on any node.
    #[default]
    Read,
    /// May write, so that it runs on the active node alone: a standby forwards it before anything has run.
    Write,
    /// Asks outside, and then writes.
    Ask,
    /// Acts outside, behind an intent.
    Issue,
}

impl Mode {
    /// Whether every node can run it.
    pub const fn only_reads(self) -> bool {
        matches!(self, Self::Read)
    }
}

impl OperationDoc {
    /// Adds the members of `T`.
    pub fn takes<T: JsonSchema>(&mut self) {
        self.fields.extend(fields_of::<T>());
    }

    /// Sets the way it runs, whatever its steps draw; a member that several of them draw is named once.
    pub(crate) fn settle(&mut self, mode: Mode) {
        self.mode = mode;
        let mut named = std::collections::BTreeSet::new();
        self.fields.retain(|field| named.insert(field.name.clone()));
    }

    /// Sets the answer's members to those of `T`.
    pub fn answers<T: JsonSchema>(&mut self) {
        self.response = fields_of::<T>();
    }
}

/// The members of an object type, by its derived schema.
pub fn fields_of<T: JsonSchema>() -> Vec<Field> {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let schema: Schema = settings.into_generator().into_root_schema_for::<T>();
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Vec::new() };
    properties.iter().map(|(name, schema)| field(name, schema, required.contains(&name.as_str()))).collect()
}

fn field(name: &str, schema: &Value, required: bool) -> Field {
    let mut schema = schema.clone();
    let mut description = String::new();
    if let Some(members) = schema.as_object_mut() {
        if let Some(Value::String(text)) = members.remove("description") {
            description = text;
        }
        // An optional member is one that may be left out; that it may also be null adds nothing for a reader.
        if let Some(Value::Array(types)) = members.get("type") {
            let named: Vec<Value> = types.iter().filter(|kind| *kind != "null").cloned().collect();
            if let [only] = named.as_slice() {
                members.insert("type".to_owned(), only.clone());
            }
        }
        if let Some(Value::Array(choices)) = members.get("anyOf") {
            let named: Vec<&Value> =
                choices.iter().filter(|choice| choice.get("type") != Some(&"null".into())).collect();
            if let [only] = named.as_slice() {
                schema = (*only).clone();
            }
        }
    }
    Field { name: name.to_owned(), schema, description, required }
}
