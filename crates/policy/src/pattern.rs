//! The paths of rules: literal text, `+` for any one segment, a trailing `*`
//! for any continuation.

use std::cmp::{Ordering, Reverse};

use crate::path::RequestPath;

/// A rule's path, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    text: String,
    tokens: Vec<Token>,
    glob: bool,
    first_wildcard: Option<usize>,
    wildcard_segments: usize,
}

/// A part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Token {
    /// These characters, slashes included.
    Literal(String),
    /// Anything up to the next slash, even nothing.
    AnySegment,
}

/// A part of the text that a pattern is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Piece<'a> {
    /// The text of the policy's author: wildcards count.
    Written(&'a str),
    /// A value that was filled in: taken literally, whatever it contains.
    Value(&'a str),
}

impl Pattern {
    /// The pattern that `pieces` form within the namespace whose path is
    /// `namespace` (empty for the root namespace, else ending in a slash).
    pub(crate) fn new(namespace: &str, pieces: &[Piece<'_>]) -> Pattern {
        let mut builder = Builder::new(namespace);
        let (last, before) = match pieces.split_last() {
            Some((Piece::Written(last), before)) => (*last, before),
            _ => ("", pieces),
        };
        for piece in before {
            match piece {
                Piece::Written(text) => builder.written(text),
                Piece::Value(value) => builder.value(value),
            }
        }
        let prefix = last.strip_suffix('*');
        builder.written(prefix.unwrap_or(last));
        builder.finish(prefix.is_some())
    }

    /// The path as written, values filled in.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The path without the trailing `*` of a glob.
    pub(crate) fn text_without_glob(&self) -> &str {
        if self.glob { self.text.strip_suffix('*').unwrap_or(&self.text) } else { &self.text }
    }

    /// The parts, in order.
    pub(crate) fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// True if the pattern ends in `*`.
    pub(crate) fn is_glob(&self) -> bool {
        self.glob
    }

    /// True if the pattern matches one path only.
    pub(crate) fn is_exact(&self) -> bool {
        self.first_wildcard.is_none()
    }

    /// True if both patterns match the same paths.
    pub(crate) fn same_paths(&self, other: &Pattern) -> bool {
        self.glob == other.glob && self.tokens == other.tokens
    }

    /// Vault's priority: the greater of two patterns that match a path decides.
    ///
    /// Lower is the one whose first wildcard comes earlier; then the one that
    /// ends in `*`; then the one with more `+`; then the shorter; then the
    /// lexicographically smaller.
    pub(crate) fn priority(&self, other: &Pattern) -> Ordering {
        let key = |pattern: &Pattern| {
            (
                pattern.first_wildcard.unwrap_or(usize::MAX),
                !pattern.glob,
                Reverse(pattern.wildcard_segments),
                pattern.text.len(),
            )
        };
        key(self).cmp(&key(other)).then_with(|| self.text.cmp(&other.text))
    }

    /// True if the pattern matches a path, regardless of case where the path has a part of that kind.
    pub(crate) fn matches(&self, path: &RequestPath<'_>) -> bool {
        let end = self.tokens.iter().try_fold(0, |at, token| match token {
            Token::Literal(text) => path.past(text, at),
            Token::AnySegment => path.past_segment(at),
        });
        end.is_some_and(|end| self.glob || end == path.text().len())
    }

    /// True if the pattern matches every path that starts with `prefix`.
    pub(crate) fn covers(&self, prefix: &str) -> bool {
        self.glob && matches!(self.align(prefix), Alignment::PatternEnds { .. })
    }

    /// True if the pattern matches some path that starts with `prefix`, or
    /// `prefix` without its trailing slash.
    pub(crate) fn reaches_under(&self, prefix: &str) -> bool {
        match self.align(prefix) {
            Alignment::PrefixEnds => true,
            Alignment::PatternEnds { rest } => self.glob || rest.is_empty() || rest == "/",
            Alignment::Differs => false,
        }
    }

    /// Lays the pattern over a path prefix.
    fn align<'a>(&self, prefix: &'a str) -> Alignment<'a> {
        let mut rest = prefix;
        for token in &self.tokens {
            match token {
                Token::Literal(text) => {
                    if let Some(after) = rest.strip_prefix(text.as_str()) {
                        rest = after;
                    } else if text.starts_with(rest) {
                        return Alignment::PrefixEnds;
                    } else {
                        return Alignment::Differs;
                    }
                }
                Token::AnySegment => match rest.split_once('/') {
                    Some((segment, _)) => rest = rest.strip_prefix(segment).unwrap_or(rest),
                    None => return Alignment::PrefixEnds,
                },
            }
        }
        Alignment::PatternEnds { rest }
    }
}

/// The one of a pattern and a path prefix that ends first.
enum Alignment<'a> {
    /// The prefix ends within the pattern.
    PrefixEnds,
    /// The whole pattern matches, and `rest` of the prefix is left.
    PatternEnds { rest: &'a str },
    /// They do not go together.
    Differs,
}

/// Puts a pattern together segment by segment.
struct Builder {
    text: String,
    tokens: Vec<Token>,
    literal: String,
    /// The start of the current segment in `literal`.
    segment_start: usize,
    /// True if a value was filled into the current segment.
    has_value: bool,
    first_wildcard: Option<usize>,
    wildcard_segments: usize,
}

impl Builder {
    fn new(namespace: &str) -> Builder {
        Builder {
            text: namespace.to_owned(),
            tokens: Vec::new(),
            literal: namespace.to_owned(),
            segment_start: namespace.len(),
            has_value: false,
            first_wildcard: None,
            wildcard_segments: 0,
        }
    }

    fn written(&mut self, text: &str) {
        let mut first = true;
        for part in text.split('/') {
            if !first {
                self.end_segment();
                self.text.push('/');
                self.literal.push('/');
                self.segment_start = self.literal.len();
            }
            first = false;
            self.text.push_str(part);
            self.literal.push_str(part);
        }
    }

    fn value(&mut self, value: &str) {
        self.text.push_str(value);
        self.literal.push_str(value);
        self.has_value = true;
    }

    /// Turns the segment just read into a wildcard if it is one.
    fn end_segment(&mut self) {
        let has_value = std::mem::take(&mut self.has_value);
        if has_value || self.literal.get(self.segment_start..) != Some("+") {
            return;
        }
        self.literal.pop();
        self.first_wildcard.get_or_insert(self.text.len().saturating_sub(1));
        self.wildcard_segments = self.wildcard_segments.saturating_add(1);
        self.end_literal();
        self.tokens.push(Token::AnySegment);
    }

    fn end_literal(&mut self) {
        let literal = std::mem::take(&mut self.literal);
        self.segment_start = 0;
        if !literal.is_empty() {
            self.tokens.push(Token::Literal(literal));
        }
    }

    fn finish(mut self, glob: bool) -> Pattern {
        if glob {
            self.first_wildcard.get_or_insert(self.text.len());
            self.text.push('*');
        } else {
            self.end_segment();
        }
        self.end_literal();
        Pattern {
            text: self.text,
            tokens: self.tokens,
            glob,
            first_wildcard: self.first_wildcard,
            wildcard_segments: self.wildcard_segments,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new("", &[Piece::Written(text)])
    }

    fn literal(text: &str) -> Token {
        Token::Literal(text.to_owned())
    }

    #[test]
    fn only_whole_segments_and_the_last_star_are_wildcards() {
        assert_eq!(pattern("a+b/+x/*c").tokens(), [literal("a+b/+x/*c")]);
        assert!(pattern("a+b/+x/*c").is_exact());
        assert_eq!(pattern("a/+/b*").tokens(), [literal("a/"), Token::AnySegment, literal("/b")]);
        assert!(pattern("a/+/b*").is_glob());
        assert_eq!(pattern("+").tokens(), [Token::AnySegment]);
        assert_eq!(
            pattern("+/+/").tokens(),
            [Token::AnySegment, literal("/"), Token::AnySegment, literal("/")]
        );
        assert_eq!(pattern("c/**").tokens(), [literal("c/*")]);
        assert_eq!(pattern("*").tokens(), []);
    }

    #[test]
    fn values_are_literal() {
        let filled =
            |value| Pattern::new("", &[Piece::Written("a/"), Piece::Value(value), Piece::Written("/c")]);
        assert_eq!(filled("+").tokens(), [literal("a/+/c")]);
        assert!(Pattern::new("", &[Piece::Written("a/"), Piece::Value("b*")]).is_exact());
        let with_written_plus =
            Pattern::new("", &[Piece::Written("a/"), Piece::Value(""), Piece::Written("+")]);
        assert!(with_written_plus.is_exact());
    }

    #[test]
    fn a_namespace_goes_before_the_path() {
        let pattern = Pattern::new("ns1/+/", &[Piece::Written("+/x*")]);
        assert_eq!(pattern.text(), "ns1/+/+/x*");
        assert_eq!(pattern.tokens(), [literal("ns1/+/"), Token::AnySegment, literal("/x")]);
    }

    /// Each pair as documented: the first is of lower priority.
    #[test]
    fn documented_priorities() {
        for (low, high) in [
            ("secret/*", "secret/foo*"),
            ("secret/+/foo", "secret/bar*"),
            ("secret/+/*", "secret/+/foo"),
            ("secret/*", "secret/+"),
            ("secret/+/+/foo/*", "secret/*"),
            ("secret/+/a", "secret/+/ab"),
            ("secret/+/a", "secret/+/b"),
            ("secret/+", "secret/x"),
            ("*", "+"),
        ] {
            assert_eq!(pattern(low).priority(&pattern(high)), Ordering::Less, "{low} < {high}");
            assert_eq!(pattern(high).priority(&pattern(low)), Ordering::Greater, "{high} > {low}");
        }
    }

    #[test]
    fn reach_and_cover_of_a_mount() {
        for (text, reaches, covers) in [
            ("kv/*", true, true),
            ("k*", true, true),
            ("*", true, true),
            ("+/*", true, true),
            ("kv/a/b", true, false),
            ("kv/a*", true, false),
            ("kv", true, false),
            ("kv/", true, false),
            ("+/q", true, false),
            ("+", true, false),
            ("kvx/*", false, false),
            ("k", false, false),
            ("other/+/x", false, false),
        ] {
            assert_eq!(pattern(text).reaches_under("kv/"), reaches, "{text}");
            assert_eq!(pattern(text).covers("kv/"), covers, "{text}");
        }
    }
}
