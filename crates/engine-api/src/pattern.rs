//! Paths with parts to be filled in: `role/{name}/secret-id`, `data/{path..}`.

/// One part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// This text.
    Fixed(String),
    /// One segment that is a name: letters, digits, `_ - . @`, beginning and ending in a letter, digit or `_`
    /// (Vault's generic name).
    Name(String),
    /// Everything that is left, slashes included; possibly nothing.
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
        let segments = text.trim_end_matches('/').split('/').filter(|part| !part.is_empty()).map(segment).collect();
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
        for segment in &self.segments {
            if let Segment::Rest(_) = segment {
                captured.push(left.unwrap_or_default().to_owned());
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
    fn the_more_specific_come_first() {
        let mut patterns = ["{path..}", "a/{name}", "a/fixed", "a", "{name}"].map(Pattern::new);
        patterns.sort_by_key(Pattern::specificity);
        let texts: Vec<_> = patterns.iter().map(|pattern| pattern.text.as_str()).collect();
        assert_eq!(texts, ["a/fixed", "a/{name}", "a", "{name}", "{path..}"]);
    }
}
