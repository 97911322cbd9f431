//! The tree that a text is read into.

use crate::{Number, ParseError, Position};

/// The items between `{` and `}`, or of a whole text, in the order they were written.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// The items, in order; a key may occur more than once.
    pub items: Vec<Item>,
    /// The opening brace; the start of the text for the outermost object.
    pub position: Position,
}

/// One entry of an object: `key = value` or `key "label" { … }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The first key, without quotes.
    pub key: String,
    /// The further keys of a block, without quotes; `["secret/*"]` for `path "secret/*" { … }`. Always empty in
    /// JSON, where labels are nested objects; see [`Object::blocks`].
    pub labels: Vec<String>,
    /// The value.
    pub value: Value,
    /// True for an argument, `key = …`, which may be set once; false for a block, `key { … }`, which may be
    /// repeated. In JSON, which has no such mark, an object or list counts as a block.
    pub assigned: bool,
    /// The position of the key.
    pub position: Position,
    /// The position of the value.
    pub value_position: Position,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A string, its escapes resolved; `${…}` is kept as it was written.
    String(String),
    /// A number.
    Number(Number),
    /// `true` or `false`.
    Bool(bool),
    /// `[…]`.
    List(Vec<Element>),
    /// `{…}`.
    Object(Object),
    /// `null`, which only JSON has.
    Null,
}

/// A value in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    /// The value.
    pub value: Value,
    /// Its position.
    pub position: Position,
}

/// A labeled or plain block, however it was written; see [`Object::blocks`].
#[derive(Clone, Debug, PartialEq)]
pub struct Block<'a> {
    /// The labels, as many as were asked for.
    pub labels: Vec<&'a str>,
    /// The content of the block.
    pub body: &'a Object,
    /// The position of the innermost key of the block.
    pub position: Position,
}

impl Object {
    /// The items with this key, in order.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Item> {
        self.items.iter().filter(move |item| item.key == key)
    }

    /// The last item with this key: where an argument is repeated, the last one counts in HCL1.
    /// [`Object::first_duplicate`] finds the repetitions.
    pub fn get(&self, key: &str) -> Option<&Item> {
        self.items.iter().rev().find(|item| item.key == key)
    }

    /// The arguments (`key = …`) of this object whose key has been assigned before. Repeated blocks are a list and
    /// no mistake; an argument that is set twice is one, which Vault refuses.
    pub fn duplicates(&self) -> impl Iterator<Item = &Item> {
        let mut seen = std::collections::HashSet::new();
        self.items.iter().filter(move |item| item.assigned && !seen.insert(item.key.as_str()))
    }

    /// The first of the [`duplicates`](Self::duplicates) of this object or of any object within it.
    pub fn first_duplicate(&self) -> Option<&Item> {
        fn within(value: &Value) -> Option<&Item> {
            match value {
                Value::Object(object) => object.first_duplicate(),
                Value::List(elements) => elements.iter().find_map(|element| within(&element.value)),
                _ => None,
            }
        }
        self.duplicates().next().or_else(|| self.items.iter().find_map(|item| within(&item.value)))
    }

    /// All blocks of this key that have `labels` labels, whichever of the ways they are written in:
    ///
    /// ```text
    /// path "secret/*" { … }                      HCL, labeled
    /// path = { "secret/*" = { … } }              HCL, nested
    /// {"path": {"secret/*": { … }}}              JSON
    /// {"path": [{"secret/*": { … }}]}            JSON, which may repeat a label so
    /// ```
    ///
    /// It is an error for the value of such a key to be no object (or list of objects), or for a block to have
    /// more labels than that.
    pub fn blocks(&self, key: &str, labels: usize) -> Result<Vec<Block<'_>>, ParseError> {
        let mut found = Vec::new();
        for item in self.items.iter().filter(|item| item.key == key) {
            collect_blocks(item, Vec::new(), key, labels, &mut found)?;
        }
        Ok(found)
    }
}

/// Adds the blocks of one item. `outer` are the labels above it.
fn collect_blocks<'a>(
    item: &'a Item,
    mut outer: Vec<&'a str>,
    key: &str,
    wanted: usize,
    found: &mut Vec<Block<'a>>,
) -> Result<(), ParseError> {
    outer.extend(item.labels.iter().map(String::as_str));
    if outer.len() > wanted {
        let message = format!("{key:?} takes {}, not {}", count(wanted), outer.len());
        return Err(ParseError::new(item.position, message));
    }
    for body in bodies(item, key)? {
        if outer.len() == wanted {
            found.push(Block { labels: outer.clone(), body, position: item.position });
            continue;
        }
        for inner in &body.items {
            let mut labels = outer.clone();
            labels.push(&inner.key);
            collect_blocks(inner, labels, key, wanted, found)?;
        }
    }
    Ok(())
}

/// The object, or the objects of the list, that an item holds.
fn bodies<'a>(item: &'a Item, key: &str) -> Result<Vec<&'a Object>, ParseError> {
    let refuse = |value: &Value, position| {
        ParseError::new(position, format!("{key:?} must be a block, not {}", value.kind()))
    };
    match &item.value {
        Value::Object(object) => Ok(vec![object]),
        Value::List(elements) => elements
            .iter()
            .map(|element| match &element.value {
                Value::Object(object) => Ok(object),
                other => Err(refuse(other, element.position)),
            })
            .collect(),
        Value::Null => Ok(Vec::new()),
        other => Err(refuse(other, item.value_position)),
    }
}

fn count(labels: usize) -> String {
    match labels {
        0 => "no label".to_owned(),
        1 => "one label".to_owned(),
        n => format!("{n} labels"),
    }
}

impl Value {
    /// The kind of this value, with its article, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::String(_) => "a string",
            Value::Number(_) => "a number",
            Value::Bool(_) => "a boolean",
            Value::List(_) => "a list",
            Value::Object(_) => "an object",
            Value::Null => "null",
        }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The value as JSON. Blocks become nested objects; of a key that is repeated in an object the last value
    /// stays, as in JSON, except that objects under the same key are merged.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Value::String(text) => text.as_str().into(),
            Value::Number(number) => number.to_json(),
            Value::Bool(value) => (*value).into(),
            Value::List(elements) => elements.iter().map(|element| element.value.to_json()).collect(),
            Value::Object(object) => object.to_json(),
            Value::Null => serde_json::Value::Null,
        }
    }
}

impl Object {
    /// The object as JSON; see [`Value::to_json`].
    pub fn to_json(&self) -> serde_json::Value {
        let mut map = serde_json::Map::new();
        for item in &self.items {
            let value = item.labels.iter().rev().fold(item.value.to_json(), |value, label| {
                serde_json::Value::Object([(label.clone(), value)].into_iter().collect())
            });
            merge(&mut map, &item.key, value);
        }
        map.into()
    }
}

fn merge(map: &mut serde_json::Map<String, serde_json::Value>, key: &str, value: serde_json::Value) {
    use serde_json::Value::Object;
    match (map.get_mut(key), value) {
        (Some(Object(old)), Object(new)) => {
            for (key, value) in new {
                merge(old, &key, value);
            }
        }
        (_, value) => {
            map.insert(key.to_owned(), value);
        }
    }
}
