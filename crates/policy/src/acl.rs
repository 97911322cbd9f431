//! All policies of a token, merged into one structure that is asked once a
//! request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::capability::{Capabilities, Capability, Operation};
use crate::constraints::{Constraints, Fault};
use crate::decision::{Decision, Denial};
use crate::parameters::Parameters;
use crate::path::RequestPath;
use crate::pattern::Pattern;
use crate::policy::{Policy, RulePath};
use crate::template::{SlashesInValues, TemplateValues};
use crate::tree::Tree;

/// The rules that a `deny` overrules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DenyMode {
    /// A `deny` on any rule that matches the path refuses the request,
    /// whichever other rules match it.
    #[default]
    DenyWins,
    /// The most specific rule decides, so that a more specific rule allows
    /// what a less specific one denies. Vault's behavior.
    MostSpecific,
}

/// The rights of a token. Cheap to ask, immutable.
#[derive(Debug)]
pub struct CompiledAcl {
    root: bool,
    mode: DenyMode,
    /// In ascending priority: of two rules that match, the later decides.
    rules: Vec<CompiledRule>,
    tree: Tree,
    /// All policies that it was made from, where one of them has templated paths.
    templated: Box<[Arc<Policy>]>,
    /// The literal beginnings of those paths.
    openings: Box<[Box<str>]>,
}

/// The combined rule of all policies of a token for one path pattern. Prints as the path and the names of the policies.
#[derive(Clone, Debug)]
pub struct CompiledRule {
    pattern: Pattern,
    capabilities: Capabilities,
    constraints: Constraints,
    sources: Vec<RuleSource>,
}

/// A policy's share in a rule.
#[derive(Clone, Debug)]
pub struct RuleSource {
    /// The policy's name.
    pub policy: Arc<str>,
    /// The capabilities of this policy on the path.
    pub capabilities: Capabilities,
}

/// The rules that apply to a path.
#[derive(Clone, Copy, Default)]
struct Matches<'a> {
    /// The most specific.
    best: Option<&'a CompiledRule>,
    /// The most specific of those that deny.
    deny: Option<&'a CompiledRule>,
}

impl CompiledAcl {
    /// Merges policies. Rules for the same path become one that grants what
    /// either grants, or denies if either denies.
    ///
    /// Templated rules have no effect unless [filled](CompiledAcl::filled).
    pub fn compile(policies: &[Arc<Policy>], mode: DenyMode) -> CompiledAcl {
        let mut rules: Vec<CompiledRule> = policies.iter().flat_map(|policy| plain_rules(policy)).collect();
        rules.sort_by(|a, b| {
            a.pattern.priority(&b.pattern).then_with(|| a.pattern.tokens().cmp(b.pattern.tokens()))
        });
        rules.dedup_by(|next, kept| {
            let same = kept.pattern.same_paths(&next.pattern);
            if same {
                kept.merge(next);
            }
            same
        });
        let mut tree = Tree::default();
        for (number, rule) in (0_u32..).zip(&rules) {
            tree.insert(&rule.pattern, number);
        }
        let is_templated = policies.iter().any(|policy| policy.is_templated());
        let templated = if is_templated { policies.into() } else { Box::default() };
        let mut openings: Vec<Box<str>> =
            policies.iter().flat_map(|policy| policy.openings()).map(Into::into).collect();
        openings.sort_unstable();
        openings.dedup();
        CompiledAcl { root: false, mode, rules, tree, templated, openings: openings.into() }
    }

    /// True if a templated rule could match `path`, whatever values its gaps are filled with. Where it is not, these rights
    /// decide as they are, for everybody who has them.
    pub fn has_template_for(&self, path: &str) -> bool {
        let begins = |opening: &str| {
            path.as_bytes()
                .get(..opening.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(opening.as_bytes()))
        };
        self.openings.iter().any(|opening| begins(opening))
    }

    /// True if some rules are templated.
    pub fn is_templated(&self) -> bool {
        !self.templated.is_empty()
    }

    /// The same rights for one identity, whose values fill the gaps of templated paths.
    #[must_use]
    pub fn filled(&self, values: &dyn TemplateValues, slashes: SlashesInValues) -> CompiledAcl {
        let policies: Vec<Arc<Policy>> =
            self.templated.iter().map(|policy| Arc::new(policy.resolve(values, slashes))).collect();
        Self::compile(&policies, self.mode)
    }

    /// The rights of a root token: everything.
    pub fn root() -> CompiledAcl {
        CompiledAcl {
            root: true,
            mode: DenyMode::default(),
            rules: Vec::new(),
            tree: Tree::default(),
            templated: Box::default(),
            openings: Box::default(),
        }
    }

    /// True if these are the rights of a root token.
    pub fn is_root(&self) -> bool {
        self.root
    }

    /// The rank of `deny`.
    pub fn mode(&self) -> DenyMode {
        self.mode
    }

    /// The rules in ascending priority.
    pub fn rules(&self) -> &[CompiledRule] {
        &self.rules
    }

    /// Decides a request.
    ///
    /// `path` is the full path, namespaces included, without the `v1/`.
    /// `parameters` are the request's and how its handler reads them, `wrap_ttl` the time it asks its
    /// response to be wrapped for. Whether a root-protected path needs
    /// [`Decision::sudo`] is for the caller to know.
    ///
    /// A listing is decided by the rule for the path with the trailing slash
    /// or else by the one for the path without; a `deny` on either counts.
    pub fn authorize<'a, 'p>(
        &'a self,
        path: impl Into<RequestPath<'p>>,
        operation: Operation,
        parameters: impl Into<Parameters<'a>>,
        wrap_ttl: Option<Duration>,
    ) -> Decision<'a> {
        let capability = match operation.required_capability() {
            Some(capability) if !self.root => capability,
            _ => return Decision { root: self.root, sudo: self.root, rule: None, denial: None },
        };
        let (path, parameters) = (path.into(), parameters.into());
        let matches =
            if operation.is_listing() { self.matches_of_listing(&path) } else { self.matches(&path) };
        self.decide(matches, |rule| {
            if !rule.capabilities.contains(capability) {
                return Err(Denial::MissingCapability { rule, capability });
            }
            let constraints = &rule.constraints;
            constraints.check_wrapping(wrap_ttl).map_err(|fault| rule.denial(fault))?;
            if operation.has_checked_parameters() {
                constraints.check_parameters(parameters).map_err(|fault| rule.denial(fault))?;
            }
            Ok(())
        })
    }

    /// Decides whether events of a type about `path` may be received: the
    /// rule must grant `list` and `subscribe` and name the type in its
    /// `subscribe_event_types`.
    pub fn authorize_event(&self, path: &str, event_type: &str) -> Decision<'_> {
        if self.root {
            return Decision { root: true, sudo: true, rule: None, denial: None };
        }
        self.decide(self.matches(&path.into()), |rule| {
            for capability in [Capability::List, Capability::Subscribe] {
                if !rule.capabilities.contains(capability) {
                    return Err(Denial::MissingCapability { rule, capability });
                }
            }
            if rule.constraints.covers_event_type(event_type) {
                Ok(())
            } else {
                Err(Denial::EventType { rule })
            }
        })
    }

    /// The capabilities of the token on a path, as `sys/capabilities` answers: sorted names, `["root"]` for a root
    /// token, `["deny"]` if nothing.
    ///
    /// A path with a trailing slash is taken for one to list.
    pub fn capabilities<'p>(&self, path: impl Into<RequestPath<'p>>) -> Vec<&'static str> {
        let path = path.into();
        if self.root {
            return vec!["root"];
        }
        let matches =
            if path.text().ends_with('/') { self.matches_of_listing(&path) } else { self.matches(&path) };
        match self.deciding(matches) {
            Some(rule) => rule.capabilities.names(),
            None => Capabilities::NONE.names(),
        }
    }

    /// Applies `check` to the rule that decides, unless a deny does.
    fn decide<'a>(
        &'a self,
        matches: Matches<'a>,
        check: impl Fn(&'a CompiledRule) -> Result<(), Denial<'a>>,
    ) -> Decision<'a> {
        let rule = self.deciding(matches);
        let denial = match rule {
            None => Some(Denial::NoRule),
            Some(rule) if rule.capabilities.contains(Capability::Deny) => {
                let overruled = matches.best.filter(|best| !best.denies() && check(best).is_ok());
                Some(Denial::ExplicitDeny { rule, overruled })
            }
            Some(rule) => check(rule).err(),
        };
        let sudo = rule.is_some_and(|rule| rule.capabilities.contains(Capability::Sudo));
        Decision { root: false, sudo, rule, denial }
    }

    /// The one of the matching rules that decides.
    fn deciding<'a>(&self, matches: Matches<'a>) -> Option<&'a CompiledRule> {
        match self.mode {
            DenyMode::DenyWins => matches.deny.or(matches.best),
            DenyMode::MostSpecific => matches.best,
        }
    }

    fn matches(&self, path: &RequestPath<'_>) -> Matches<'_> {
        if path.is_caseless() {
            return self.matches_in_any_case(path);
        }
        let mut best = None;
        let mut deny = None;
        self.tree.visit(path.text().as_bytes(), &mut |number| {
            let number = usize::try_from(number).unwrap_or(usize::MAX);
            best = best.max(Some(number));
            if self.rules.get(number).is_some_and(CompiledRule::denies) {
                deny = deny.max(Some(number));
            }
        });
        let rule = |number: Option<usize>| number.and_then(|number| self.rules.get(number));
        Matches { best: rule(best), deny: rule(deny) }
    }

    /// The rules for a path with a name in any case. They are gone through one by one, since the tree is in order of
    /// bytes: such paths are few, and so are the rules of a token.
    fn matches_in_any_case(&self, path: &RequestPath<'_>) -> Matches<'_> {
        let mut matches = Matches::default();
        for rule in self.rules.iter().filter(|rule| rule.pattern.matches(path)) {
            matches.best = Some(rule);
            if rule.denies() {
                matches.deny = Some(rule);
            }
        }
        matches
    }

    /// The rules for a path to list: an exact rule for the path with or
    /// without the trailing slash, else a wildcard rule for either.
    fn matches_of_listing(&self, path: &RequestPath<'_>) -> Matches<'_> {
        let (with_slash, without) = match path.text().strip_suffix('/') {
            Some(without) => (self.matches(path), self.matches(&path.of(without))),
            None => (self.matches(&path.of(&format!("{}/", path.text()))), self.matches(path)),
        };
        let exact = |rule: &&CompiledRule| rule.pattern.is_exact();
        let best =
            with_slash.best.filter(exact).or(without.best.filter(exact)).or(with_slash.best).or(without.best);
        Matches { best, deny: with_slash.deny.or(without.deny) }
    }
}

/// The rules of a policy that stand for themselves.
fn plain_rules(policy: &Policy) -> impl Iterator<Item = CompiledRule> {
    policy.rules().filter_map(|rule| match &rule.path {
        RulePath::Plain(pattern) => Some(CompiledRule {
            pattern: pattern.clone(),
            capabilities: rule.capabilities,
            constraints: rule.constraints.clone(),
            sources: vec![RuleSource {
                policy: Arc::clone(policy.shared_name()),
                capabilities: rule.capabilities,
            }],
        }),
        RulePath::Templated(_) => None,
    })
}

impl CompiledRule {
    /// The rule's full path, wildcards and namespaces included.
    pub fn path(&self) -> &str {
        self.pattern.text()
    }

    /// The granted capabilities, or deny alone.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// The further demands.
    pub fn constraints(&self) -> &Constraints {
        &self.constraints
    }

    /// The policies that the rule comes from, in the order they were given.
    pub fn sources(&self) -> &[RuleSource] {
        &self.sources
    }

    pub(crate) fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    pub(crate) fn denies(&self) -> bool {
        self.capabilities.contains(Capability::Deny)
    }

    fn merge(&mut self, other: &mut CompiledRule) {
        self.capabilities = self.capabilities.merge(other.capabilities);
        self.constraints.merge(&other.constraints);
        self.sources.append(&mut other.sources);
    }

    fn denial<'a>(&'a self, fault: Fault<'a>) -> Denial<'a> {
        let rule = self;
        match fault {
            Fault::WrappingTtl => Denial::WrappingTtl { rule },
            Fault::MissingParameter(parameter) => Denial::MissingParameter { rule, parameter },
            Fault::DeniedParameter(parameter) => Denial::DeniedParameter { rule, parameter },
            Fault::DeniedValue(parameter) => Denial::DeniedValue { rule, parameter },
            Fault::UnlistedParameter(parameter) => Denial::UnlistedParameter { rule, parameter },
            Fault::UnlistedValue(parameter) => Denial::UnlistedValue { rule, parameter },
        }
    }
}

impl fmt::Display for CompiledRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {:?} of ", self.path())?;
        // Where the rule denies, only the policies that deny are to blame.
        let to_blame =
            |source: &&RuleSource| !self.denies() || source.capabilities.contains(Capability::Deny);
        let mut names: Vec<_> = self.sources.iter().filter(to_blame).map(|source| &*source.policy).collect();
        names.dedup();
        f.write_str(if names.len() == 1 { "policy " } else { "policies " })?;
        for (index, name) in names.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{name:?}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
