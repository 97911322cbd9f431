//! Documentation of an operation, derived from the types of its handler.

use std::fmt;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::Value;
use strongroom_wire::{FieldType, READS, Reading};

use crate::{BodyMode, Name};

/// One documented member of a body or an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its JSON schema without the description.
    pub schema: Value,
    /// Its doc comment.
    pub description: String,
    /// True if it must be given.
    pub required: bool,
    /// The type that reads its values.
    pub kind: FieldType,
    /// The name of the field that it is an older name of: `token_policies` for `policies`.
    pub newer: Option<String>,
    /// The meaning of the text to the handler.
    pub meaning: Meaning,
}

/// The meaning of a text to a handler, where texts that differ can mean the same to it.
#[derive(Clone, Copy, Default)]
pub enum Meaning {
    /// The text is what it is.
    #[default]
    Literal,
    /// Each text, of a list each item, is brought into one form; `None` for what the handler refuses.
    Each(fn(&str) -> Option<String>),
    /// The text is read as something else.
    Whole(fn(&str) -> Reading),
}

impl Meaning {
    /// The one with a name, as fields that are shared by many routes carry it in their schema.
    fn named(name: &str) -> Option<Self> {
        match name {
            "cidr" => Some(Self::Each(crate::token_settings::cidr_in_one_form)),
            "token-type" => Some(Self::Each(crate::token_settings::token_type_in_one_form)),
            _ => None,
        }
    }

    /// Applies it to what a type has read.
    fn of(self, reading: Reading) -> Reading {
        match (self, reading) {
            (Self::Each(form), Reading::Text(text)) => form(&text).map_or(Reading::Unreadable, Reading::Text),
            (Self::Each(form), Reading::Items(items)) => {
                let items: Option<_> = items.iter().map(|item| form(item)).collect();
                items.map_or(Reading::Unreadable, Reading::Items)
            }
            (Self::Whole(read), Reading::Text(text)) => read(&text),
            (_, reading) => reading,
        }
    }
}

impl fmt::Debug for Meaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Literal => "Literal",
            Self::Each(_) => "Each",
            Self::Whole(_) => "Whole",
        })
    }
}

impl PartialEq for Meaning {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Literal, Self::Literal) => true,
            (Self::Each(a), Self::Each(b)) => std::ptr::fn_addr_eq(*a, *b),
            (Self::Whole(a), Self::Whole(b)) => std::ptr::fn_addr_eq(*a, *b),
            _ => false,
        }
    }
}

impl Eq for Meaning {}

impl Field {
    /// A value as the handler reads it.
    pub fn read(&self, value: &Value) -> Reading {
        self.meaning.of(self.kind.read(value))
    }

    /// A pattern with `*` at either end, in the form that values have which the handler reads.
    pub fn pattern(&self, pattern: &str) -> String {
        let pattern = self.kind.pattern(pattern);
        let Meaning::Each(form) = self.meaning else { return pattern };
        let (before, rest) = pattern.strip_prefix('*').map_or(("", &*pattern), |rest| ("*", rest));
        let (text, after) = rest.strip_suffix('*').map_or((rest, ""), |text| (text, "*"));
        // A part of a value need not be one.
        match form(text).filter(|_| !text.is_empty()) {
            Some(text) => format!("{before}{text}{after}"),
            None => pattern,
        }
    }
}

/// The documentation of one operation at one route.
#[derive(Clone, Debug, Default)]
pub struct OperationDoc {
    /// One line: what it does.
    pub summary: Name,
    /// The members it takes.
    pub fields: Vec<Field>,
    /// True if members beyond `fields` mean something (KV v1 data, for instance).
    pub any_fields: bool,
    /// The members of its answer's `data`.
    pub response: Vec<Field>,
    /// The form in which the body of its requests is read.
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
    /// True if every node can run it.
    pub const fn only_reads(self) -> bool {
        matches!(self, Self::Read)
    }
}

impl OperationDoc {
    /// Adds the members of `T`.
    pub fn takes<T: JsonSchema>(&mut self) {
        self.fields.extend(fields_of::<T>());
    }

    /// The field of this name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The name under which a parameter is known: for an older name of a field the present one.
    pub fn present_name<'a>(&'a self, name: &'a str) -> &'a str {
        self.field(name).and_then(|field| field.newer.as_deref()).unwrap_or(name)
    }

    /// That of an operation in steps, which runs in its own way whatever they draw; each part adds what it says. A member that
    /// several of them draw is named once.
    pub(crate) fn of_steps(summary: &'static str, mode: Mode, parts: &[fn(&mut Self)]) -> Self {
        let mut doc = Self { summary: summary.into(), ..Self::default() };
        for part in parts {
            part(&mut doc);
        }
        let mut named = std::collections::BTreeSet::new();
        doc.fields.retain(|field| named.insert(field.name.clone()));
        Self { mode, ..doc }
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

/// The keyword in a field's schema that names the field which it is an older name of:
/// `#[schemars(extend("x-newer-name" = "token_policies"))]`.
const NEWER_NAME: &str = "x-newer-name";

/// The keyword in a field's schema that names what handlers make of its text: `#[schemars(extend("x-meaning" = "cidr"))]`.
const MEANING: &str = "x-meaning";

fn field(name: &str, schema: &Value, required: bool) -> Field {
    let mut schema = schema.clone();
    let text = |key: &str| schema.get(key).and_then(Value::as_str);
    let newer = text(NEWER_NAME).map(str::to_owned);
    // A name that is not known leaves a field without documentation.
    let meaning = text(MEANING).map_or(Meaning::Literal, |name| {
        Meaning::named(name).unwrap_or(Meaning::Whole(|_| Reading::Unreadable))
    });
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
    let kind = FieldType::of_schema(&schema);
    strip(&mut schema);
    Field { name: name.to_owned(), schema, description, required, kind, newer, meaning }
}

/// Takes out the keywords that are for the server and not for readers of the document.
fn strip(schema: &mut Value) {
    let Some(members) = schema.as_object_mut() else { return };
    for keyword in [READS, NEWER_NAME, MEANING] {
        members.remove(keyword);
    }
    if let Some(Value::Object(properties)) = members.get_mut("properties") {
        properties.values_mut().for_each(strip);
    }
}
