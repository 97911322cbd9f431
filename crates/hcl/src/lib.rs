//! The first version of the `HashiCorp` configuration language, HCL1, and its JSON form: what policies, server
//! configuration and agent configuration are written in.
//!
//! * [`parse`] reads either form into one tree ([`Object`]) in which every key and value knows its line and
//!   column. Nothing is merged and nothing is dropped: keys that occur twice are two [`Item`]s.
//! * [`Object::blocks`] is the view under which `path "secret/*" { … }`, `path = { "secret/*" = { … } }` and
//!   `{"path": [{"secret/*": { … }}]}` are the same thing.
//! * [`format()`] rewrites a text in the canonical layout and keeps its comments.
//!
//! Time and memory are linear in the size of the text and nesting is bounded by [`MAX_DEPTH`], so that a text from
//! a stranger (a policy written over the API) is safe to read.
//!
//! The language: <https://github.com/hashicorp/hcl/blob/hcl1/README.md>.

mod ast;
mod format;
mod json;
mod lexer;
mod lower;
mod number;
mod position;
mod syntax;
mod unquote;

pub use ast::{Block, Element, Item, Object, Value};
pub use format::format;
pub use number::Number;
pub use position::{ParseError, Position};

/// The deepest nesting of objects and lists.
pub const MAX_DEPTH: usize = 64;

/// Reads a text of HCL1, or of JSON if its first character that is not blank is `{`.
///
/// The text may start with a byte order mark. An empty text is an empty object.
pub fn parse(text: &str) -> Result<Object, ParseError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim_start().starts_with('{') { json::parse(text) } else { lower::object(&syntax::parse(text)?) }
}

#[cfg(test)]
mod tests;
