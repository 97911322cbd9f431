//! The text as a tree of words, comments kept: what [`crate::parse`] lowers and [`crate::format()`] prints.

use crate::lexer::{Kind, Lexer, Token};
use crate::{MAX_DEPTH, ParseError, Position};

/// A whole text.
#[derive(Debug)]
pub(crate) struct File<'a> {
    pub(crate) items: Vec<Item<'a>>,
    /// All comments, in the order they were written.
    pub(crate) comments: Vec<Token<'a>>,
}

/// An entry of an object.
#[derive(Debug)]
pub(crate) struct Item<'a> {
    /// At least one; more than one only before an object.
    pub(crate) keys: Vec<Token<'a>>,
    /// True for `key = …`, false for `key { … }`.
    pub(crate) assigned: bool,
    pub(crate) node: Node<'a>,
}

/// A value.
#[derive(Debug)]
pub(crate) enum Node<'a> {
    /// A string, heredoc, number or boolean.
    Literal(Token<'a>),
    List {
        open: Token<'a>,
        nodes: Vec<Node<'a>>,
        close: Token<'a>,
    },
    Object {
        open: Token<'a>,
        items: Vec<Item<'a>>,
        close: Token<'a>,
    },
}

impl<'a> Node<'a> {
    /// The first word of the value.
    pub(crate) fn first(&self) -> &Token<'a> {
        match self {
            Node::Literal(token) => token,
            Node::List { open, .. } | Node::Object { open, .. } => open,
        }
    }

    /// The last word of the value.
    pub(crate) fn last(&self) -> &Token<'a> {
        match self {
            Node::Literal(token) => token,
            Node::List { close, .. } | Node::Object { close, .. } => close,
        }
    }

    pub(crate) fn position(&self) -> Position {
        self.first().position
    }
}

/// Reads a text of HCL1.
pub(crate) fn parse(text: &str) -> Result<File<'_>, ParseError> {
    let mut lexer = Lexer::new(text);
    let mut comments = Vec::new();
    let next = word(&mut lexer, &mut comments)?;
    let mut parser = Parser { lexer, comments, next };
    let (items, _) = parser.items(Kind::End, 0)?;
    Ok(File { items, comments: parser.comments })
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    comments: Vec<Token<'a>>,
    /// The next word, never a comment.
    next: Token<'a>,
}

/// The next word that is no comment.
fn word<'a>(lexer: &mut Lexer<'a>, comments: &mut Vec<Token<'a>>) -> Result<Token<'a>, ParseError> {
    loop {
        let token = lexer.token()?;
        if token.kind != Kind::Comment {
            return Ok(token);
        }
        comments.push(token);
    }
}

impl<'a> Parser<'a> {
    fn take(&mut self) -> Result<Token<'a>, ParseError> {
        let next = word(&mut self.lexer, &mut self.comments)?;
        Ok(std::mem::replace(&mut self.next, next))
    }

    fn unexpected<T>(&self, expected: &str) -> Result<T, ParseError> {
        Err(ParseError::new(
            self.next.position,
            format!("expected {expected}, found {}", self.next.describe()),
        ))
    }

    /// Items up to and with `close`, with or without commas between them.
    fn items(&mut self, close: Kind, depth: usize) -> Result<(Vec<Item<'a>>, Token<'a>), ParseError> {
        let mut items = Vec::new();
        while self.next.kind != close {
            items.push(self.item(depth)?);
            if self.next.kind == Kind::Comma {
                self.take()?;
            }
        }
        // The word after the end of the text would be another end.
        let close = if close == Kind::End { self.next } else { self.take()? };
        Ok((items, close))
    }

    fn item(&mut self, depth: usize) -> Result<Item<'a>, ParseError> {
        let mut keys = Vec::new();
        while matches!(self.next.kind, Kind::Identifier | Kind::String) {
            keys.push(self.take()?);
        }
        let depth = depth.saturating_add(keys.len());
        match (self.next.kind, keys.first()) {
            (_, None) => self.unexpected("a key"),
            (Kind::LeftBrace, _) => {
                let node = self.object(depth)?;
                Ok(Item { keys, assigned: false, node })
            }
            (Kind::Assign, Some(_)) if keys.len() == 1 => {
                self.take()?;
                let node = self.node(depth)?;
                Ok(Item { keys, assigned: true, node })
            }
            (Kind::Assign, Some(_)) => self.unexpected("'{' after the labels of a block"),
            (_, Some(key)) => {
                let what = format!("'=' or '{{' after the key {}", key.text);
                self.unexpected(&what)
            }
        }
    }

    fn node(&mut self, depth: usize) -> Result<Node<'a>, ParseError> {
        match self.next.kind {
            Kind::String | Kind::Heredoc | Kind::Number | Kind::Bool => Ok(Node::Literal(self.take()?)),
            Kind::LeftBrace => self.object(depth),
            Kind::LeftBracket => self.list(depth),
            Kind::Identifier => {
                let message =
                    format!("expected a value, found {0}; a text needs quotes: \"{0}\"", self.next.text);
                Err(ParseError::new(self.next.position, message))
            }
            _ => self.unexpected("a value"),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Node<'a>, ParseError> {
        self.check_depth(depth)?;
        let open = self.take()?;
        let (items, close) = self.items(Kind::RightBrace, depth)?;
        Ok(Node::Object { open, items, close })
    }

    fn list(&mut self, depth: usize) -> Result<Node<'a>, ParseError> {
        self.check_depth(depth)?;
        let open = self.take()?;
        let mut nodes = Vec::new();
        loop {
            // HCL1 takes several commas for one, and some before the first element for none.
            while self.next.kind == Kind::Comma {
                self.take()?;
            }
            if self.next.kind == Kind::RightBracket {
                let close = self.take()?;
                return Ok(Node::List { open, nodes, close });
            }
            nodes.push(self.node(depth.saturating_add(1))?);
            if !matches!(self.next.kind, Kind::Comma | Kind::RightBracket) {
                return self.unexpected("',' or ']' in a list");
            }
        }
    }

    fn check_depth(&self, depth: usize) -> Result<(), ParseError> {
        if depth > MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            return Err(ParseError::new(self.next.position, message));
        }
        Ok(())
    }
}
