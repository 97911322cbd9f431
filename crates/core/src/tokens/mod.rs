//! Tokens: what is kept of them, and how they are made, found, renewed and revoked.

mod batch;
mod create;
mod entry;
mod id;
mod lookup;
mod revoke;
mod roles;
#[cfg(test)]
mod tests;
mod tidy;

pub use create::{Made, NewToken, with_default};
pub use entry::TokenEntry;
pub(crate) use id::AccessorKey;
pub use id::{TokenId, TokenKey};
pub(crate) use lookup::AccessorEntry;
pub use lookup::Principal;
pub(crate) use revoke::STEP;
pub use roles::{OlderNames, RoleTokenType, TokenRole};
pub use tidy::Tidy;
pub(crate) use tidy::TidyProgress;
