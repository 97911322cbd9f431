//! A policy as it is stored and cached: its rules, not yet merged with others.

use std::sync::Arc;

use crate::capability::Capabilities;
use crate::constraints::Constraints;
use crate::error::PolicyError;
use crate::parse;
use crate::pattern::Pattern;
use crate::template::{SlashesInValues, Template, TemplateValues};

/// A named list of rules.
#[derive(Clone, Debug)]
pub struct Policy {
    name: Arc<str>,
    namespace: Arc<str>,
    rules: Vec<Arc<Rule>>,
}

/// The rule of a policy for one path.
#[derive(Clone, Debug)]
pub struct Rule {
    pub(crate) path: RulePath,
    pub(crate) capabilities: Capabilities,
    pub(crate) constraints: Constraints,
}

/// A rule's path, before or after the token's identity is put into it.
#[derive(Clone, Debug)]
pub(crate) enum RulePath {
    Plain(Pattern),
    Templated(Template),
}

impl Policy {
    /// Reads a policy from HCL or JSON.
    ///
    /// `namespace` is the path of the namespace it belongs to, as `ns1/ns2/`
    /// with a closing slash, or empty for the root namespace. The policy's
    /// paths are relative to it; requests are authorized by their full path.
    pub fn parse(name: &str, namespace: &str, text: &str) -> Result<Policy, PolicyError> {
        let rules = parse::rules(namespace, text)?.into_iter().map(Arc::new).collect();
        Ok(Policy { name: name.into(), namespace: namespace.into(), rules })
    }

    /// The policy's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The path of the policy's namespace; empty for the root namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The rules in the order they were written.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().map(Arc::as_ref)
    }

    /// True if some path has to be [resolved](Policy::resolve).
    pub fn is_templated(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule.path, RulePath::Templated(_)))
    }

    /// The policy for one token: its identity put into the templated paths.
    ///
    /// A rule whose value the token does not have is dropped. Values match
    /// literally. A rule that grants something is dropped, too, if a value
    /// holds a wildcard (or a slash where `slashes` forbids it), so that
    /// nobody gains access by the choice of a name; a rule that denies stays.
    #[must_use]
    pub fn resolve(&self, values: &dyn TemplateValues, slashes: SlashesInValues) -> Policy {
        let rules = self
            .rules
            .iter()
            .filter_map(|rule| match &rule.path {
                RulePath::Plain(_) => Some(Arc::clone(rule)),
                RulePath::Templated(template) => {
                    let rendered = template.render(&self.namespace, values, slashes)?;
                    if rendered.suspicious && !rule.capabilities.grant_nothing() {
                        return None;
                    }
                    Some(Arc::new(Rule {
                        path: RulePath::Plain(rendered.pattern),
                        capabilities: rule.capabilities,
                        constraints: rule.constraints.clone(),
                    }))
                }
            })
            .collect();
        Policy { name: Arc::clone(&self.name), namespace: Arc::clone(&self.namespace), rules }
    }

    /// The literal beginnings of its templated paths.
    pub(crate) fn openings(&self) -> impl Iterator<Item = String> {
        self.rules.iter().filter_map(|rule| match &rule.path {
            RulePath::Plain(_) => None,
            RulePath::Templated(template) => Some(template.opening(&self.namespace)),
        })
    }

    /// The name, to share.
    pub(crate) fn shared_name(&self) -> &Arc<str> {
        &self.name
    }
}

impl Rule {
    /// The rule's full path with the namespace; `None` while it is a template
    /// that has not been resolved.
    pub fn path(&self) -> Option<&str> {
        match &self.path {
            RulePath::Plain(pattern) => Some(pattern.text()),
            RulePath::Templated(_) => None,
        }
    }

    /// The capabilities that the rule grants or denies.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Its further demands.
    pub fn constraints(&self) -> &Constraints {
        &self.constraints
    }
}

#[cfg(test)]
mod tests;
