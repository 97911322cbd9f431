//! What crosses the wire: lenient inputs, JSON texts, operations.

mod json;
pub mod lenient;
mod operation;

pub use json::Json;
pub use operation::Operation;
