//! A system outside that is like none one would wish for, and the engine for it.

mod accounts;
mod auth;
mod engine;
mod pool;
mod reach;
mod system;

pub use auth::auth;
pub use engine::{NOTE_WRITTEN, engine, engine_over};
pub use system::{IDLE, MISTAKE, Mood, System, TRANSIT, User};
