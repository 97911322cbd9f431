//! The policies of a new token.

use strongroom_engine_api::{EngineError, bad_request, normal_policies};
use strongroom_policy::{DEFAULT_POLICY_NAME, RESPONSE_WRAPPING_POLICY_NAME, ROOT_POLICY_NAME};
use strongroom_tokens::TokenRole;

/// The policies asked for, and who asks.
pub(crate) struct Wish<'a> {
    /// The policies asked for; empty: the role's or the parent's.
    pub(crate) asked: &'a [String],
    /// Leaves the `default` policy out.
    pub(crate) no_default: bool,
    /// The policies of the token that asks.
    pub(crate) parent: &'a [String],
    /// The role that the token is made with.
    pub(crate) role: Option<&'a TokenRole>,
    /// True if the one who asks may go beyond its own policies.
    pub(crate) sudo: bool,
}

impl Wish<'_> {
    /// The policies that the token gets, sorted; or why it does not get what is asked for.
    ///
    /// A role that names policies decides alone, whatever the parent holds. Without one, what is given is a part of
    /// what the parent holds, unless the one who asks has `sudo`. A root token only a root token can make.
    pub(crate) fn grant(&self) -> Result<Vec<String>, EngineError> {
        let asked = normal_policies(self.asked);
        let parents_default = holds(self.parent, DEFAULT_POLICY_NAME);
        let (mut policies, mut add_default) = match self.role {
            Some(role) if names_allowed(role) => (allowed(role, asked)?, true),
            _ if asked.is_empty() => (normal_policies(self.parent), parents_default),
            Some(role) if names_disallowed(role) => (asked, true),
            _ if self.sudo => (asked, true),
            _ if asked.iter().all(|policy| holds(self.parent, policy)) => (asked, parents_default),
            _ => return Err(bad_request("child policies must be subset of parent")),
        };
        if self.no_default {
            policies.retain(|policy| policy != DEFAULT_POLICY_NAME);
            add_default = false;
        }
        if let Some(role) = self.role {
            if let Some(policy) = policies.iter().find(|policy| disallowed(role, policy)) {
                return Err(bad_request(format!("token policy {policy:?} is disallowed by this role")));
            }
            add_default &= !disallowed(role, DEFAULT_POLICY_NAME);
        }
        if holds(&policies, RESPONSE_WRAPPING_POLICY_NAME) {
            return Err(bad_request(format!("cannot assign policy {RESPONSE_WRAPPING_POLICY_NAME:?}")));
        }
        if holds(&policies, ROOT_POLICY_NAME) {
            return if holds(self.parent, ROOT_POLICY_NAME) {
                Ok(vec![ROOT_POLICY_NAME.to_owned()])
            } else {
                Err(bad_request("root tokens may not be created without parent token being root"))
            };
        }
        if add_default {
            policies.push(DEFAULT_POLICY_NAME.to_owned());
        }
        Ok(normal_policies(&policies))
    }
}

fn holds(policies: &[String], name: &str) -> bool {
    policies.iter().any(|policy| policy == name)
}

fn names_allowed(role: &TokenRole) -> bool {
    !role.allowed_policies.is_empty() || !role.allowed_policies_glob.is_empty()
}

fn names_disallowed(role: &TokenRole) -> bool {
    !role.disallowed_policies.is_empty() || !role.disallowed_policies_glob.is_empty()
}

/// The policies under a role that names some: all of them, or those asked for.
fn allowed(role: &TokenRole, asked: Vec<String>) -> Result<Vec<String>, EngineError> {
    if asked.is_empty() {
        return Ok(normal_policies(&role.allowed_policies));
    }
    let permits = |policy: &String| {
        policy == DEFAULT_POLICY_NAME
            || holds(&role.allowed_policies, policy)
            || role.allowed_policies_glob.iter().any(|pattern| glob(pattern, policy))
    };
    if asked.iter().all(permits) {
        return Ok(asked);
    }
    Err(bad_request(format!(
        "token policies ({}) must be subset of the role's allowed policies ({}) or glob policies ({})",
        listed(&asked),
        listed(&role.allowed_policies),
        listed(&role.allowed_policies_glob)
    )))
}

fn disallowed(role: &TokenRole, policy: &str) -> bool {
    holds(&role.disallowed_policies, policy)
        || role.disallowed_policies_glob.iter().any(|pattern| glob(pattern, policy))
}

/// As Vault prints a list in an error.
fn listed(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    format!("[{}]", quoted.join(" "))
}

/// True if `text` is what `pattern` says, where a `*` stands for any number of characters.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*') {
        let Some((_, after)) = text.split_once(part) else { return part.is_empty() && text.ends_with(tail) };
        text = if part.is_empty() { text } else { after };
    }
    text.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[derive(Debug, PartialEq)]
    struct Granted(Result<String, String>);

    fn grant(asked: &str, parent: &str, role: Option<&TokenRole>, sudo: bool) -> Granted {
        let (asked, parent) = (names(asked), names(parent));
        let wish = Wish { asked: &asked, no_default: false, parent: &parent, role, sudo };
        Granted(wish.grant().map(|policies| policies.join(" ")).map_err(|error| error.to_string()))
    }

    fn ok(text: &str) -> Granted {
        Granted(Ok(text.to_owned()))
    }

    fn no(text: &str) -> Granted {
        Granted(Err(text.to_owned()))
    }

    #[test]
    fn without_a_role_a_child_gets_what_its_parent_holds() {
        let subset = "child policies must be subset of parent";
        assert_eq!(grant("", "default dev", None, false), ok("default dev"));
        assert_eq!(grant("DEV", "default dev", None, false), ok("default dev"));
        assert_eq!(grant("dev", "dev", None, false), ok("dev"), "default is not made out of nothing");
        assert_eq!(grant("", "dev", None, false), ok("dev"));
        assert_eq!(grant("default", "dev", None, false), no(subset));
        assert_eq!(grant("ops", "default dev", None, false), no(subset));
        assert_eq!(grant("root", "default dev", None, false), no(subset));
        assert_eq!(grant("ops", "default dev", None, true), ok("default ops"));
    }

    #[test]
    fn only_root_makes_root() {
        let root = "root tokens may not be created without parent token being root";
        assert_eq!(grant("", "root", None, true), ok("root"));
        assert_eq!(grant("root dev", "root", None, true), ok("root"));
        assert_eq!(grant("dev", "root", None, true), ok("default dev"));
        assert_eq!(grant("root", "default dev", None, true), no(root));
        let any = TokenRole { allowed_policies_glob: names("*"), ..TokenRole::default() };
        assert_eq!(grant("root", "default dev", Some(&any), false), no(root));
        let lax = TokenRole { disallowed_policies: names("x"), ..TokenRole::default() };
        assert_eq!(grant("root", "default dev", Some(&lax), false), no(root));
        assert_eq!(
            grant("response-wrapping", "root", None, true),
            no("cannot assign policy \"response-wrapping\"")
        );
    }

    #[test]
    fn a_role_decides_alone() {
        let role = TokenRole { allowed_policies: names("dev ops"), ..TokenRole::default() };
        assert_eq!(grant("", "default", Some(&role), false), ok("default dev ops"));
        assert_eq!(grant("dev", "default", Some(&role), false), ok("default dev"));
        let text = "token policies ([\"other\"]) must be subset of the role's allowed policies ([\"dev\" \"ops\"]) or \
                    glob policies ([])";
        assert_eq!(grant("other", "root", Some(&role), true), no(text));
        let globs = TokenRole {
            allowed_policies_glob: names("dev-*"),
            disallowed_policies_glob: names("dev-x*"),
            disallowed_policies: names("dev-no"),
            ..TokenRole::default()
        };
        assert_eq!(grant("dev-1", "default", Some(&globs), false), ok("default dev-1"));
        assert_eq!(grant("", "default", Some(&globs), false), ok("default"));
        assert_eq!(grant("default", "default", Some(&globs), false), ok("default"));
        let disallowed = |name| no(&format!("token policy {name:?} is disallowed by this role"));
        assert_eq!(grant("dev-x2", "root", Some(&globs), true), disallowed("dev-x2"));
        assert_eq!(grant("dev-no", "root", Some(&globs), true), disallowed("dev-no"));
        let denies = TokenRole { disallowed_policies: names("default root"), ..TokenRole::default() };
        assert_eq!(grant("dev", "default", Some(&denies), false), ok("dev"));
        assert_eq!(grant("", "default dev", Some(&denies), false), disallowed("default"));
        assert_eq!(grant("", "root", Some(&denies), true), disallowed("root"));
        let open = TokenRole::default();
        assert_eq!(
            grant("ops", "default dev", Some(&open), false),
            no("child policies must be subset of parent")
        );
    }

    #[test]
    fn default_can_be_left_out() {
        for (asked, parent, got) in
            [("", "default dev", "dev"), ("dev", "root", "dev"), ("default", "root", "")]
        {
            let (asked, parent) = (names(asked), names(parent));
            let wish = Wish { asked: &asked, no_default: true, parent: &parent, role: None, sudo: true };
            assert_eq!(wish.grant().unwrap().join(" "), got);
        }
    }

    #[test]
    fn globs_match_as_they_read() {
        for (pattern, text, is) in [
            ("dev", "dev", true),
            ("dev", "devs", false),
            ("dev-*", "dev-1", true),
            ("*-dev", "a-dev", true),
            ("*-dev", "a-dev-b", false),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "a1c2b", false),
            ("a*a", "a", false),
            ("a*b*a", "aba", true),
            ("a*b*ba", "aba", false),
            ("*", "", true),
            ("**", "x", true),
        ] {
            assert_eq!(glob(pattern, text), is, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn a_glob_is_the_regular_set_it_means(pattern in "[ab*]{0,6}", text in "[ab]{0,8}") {
            fn slow(pattern: &[u8], text: &[u8]) -> bool {
                match pattern.split_first() {
                    None => text.is_empty(),
                    Some((b'*', rest)) => (0..=text.len()).any(|at| slow(rest, &text[at..])),
                    Some((byte, rest)) => text.first() == Some(byte) && slow(rest, &text[1..]),
                }
            }
            prop_assert_eq!(glob(&pattern, &text), slow(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn nobody_gains_policies_without_sudo_or_role(
            asked in prop::collection::vec("[a-d]|default|root", 0..4),
            parent in prop::collection::vec("[a-d]|default", 0..4),
            no_default in any::<bool>(),
        ) {
            let wish = Wish { asked: &asked, no_default, parent: &parent, role: None, sudo: false };
            if let Ok(policies) = wish.grant() {
                prop_assert!(policies.iter().all(|policy| parent.contains(policy)));
            }
        }
    }
}
