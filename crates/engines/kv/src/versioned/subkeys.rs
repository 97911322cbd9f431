//! `subkeys/`: the shape of a secret without its values.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use strongroom_engine_api::lenient::Int;
use strongroom_engine_api::{Clock, Data, Engine, EngineError, Input, Path, View};

use super::data::gone;
use super::key::VersionMetadata;
use super::store::{self, Content};

pub(super) fn routes(engine: Engine) -> Engine {
    engine.route("subkeys/{path..}", |route| {
        route.read("Read the structure of a secret with the values removed.", read)
    })
}

#[derive(Deserialize, JsonSchema)]
struct SubkeysInput {
    /// The version to return. If not set the latest version is returned.
    version: Option<Int>,
    /// The deepest nesting level to provide in the output. The default value 0 will not impose any limit. If non-zero,
    /// keys that reside at the specified depth will be treated as leaves and will thus be null even if further
    /// underlying subkeys exist.
    depth: Option<Int>,
}

#[derive(Serialize, JsonSchema)]
struct SubkeysAnswer {
    /// The version.
    metadata: VersionMetadata,
    /// The secret's data with null for each leaf; null where the version is deleted or destroyed.
    subkeys: Option<Map<String, Value>>,
}

async fn read(
    Path(path): Path<String>,
    Input(input): Input<SubkeysInput>,
    clock: Clock,
    view: View,
) -> Result<Data<SubkeysAnswer>, EngineError> {
    let number = |given: Option<Int>| given.map_or(0, |given| given.0);
    let asked = u64::try_from(number(input.version)).unwrap_or(0);
    let key = store::find(&view, &path).await?.ok_or(EngineError::NotFound)?;
    let (number_found, version) = key.version(asked).ok_or(EngineError::NotFound)?;
    let metadata = key.describe_version(number_found, version);
    if version.is_gone(clock.now()) {
        return Err(gone(&SubkeysAnswer { metadata, subkeys: None })?);
    }
    let content = Content::of(&view, &path, key, number_found).await?;
    let tree = content.data().ok_or(EngineError::NotFound)?.tree()?;
    let subkeys = tree.value().as_object().map(|members| shape(members, 1, number(input.depth)));
    Ok(Data(SubkeysAnswer { metadata, subkeys }))
}

/// The names in `members`, which lie `level` deep.
fn shape(members: &Map<String, Value>, level: i64, depth: i64) -> Map<String, Value> {
    let leaf_level = depth != 0 && level >= depth;
    let below = |value: &Value| match value {
        Value::Object(members) if !leaf_level && !members.is_empty() => {
            Value::Object(shape(members, level.saturating_add(1), depth))
        }
        _ => Value::Null,
    };
    members.iter().map(|(name, value)| (name.clone(), below(value))).collect()
}
