//! Identity in a whole server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests fail loudly")]
#![allow(clippy::arithmetic_side_effects, reason = "tests count little")]

mod deleting;
mod logins;
mod model;
mod names;
mod rig;
