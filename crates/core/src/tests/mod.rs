//! Services in a whole core.

mod initialization;
mod leases;
mod tokens;
