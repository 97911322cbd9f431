//! A secret's data: JSON text that is stored and answered as it is.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};
use strongroom_engine_api::{EngineError, Json};
use zeroize::Zeroize;

/// Well-formed JSON text, wiped when dropped. It is checked when it comes out of storage and never again, so that
/// a read out of the cache copies it into the answer and does no more. Numbers keep the digits they came with.
#[derive(Clone)]
pub(crate) struct SecretJson(Box<RawValue>);

impl SecretJson {
    /// The text of `value`.
    pub(crate) fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, EngineError> {
        Ok(Self(to_raw_value(value)?))
    }

    /// The text, to be spliced into an answer.
    pub(crate) fn raw(&self) -> &RawValue {
        &self.0
    }

    /// The text as a whole answer.
    pub(crate) fn to_json(&self) -> Result<Json, EngineError> {
        Ok(Json::of(self.raw())?)
    }

    /// Bytes of text.
    pub(crate) fn len(&self) -> usize {
        self.0.get().len()
    }

    /// The text as a tree.
    pub(crate) fn tree(&self) -> Result<SecretTree, EngineError> {
        Ok(SecretTree(serde_json::from_str(self.0.get())?))
    }
}

impl Drop for SecretJson {
    fn drop(&mut self) {
        let raw = std::mem::replace(&mut self.0, RawValue::NULL.to_owned());
        Box::<str>::from(raw).zeroize();
    }
}

/// For storage: as text.
impl Serialize for SecretJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.get())
    }
}

impl<'de> Deserialize<'de> for SecretJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        RawValue::from_string(text).map(Self).map_err(D::Error::custom)
    }
}

/// A secret's data taken apart, its texts wiped when dropped.
pub(crate) struct SecretTree(Value);

impl SecretTree {
    /// The data.
    pub(crate) fn value(&self) -> &Value {
        &self.0
    }

    /// Applies a JSON merge patch (RFC 7396, section 2).
    pub(crate) fn merge(&mut self, patch: &Value) {
        merge(&mut self.0, patch);
    }
}

impl Drop for SecretTree {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        wipe(target);
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        wipe(target);
        *target = Value::Object(Map::new());
    }
    let Value::Object(members) = target else { return };
    for (name, change) in changes {
        if change.is_null() {
            if let Some(mut gone) = members.remove(name) {
                wipe(&mut gone);
            }
        } else {
            merge(members.entry(name.clone()).or_insert(Value::Null), change);
        }
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(members) => members.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// The example test cases of RFC 7396, appendix A.
    #[test]
    fn merges_as_the_rfc_shows() {
        for (original, patch, result) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a":"b"}), json!(["c"]), json!(["c"])),
            (json!({"a":"foo"}), json!(null), json!(null)),
            (json!({"a":"foo"}), json!("bar"), json!("bar")),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ] {
            let mut tree = SecretJson::of(&original).unwrap().tree().unwrap();
            tree.merge(&patch);
            assert_eq!(tree.value(), &result, "{original} with {patch}");
        }
    }

    #[test]
    fn wiping_reaches_every_text() {
        let mut tree = json!({"a": ["x", {"b": "y"}], "c": "z", "n": 1});
        wipe(&mut tree);
        assert_eq!(tree, json!({"a": ["", {"b": ""}], "c": "", "n": 1}));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c]", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Merging the same patch again changes nothing.
        #[test]
        fn merging_is_idempotent(target in any_json(), patch in any_json()) {
            let mut once = target;
            merge(&mut once, &patch);
            let mut twice = once.clone();
            merge(&mut twice, &patch);
            prop_assert_eq!(once, twice);
        }

        #[test]
        fn text_and_tree_agree(value in any_json()) {
            let text = SecretJson::of(&value).unwrap();
            let tree = text.tree().unwrap();
            prop_assert_eq!(tree.value(), &value);
        }
    }
}
