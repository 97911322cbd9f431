use super::*;

fn format(given: &[(&str, &str)], allow_prefixing: bool) -> Result<FormatOptions, AuditError> {
    let given = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut options = Options::new("file", &given);
    let format = options.format(allow_prefixing)?;
    options.finish()?;
    Ok(format)
}

fn refusal(given: &[(&str, &str)]) -> String {
    format(given, false).unwrap_err().to_string()
}

#[test]
fn defaults() {
    assert_eq!(format(&[], false).unwrap(), FormatOptions::default());
    assert_eq!(format(&[("format", ""), ("prefix", "")], false).unwrap(), FormatOptions::default());
}

#[test]
fn all_given() {
    let given = [
        ("format", "json"),
        ("log_raw", "true"),
        ("hmac_accessor", "F"),
        ("elide_list_responses", "1"),
        ("prefix", "@cee: "),
    ];
    let expected = FormatOptions {
        log_raw: true,
        hmac_accessor: false,
        elide_list_responses: true,
        prefix: "@cee: ".to_owned(),
    };
    assert_eq!(format(&given, true).unwrap(), expected);
}

#[test]
fn refusals_say_what_is_wrong() {
    assert_eq!(refusal(&[("format", "xml")]), "unknown format type \"xml\"");
    assert!(refusal(&[("format", "jsonx")]).starts_with("jsonx formatting is not supported"));
    assert_eq!(refusal(&[("prefix", "x")]), "audit log prefixing is not allowed");
    assert_eq!(
        refusal(&[("log_raw", "yes")]),
        "invalid value \"yes\" for option \"log_raw\": must be true or false"
    );
    assert_eq!(
        refusal(&[("filter", "mount_type == kv")]),
        "unknown option \"filter\" for an audit device of type \"file\""
    );
}
