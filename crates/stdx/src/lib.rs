//! Basics that every crate needs and the standard library lacks: typed secrets, an injected clock, injected randomness,
//! Go-style durations as Vault reads and prints them, pipes between tasks and threads, environment variables by
//! their names without prefix, and panics as errors.
//!
//! This is the one home of wall-clock and entropy access; `clippy.toml` bans both everywhere else.

mod caught;
mod clock;
mod duration;
mod entropy;
mod hex;
mod pipe;
mod secret;
mod uuid;
mod variable;

pub use caught::{Panicked, caught, expecting, hide_expected_panics};
pub use clock::{Clock, Moment};
pub use duration::{DurationError, LONGEST, format_duration, parse_duration};
pub use entropy::{Entropy, EntropyError};
pub use hex::to_hex;
pub use pipe::{Piece, PipeReader, PipeWriter, pipe};
pub use secret::{Secret, same_bytes};
pub use uuid::{uuid_bytes, uuid_text};
pub use variable::variable;
