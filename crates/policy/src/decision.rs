//! The outcome of an authorization, and the reason of a refusal.

use std::fmt;

use strongroom_stdx::format_duration;

use crate::acl::CompiledRule;
use crate::capability::Capability;

/// The result of [`CompiledAcl::authorize`](crate::CompiledAcl::authorize).
#[derive(Clone, Debug)]
pub struct Decision<'a> {
    /// True if the token is a root token, to which no rule applies.
    pub root: bool,
    /// True if root-protected paths may be used: the deciding rule grants
    /// `sudo`, or the token is a root token. Means nothing unless the request
    /// is allowed.
    pub sudo: bool,
    /// The rule that decided, if one matched.
    pub rule: Option<&'a CompiledRule>,
    /// The reason why the request is refused; `None` if it is allowed.
    pub denial: Option<Denial<'a>>,
}

impl Decision<'_> {
    /// True if the request is allowed.
    pub fn is_allowed(&self) -> bool {
        self.denial.is_none()
    }
}

/// The reason why a request is refused. Prints as a sentence that names the rule, its policies and what is missing.
/// Clients only ever hear "permission denied"; this is for `sys/policies/explain`.
#[derive(Clone, Copy, Debug)]
pub enum Denial<'a> {
    /// No rule of any policy matches the path.
    NoRule,
    /// A rule denies the path.
    ExplicitDeny {
        /// The rule that denies.
        rule: &'a CompiledRule,
        /// The more specific rule that would allow the request if the most
        /// specific rule decided ([`DenyMode::MostSpecific`](crate::DenyMode)).
        overruled: Option<&'a CompiledRule>,
    },
    /// The deciding rule does not grant what the operation needs.
    MissingCapability {
        /// The rule that decided.
        rule: &'a CompiledRule,
        /// The missing capability.
        capability: Capability,
    },
    /// The response is not wrapped, or not for as long as the rule demands.
    WrappingTtl {
        /// The rule that decided.
        rule: &'a CompiledRule,
    },
    /// A required parameter is missing.
    MissingParameter {
        /// The rule that decided.
        rule: &'a CompiledRule,
        /// The parameter, in lower case.
        parameter: &'a str,
    },
    /// A parameter is denied, whatever its value.
    DeniedParameter {
        /// The rule that decided.
        rule: &'a CompiledRule,
        /// The parameter, as the request wrote it.
        parameter: &'a str,
    },
    /// A parameter has a denied value.
    DeniedValue {
        /// The rule that decided.
        rule: &'a CompiledRule,
        /// The parameter, as the request wrote it.
        parameter: &'a str,
    },
    /// A parameter is not among those allowed.
    UnlistedParameter {
        /// The rule that decided.
        rule: &'a CompiledRule,
        /// The parameter, as the request wrote it.
        parameter: &'a str,
    },
    /// A parameter has a value that is not among those allowed.
    UnlistedValue {
        /// The rule that decided.
        rule: &'a CompiledRule,
        /// The parameter, as the request wrote it.
        parameter: &'a str,
    },
    /// The rule does not list the type of the event.
    EventType {
        /// The rule that decided.
        rule: &'a CompiledRule,
    },
}

impl fmt::Display for Denial<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Denial::NoRule => f.write_str("no rule matches the path"),
            Denial::ExplicitDeny { rule, overruled } => {
                write!(f, "{rule} denies the path")?;
                match overruled {
                    Some(overruled) => write!(f, ", though the more specific {overruled} would allow it"),
                    None => Ok(()),
                }
            }
            Denial::MissingCapability { rule, capability } => {
                write!(f, "{rule} does not grant {:?}", capability.name())
            }
            Denial::WrappingTtl { rule } => {
                write!(f, "{rule} demands that the response be wrapped")?;
                let bounds = rule.constraints();
                let (min, max) = (
                    bounds.min_wrapping_ttl().map(format_duration),
                    bounds.max_wrapping_ttl().map(format_duration),
                );
                match (min, max) {
                    (Some(min), Some(max)) => write!(f, " for {min} to {max}"),
                    (Some(min), None) => write!(f, " for at least {min}"),
                    (None, Some(max)) => write!(f, " for at most {max}"),
                    (None, None) => Ok(()),
                }
            }
            Denial::MissingParameter { rule, parameter } => {
                write!(f, "{rule} requires parameter {parameter:?}")
            }
            Denial::DeniedParameter { rule, parameter } => write!(f, "{rule} denies parameter {parameter:?}"),
            Denial::DeniedValue { rule, parameter } => {
                write!(f, "{rule} denies this value of parameter {parameter:?}")
            }
            Denial::UnlistedParameter { rule, parameter } => {
                write!(f, "{rule} does not allow parameter {parameter:?}")
            }
            Denial::UnlistedValue { rule, parameter } => {
                write!(f, "{rule} does not allow this value of parameter {parameter:?}")
            }
            Denial::EventType { rule } => {
                write!(f, "{rule} does not allow subscribing to events of this type")
            }
        }
    }
}
