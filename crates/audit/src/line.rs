//! Writing JSON by hand: the members of an object, in order, without those that are empty.

use serde_json::{Map, Value};

/// A JSON text in the making.
///
/// No value ends in `{`, so a `{` at the end means that the object just opened and needs no comma.
#[derive(Default)]
pub(crate) struct Line {
    /// The line so far.
    pub(crate) out: Vec<u8>,
}

impl Line {
    /// A member's name, one of our own, none of which needs an escape; its value must follow.
    pub(crate) fn key(&mut self, name: &'static str) {
        self.comma();
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// A member's name that comes from outside; its value must follow.
    pub(crate) fn foreign_key(&mut self, name: &str) {
        self.comma();
        push_string(&mut self.out, name);
        self.out.push(b':');
    }

    fn comma(&mut self) {
        if self.out.last() != Some(&b'{') {
            self.out.push(b',');
        }
    }

    /// A string, unless empty.
    pub(crate) fn text(&mut self, name: &'static str, value: &str) {
        if !value.is_empty() {
            self.key(name);
            push_string(&mut self.out, value);
        }
    }

    /// A number, unless zero.
    pub(crate) fn number(&mut self, name: &'static str, value: u64) {
        if value != 0 {
            self.key(name);
            self.out.extend_from_slice(value.to_string().as_bytes());
        }
    }

    /// `true`, or nothing.
    pub(crate) fn flag(&mut self, name: &'static str, value: bool) {
        if value {
            self.key(name);
            self.out.extend_from_slice(b"true");
        }
    }

    /// An array of strings, unless empty.
    pub(crate) fn list(&mut self, name: &'static str, values: &[String]) {
        if !values.is_empty() {
            self.key(name);
            push_strings(&mut self.out, values);
        }
    }

    /// An object with whatever `members` adds.
    pub(crate) fn object(&mut self, name: &'static str, members: impl FnOnce(&mut Self)) {
        self.key(name);
        self.out.push(b'{');
        members(self);
        self.out.push(b'}');
    }
}

/// Appends an array.
pub(crate) fn push_array<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut push: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'[');
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push(out, item);
    }
    out.push(b']');
}

/// Appends an array of strings.
pub(crate) fn push_strings(out: &mut Vec<u8>, values: &[String]) {
    push_array(out, values, |out, value| push_string(out, value));
}

/// Appends an object.
pub(crate) fn push_object(
    out: &mut Vec<u8>,
    map: &Map<String, Value>,
    mut push: impl FnMut(&mut Vec<u8>, &str, &Value),
) {
    out.push(b'{');
    for (index, (key, value)) in map.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_string(out, key);
        out.push(b':');
        push(out, key, value);
    }
    out.push(b'}');
}

/// Appends a JSON string (RFC 8259, section 7).
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    // Without a way out early, the compiler looks at many bytes at a time.
    if text.bytes().fold(false, |any, byte| any | needs_escape(byte)) {
        for byte in text.bytes() {
            push_escaped(out, byte);
        }
    } else {
        out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
}

const fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn push_escaped(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        control if control < 0x20 => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        plain => out.push(plain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_string_reads_back(text in any::<String>()) {
            let mut out = Vec::new();
            push_string(&mut out, &text);
            prop_assert!(!out.contains(&b'\n'));
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }

    #[test]
    fn leaves_out_what_is_empty() {
        let mut line = Line::default();
        line.out.push(b'{');
        line.text("a", "");
        line.number("b", 0);
        line.flag("c", false);
        line.list("d", &[]);
        line.object("e", |line| line.text("f", "x"));
        line.number("g", 7);
        line.out.push(b'}');
        assert_eq!(String::from_utf8(line.out).unwrap(), r#"{"e":{"f":"x"},"g":7}"#);
    }
}
