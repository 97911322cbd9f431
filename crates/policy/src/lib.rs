//! Vault ACL policies: reading them, merging those of a token, and deciding
//! whether a request is allowed, and why not.
//!
//! Pure: no storage, no async, no clock. The way of a policy:
//!
//! 1. [`Policy::parse`] reads HCL or JSON.
//! 2. [`Policy::resolve`] puts the token's identity into templated paths.
//! 3. [`CompiledAcl::compile`] merges all policies of a token. It may be kept
//!    for as long as neither the policies nor the identity change.
//! 4. [`CompiledAcl::authorize`] decides a request with one walk over a radix
//!    tree, however many policies there are.
//!
//! What the rules mean is documented at
//! <https://developer.hashicorp.com/vault/docs/concepts/policies>.

mod acl;
mod builtin;
mod capability;
mod constraints;
mod decision;
mod error;
mod listed;
mod parameters;
mod parse;
mod path;
mod pattern;
mod policy;
mod resultant;
mod template;
mod tree;

pub use acl::{CompiledAcl, CompiledRule, DenyMode, RuleSource};
pub use builtin::{
    DEFAULT_POLICY, DEFAULT_POLICY_NAME, RESPONSE_WRAPPING_POLICY, RESPONSE_WRAPPING_POLICY_NAME,
    ROOT_POLICY_NAME,
};
pub use capability::{Capabilities, Capability, Operation};
pub use constraints::Constraints;
pub use decision::{Decision, Denial};
pub use error::{InvalidKey, PolicyError};
pub use parameters::{NoTypes, ParameterTypes, Parameters};
pub use path::RequestPath;
pub use policy::{Policy, Rule};
pub use template::{SlashesInValues, TemplateReference, TemplateValues};
