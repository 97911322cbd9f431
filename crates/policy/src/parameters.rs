//! The parameters of a request, with what is known of how its handler reads them.

use serde_json::{Map, Value};
use strongroom_wire::Reading;

/// The types by which the handler of a request reads its parameters. Rules are about what the handler reads, not about
/// how it is spelled.
pub trait ParameterTypes {
    /// The name that stands for a parameter, given in lower case: the present one where it is an older name.
    fn present_name<'a>(&'a self, name: &'a str) -> &'a str;

    /// A value of the parameter, as the handler reads it.
    fn read(&self, name: &str, value: &Value) -> Reading;

    /// A pattern with `*` for the parameter, in the form that readings have.
    fn pattern(&self, name: &str, pattern: &str) -> String;
}

/// The types of parameters that have none: all names and values are what they are.
#[derive(Clone, Copy, Debug)]
pub struct NoTypes;

impl ParameterTypes for NoTypes {
    fn present_name<'a>(&'a self, name: &'a str) -> &'a str {
        name
    }

    fn read(&self, _name: &str, _value: &Value) -> Reading {
        Reading::Untyped
    }

    fn pattern(&self, _name: &str, pattern: &str) -> String {
        pattern.to_owned()
    }
}

/// The parameters of a request, and how its handler reads them.
#[derive(Clone, Copy)]
pub struct Parameters<'a> {
    pub(crate) given: &'a Map<String, Value>,
    pub(crate) types: &'a dyn ParameterTypes,
}

impl<'a> Parameters<'a> {
    /// Parameters that are read as `types` say.
    pub fn new(given: &'a Map<String, Value>, types: &'a dyn ParameterTypes) -> Self {
        Self { given, types }
    }

    /// Parameters that nothing reads, because no handler is there.
    pub fn untyped(given: &'a Map<String, Value>) -> Self {
        Self { given, types: &NoTypes }
    }
}

#[cfg(test)]
impl<'a> From<&'a Map<String, Value>> for Parameters<'a> {
    fn from(given: &'a Map<String, Value>) -> Self {
        Self::untyped(given)
    }
}
