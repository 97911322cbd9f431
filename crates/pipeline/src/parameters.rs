//! Parameters as the handler of an operation reads them, for policies.
//!
//! Nothing is read and nothing allocated unless the rule that decides restricts parameters.

use serde_json::Value;
use strongroom_engine_api::{Endpoint, Field, OperationDoc, Reading};
use strongroom_policy::ParameterTypes;

/// The known parameters of an operation; none where there is no handler.
#[derive(Clone, Copy, Default)]
pub struct ParametersOf<'a>(Option<&'a OperationDoc>);

impl<'a> ParametersOf<'a> {
    /// The parameters of an operation's endpoint.
    pub fn endpoint(endpoint: Option<&'a Endpoint>) -> Self {
        Self(endpoint.map(|endpoint| &endpoint.doc))
    }

    fn field(self, name: &str) -> Option<&'a Field> {
        self.0.and_then(|doc| doc.field(name))
    }
}

impl ParameterTypes for ParametersOf<'_> {
    fn present_name<'n>(&'n self, name: &'n str) -> &'n str {
        self.0.map_or(name, |doc| doc.present_name(name))
    }

    fn read(&self, name: &str, value: &Value) -> Reading {
        match self.field(name) {
            // To a handler, what is null is not there; in a patch it takes away what was.
            Some(_) if value.is_null() => Reading::Unreadable,
            Some(field) => field.read(value),
            None => Reading::Untyped,
        }
    }

    fn pattern(&self, name: &str, pattern: &str) -> String {
        self.field(name).map_or_else(|| pattern.to_owned(), |field| field.pattern(pattern))
    }
}
