//! Address blocks that secret ids are bound to. Unlike the blocks of tokens they are written with a prefix length.

use ipnet::IpNet;
use strongroom_engine_api::{EngineError, bad_request};

/// Reads blocks; `what` names them in the error.
pub(crate) fn parse(texts: &[String], what: &str) -> Result<Vec<IpNet>, EngineError> {
    let parse = |text: &String| {
        let invalid = |_| bad_request(format!("failed to validate {what}: invalid CIDR address: {text}"));
        text.parse::<IpNet>().map_err(invalid)
    };
    texts.iter().map(parse).collect()
}

/// The blocks as they were given.
pub(crate) fn texts(blocks: &[IpNet]) -> Vec<String> {
    blocks.iter().map(ToString::to_string).collect()
}

/// Refuses blocks on a secret id that reach beyond those on its role; a role without blocks allows any.
pub(crate) fn check_subset(role: &[IpNet], secret_id: &[IpNet]) -> Result<(), EngineError> {
    let held = |inner: &IpNet| role.iter().any(|outer| outer.contains(inner));
    if role.is_empty() || secret_id.iter().all(held) {
        return Ok(());
    }
    Err(bad_request(format!(
        "failed to verify subset relationship between CIDR blocks on the role {} and CIDR blocks on the secret ID {}",
        quoted(role),
        quoted(secret_id)
    )))
}

/// A list in a message: `["10.0.0.0/8" "11.0.0.0/8"]`.
fn quoted(blocks: &[IpNet]) -> String {
    let texts: Vec<String> = blocks.iter().map(|block| format!("\"{block}\"")).collect();
    format!("[{}]", texts.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(texts: &[&str]) -> Vec<IpNet> {
        parse(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>(), "CIDR blocks").unwrap()
    }

    #[test]
    fn blocks_keep_their_form_and_need_a_prefix_length() {
        assert_eq!(texts(&blocks(&["1.2.3.4/16", "::1/64"])), ["1.2.3.4/16", "::1/64"]);
        let error = parse(&["5.5.5.5".to_owned()], "CIDR blocks").unwrap_err();
        assert_eq!(error.to_string(), "failed to validate CIDR blocks: invalid CIDR address: 5.5.5.5");
    }

    #[test]
    fn a_subset_lies_within_single_blocks() {
        let role = blocks(&["10.0.0.0/8", "11.0.0.0/8"]);
        assert!(check_subset(&role, &blocks(&["10.1.2.3/16", "11.0.0.0/8"])).is_ok());
        assert!(check_subset(&role, &[]).is_ok());
        assert!(check_subset(&[], &role).is_ok());
        assert!(check_subset(&role, &blocks(&["10.0.0.0/7"])).is_err());
        let error = check_subset(&role, &blocks(&["10.0.0.0/8", "::/0"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "failed to verify subset relationship between CIDR blocks on the role [\"10.0.0.0/8\" \"11.0.0.0/8\"] and \
             CIDR blocks on the secret ID [\"10.0.0.0/8\" \"::/0\"]"
        );
    }
}
