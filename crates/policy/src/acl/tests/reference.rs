//! The compiled rules against an implementation that is slow but obvious:
//! every rule of every policy is held against the path, one after the other.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A rule as generated: its path and its capabilities.
type Line = (String, BTreeSet<&'static str>);

fn text_of(lines: &[Line]) -> String {
    lines.iter().fold(String::new(), |mut text, (path, names)| {
        let names: Vec<_> = names.iter().collect();
        writeln!(text, "path \"{path}\" {{ capabilities = {names:?} }}").unwrap();
        text
    })
}

/// True if the path of a rule matches a request path, read off the definition.
fn matches(rule: &str, path: &str) -> bool {
    let (rule, glob) = match rule.strip_suffix('*') {
        Some(prefix) => (prefix, true),
        None => (rule, false),
    };
    let rule: Vec<&str> = rule.split('/').collect();
    let path: Vec<&str> = path.split('/').collect();
    if path.len() < rule.len() || (path.len() > rule.len() && !glob) {
        return false;
    }
    rule.iter().zip(&path).enumerate().all(|(index, (rule_segment, segment))| {
        let last = index + 1 == rule.len();
        if glob && last {
            segment.starts_with(rule_segment)
        } else {
            *rule_segment == "+" || rule_segment == segment
        }
    })
}

/// True if `p1` is of lower priority than `p2`, in the words of the documentation.
fn is_lower(p1: &str, p2: &str) -> bool {
    let first_wildcard = |p: &str| {
        let mut offset = 0;
        for segment in p.split('/') {
            if segment == "+" {
                return offset;
            }
            offset += segment.len() + 1;
        }
        if p.ends_with('*') { p.len() - 1 } else { usize::MAX }
    };
    let plus_segments = |p: &str| p.split('/').filter(|segment| *segment == "+").count();
    if first_wildcard(p1) != first_wildcard(p2) {
        return first_wildcard(p1) < first_wildcard(p2);
    }
    if p1.ends_with('*') != p2.ends_with('*') {
        return p1.ends_with('*');
    }
    if plus_segments(p1) != plus_segments(p2) {
        return plus_segments(p1) > plus_segments(p2);
    }
    if p1.len() != p2.len() {
        return p1.len() < p2.len();
    }
    p1 < p2
}

/// The path of the rule that decides for one spelling of a path.
fn most_specific<'a>(lines: &[&'a Line], path: &str) -> Option<&'a str> {
    let mut best: Option<&str> = None;
    for (rule, _) in lines {
        if matches(rule, path) && best.is_none_or(|best| is_lower(best, rule)) {
            best = Some(rule);
        }
    }
    best
}

/// The capabilities that the documented rules give.
fn expected(lines: &[&Line], path: &str, mode: DenyMode) -> BTreeSet<&'static str> {
    let spellings: Vec<&str> = match path.strip_suffix('/') {
        Some(without) => vec![path, without],
        None => vec![path],
    };
    let is_exact = |rule: &&str| !rule.ends_with('*') && !rule.split('/').any(|segment| segment == "+");
    let candidates: Vec<Option<&str>> = spellings.iter().map(|path| most_specific(lines, path)).collect();
    let exact = candidates.iter().copied().find(|rule| rule.as_ref().is_some_and(is_exact)).flatten();
    let best = exact.or_else(|| candidates.iter().copied().flatten().next());

    let denied_somewhere = lines
        .iter()
        .any(|(rule, names)| names.contains("deny") && spellings.iter().any(|path| matches(rule, path)));
    let mut names: BTreeSet<&'static str> = lines
        .iter()
        .filter(|(rule, _)| Some(rule.as_str()) == best)
        .flat_map(|(_, names)| names.iter().copied())
        .collect();
    let denied =
        names.is_empty() || names.contains("deny") || (mode == DenyMode::DenyWins && denied_somewhere);
    if denied {
        names = ["deny"].into();
    }
    names
}

/// Few letters, so that paths meet.
fn segment() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[ab]{0,2}", 1 => Just("a+".to_owned())]
}

fn rule_path() -> impl Strategy<Value = String> {
    let segments = vec(prop_oneof![3 => segment(), 2 => Just("+".to_owned())], 1..5);
    (segments, prop_oneof![Just(""), Just(""), Just("*"), Just("/*"), Just("/")]).prop_filter_map(
        "forbidden or changed by normalisation",
        |(segments, tail)| {
            let path = format!("{}{tail}", segments.join("/"));
            (!path.contains("+*") && !path.starts_with('/')).then_some(path)
        },
    )
}

fn line() -> impl Strategy<Value = Line> {
    let names = prop_oneof![
        6 => prop::sample::subsequence(vec!["create", "read", "update", "list", "sudo", "scan"], 0..4),
        1 => Just(vec!["deny"]),
        1 => Just(vec!["deny", "read"]),
    ];
    (rule_path(), names.prop_map(|names| names.into_iter().collect()))
}

fn request_path() -> impl Strategy<Value = String> {
    vec(segment(), 1..6).prop_map(|segments| segments.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn agrees_with_the_obvious_implementation(
        policies_lines in vec(vec(line(), 0..8), 0..4),
        paths in vec(request_path(), 1..20),
    ) {
        let texts: Vec<String> = policies_lines.iter().map(|lines| text_of(lines)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let lines: Vec<&Line> = policies_lines.iter().flatten().collect();
        for mode in [DenyMode::DenyWins, DenyMode::MostSpecific] {
            let acl = CompiledAcl::compile(&policies(&texts), mode);
            // The rules' own paths, taken literally, are paths worth asking for, too.
            let own = lines.iter().map(|(path, _)| path.replace('+', "a").replace('*', "b"));
            for path in paths.iter().cloned().chain(own) {
                let expected = expected(&lines, &path, mode);
                let found: BTreeSet<_> = acl.capabilities(&path).into_iter().collect();
                prop_assert_eq!(&found, &expected, "{:?} {}\n{}", mode, path, texts.join("---\n"));

                let operation = if path.ends_with('/') { Operation::List } else { Operation::Read };
                let decision = acl.authorize(&path, operation, empty(), None);
                let needed = operation.required_capability().unwrap().name();
                prop_assert_eq!(decision.is_allowed(), expected.contains(needed));
                prop_assert_eq!(decision.sudo, expected.contains("sudo"));
            }
        }
    }

    #[test]
    fn deny_wins_never_allows_more(lines in vec(line(), 0..10), path in request_path()) {
        let text = text_of(&lines);
        let strict = deny_wins(&[&text]).capabilities(&path);
        let lenient = vault_like(&[&text]).capabilities(&path);
        prop_assert!(strict == lenient || strict == ["deny"]);
    }

    #[test]
    fn access_under_a_prefix_is_seen(lines in vec(line(), 0..6), prefix in "[ab]{1,2}/", rest in request_path()) {
        let text = text_of(&lines);
        for acl in [deny_wins(&[&text]), vault_like(&[&text])] {
            if acl.capabilities(&format!("{prefix}{rest}")) != ["deny"] {
                prop_assert!(acl.has_any_access_under(&prefix), "{:?} {prefix}{rest}\n{text}", acl.mode());
            }
        }
    }
}
