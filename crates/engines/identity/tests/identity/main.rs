//! The engine in a whole server: what clients see, and what follows from it for their tokens.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests fail loudly")]

mod api;
mod audited;
mod authenticator;
mod bad_input;
mod clusters;
mod logins;
mod merging;
mod mfa;
mod mfa_methods;
mod mfa_nodes;
mod mfa_trouble;
mod mfa_ways;
mod namespaces;
mod oidc;
mod oidc_provider;
mod passkey_logins;
mod passkeys;
mod plugin_tokens;
mod revoking;
mod rig;
mod scim;
mod scim_attacks;
mod scim_nodes;
mod scim_providers;
