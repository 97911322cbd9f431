//! Hands out the typed fields of an object and reports those that nobody took.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use strongroom_hcl::{Block, Item, Object, Value};
use strongroom_stdx::Secret;

use crate::keys::{self, Status};
use crate::{ConfigError, Place, Warning, convert};

/// The warnings that are collected while a configuration is read.
#[derive(Default)]
pub(crate) struct Report(RefCell<Vec<Warning>>);

impl Report {
    fn warn(&self, place: Place, message: String) {
        self.0.borrow_mut().push(Warning { place, message });
    }

    /// The warnings in the order of their places.
    pub(crate) fn into_warnings(self) -> Vec<Warning> {
        let mut warnings = self.0.into_inner();
        warnings.sort_by(|a, b| (&a.place.file, a.place.position).cmp(&(&b.place.file, b.place.position)));
        warnings
    }
}

/// The fields of one block; of the outermost, those of all files.
pub(crate) struct Fields<'a> {
    /// The block's name in messages: `listener "tcp"`; empty for the outermost.
    scope: String,
    place: Option<Place>,
    objects: Vec<(&'a Arc<str>, &'a Object)>,
    taken: HashSet<&'static str>,
    report: &'a Report,
}

/// The value of a key.
struct Found<'a> {
    value: &'a Value,
    place: Place,
}

impl<'a> Fields<'a> {
    pub(crate) fn outermost(objects: Vec<(&'a Arc<str>, &'a Object)>, report: &'a Report) -> Fields<'a> {
        Fields { scope: String::new(), place: None, objects, taken: HashSet::new(), report }
    }

    /// Reads a key with a function that says what the value must be; `None` if it is not set. This is what all the
    /// readers below are made of.
    pub(crate) fn read<T>(
        &mut self,
        key: &'static str,
        convert: impl Fn(&Value) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(found) = self.find(key)? else { return Ok(None) };
        match convert(found.value) {
            Ok(value) => Ok(Some(value)),
            Err(reason) => Err(found.place.invalid(format!("{key:?} {reason}"))),
        }
    }

    pub(crate) fn text(&mut self, key: &'static str) -> Result<Option<String>, ConfigError> {
        self.read(key, convert::text)
    }

    pub(crate) fn secret(&mut self, key: &'static str) -> Result<Option<Secret<String>>, ConfigError> {
        Ok(self.read(key, convert::text)?.map(Secret::new))
    }

    pub(crate) fn path(&mut self, key: &'static str) -> Result<Option<PathBuf>, ConfigError> {
        Ok(self.read(key, convert::text)?.map(PathBuf::from))
    }

    pub(crate) fn flag(&mut self, key: &'static str) -> Result<Option<bool>, ConfigError> {
        self.read(key, convert::flag)
    }

    /// A flag that is off unless it is set.
    pub(crate) fn switch(&mut self, key: &'static str) -> Result<bool, ConfigError> {
        Ok(self.flag(key)?.unwrap_or(false))
    }

    pub(crate) fn duration(&mut self, key: &'static str) -> Result<Option<Duration>, ConfigError> {
        self.read(key, convert::duration)
    }

    pub(crate) fn integer<T: TryFrom<i64>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<i64>,
    ) -> Result<Option<T>, ConfigError> {
        self.read(key, |value| convert::integer(value, &range))
    }

    /// A list, or a text of elements with commas between them.
    pub(crate) fn list(&mut self, key: &'static str) -> Result<Option<Vec<String>>, ConfigError> {
        self.read(key, convert::list)
    }

    pub(crate) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        options: &[(&'static str, T)],
    ) -> Result<Option<T>, ConfigError> {
        self.read(key, |value| convert::choice(value, options))
    }

    /// The only block of this key that has no label; of several files, the last one's.
    pub(crate) fn block(&mut self, key: &'static str) -> Result<Option<Fields<'a>>, ConfigError> {
        let blocks = self.blocks(key)?;
        Self::only(key, blocks)
    }

    /// All blocks of this key that have no label.
    pub(crate) fn blocks(&mut self, key: &'static str) -> Result<Vec<Fields<'a>>, ConfigError> {
        self.taken.insert(key);
        let mut found = Vec::new();
        for (file, object) in &self.objects {
            let blocks = object.blocks(key, 0).map_err(|error| ConfigError::parse(file, error))?;
            found.extend(blocks.iter().map(|block| self.within(key.to_owned(), file, block)));
        }
        Ok(found)
    }

    /// All blocks of this key that have a type: `listener "tcp" { … }`, in JSON also
    /// `{"listener": {"type": "tcp", … }}`.
    pub(crate) fn typed(&mut self, key: &'static str) -> Result<Vec<(String, Fields<'a>)>, ConfigError> {
        self.taken.insert(key);
        let mut found = Vec::new();
        for (file, object) in &self.objects {
            let own_type = |block: &Block<'a>| block.body.get("type")?.value.as_str().map(str::to_owned);
            let unlabelled = object.blocks(key, 0).unwrap_or_default();
            if !unlabelled.is_empty() && unlabelled.iter().all(|block| own_type(block).is_some()) {
                for block in &unlabelled {
                    let kind = own_type(block).unwrap_or_default();
                    let mut fields = self.within(format!("{key} {kind:?}"), file, block);
                    fields.taken.insert("type");
                    found.push((kind, fields));
                }
                continue;
            }
            for block in object.blocks(key, 1).map_err(|error| ConfigError::parse(file, error))? {
                let kind = block.labels.first().copied().unwrap_or_default().to_owned();
                found.push((kind.clone(), self.within(format!("{key} {kind:?}"), file, &block)));
            }
        }
        Ok(found)
    }

    /// All blocks of this key that have a type and a name: `audit "file" "to-disk" { … }`.
    pub(crate) fn labelled_twice(
        &mut self,
        key: &'static str,
    ) -> Result<Vec<([String; 2], Fields<'a>)>, ConfigError> {
        self.taken.insert(key);
        let mut found = Vec::new();
        for (file, object) in &self.objects {
            for block in object.blocks(key, 2).map_err(|error| ConfigError::parse(file, error))? {
                let mut labels = block.labels.iter().map(|label| (*label).to_owned());
                let labels = [labels.next().unwrap_or_default(), labels.next().unwrap_or_default()];
                let [kind, name] = &labels;
                let fields = self.within(format!("{key} {kind:?} {name:?}"), file, &block);
                found.push((labels, fields));
            }
        }
        Ok(found)
    }

    /// The only block of this key that has a type; of several files, the last one's.
    pub(crate) fn only_typed(
        &mut self,
        key: &'static str,
    ) -> Result<Option<(String, Fields<'a>)>, ConfigError> {
        let blocks = self.typed(key)?;
        let (kinds, fields): (Vec<_>, Vec<_>) = blocks.into_iter().unzip();
        let last = kinds.into_iter().next_back().unwrap_or_default();
        Ok(Self::only(key, fields)?.map(|fields| (last, fields)))
    }

    /// The last of some blocks, of which no two are in the same file.
    fn only(key: &str, mut blocks: Vec<Fields<'a>>) -> Result<Option<Fields<'a>>, ConfigError> {
        for pair in blocks.windows(2) {
            if let [Some(first), Some(second)] = [0, 1].map(|index| pair.get(index).map(Fields::place))
                && first.file == second.file
            {
                return Err(second.invalid(format!("only one {key:?} block is permitted")));
            }
        }
        Ok(blocks.pop())
    }

    fn within(&self, scope: String, file: &'a Arc<str>, block: &Block<'a>) -> Fields<'a> {
        let place = Place { file: Arc::clone(file), position: block.position };
        let objects = vec![(file, block.body)];
        Fields { scope, place: Some(place), objects, taken: HashSet::new(), report: self.report }
    }

    /// The place of this block; of the outermost, the start of the last file.
    pub(crate) fn place(&self) -> Place {
        let file = self.objects.last().map_or_else(|| Arc::from(""), |(file, _)| Arc::clone(file));
        self.place.clone().unwrap_or(Place { file, position: strongroom_hcl::Position::START })
    }

    /// The place of a key's value, or of the block if the key is not set.
    pub(crate) fn place_of(&self, key: &str) -> Place {
        self.last(key).map_or_else(|| self.place(), |(_, place)| place)
    }

    /// The block's name in messages.
    pub(crate) fn scope(&self) -> &str {
        &self.scope
    }

    /// Warns at a key.
    pub(crate) fn warn(&self, key: &str, message: String) {
        self.report.warn(self.place_of(key), message);
    }

    /// Warns at a place within this block.
    pub(crate) fn warn_at(&self, place: Place, message: String) {
        self.report.warn(place, message);
    }

    /// Takes all keys; for blocks whose keys are names that the operator chooses.
    pub(crate) fn into_items(self) -> Vec<(Place, &'a Item)> {
        let place = |file: &Arc<str>, item: &Item| Place { file: Arc::clone(file), position: item.position };
        self.objects
            .into_iter()
            .flat_map(|(file, object)| object.items.iter().map(move |item| (place(file, item), item)))
            .collect()
    }

    /// The known keys and what they are set to, as Vault shows them in `sys/config/state/sanitized`: objects within are
    /// lists of objects.
    pub(crate) fn known_as_json(&self, block: &keys::Block) -> serde_json::Map<String, serde_json::Value> {
        let mut map = serde_json::Map::new();
        for (_, object) in &self.objects {
            for item in object.items.iter().filter(|item| block.status(&item.key).is_some()) {
                map.insert(item.key.clone(), convert::as_hcl1_json(&item.value));
            }
        }
        map
    }

    /// Ends the reading of a block of a kind: warns of keys without effect and of those that are not known, and refuses
    /// those that must not be ignored.
    pub(crate) fn finish(self, block: &keys::Block) -> Result<(), ConfigError> {
        debug_assert!(
            self.taken.iter().all(|key| *key == "type" || block.status(key).is_some()),
            "a key that is read is in the table"
        );
        debug_assert!(
            block.all().all(|(status, key)| status != Status::Served || self.taken.contains(key)),
            "a key that is served is read"
        );
        for (file, object) in &self.objects {
            for item in &object.items {
                let place = |position| Place { file: Arc::clone(file), position };
                let key = &item.key;
                match block.status(key) {
                    Some(Status::NoEffect(reason)) if asks_for_something(item) => {
                        let message = format!("{key:?} is accepted and has no effect: {reason}");
                        self.report.warn(place(item.position), message);
                    }
                    Some(Status::Refused(advice)) if asks_for_something(item) => {
                        let message = format!("{key:?} is not supported; {advice}");
                        return Err(place(item.position).invalid(message));
                    }
                    None if !self.taken.contains(key.as_str()) => {
                        let scope =
                            if self.scope.is_empty() { String::new() } else { format!(" in {}", self.scope) };
                        let message = format!("unknown or unsupported field {key:?}{scope}");
                        self.report.warn(place(item.position), message);
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Takes a key; `None` if it is not set, or set to nothing.
    fn find(&mut self, key: &'static str) -> Result<Option<Found<'a>>, ConfigError> {
        self.taken.insert(key);
        let Some((item, place)) = self.last(key) else { return Ok(None) };
        if !item.labels.is_empty() {
            return Err(place.invalid(format!("{key:?} takes a value, not a block with labels")));
        }
        match &item.value {
            Value::Null => Ok(None),
            Value::String(text) if text.is_empty() => Ok(None),
            value => Ok(Some(Found { value, place })),
        }
    }

    fn last(&self, key: &str) -> Option<(&'a Item, Place)> {
        self.objects.iter().rev().find_map(|(file, object)| {
            let item = object.get(key)?;
            Some((item, Place { file: Arc::clone(file), position: item.value_position }))
        })
    }
}

/// True if a key is set, and to more than "do not": what is not done unless asked for is then as wanted.
fn asks_for_something(item: &Item) -> bool {
    match &item.value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty() && text != "false",
        _ => true,
    }
}
