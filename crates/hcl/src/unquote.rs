//! Turns the quoted form of a text into the text.

use std::iter::Peekable;
use std::str::Chars;

use crate::{ParseError, Position};

/// The characters of a quoted text, with their positions.
struct Cursor<'a> {
    chars: Peekable<Chars<'a>>,
    position: Position,
}

impl Cursor<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.chars.next()?;
        self.position.advance(c);
        Some(c)
    }
}

/// The text of an HCL string, given with its quotes: escapes are resolved, `${…}` is kept verbatim.
pub(crate) fn string(quoted: &str, position: Position) -> Result<String, ParseError> {
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(quoted);
    let mut cursor = Cursor { chars: inner.chars().peekable(), position };
    cursor.position.advance('"');
    let mut out = String::with_capacity(inner.len());
    let mut braces = 0_usize;
    loop {
        let at = cursor.position;
        let Some(c) = cursor.next() else { return Ok(out) };
        match c {
            // Within an interpolation an escape stays as written; only its length matters for the braces.
            '\\' if braces > 0 => {
                out.push(c);
                out.extend(cursor.next());
            }
            '\\' => out.push(escape(&mut cursor, at)?),
            '$' if braces == 0 && cursor.chars.peek() == Some(&'{') => {
                cursor.next();
                out.push_str("${");
                braces = 1;
            }
            _ => {
                match c {
                    '{' if braces > 0 => braces = braces.saturating_add(1),
                    '}' => braces = braces.saturating_sub(1),
                    _ => {}
                }
                out.push(c);
            }
        }
    }
}

/// The character that an escape stands for; the backslash, at `at`, has been read.
fn escape(cursor: &mut Cursor<'_>, at: Position) -> Result<char, ParseError> {
    let refuse = |what: String| ParseError::new(at, what);
    let Some(c) = cursor.next() else { return Err(refuse("this escape is not complete".to_owned())) };
    Ok(match c {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'v' => '\u{b}',
        '"' => '"',
        '\\' => '\\',
        'u' => code_point(cursor, 16, 4, at, 0)?,
        'U' => code_point(cursor, 16, 8, at, 0)?,
        'x' => code_point(cursor, 16, 2, at, 0)?,
        '0'..='7' => code_point(cursor, 8, 2, at, c.to_digit(8).unwrap_or_default())?,
        _ => {
            let message =
                format!("\\{} is not an escape; a backslash is written \"\\\\\"", c.escape_default());
            return Err(refuse(message));
        }
    })
}

/// The character whose number is given by `start` and the next `digits` digits.
fn code_point(
    cursor: &mut Cursor<'_>,
    radix: u32,
    digits: u32,
    at: Position,
    start: u32,
) -> Result<char, ParseError> {
    let mut number = start;
    for _ in 0..digits {
        let Some(digit) = cursor.chars.peek().and_then(|c| c.to_digit(radix)) else {
            return Err(ParseError::new(at, "this escape has too few digits"));
        };
        cursor.next();
        // Eight hexadecimal digits just fit.
        number = number.wrapping_mul(radix).wrapping_add(digit);
    }
    char::from_u32(number).ok_or_else(|| ParseError::new(at, "this escape is not a Unicode character"))
}

/// The text of a heredoc, given with its markers. With `<<-` the indentation of the closing marker is taken off
/// every line, if every line has it. Lines end with `\n`, also where the text was written with `\r\n`.
pub(crate) fn heredoc(written: &str) -> String {
    let Some((opening, rest)) = written.split_once('\n') else { return String::new() };
    let Some((body, closing)) = rest.rsplit_once('\n') else { return String::new() };
    let marker = closing.trim_start();
    let indentation = closing.strip_suffix(marker).unwrap_or_default();
    let mut text = String::with_capacity(body.len().saturating_add(1));
    let lines = body.split('\n').map(|line| line.trim_end_matches('\r'));
    let unindent = opening.starts_with("<<-") && lines.clone().all(|line| line.starts_with(indentation));
    for line in lines {
        text.push_str(if unindent { line.strip_prefix(indentation).unwrap_or(line) } else { line });
        text.push('\n');
    }
    text
}
