//! Turns words into values.

use crate::lexer::{Kind, Token};
use crate::syntax::{File, Item, Node};
use crate::{Element, Number, Object, ParseError, Position, Value, unquote};

/// The values of a whole text.
pub(crate) fn object(file: &File<'_>) -> Result<Object, ParseError> {
    Ok(Object { items: items(&file.items)?, position: Position::START })
}

fn items(items: &[Item<'_>]) -> Result<Vec<crate::Item>, ParseError> {
    items.iter().map(item).collect()
}

fn item(item: &Item<'_>) -> Result<crate::Item, ParseError> {
    let position = item.keys.first().map_or(item.node.position(), |key| key.position);
    let mut keys = item.keys.iter().map(text);
    let key = keys.next().transpose()?.unwrap_or_default();
    let labels = keys.collect::<Result<_, _>>()?;
    let (value, value_position) = (value(&item.node)?, item.node.position());
    Ok(crate::Item { key, labels, value, assigned: item.assigned, position, value_position })
}

fn value(node: &Node<'_>) -> Result<Value, ParseError> {
    Ok(match node {
        Node::Literal(token) => match token.kind {
            Kind::Number => Value::Number(Number::from_checked(token.text)),
            Kind::Bool => Value::Bool(token.text == "true"),
            _ => Value::String(text(token)?),
        },
        Node::List { nodes, .. } => Value::List(
            nodes
                .iter()
                .map(|node| Ok(Element { value: value(node)?, position: node.position() }))
                .collect::<Result<_, ParseError>>()?,
        ),
        Node::Object { open, items: inner, .. } => {
            Value::Object(Object { items: items(inner)?, position: open.position })
        }
    })
}

/// The text that an identifier, a string or a heredoc stands for.
fn text(token: &Token<'_>) -> Result<String, ParseError> {
    match token.kind {
        Kind::String => unquote::string(token.text, token.position),
        Kind::Heredoc => Ok(unquote::heredoc(token.text)),
        _ => Ok(token.text.to_owned()),
    }
}
