//! The inputs of writing and patching data.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use strongroom_engine_api::lenient::{Int, type_name};
use strongroom_engine_api::{Call, EngineError, Extract, OperationDoc, Request, bad_request};

use super::config::Config;
use super::key::Key;

/// The parameters of a write. They are read where they lie in the request: data may be large.
pub(super) struct WriteInput(Arc<Request>);

#[derive(JsonSchema)]
#[allow(dead_code, reason = "read for its documentation")]
struct WriteFields {
    /// The contents of the data map will be stored and returned on read.
    data: Map<String, Value>,
    /// Options for writing a KV entry. Set the "cas" value to use a Check-And-Set operation. If not set the write
    /// will be allowed. If set to 0 a write will only be allowed if the key does not exist. If the index is non-zero
    /// the write will only be allowed if the key's current version matches the version specified in the cas
    /// parameter.
    options: Option<Map<String, Value>>,
}

impl Extract for WriteInput {
    fn document(doc: &mut OperationDoc) {
        doc.takes::<WriteFields>();
    }

    fn extract(call: &Arc<Call>) -> Result<Self, EngineError> {
        Ok(Self(call.request.clone()))
    }
}

impl WriteInput {
    /// The data: an object, or null.
    pub(super) fn data(&self) -> Result<&Value, EngineError> {
        match self.0.input.get("data") {
            None => Err(bad_request("no data provided")),
            Some(data @ (Value::Object(_) | Value::Null)) => Ok(data),
            Some(other) => Err(not_a_map("data", other)),
        }
    }

    /// Refuses the write unless `cas` matches the key's current version, where the key or the mount requires it.
    pub(super) fn check_cas(&self, config: &Config, key: Option<&Key>) -> Result<(), EngineError> {
        let current = key.map_or(0, |key| key.current);
        match self.cas()? {
            Some(cas) if u64::try_from(cas) != Ok(current) => {
                Err(bad_request("check-and-set parameter did not match the current version"))
            }
            None if config.cas_required || key.is_some_and(|key| key.cas_required) => {
                Err(bad_request("check-and-set parameter required for this call"))
            }
            _ => Ok(()),
        }
    }

    fn cas(&self) -> Result<Option<i64>, EngineError> {
        let options = match self.0.input.get("options") {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Object(options)) => options,
            Some(other) => return Err(not_a_map("options", other)),
        };
        match options.get("cas") {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(0)),
            Some(given) => match Int::deserialize(given) {
                Ok(cas) => Ok(Some(cas.0)),
                Err(_unreadable) => Err(bad_request("error parsing check-and-set parameter")),
            },
        }
    }
}

fn not_a_map(field: &str, value: &Value) -> EngineError {
    bad_request(format!(
        "Field validation failed: error converting input for field \"{field}\": '' expected type \
         'map[string]interface {{}}', got unconvertible type '{}'",
        type_name(value)
    ))
}
