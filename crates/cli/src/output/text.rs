//! Running text: wrapped lines and lists.

use std::borrow::Cow;

/// Width that messages are wrapped at.
pub(crate) const WIDTH: usize = 78;

/// Wraps text at `width` columns. Existing line breaks stay.
pub(crate) fn wrap(text: &str, width: usize) -> String {
    wrap_indented(text, width, "", "")
}

/// Wraps text at `width` columns, the first line behind `first`, the others behind `rest`.
pub(crate) fn wrap_indented(text: &str, width: usize, first: &str, rest: &str) -> String {
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut line = if lines.is_empty() { first.to_owned() } else { rest.to_owned() };
        let mut empty = true;
        for word in paragraph.split_whitespace() {
            let length = line.chars().count().saturating_add(word.chars().count());
            if !empty && length >= width {
                lines.push(std::mem::replace(&mut line, rest.to_owned()));
                empty = true;
            }
            if !empty {
                line.push(' ');
            }
            line.push_str(word);
            empty = false;
        }
        lines.push(line.trim_end().to_owned());
    }
    lines.join("\n")
}

/// Text from elsewhere as a terminal may show it: control characters, which can rewrite what was printed before, and
/// those that turn the direction of writing are replaced. Line breaks and tabs stay.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    let deceives = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t'))
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if text.contains(deceives) { Cow::Owned(text.replace(deceives, "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// The warnings of an answer as they are shown.
pub(crate) fn warnings(warnings: &[String]) -> String {
    let mut text = "WARNING! The following warnings were returned from Vault:\n\n".to_owned();
    for warning in warnings {
        text.push_str(&wrap_indented(&visible(warning), WIDTH, "  * ", "  "));
        text.push_str("\n\n");
    }
    text.pop();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_at_words() {
        assert_eq!(wrap("aa bb cc dd", 6), "aa bb\ncc dd");
        assert_eq!(wrap("a\n\nb", 10), "a\n\nb");
        assert_eq!(wrap("muchtoolongaword x", 5), "muchtoolongaword\nx");
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(visible("plain é\n\ttext"), "plain é\n\ttext");
        assert_eq!(visible("a\u{1b}[2Jb\rc\u{9b}d\u{7f}"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d\u{fffd}");
        assert_eq!(visible("\u{202e}nimda\u{2069}\u{200f}"), "\u{fffd}nimda\u{fffd}\u{fffd}");
        assert!(!warnings(&["\u{1b}]0;x\u{7}".to_owned()]).contains('\u{1b}'));
    }

    #[test]
    fn warnings_are_a_list() {
        let long = format!("w2 {}", "long ".repeat(30));
        let text = warnings(&["w1".to_owned(), long]);
        let wanted = "WARNING! The following warnings were returned from Vault:\n\n  * w1\n\n  * w2 long long long \
                      long long long long long long long long long long long\n  long long";
        assert!(text.starts_with(wanted), "{text}");
        assert!(text.ends_with("long\n"));
    }
}
