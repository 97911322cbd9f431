//! The words of HCL1.

use crate::{ParseError, Position};

/// The kind of a [`Token`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `key`, `tls-key.v2`.
    Identifier,
    /// `"…"`.
    String,
    /// `<<EOF … EOF`.
    Heredoc,
    /// `10`, `-1.5e3`, `0x1F`.
    Number,
    /// `true`, `false`.
    Bool,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Assign,
    /// `# …`, `// …`, `/* … */`.
    Comment,
    /// The end of the text.
    End,
}

/// A word and where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    /// As it was written, with quotes or markers.
    pub(crate) text: &'a str,
    pub(crate) position: Position,
    /// The line of the word's last character; of a heredoc, the line of its closing marker.
    pub(crate) last_line: u32,
}

impl Token<'_> {
    /// A description for messages.
    pub(crate) fn describe(&self) -> String {
        match self.kind {
            Kind::Identifier => format!("the name {:?}", self.text),
            Kind::String => "a string".to_owned(),
            Kind::Heredoc => "a heredoc".to_owned(),
            Kind::End => "the end of the text".to_owned(),
            Kind::Comment => "a comment".to_owned(),
            _ => format!("{:?}", self.text),
        }
    }
}

/// Cuts a text into words.
pub(crate) struct Lexer<'a> {
    text: &'a str,
    /// Byte offset of the next character.
    offset: usize,
    position: Position,
    /// The line of the character read last.
    last_line: u32,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Lexer<'a> {
        Lexer { text, offset: 0, position: Position::START, last_line: 1 }
    }

    /// The next word; [`Kind::End`] again and again at the end.
    pub(crate) fn token(&mut self) -> Result<Token<'a>, ParseError> {
        self.skip_while(|c| matches!(c, ' ' | '\t' | '\r' | '\n'));
        let (start, position) = (self.offset, self.position);
        let kind = match self.next() {
            None => Kind::End,
            Some('{') => Kind::LeftBrace,
            Some('}') => Kind::RightBrace,
            Some('[') => Kind::LeftBracket,
            Some(']') => Kind::RightBracket,
            Some(',') => Kind::Comma,
            Some('=') => Kind::Assign,
            Some('"') => self.string(position)?,
            Some('#') => self.line_comment(),
            Some('/') => self.slash(position)?,
            Some('<') => self.heredoc(position)?,
            Some(c) if c == '_' || c.is_alphabetic() => {
                self.skip_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
                if matches!(self.since(start), "true" | "false") { Kind::Bool } else { Kind::Identifier }
            }
            Some(c) if matches!(c, '-' | '.') || c.is_ascii_digit() => self.number(c, start, position)?,
            Some('\0') => return Err(ParseError::new(position, "a null character is not allowed")),
            Some(c) => return Err(ParseError::new(position, format!("{c:?} is not allowed here"))),
        };
        Ok(Token { kind, text: self.since(start), position, last_line: self.last_line })
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.offset..)?.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.last_line = self.position.line;
        self.offset = self.offset.saturating_add(c.len_utf8());
        self.position.advance(c);
        Some(c)
    }

    fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&wanted) {
            self.next();
        }
    }

    /// The text from an offset up to here.
    fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.offset).unwrap_or_default()
    }

    fn line_comment(&mut self) -> Kind {
        self.skip_while(|c| c != '\n');
        Kind::Comment
    }

    fn slash(&mut self, position: Position) -> Result<Kind, ParseError> {
        match self.next() {
            Some('/') => Ok(self.line_comment()),
            Some('*') => {
                let mut star = false;
                while let Some(c) = self.next() {
                    if star && c == '/' {
                        return Ok(Kind::Comment);
                    }
                    star = c == '*';
                }
                Err(ParseError::new(position, "this comment is not closed; \"*/\" is missing"))
            }
            _ => Err(ParseError::new(position, "'/' starts a comment only as \"//\" or \"/*\"")),
        }
    }

    /// The rest of a string after its opening quote. Within `${…}` quotes and line ends are part of the string.
    fn string(&mut self, position: Position) -> Result<Kind, ParseError> {
        let mut braces = 0_usize;
        loop {
            match self.next() {
                Some('"') if braces == 0 => return Ok(Kind::String),
                None => break,
                Some('\n') if braces == 0 => break,
                // What an escape means is checked when the string is unquoted.
                Some('\\') if self.peek() != Some('\n') => {
                    self.next();
                }
                Some('$') if braces == 0 && self.peek() == Some('{') => {
                    self.next();
                    braces = 1;
                }
                Some('{') if braces > 0 => braces = braces.saturating_add(1),
                Some('}') => braces = braces.saturating_sub(1),
                Some(_) => {}
            }
        }
        let what =
            if braces > 0 { "\"${\" in this string is not closed" } else { "this string is not closed" };
        Err(ParseError::new(position, what))
    }

    /// The rest of a heredoc after its first `<`.
    fn heredoc(&mut self, position: Position) -> Result<Kind, ParseError> {
        if self.next() != Some('<') {
            return Err(ParseError::new(position, "'<' starts a heredoc only as \"<<\""));
        }
        if self.peek() == Some('-') {
            self.next();
        }
        let start = self.offset;
        self.skip_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
        let marker = self.since(start);
        if marker.is_empty() {
            return Err(ParseError::new(
                position,
                "a heredoc needs a marker after \"<<\", such as \"<<EOF\"",
            ));
        }
        self.skip_while(|c| c == '\r');
        if self.next() != Some('\n') {
            let message = format!("the heredoc's marker {marker:?} must be followed by a line end");
            return Err(ParseError::new(position, message));
        }
        loop {
            let line_start = self.offset;
            self.skip_while(|c| c != '\n');
            let line = self.since(line_start);
            if line.trim_end_matches('\r').trim_start() == marker {
                return Ok(Kind::Heredoc);
            }
            if self.next().is_none() {
                let message = format!("this heredoc is not closed; a line with {marker:?} alone is missing");
                return Err(ParseError::new(position, message));
            }
        }
    }

    /// The rest of a number after its first character.
    fn number(&mut self, first: char, start: usize, position: Position) -> Result<Kind, ParseError> {
        self.skip_while(|c| c.is_alphanumeric() || matches!(c, '.' | '_'));
        // An exponent may have a sign.
        let written = self.since(start);
        let hexadecimal = written.contains(['x', 'X']);
        if !hexadecimal && written.ends_with(['e', 'E']) && matches!(self.peek(), Some('+' | '-')) {
            self.next();
            self.skip_while(|c| c.is_alphanumeric() || matches!(c, '.' | '_'));
        }
        let written = self.since(start);
        if is_number(written) {
            return Ok(Kind::Number);
        }
        let message = if first == '-' && written.len() == 1 {
            "'-' must be followed by a number".to_owned()
        } else {
            format!("{written:?} is not a number; if a text is meant, put it in quotes")
        };
        Err(ParseError::new(position, message))
    }
}

/// True for `0`, `12`, `-3`, `0x1F`, `0755`, `1.5`, `.5`, `1.`, `2e10`.
fn is_number(written: &str) -> bool {
    let digits = written.strip_prefix('-').unwrap_or(written);
    let all = |text: &str, test: fn(&u8) -> bool| !text.is_empty() && text.bytes().all(|b| test(&b));
    if let Some(hexadecimal) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        return all(hexadecimal, u8::is_ascii_hexdigit);
    }
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (digits, None),
    };
    let exponent_is_good =
        exponent.is_none_or(|text| all(text.strip_prefix(['+', '-']).unwrap_or(text), u8::is_ascii_digit));
    let mantissa_is_good = match mantissa.split_once('.') {
        Some((whole, fraction)) => {
            let digits = |text: &str| text.is_empty() || all(text, u8::is_ascii_digit);
            mantissa.len() > 1 && digits(whole) && digits(fraction)
        }
        None if exponent.is_none() && mantissa.len() > 1 && mantissa.starts_with('0') => {
            all(mantissa, |b| (b'0'..=b'7').contains(b))
        }
        None => all(mantissa, u8::is_ascii_digit),
    };
    exponent_is_good && mantissa_is_good
}
