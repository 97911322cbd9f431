//! Environment variables of this program, by their names without prefix.
//!
//! Deployments made for Vault set `VAULT_X`, those made for OpenBao `BAO_X`; both must start this program unchanged. All
//! of it, server and command line, looks its variables up here, so that a prefix holds for each of them.

/// The prefixes of a variable's name; the first that is set counts.
const PREFIXES: [&str; 3] = ["STRONGROOM_", "BAO_", "VAULT_"];

/// The full name and the value of the variable `name`, with the first prefix under which `lookup` has it. Empty counts
/// as not set, as it is in a service file that leaves a variable out.
pub fn variable(lookup: impl Fn(&str) -> Option<String>, name: &str) -> Option<(String, String)> {
    PREFIXES.iter().find_map(|prefix| {
        let full = format!("{prefix}{name}");
        let value = lookup(&full).filter(|value| !value.is_empty())?;
        Some((full, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(set: &[(&str, &str)]) -> Option<(String, String)> {
        let lookup =
            |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        variable(lookup, "ADDR")
    }

    #[test]
    fn the_first_prefix_that_is_set_counts() {
        let found = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("ADDR", "a")]), None);
        assert_eq!(of(&[("VAULT_ADDR", "v")]), found("VAULT_ADDR", "v"));
        assert_eq!(of(&[("VAULT_ADDR", "v"), ("BAO_ADDR", "b")]), found("BAO_ADDR", "b"));
        assert_eq!(of(&[("VAULT_ADDR", "v"), ("BAO_ADDR", "")]), found("VAULT_ADDR", "v"));
        assert_eq!(of(&[("BAO_ADDR", "b"), ("STRONGROOM_ADDR", "s")]), found("STRONGROOM_ADDR", "s"));
    }
}
