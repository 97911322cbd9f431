//! The JSON form. `serde_json` reads JSON too, but without the line and column of each value, and without the
//! comma after the last element that HCL1 lets pass.

use crate::{Element, Item, MAX_DEPTH, Number, Object, ParseError, Position, Value};

/// Reads a JSON document whose value is an object.
pub(crate) fn parse(text: &str) -> Result<Object, ParseError> {
    let mut parser = Parser { text, offset: 0, position: Position::START };
    parser.blanks();
    let position = parser.position;
    let object = match parser.value(1)? {
        Value::Object(object) => object,
        other => {
            return Err(ParseError::new(position, format!("expected an object, found {}", other.kind())));
        }
    };
    parser.blanks();
    match parser.peek() {
        None => Ok(object),
        Some(c) => {
            Err(ParseError::new(parser.position, format!("expected the end of the text, found {c:?}")))
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    offset: usize,
    position: Position,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.offset..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.offset = self.offset.saturating_add(c.len_utf8());
        self.position.advance(c);
        Some(c)
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let start = self.offset;
        while self.peek().is_some_and(&wanted) {
            self.next();
        }
        self.text.get(start..self.offset).unwrap_or_default()
    }

    fn blanks(&mut self) {
        self.take_while(|c| matches!(c, ' ' | '\t' | '\r' | '\n'));
    }

    /// True, and past it, if the next character after blanks is this one.
    fn accept(&mut self, wanted: char) -> bool {
        self.blanks();
        let found = self.peek() == Some(wanted);
        if found {
            self.next();
        }
        found
    }

    fn unexpected<T>(&self, expected: &str) -> Result<T, ParseError> {
        let found = match self.peek() {
            Some(c) => format!("{c:?}"),
            None => "the end of the text".to_owned(),
        };
        Err(ParseError::new(self.position, format!("expected {expected}, found {found}")))
    }

    fn value(&mut self, depth: usize) -> Result<Value, ParseError> {
        let position = self.position;
        match self.peek() {
            Some('{' | '[') if depth > MAX_DEPTH => {
                Err(ParseError::new(position, format!("nested deeper than {MAX_DEPTH} levels")))
            }
            Some('{') => self.object(depth),
            Some('[') => self.list(depth),
            Some('"') => Ok(Value::String(self.string()?)),
            Some('-' | '0'..='9') => self.number(),
            Some('a'..='z' | 'A'..='Z') => match self.take_while(|c| c.is_ascii_alphanumeric()) {
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                "null" => Ok(Value::Null),
                word => Err(ParseError::new(position, format!("expected a value, found {word:?}"))),
            },
            _ => self.unexpected("a value"),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, ParseError> {
        let position = self.position;
        self.next();
        let mut items = Vec::new();
        if self.accept('}') {
            return Ok(Value::Object(Object { items, position }));
        }
        loop {
            self.blanks();
            let key_position = self.position;
            if self.peek() != Some('"') {
                return self.unexpected("a key in quotes");
            }
            let key = self.string()?;
            if !self.accept(':') {
                return self.unexpected("':' after a key");
            }
            self.blanks();
            let value_position = self.position;
            let value = self.value(depth.saturating_add(1))?;
            let assigned = !matches!(value, Value::Object(_) | Value::List(_));
            items.push(Item {
                key,
                labels: Vec::new(),
                value,
                assigned,
                position: key_position,
                value_position,
            });
            let comma = self.accept(',');
            if self.accept('}') {
                return Ok(Value::Object(Object { items, position }));
            }
            if !comma {
                return self.unexpected("',' or '}' in an object");
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, ParseError> {
        self.next();
        let mut elements = Vec::new();
        if self.accept(']') {
            return Ok(Value::List(elements));
        }
        loop {
            self.blanks();
            let position = self.position;
            let value = self.value(depth.saturating_add(1))?;
            elements.push(Element { value, position });
            let comma = self.accept(',');
            if self.accept(']') {
                return Ok(Value::List(elements));
            }
            if !comma {
                return self.unexpected("',' or ']' in a list");
            }
        }
    }

    fn number(&mut self) -> Result<Value, ParseError> {
        let position = self.position;
        let written = self.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-'));
        // JSON's grammar of numbers is serde_json's business; here only its text is kept.
        match serde_json::from_str::<serde_json::Number>(written) {
            Ok(_) => Ok(Value::Number(Number::from_checked(written))),
            Err(_) => Err(ParseError::new(position, format!("{written:?} is not a number"))),
        }
    }

    /// A string with its quotes.
    fn string(&mut self) -> Result<String, ParseError> {
        let (start, position) = (self.offset, self.position);
        self.next();
        let mut escaped = false;
        loop {
            match self.next() {
                Some('"') if !escaped => break,
                Some('\n') | None => return Err(ParseError::new(position, "this string is not closed")),
                Some(c) => escaped = c == '\\' && !escaped,
            }
        }
        let quoted = self.text.get(start..self.offset).unwrap_or_default();
        serde_json::from_str(quoted).map_err(|error| {
            // serde_json's own position is relative to this string; what remains is its reason.
            let reason = error.to_string();
            let reason = reason.split(" at line ").next().unwrap_or_default().to_owned();
            ParseError::new(position, format!("this string is not valid: {reason}"))
        })
    }
}
