//! The rules of user lockout.

use std::time::Duration;

use super::{accept, error, load, read, warnings};
use crate::{Config, UserLockout};

fn lockout(config: &Config, label: &str) -> UserLockout {
    *config.user_lockout.get(label).unwrap_or_else(|| panic!("{label}: {:?}", config.user_lockout))
}

fn mins(mins: u64) -> Duration {
    Duration::from_mins(mins)
}

#[test]
fn a_type_inherits_from_all_and_all_from_the_defaults() {
    let hcl = "user_lockout \"userpass\" {\n  lockout_threshold = \"25\"\n  lockout_duration = 300\n}\n\
               user_lockout \"all\" {\n  lockout_duration = \"10m\"\n  lockout_counter_reset = \"600\"\n  \
               disable_lockout = \"true\"\n}\nuser_lockout \"AppRole\" {\n  disable_lockout = false\n}";
    let json = r#"{"user_lockout": {
        "userpass": {"lockout_threshold": 25, "lockout_duration": "5m"},
        "all": {"lockout_duration": "600s", "lockout_counter_reset": "10m", "disable_lockout": true},
        "approle": {"disable_lockout": "false"}}}"#;
    for config in [read(hcl), read(json)] {
        let all = UserLockout { threshold: 5, duration: mins(10), counter_reset: mins(10), disabled: true };
        assert_eq!(lockout(&config, "all"), all);
        assert_eq!(lockout(&config, "userpass"), UserLockout { threshold: 25, duration: mins(5), ..all });
        assert_eq!(lockout(&config, "approle"), UserLockout { disabled: false, ..all });
        assert_eq!(config.user_lockout.len(), 3);
    }
    let config = read("user_lockout \"approle\" {\n  lockout_threshold = 3\n}");
    assert_eq!(lockout(&config, "approle"), UserLockout { threshold: 3, ..UserLockout::default() });
    assert!(read("").user_lockout.is_empty());
}

#[test]
fn of_two_blocks_with_a_label_the_last_counts_key_by_key() {
    let config = read(
        "user_lockout \"all\" {\n  lockout_threshold = 3\n  lockout_duration = \"1m\"\n}\n\
         user_lockout \"all\" {\n  lockout_threshold = 4\n}",
    );
    let expected = UserLockout { threshold: 4, duration: mins(1), ..UserLockout::default() };
    assert_eq!(lockout(&config, "all"), expected);
}

#[test]
fn what_cannot_be_used_is_refused() {
    let at = |line: &str| format!("user_lockout \"all\" {{\n  {line}\n}}");
    for (text, wanted) in [
        (
            "user_lockout \"token\" {}".to_owned(),
            "server.hcl:1:1: user_lockout \"token\" is not supported; supported are \"all\", \"userpass\", \"approle\", \
             \"ldap\"",
        ),
        (
            "user_lockout {\n  lockout_threshold = 3\n}".to_owned(),
            "server.hcl:2:23: \"user_lockout\" must be a block, not a number",
        ),
        (
            at("lockout_threshold = -1"),
            "server.hcl:2:23: \"lockout_threshold\" must be a whole number of at least 0, not -1",
        ),
        (
            at("lockout_duration = \"soon\""),
            "server.hcl:2:22: \"lockout_duration\" must be a duration such as \"30s\", \"1h\" or a number of seconds, \
             not \"soon\"",
        ),
        (
            at("disable_lockout = \"perhaps\""),
            "server.hcl:2:21: \"disable_lockout\" must be true or false, not \"perhaps\"",
        ),
    ] {
        assert_eq!(error(&text), wanted, "{text}");
    }
}

#[test]
fn what_has_no_effect_is_warned_about() {
    let loaded = load("user_lockout \"ldap\" {\n  lockout_treshold = 3\n}").unwrap();
    assert_eq!(
        warnings(&loaded),
        [
            "server.hcl:1:1: user_lockout \"ldap\" is accepted and has no effect: this version has no such auth method",
            "server.hcl:2:3: unknown or unsupported field \"lockout_treshold\" in user_lockout \"ldap\"",
        ]
    );
}

#[test]
fn the_environment_disables_all_of_it() {
    let disabled = |text: &str, value: &str| {
        let mut config = accept(text);
        config
            .apply_environment(|name| (name == "VAULT_DISABLE_USER_LOCKOUT").then(|| value.to_owned()))
            .map_err(|error| error.to_string())?;
        Ok::<_, String>(config.user_lockout_disabled)
    };
    let text = "user_lockout \"userpass\" {\n  disable_lockout = false\n}";
    assert!(disabled(text, "true").unwrap());
    assert!(disabled("", "1").unwrap());
    assert!(!disabled(text, "false").unwrap());
    assert_eq!(
        disabled("", "ja").unwrap_err(),
        "environment variable VAULT_DISABLE_USER_LOCKOUT: must be true or false, not \"ja\""
    );
}

#[test]
fn it_is_shown_in_the_sanitized_configuration() {
    let config = read("user_lockout \"userpass\" {\n  lockout_threshold = 3\n}");
    let shown = serde_json::json!([{"type": "userpass", "lockout_threshold": 3, "disable_lockout": false,
        "lockout_duration": 900_000_000_000_u64, "lockout_counter_reset": 900_000_000_000_u64}]);
    assert_eq!(config.sanitized()["user_lockout_configs"], shown);
    assert_eq!(read("").sanitized().get("user_lockout_configs"), None);
}
