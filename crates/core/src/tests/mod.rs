//! Services in a whole core.

mod leases;
mod tokens;
