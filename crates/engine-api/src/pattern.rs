//! Paths with parts to be filled in: `role/{name}/secret-id`, `data/{path..}`, `mounts/{path..}/tune`.

/// One part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// This text.
    Fixed(String),
    /// One segment that is a name: letters, digits, `_ - . @`, beginning and ending in a letter, digit or `_`
    /// (Vault's generic name).
    Name(String),
    /// Everything that is left, slashes included; possibly nothing. Fixed segments may follow it: then it is what is
    /// left before them, and not nothing.
    Rest(String),
}

/// A route's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    segments: Vec<Segment>,
}

impl Pattern {
    /// Reads a pattern. Patterns are constants of the program; a malformed one shows as a fixed text that no
    /// test of its engine can reach.
    pub fn new(text: &str) -> Self {
        let segments =
            text.trim_end_matches('/').split('/').filter(|part| !part.is_empty()).map(segment).collect();
        Self { text: text.to_owned(), segments }
    }

    /// The pattern as OpenAPI writes it: `{path}` for whatever kind of part.
    pub fn openapi(&self) -> String {
        self.text.replace("..}", "}")
    }

    /// Its parts.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The names of the parts to be filled in, in order.
    pub fn parameters(&self) -> Vec<&str> {
        self.segments
            .iter()
            .filter_map(|segment| match segment {
                Segment::Fixed(_) => None,
                Segment::Name(name) | Segment::Rest(name) => Some(name.as_str()),
            })
            .collect()
    }

    /// What `path` fills in, or `None` where it does not match. A trailing slash matters only to the rest.
    pub fn captures(&self, path: &str) -> Option<Vec<String>> {
        let mut captured = Vec::new();
        let mut left = Some(path);
        for (at, segment) in self.segments.iter().enumerate() {
            if let Segment::Rest(_) = segment {
                let after = self.segments.get(at.saturating_add(1)..).unwrap_or_default();
                captured.push(rest_before(after, left.unwrap_or_default())?.to_owned());
                return Some(captured);
            }
            let text = left?;
            let (part, next) = match text.split_once('/') {
                Some((part, next)) => (part, Some(next)),
                None => (text, None),
            };
            match segment {
                Segment::Fixed(fixed) if part == fixed => {}
                Segment::Name(_) if is_name(part) => captured.push(part.to_owned()),
                _ => return None,
            }
            left = next;
        }
        left.is_none_or(str::is_empty).then_some(captured)
    }

    /// Sorts the more specific first: fixed before name before rest, part by part.
    pub(crate) fn specificity(&self) -> Vec<u8> {
        let rank = |segment: &Segment| match segment {
            Segment::Fixed(_) => 0,
            Segment::Name(_) => 1,
            Segment::Rest(_) => 3,
        };
        let mut ranks: Vec<u8> = self.segments.iter().map(rank).collect();
        // A path that ends here is more specific than one that goes on with the rest.
        ranks.push(2);
        ranks
    }
}

/// What is left of `text` before the fixed segments `after` at its end.
fn rest_before<'a>(after: &[Segment], text: &'a str) -> Option<&'a str> {
    if after.is_empty() {
        return Some(text);
    }
    let mut rest = text.strip_suffix('/').unwrap_or(text);
    for segment in after.iter().rev() {
        let Segment::Fixed(fixed) = segment else { return None };
        rest = rest.strip_suffix(fixed.as_str())?.strip_suffix('/')?;
    }
    (!rest.is_empty()).then_some(rest)
}

fn segment(part: &str) -> Segment {
    match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
        Some(name) => match name.strip_suffix("..") {
            Some(name) => Segment::Rest(name.to_owned()),
            None => Segment::Name(name.to_owned()),
        },
        None => Segment::Fixed(part.to_owned()),
    }
}

fn is_name(part: &str) -> bool {
    let inner = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '@');
    let outer = |c: char| c.is_alphanumeric() || c == '_';
    part.starts_with(outer) && part.ends_with(outer) && part.chars().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_names_and_the_rest() {
        let pattern = Pattern::new("role/{name}/secret-id");
        assert_eq!(pattern.captures("role/web/secret-id"), Some(vec!["web".to_owned()]));
        assert_eq!(pattern.captures("role/web/secret-id/"), Some(vec!["web".to_owned()]));
        assert_eq!(pattern.captures("role/web"), None);
        assert_eq!(pattern.captures("role/we b/secret-id"), None);
        assert_eq!(pattern.captures("role/-web/secret-id"), None);
        let rest = Pattern::new("data/{path..}");
        assert_eq!(rest.captures("data/a/b/"), Some(vec!["a/b/".to_owned()]));
        assert_eq!(rest.captures("data"), Some(vec![String::new()]));
        assert_eq!(rest.captures("data/"), Some(vec![String::new()]));
        assert_eq!(rest.captures("datas"), None);
        assert_eq!(rest.openapi(), "data/{path}");
        assert_eq!(Pattern::new("{path..}").captures("x/y"), Some(vec!["x/y".to_owned()]));
        assert_eq!(Pattern::new("").captures(""), Some(vec![]));
    }

    #[test]
    fn fixed_segments_may_follow_the_rest() {
        let tune = Pattern::new("mounts/{path..}/tune");
        assert_eq!(tune.captures("mounts/a/tune"), Some(vec!["a".to_owned()]));
        assert_eq!(tune.captures("mounts/a/b/tune/"), Some(vec!["a/b".to_owned()]));
        assert_eq!(tune.captures("mounts/tune/tune"), Some(vec!["tune".to_owned()]));
        assert_eq!(tune.captures("mounts/a"), None);
        assert_eq!(tune.captures("mounts/atune"), None);
        assert_eq!(tune.captures("mounts/tune"), None, "a mount called tune is not tuned by its own path");
        assert_eq!(tune.captures("mounts//tune"), None);
        assert_eq!(tune.openapi(), "mounts/{path}/tune");
        let two = Pattern::new("{path..}/a/b");
        assert_eq!(two.captures("x/y/a/b"), Some(vec!["x/y".to_owned()]));
        assert_eq!(two.captures("x/b"), None);
        assert_eq!(Pattern::new("{path..}/{name}").captures("x/y"), None);
    }

    #[test]
    fn the_more_specific_come_first() {
        let mut patterns =
            ["{path..}", "a/{name}", "a/fixed", "a", "{name}", "{path..}/tune"].map(Pattern::new);
        patterns.sort_by_key(Pattern::specificity);
        let texts: Vec<_> = patterns.iter().map(|pattern| pattern.text.as_str()).collect();
        assert_eq!(texts, ["a/fixed", "a/{name}", "a", "{name}", "{path..}/tune", "{path..}"]);
    }
}
