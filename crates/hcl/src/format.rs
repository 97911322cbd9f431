//! The canonical layout of a text.

use crate::lexer::{Kind, Token};
use crate::syntax::{self, Item, Node};
use crate::{ParseError, Position, lower};

/// Rewrites a text of HCL1 in the canonical layout, as `vault policy fmt` does: an indentation of two blanks, a
/// blank line between items, and `=` and trailing comments aligned in runs of short arguments on adjacent lines.
/// JSON is refused.
///
/// It differs from Vault's in what would lose or spoil something there: a comment stays in the block or list that it
/// was written in, an empty block stays a block (`x "y" {}`), and a blank line follows every group of items. To
/// format twice is to format once.
///
/// ```
/// let text = "path \"secret/*\" { # read only\ncapabilities=[\"read\",\"list\"]}";
/// let pretty = "path \"secret/*\" {\n  # read only\n  capabilities = [\"read\", \"list\"]\n}\n";
/// assert_eq!(strongroom_hcl::format(text).as_deref(), Ok(pretty));
/// ```
pub fn format(text: &str) -> Result<String, ParseError> {
    let file = syntax::parse(text.strip_prefix('\u{feff}').unwrap_or(text))?;
    // What parse refuses (a bad escape) must not pass as well-formed here.
    lower::object(&file)?;
    let mut printer = Printer { out: String::new(), depth: 0, comments: &file.comments };
    let end = Position { line: u32::MAX, column: u32::MAX };
    printer.items(&file.items, end, Layout::Spaced);
    Ok(printer.out)
}

/// The layout of items one below the other.
#[derive(Clone, Copy, PartialEq)]
enum Layout {
    /// A blank line between any two: the outermost level.
    Spaced,
    /// Short arguments on adjacent lines stay adjacent and are aligned: within an object.
    Runs,
}

struct Printer<'a> {
    out: String,
    depth: usize,
    /// The comments that are not printed yet.
    comments: &'a [Token<'a>],
}

/// Comments that stand together, one a line.
type Group<'a> = Vec<Token<'a>>;

impl<'a> Printer<'a> {
    /// Prints the items of an object and the comments among them, up to its end.
    fn items(&mut self, items: &[Item<'a>], end: Position, layout: Layout) {
        let mut rest = items;
        let mut above = None;
        let mut first = true;
        while let Some(item) = rest.first() {
            let lead = self.comments_above(item.line(), item.position(), &mut first);
            self.blank_line(&mut first);
            self.group(&lead);
            let run = match layout {
                Layout::Runs if items.len() > 1 => self.run(rest, above, lead.len(), end),
                _ => 0,
            };
            let (printed, after) = rest.split_at_checked(run.max(1)).unwrap_or((rest, &[]));
            let next = after.first().map_or(end, Item::position);
            if run > 1 {
                self.aligned(printed, next);
            } else {
                self.item(item, next);
            }
            above = printed.last().map(Item::line);
            rest = after;
        }
        self.standalone(end, &mut first);
    }

    /// The number of items from here on that form a run: arguments that fit on one line, each next to the one above or
    /// below it, with no comment between them.
    fn run(&self, items: &[Item<'a>], mut above: Option<u32>, lead: usize, end: Position) -> usize {
        let mut count = 0;
        let mut comments = self.comments;
        for (index, item) in items.iter().enumerate() {
            let following = items.get(index.saturating_add(1));
            let alone = comments.first().is_none_or(|comment| comment.position > item.node.position());
            if !item.assigned || !alone || !self.fits_on_line(&item.node) || (index == 0 && lead > 1) {
                break;
            }
            let touches_below = following.is_some_and(|next| next.line() == item.line().saturating_add(1));
            let touches_above = above.is_some_and(|line| line.saturating_add(1) == item.line());
            if !touches_below && !touches_above {
                break;
            }
            count = index.saturating_add(1);
            if !touches_below {
                break;
            }
            let next = following.map_or(end, Item::position);
            comments = comments.get(trailing(comments, &item.node, next)..).unwrap_or_default();
            above = Some(item.line());
        }
        count
    }

    /// Prints a run with its `=` and trailing comments aligned.
    fn aligned(&mut self, items: &[Item<'a>], end: Position) {
        let width = |text: &str| text.chars().count();
        let keys: Vec<String> = items.iter().map(Item::head).collect();
        let values: Vec<String> = items.iter().map(|item| on_line(&item.node)).collect();
        let key_width = keys.iter().map(|key| width(key)).max().unwrap_or(0);
        let value_width = values.iter().map(|value| width(value)).max().unwrap_or(0);
        for (index, ((item, key), value)) in items.iter().zip(&keys).zip(&values).enumerate() {
            let next = items.get(index.saturating_add(1)).map_or(end, Item::position);
            self.indent();
            self.out.push_str(key);
            self.pad(key_width.saturating_sub(width(key)));
            self.out.push_str(" = ");
            self.out.push_str(value);
            self.trailing_comment(&item.node, next, value_width.saturating_sub(width(value)));
            self.out.push('\n');
        }
    }

    /// Prints one item.
    fn item(&mut self, item: &Item<'a>, next: Position) {
        // A comment within the head has no place there; it goes above.
        let (within, rest) = self.comments_before(item.node.position());
        self.comments = rest;
        self.group(within);
        self.indent();
        self.out.push_str(&item.head());
        self.out.push_str(if item.assigned { " = " } else { " " });
        self.node(&item.node);
        self.trailing_comment(&item.node, next, 0);
        self.out.push('\n');
    }

    /// Prints a value from the current column on.
    fn node(&mut self, node: &Node<'a>) {
        if self.is_flat(node) {
            let text = on_line(node);
            self.out.push_str(&text);
            if matches!(node, Node::List { nodes, .. } if nodes.iter().any(is_heredoc)) {
                // The bracket cannot follow the heredoc's marker on its line.
                self.out.push('\n');
                self.indent();
                self.out.push(']');
            }
            return;
        }
        match node {
            Node::Literal(_) => {}
            Node::Object { items, close, .. } => {
                self.out.push_str("{\n");
                self.depth = self.depth.saturating_add(1);
                self.items(items, close.position, Layout::Runs);
                self.depth = self.depth.saturating_sub(1);
                self.indent();
                self.out.push('}');
            }
            Node::List { nodes, close, .. } => {
                self.out.push_str("[\n");
                self.depth = self.depth.saturating_add(1);
                self.elements(nodes, close.position);
                self.depth = self.depth.saturating_sub(1);
                self.indent();
                self.out.push(']');
            }
        }
    }

    /// Prints the elements of a list, one a line; an element with a comment above it stands between blank lines.
    fn elements(&mut self, nodes: &[Node<'a>], end: Position) {
        // The comments behind the elements that fit on a line are aligned.
        let widths: Vec<Option<usize>> =
            nodes.iter().map(|node| self.fits_on_line(node).then(|| on_line(node).chars().count())).collect();
        let widest = widths.iter().flatten().copied().max().unwrap_or(0);
        let mut first = true;
        let mut commented = false;
        for (index, (node, width)) in nodes.iter().zip(&widths).enumerate() {
            let next = nodes.get(index.saturating_add(1)).map_or(end, Node::position);
            let pending = self.comments.first().is_some_and(|comment| comment.position < node.position());
            let lead = self.comments_above(node.position().line, node.position(), &mut first);
            if pending || commented {
                self.blank_line(&mut first);
            }
            first = false;
            commented = !lead.is_empty();
            self.group(&lead);
            self.indent();
            self.node(node);
            if is_heredoc(node) {
                self.out.push('\n');
                self.indent();
            }
            self.out.push(',');
            self.trailing_comment(node, next, width.map_or(0, |width| widest.saturating_sub(width)));
            self.out.push('\n');
        }
        self.standalone(end, &mut first);
    }

    /// Takes the comments before a place. The group that ends on the line above `line` is returned, to be printed
    /// next to what stands there; the others are printed, each between blank lines.
    fn comments_above(&mut self, line: u32, place: Position, first: &mut bool) -> Group<'a> {
        let (before, rest) = self.comments_before(place);
        self.comments = rest;
        let mut groups = groups(before);
        let touches = |group: &mut Group<'a>| {
            group.last().is_some_and(|comment| comment.last_line.saturating_add(1) == line)
        };
        let lead = groups.pop_if(touches).unwrap_or_default();
        for group in groups {
            self.blank_line(first);
            self.group(&group);
        }
        lead
    }

    /// Prints the comments that are left before a place.
    fn standalone(&mut self, place: Position, first: &mut bool) {
        let (before, rest) = self.comments_before(place);
        self.comments = rest;
        for group in groups(before) {
            self.blank_line(first);
            self.group(&group);
        }
    }

    fn comments_before(&self, place: Position) -> (&'a [Token<'a>], &'a [Token<'a>]) {
        self.comments.split_at(self.comments.partition_point(|comment| comment.position < place))
    }

    /// Takes and prints the comments that stand behind a value on its last line.
    fn trailing_comment(&mut self, node: &Node<'a>, next: Position, padding: usize) {
        let (trailing, rest) = self.comments.split_at(trailing(self.comments, node, next));
        self.comments = rest;
        if !trailing.is_empty() {
            self.pad(padding);
        }
        for comment in trailing {
            self.out.push(' ');
            self.comment(comment);
        }
    }

    fn group(&mut self, comments: &[Token<'a>]) {
        for comment in comments {
            self.indent();
            self.comment(comment);
            self.out.push('\n');
        }
    }

    /// Prints a comment; the further lines of `/* … */` stay as they were written.
    fn comment(&mut self, comment: &Token<'a>) {
        for (index, line) in comment.text.split('\n').enumerate() {
            if index > 0 {
                self.out.push('\n');
            }
            self.out.push_str(line.trim_end());
        }
    }

    /// A blank line, unless this is the first thing in its object.
    fn blank_line(&mut self, first: &mut bool) {
        if !std::mem::take(first) {
            self.out.push('\n');
        }
    }

    fn indent(&mut self) {
        self.pad(self.depth.saturating_mul(2));
    }

    fn pad(&mut self, blanks: usize) {
        self.out.extend(std::iter::repeat_n(' ', blanks));
    }

    /// True for a value that [`on_line`] can print: a literal; an empty object; a list of literals that
    /// begin on the line of its bracket. Comments within need lines of their own.
    fn is_flat(&self, node: &Node<'a>) -> bool {
        let commented = || {
            let from = self.comments.partition_point(|comment| comment.position < node.position());
            self.comments.get(from).is_some_and(|comment| comment.position < node.last().position)
        };
        match node {
            Node::Literal(_) => true,
            Node::Object { items, .. } => items.is_empty() && !commented(),
            Node::List { open, nodes, .. } => {
                let literal = |node: &Node<'_>| {
                    let alone = nodes.len() == 1 || !is_heredoc(node);
                    matches!(node, Node::Literal(_)) && alone && node.position().line == open.position.line
                };
                nodes.iter().all(literal) && !commented()
            }
        }
    }

    /// True for a value that takes no more than the line it is on.
    fn fits_on_line(&self, node: &Node<'a>) -> bool {
        fn has_line_end(node: &Node<'_>) -> bool {
            match node {
                Node::Literal(token) => token.text.contains('\n'),
                Node::List { nodes, .. } => nodes.iter().any(has_line_end),
                Node::Object { .. } => false,
            }
        }
        self.is_flat(node) && !has_line_end(node)
    }
}

impl Item<'_> {
    fn position(&self) -> Position {
        self.keys.first().map_or(self.node.position(), |key| key.position)
    }

    fn line(&self) -> u32 {
        self.position().line
    }

    /// The keys as they were written.
    fn head(&self) -> String {
        self.keys.iter().map(|key| key.text).collect::<Vec<_>>().join(" ")
    }
}

/// A flat value as text; of a list with a heredoc, all but the closing bracket.
fn on_line(node: &Node<'_>) -> String {
    match node {
        Node::Literal(token) if token.kind == Kind::Heredoc => {
            let lines: Vec<&str> = token.text.split('\n').map(|line| line.trim_end_matches('\r')).collect();
            lines.join("\n")
        }
        Node::Literal(token) => token.text.to_owned(),
        Node::Object { .. } => "{}".to_owned(),
        Node::List { nodes, .. } => {
            let elements: Vec<String> = nodes.iter().map(on_line).collect();
            let close = if nodes.iter().any(is_heredoc) { "" } else { "]" };
            format!("[{}{close}", elements.join(", "))
        }
    }
}

fn is_heredoc(node: &Node<'_>) -> bool {
    matches!(node, Node::Literal(token) if token.kind == Kind::Heredoc)
}

/// The number of comments behind a value: on its last line, with what follows on a later one.
fn trailing(comments: &[Token<'_>], node: &Node<'_>, next: Position) -> usize {
    let line = node.last().last_line;
    let behind = |comment: &&Token<'_>| comment.position.line == line && comment.position < next;
    let count = comments.iter().take_while(behind).count();
    let last_line = comments.iter().take(count).next_back().map_or(line, |comment| comment.last_line);
    if last_line == next.line { 0 } else { count }
}

/// Divides comments where a line is between them.
fn groups<'a>(comments: &[Token<'a>]) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for comment in comments {
        match groups.last_mut() {
            Some(group)
                if group
                    .last()
                    .is_some_and(|last| last.last_line.saturating_add(1) >= comment.position.line) =>
            {
                group.push(*comment);
            }
            _ => groups.push(vec![*comment]),
        }
    }
    groups
}
