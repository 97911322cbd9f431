//! A radix tree over patterns that finds all those matching a path in one walk.
//!
//! Every node stands for one sequence of literals and wildcard segments, so a
//! walk visits a node at most once: the cost is bounded by the length of the
//! path and the number of patterns with `+` that could still match.

use std::collections::BTreeMap;

use crate::pattern::{Pattern, Token};

/// A node, and with it the tree below.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// The characters that lead here from the node above.
    label: Box<[u8]>,
    /// The nodes below, by the first character of their label.
    children: BTreeMap<u8, Tree>,
    /// The subtree after any one segment.
    any_segment: Option<Box<Tree>>,
    /// The pattern that ends here.
    exact: Option<u32>,
    /// The pattern that ends here with `*`.
    glob: Option<u32>,
}

impl Tree {
    /// Adds a pattern under a number, which [`Tree::visit`] will report.
    pub(crate) fn insert(&mut self, pattern: &Pattern, number: u32) {
        let mut node = self;
        for token in pattern.tokens() {
            node = match token {
                Token::Literal(text) => node.descend(text.as_bytes()),
                Token::AnySegment => node.any_segment.get_or_insert_default(),
            };
        }
        let end = if pattern.is_glob() { &mut node.glob } else { &mut node.exact };
        *end = Some(number);
    }

    /// The node that `text` leads to, made if need be.
    fn descend(&mut self, mut text: &[u8]) -> &mut Tree {
        let mut node = self;
        while let Some(&first) = text.first() {
            let leaf = || Tree { label: text.into(), ..Tree::default() };
            let child = node.children.entry(first).or_insert_with(leaf);
            let common = child.label.iter().zip(text).take_while(|(a, b)| a == b).count();
            child.split_label(common);
            text = text.get(common..).unwrap_or_default();
            node = child;
        }
        node
    }

    /// Puts a node into the label where only `length` of it is shared.
    fn split_label(&mut self, length: usize) {
        let Some((head, tail)) = self.label.split_at_checked(length) else { return };
        let Some(&first) = tail.first() else { return };
        let (head, tail) = (head.into(), tail.into());
        let mut lower = std::mem::replace(self, Tree { label: head, ..Tree::default() });
        lower.label = tail;
        self.children.insert(first, lower);
    }

    /// Calls `found` with the number of every pattern that matches `path`.
    pub(crate) fn visit(&self, path: &[u8], found: &mut impl FnMut(u32)) {
        let mut node = self;
        let mut rest = path;
        loop {
            if let Some(number) = node.glob {
                found(number);
            }
            if let (Some(number), []) = (node.exact, rest) {
                found(number);
            }
            if let Some(next) = &node.any_segment {
                let end = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
                next.visit(rest.get(end..).unwrap_or_default(), found);
            }
            let Some(child) = rest.first().and_then(|first| node.children.get(first)) else { return };
            let Some(after) = rest.strip_prefix(&*child.label) else { return };
            node = child;
            rest = after;
        }
    }
}
