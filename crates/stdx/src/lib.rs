//! What every crate needs and the standard library lacks: typed secrets, an injected clock, injected
//! randomness, and Go-style durations as Vault reads and prints them.
//!
//! This is the one home of wall-clock and entropy access; `clippy.toml` bans both everywhere else.

mod clock;
mod duration;
mod entropy;
mod hex;
mod secret;

pub use clock::{Clock, Moment};
pub use duration::{DurationError, LONGEST, format_duration, parse_duration};
pub use entropy::{Entropy, EntropyError};
pub use hex::to_hex;
pub use secret::{Secret, same_bytes};
