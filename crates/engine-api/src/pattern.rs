//! Paths with parts to be filled in: `role/{name}/secret-id`, `cert/{serial:hex}`, `data/{path..}`,
//! `mounts/{path..}/tune`, `ocsp/{request:raw}`.
//!
//! An optional tail is written in brackets, `ca[/pem]`, and is read by [`Engine::route`](crate::Engine::route) alone:
//! it makes a route of each form, so that a pattern itself has one form and one order of captures.

/// One part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// This text.
    Fixed(String),
    /// One segment of characters of a class.
    One(String, Characters),
    /// Everything that is left, slashes included; possibly nothing. Fixed segments may follow it: then it is what is
    /// left before them, and not nothing.
    Rest(String),
    /// As [`Segment::Rest`], a name in any case ([`Characters::Caseless`]). `{name..:caseless}`.
    CaselessRest(String),
    /// Everything that is left, at the end of a pattern, which the handler reads as it was sent
    /// ([`RawTail`](crate::RawTail)): neither decoded nor put into another form, and no matter of policies, which see
    /// the path up to here.
    Raw(String),
}

/// The characters that a segment may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Characters {
    /// Letters, digits, `_ - . @`, beginning and ending in a letter, digit or `_`: Vault's generic name. `{name}`.
    Name,
    /// Hexadecimal digits with `:` or `-` between them, as serial numbers are written. `{name:hex}`.
    Hex,
    /// Any but the slash, at least one. `{name:any}`.
    Any,
    /// As [`Characters::Name`], in any case: policies are compared without regard to case. The handler gets it as it was
    /// sent. `{name:caseless}`.
    Caseless,
}

impl Characters {
    fn admits(self, part: &str) -> bool {
        match self {
            Self::Name | Self::Caseless => is_name(part),
            Self::Hex => {
                let separated = |c: char| c.is_ascii_hexdigit() || matches!(c, ':' | '-');
                part.starts_with(|c: char| c.is_ascii_hexdigit()) && part.chars().all(separated)
            }
            Self::Any => !part.is_empty(),
        }
    }

    /// A text of these characters, for tests that go through all routes.
    const fn example(self) -> &'static str {
        match self {
            Self::Name | Self::Any | Self::Caseless => "thing",
            Self::Hex => "3a:4b",
        }
    }
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

    /// The forms of a pattern with optional tails: `crl[/delta[/pem]]` is `crl`, `crl/delta` and `crl/delta/pem`.
    pub(crate) fn forms(text: &str) -> Vec<String> {
        let Some((always, tail)) = text.split_once('[') else { return vec![text.to_owned()] };
        let tail = tail.strip_suffix(']').unwrap_or(tail);
        let mut forms = vec![always.to_owned()];
        forms.extend(Self::forms(tail).into_iter().map(|tail| format!("{always}{tail}")));
        forms
    }

    /// The pattern as OpenAPI writes it: `{path}` for whatever kind of part.
    pub fn openapi(&self) -> String {
        self.filled(|segment| match segment {
            Segment::Fixed(fixed) => fixed.clone(),
            Segment::One(name, _)
            | Segment::Rest(name)
            | Segment::CaselessRest(name)
            | Segment::Raw(name) => format!("{{{name}}}"),
        })
    }

    /// A path that matches.
    pub fn example(&self) -> String {
        self.filled(|segment| match segment {
            Segment::Fixed(fixed) => fixed.clone(),
            Segment::One(_, characters) => characters.example().to_owned(),
            Segment::Rest(_) | Segment::CaselessRest(_) | Segment::Raw(_) => "thing".to_owned(),
        })
    }

    fn filled(&self, fill: impl Fn(&Segment) -> String) -> String {
        let mut text = self.segments.iter().map(fill).collect::<Vec<_>>().join("/");
        if self.text.ends_with('/') && !text.is_empty() {
            text.push('/');
        }
        text
    }

    /// True if the last part is read by the handler as it was sent.
    pub fn has_raw_tail(&self) -> bool {
        matches!(self.segments.last(), Some(Segment::Raw(_)))
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
                Segment::One(name, _)
                | Segment::Rest(name)
                | Segment::CaselessRest(name)
                | Segment::Raw(name) => Some(name.as_str()),
            })
            .collect()
    }

    /// The captures of `path`, or `None` where it does not match. A trailing slash matters only to the rest.
    pub fn captures(&self, path: &str) -> Option<Vec<String>> {
        let mut captured = Vec::new();
        let mut left = Some(path);
        for (at, segment) in self.segments.iter().enumerate() {
            if let Segment::Rest(_) | Segment::CaselessRest(_) | Segment::Raw(_) = segment {
                let after = self.segments.get(at.saturating_add(1)..).unwrap_or_default();
                let rest = rest_before(after, left.unwrap_or_default())?;
                captured.push(rest.to_owned());
                return Some(captured);
            }
            let text = left?;
            let (part, next) = match text.split_once('/') {
                Some((part, next)) => (part, Some(next)),
                None => (text, None),
            };
            match segment {
                Segment::Fixed(fixed) if part == fixed => {}
                Segment::One(_, characters) if characters.admits(part) => captured.push(part.to_owned()),
                _ => return None,
            }
            left = next;
        }
        left.is_none_or(str::is_empty).then_some(captured)
    }

    /// The part of `path` that is a name in any case, in bytes; a pattern has one at most.
    pub fn caseless_part(&self, path: &str) -> Option<std::ops::Range<usize>> {
        let mut start: usize = 0;
        for segment in &self.segments {
            let rest = path.get(start..)?;
            let end = start.saturating_add(rest.find('/').unwrap_or(rest.len()));
            match segment {
                Segment::One(_, Characters::Caseless) => return Some(start..end),
                Segment::CaselessRest(_) => return Some(start..path.len()),
                Segment::Fixed(_) | Segment::One(..) => start = end.saturating_add(1),
                Segment::Rest(_) | Segment::Raw(_) => return None,
            }
        }
        None
    }

    /// Sorts the more specific first: fixed before the narrower classes before the wider before rest, part by part.
    pub(crate) fn specificity(&self) -> Vec<u8> {
        let rank = |segment: &Segment| match segment {
            Segment::Fixed(_) => 0,
            Segment::One(_, Characters::Hex) => 1,
            Segment::One(_, Characters::Name | Characters::Caseless) => 2,
            Segment::One(_, Characters::Any) => 3,
            Segment::Rest(_) | Segment::CaselessRest(_) | Segment::Raw(_) => 5,
        };
        let mut ranks: Vec<u8> = self.segments.iter().map(rank).collect();
        // A path that ends here is more specific than one that goes on with the rest.
        ranks.push(4);
        ranks
    }
}

/// The rest of `text` before the fixed segments `after` at its end.
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
        Some(name) => match (name.strip_suffix(".."), name.split_once(':')) {
            (None, Some((name, "caseless"))) => match name.strip_suffix("..") {
                Some(name) => Segment::CaselessRest(name.to_owned()),
                None => Segment::One(name.to_owned(), Characters::Caseless),
            },
            (Some(name), _) => Segment::Rest(name.to_owned()),
            (None, Some((name, "hex"))) => Segment::One(name.to_owned(), Characters::Hex),
            (None, Some((name, "any"))) => Segment::One(name.to_owned(), Characters::Any),
            (None, Some((name, "raw"))) => Segment::Raw(name.to_owned()),
            // A class that there is none of is a text that no request has.
            (None, Some(_)) => Segment::Fixed(part.to_owned()),
            (None, None) => Segment::One(name.to_owned(), Characters::Name),
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
    fn segments_have_the_characters_of_their_class() {
        let serial = Pattern::new("cert/{serial:hex}");
        assert_eq!(serial.captures("cert/3a:4b:0C"), Some(vec!["3a:4b:0C".to_owned()]));
        assert_eq!(serial.captures("cert/3a-4b"), Some(vec!["3a-4b".to_owned()]));
        for other in ["cert/", "cert/ca", "cert/:3a", "cert/3a/4b", "cert/crl"] {
            let wanted = (other == "cert/ca").then(|| vec!["ca".to_owned()]);
            assert_eq!(serial.captures(other), wanted, "{other}");
        }
        assert_eq!(serial.openapi(), "cert/{serial}");
        let any = Pattern::new("eab/{id:any}/x");
        assert_eq!(any.captures("eab/a b:+c/x"), Some(vec!["a b:+c".to_owned()]));
        assert_eq!(any.captures("eab//x"), None);
        assert_eq!(Pattern::new("a/{b:nonsense}").captures("a/b"), None);
        for text in ["cert/{serial:hex}", "a/{b:any}/{c..}", "o/{r:raw}", "role/{name}/", "m/{p..}/tune"] {
            let pattern = Pattern::new(text);
            assert!(pattern.captures(&pattern.example()).is_some(), "{text}");
        }
    }

    #[test]
    fn a_raw_tail_takes_whatever_is_left() {
        let ocsp = Pattern::new("ocsp/{request:raw}");
        assert!(ocsp.has_raw_tail() && !Pattern::new("ocsp/{request..}").has_raw_tail());
        assert_eq!(ocsp.captures("ocsp/MEM//+/x="), Some(vec!["MEM//+/x=".to_owned()]));
        assert_eq!(ocsp.captures("ocsp"), Some(vec![String::new()]));
        assert_eq!(ocsp.openapi(), "ocsp/{request}");
        assert_eq!(ocsp.parameters(), ["request"]);
    }

    #[test]
    fn an_optional_tail_is_a_form_of_its_own() {
        assert_eq!(Pattern::forms("crl[/delta[/pem]]"), ["crl", "crl/delta", "crl/delta/pem"]);
        assert_eq!(
            Pattern::forms("cert/{serial:hex}/raw[/pem]").last().unwrap(),
            "cert/{serial:hex}/raw/pem"
        );
        assert_eq!(Pattern::forms("ca"), ["ca"]);
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
