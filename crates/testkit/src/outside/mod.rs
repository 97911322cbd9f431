//! A system outside that is like none one would wish for, and the engine for it.

mod engine;
mod pool;
mod reach;
mod system;

pub use engine::{NOTE_WRITTEN, auth, engine, engine_over};
pub use system::{IDLE, MISTAKE, Mood, System, TRANSIT, User};
