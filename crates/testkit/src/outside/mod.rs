//! A system outside that is like none one would wish for, and the engine for it.

mod engine;
mod system;

pub use engine::{auth, engine};
pub use system::{IDLE, MISTAKE, Mood, System, TRANSIT, User};
