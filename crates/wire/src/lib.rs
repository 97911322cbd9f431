//! Lenient inputs and what they read, JSON texts, operations: the forms of data on the wire.

mod json;
pub mod lenient;
mod operation;
mod reading;

pub use json::Json;
pub use operation::Operation;
pub use reading::{FieldType, READS, Reading};
