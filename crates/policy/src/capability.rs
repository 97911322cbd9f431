//! The capabilities that a rule grants ([`Capability`]) and the operation of a request ([`Operation`]).

use std::fmt;

/// One of the words of a rule's `capabilities`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Capability {
    /// Create data where there was none.
    Create,
    /// Delete data.
    Delete,
    /// Refuse everything, whatever else is granted.
    Deny,
    /// List the keys below a path.
    List,
    /// Change data in part.
    Patch,
    /// Read data.
    Read,
    /// Restore data from a snapshot.
    Recover,
    /// List the keys below a path, recursively.
    Scan,
    /// Receive event notifications about a path.
    Subscribe,
    /// Use root-protected paths.
    Sudo,
    /// Change data.
    Update,
}

impl Capability {
    /// All capabilities in the alphabetical order in which Vault lists them.
    pub const ALL: [Capability; 11] = [
        Capability::Create,
        Capability::Delete,
        Capability::Deny,
        Capability::List,
        Capability::Patch,
        Capability::Read,
        Capability::Recover,
        Capability::Scan,
        Capability::Subscribe,
        Capability::Sudo,
        Capability::Update,
    ];

    /// The word a policy uses.
    pub const fn name(self) -> &'static str {
        match self {
            Capability::Create => "create",
            Capability::Delete => "delete",
            Capability::Deny => "deny",
            Capability::List => "list",
            Capability::Patch => "patch",
            Capability::Read => "read",
            Capability::Recover => "recover",
            Capability::Scan => "scan",
            Capability::Subscribe => "subscribe",
            Capability::Sudo => "sudo",
            Capability::Update => "update",
        }
    }

    /// The capability of that name. Case matters.
    pub fn from_name(name: &str) -> Option<Capability> {
        Capability::ALL.into_iter().find(|capability| capability.name() == name)
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of capabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(u16);

impl Capabilities {
    /// The empty set.
    pub const NONE: Capabilities = Capabilities(0);

    /// True if the set holds `capability`.
    pub const fn contains(self, capability: Capability) -> bool {
        self.0 & capability.bit() != 0
    }

    /// True if nothing is granted: the set is empty or holds [`Capability::Deny`].
    pub const fn grant_nothing(self) -> bool {
        self.0 == 0 || self.contains(Capability::Deny)
    }

    /// The union of both sets, or deny alone if either denies.
    #[must_use]
    pub const fn merge(self, other: Capabilities) -> Capabilities {
        let union = Capabilities(self.0 | other.0);
        if union.contains(Capability::Deny) { Capabilities(Capability::Deny.bit()) } else { union }
    }

    /// The capabilities in alphabetical order.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL.into_iter().filter(move |&capability| self.contains(capability))
    }

    /// The names as Vault's API shows them: sorted, and `deny` where nothing is granted.
    pub fn names(self) -> Vec<&'static str> {
        if self.grant_nothing() {
            return vec![Capability::Deny.name()];
        }
        self.iter().map(Capability::name).collect()
    }
}

impl FromIterator<Capability> for Capabilities {
    /// The merged set: deny alone if it is among them.
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Capabilities {
        capabilities
            .into_iter()
            .fold(Capabilities::NONE, |set, capability| set.merge(Capabilities(capability.bit())))
    }
}

/// The operation of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `POST` or `PUT` where nothing exists yet.
    Create,
    /// `GET`.
    Read,
    /// `POST` or `PUT`.
    Update,
    /// `DELETE`.
    Delete,
    /// `LIST`, or `GET` with `list=true`.
    List,
    /// `SCAN`, or `GET` with `scan=true`.
    Scan,
    /// `PATCH`.
    Patch,
    /// Restoring a path from a snapshot.
    Recover,
    /// The built-in help, open to every valid token.
    Help,
    /// Renewing a lease (internal).
    Renew,
    /// Revoking a lease (internal).
    Revoke,
    /// Undoing a half-done operation (internal).
    Rollback,
}

impl Operation {
    /// The capability the operation needs; none for [`Operation::Help`].
    ///
    /// The internal operations count as updates, which they are nearest to.
    pub const fn required_capability(self) -> Option<Capability> {
        Some(match self {
            Operation::Create => Capability::Create,
            Operation::Read => Capability::Read,
            Operation::Update | Operation::Renew | Operation::Revoke | Operation::Rollback => {
                Capability::Update
            }
            Operation::Delete => Capability::Delete,
            Operation::List => Capability::List,
            Operation::Scan => Capability::Scan,
            Operation::Patch => Capability::Patch,
            Operation::Recover => Capability::Recover,
            Operation::Help => return None,
        })
    }

    /// True if the operation works on the keys below a path, so that a rule
    /// for the path with or without its trailing slash applies.
    pub const fn is_listing(self) -> bool {
        matches!(self, Operation::List | Operation::Scan)
    }

    /// True if the parameters of the request are held against the rule.
    ///
    /// Deletions and listings are exempt, as in Vault; reads are not.
    pub const fn has_checked_parameters(self) -> bool {
        matches!(
            self,
            Operation::Create | Operation::Read | Operation::Update | Operation::Patch | Operation::Recover
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_capabilities_correspond() {
        for capability in Capability::ALL {
            assert_eq!(Capability::from_name(capability.name()), Some(capability));
        }
        let names: Vec<_> = Capability::ALL.iter().map(|c| c.name()).collect();
        assert!(names.is_sorted());
        assert_eq!(Capability::from_name("Read"), None);
        assert_eq!(Capability::from_name("root"), None);
    }

    #[test]
    fn deny_swallows_everything_else() {
        let set: Capabilities = [Capability::Read, Capability::Deny, Capability::Sudo].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [Capability::Deny]);
        let read: Capabilities = [Capability::Read].into_iter().collect();
        assert_eq!(read.merge(set), set);
        assert_eq!(set.names(), ["deny"]);
        assert_eq!(Capabilities::NONE.names(), ["deny"]);
    }
}
