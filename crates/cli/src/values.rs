//! The data of a write: `key=value`, `key=@file`, `key=-`, `@file.json` and `-`.

use std::fs;
use std::io;

use serde_json::{Map, Value};

use crate::failure::io_reason;
use crate::io::Io;

/// Reads data arguments into a JSON object, in order. A key that comes again becomes a list. The message of an error
/// names the argument.
pub(crate) fn parse(args: &[String], io: &mut Io) -> Result<Map<String, Value>, String> {
    let mut builder = Builder { data: Map::new(), stdin_used: false };
    for arg in args {
        builder.add(arg, io).map_err(|reason| format!("invalid key/value pair {arg:?}: {reason}"))?;
    }
    Ok(builder.data)
}

/// As [`parse`], for values that are texts only, as queries and login parameters are.
pub(crate) fn parse_texts(args: &[String], io: &mut Io) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    for (key, value) in parse(args, io)? {
        match value {
            Value::Array(items) => pairs.extend(items.into_iter().map(|item| (key.clone(), plain(item)))),
            other => pairs.push((key, plain(other))),
        }
    }
    Ok(pairs)
}

fn plain(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

struct Builder {
    data: Map<String, Value>,
    stdin_used: bool,
}

impl Builder {
    fn add(&mut self, arg: &str, io: &mut Io) -> Result<(), String> {
        if arg == "-" {
            let text = self.stdin(io)?;
            return self.object(&text);
        }
        let Some((key, value)) = arg.split_once('=') else {
            let path = arg.strip_prefix('@').ok_or("format must be key=value")?;
            return self.object(&file(path)?);
        };
        let value = if value == "-" {
            self.stdin(io)?
        } else if let Some(path) = value.strip_prefix('@') {
            file(path).map_err(|reason| format!("error reading file: {reason}"))?
        } else {
            // A backslash takes the meaning from an at sign.
            value.strip_prefix('\\').filter(|rest| rest.starts_with('@')).unwrap_or(value).to_owned()
        };
        self.put(key.to_owned(), Value::String(value));
        Ok(())
    }

    fn stdin(&mut self, io: &mut Io) -> Result<String, String> {
        if std::mem::replace(&mut self.stdin_used, true) {
            return Err("stdin already consumed".to_owned());
        }
        io.read_stdin().map(|text| text.to_string()).map_err(|error| io_reason(&error))
    }

    /// Merges the JSON object that the text starts with.
    fn object(&mut self, text: &str) -> Result<(), String> {
        let mut documents = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        match documents.next() {
            None => Err("EOF".to_owned()),
            Some(Ok(Value::Object(fields))) => {
                for (key, value) in fields {
                    self.put(key, value);
                }
                Ok(())
            }
            Some(Ok(_)) => Err("expected a JSON object".to_owned()),
            Some(Err(error)) => Err(error.to_string()),
        }
    }

    fn put(&mut self, key: String, value: Value) {
        match self.data.get_mut(&key) {
            None => {
                self.data.insert(key, value);
            }
            Some(Value::Array(items)) => items.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
}

fn file(path: &str) -> Result<String, String> {
    fs::read(path)
        .and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other))
        .map_err(|error| format!("open {path}: {}", io_reason(&error)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::io;

    fn data(args: &[&str], stdin: &str) -> Result<Value, String> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        parse(&args, &mut io(stdin, &[]).0).map(Value::Object)
    }

    #[test]
    fn pairs() {
        assert_eq!(data(&["a=1", "b=x=y", "d="], ""), Ok(json!({"a": "1", "b": "x=y", "d": ""})));
        assert_eq!(data(&["a=1", "a=2", "a=3"], ""), Ok(json!({"a": ["1", "2", "3"]})));
        assert_eq!(data(&["a=\\@x", "b=\\x", "@c=1"], ""), Ok(json!({"a": "@x", "b": "\\x", "@c": "1"})));
        assert_eq!(
            data(&["abc"], ""),
            Err("invalid key/value pair \"abc\": format must be key=value".to_owned())
        );
    }

    #[test]
    fn standard_input() {
        assert_eq!(data(&["a=-"], "v\n"), Ok(json!({"a": "v\n"})));
        assert_eq!(data(&["-", "a=1"], r#"{"a":5,"x":[1]}"#), Ok(json!({"a": [5, "1"], "x": [1]})));
        assert_eq!(data(&["-"], r#"{"a":1}{"b":2}"#), Ok(json!({"a": 1})));
        assert_eq!(
            data(&["a=-", "b=-"], "v"),
            Err("invalid key/value pair \"b=-\": stdin already consumed".to_owned())
        );
        assert!(data(&["-"], "[1]").is_err() && data(&["-"], "zork").is_err() && data(&["-"], "").is_err());
    }

    #[test]
    fn numbers_keep_their_digits() {
        let parsed = data(&["-"], r#"{"big":123456789012345678901234567890,"f":1.50}"#).unwrap();
        assert_eq!(parsed.to_string(), r#"{"big":123456789012345678901234567890,"f":1.50}"#);
    }

    #[test]
    fn files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.json");
        fs::write(&path, r#"{"f":1}"#).unwrap();
        let path = path.display();
        assert_eq!(data(&[&format!("@{path}"), "f=2"], ""), Ok(json!({"f": [1, "2"]})));
        assert_eq!(data(&[&format!("b=@{path}")], ""), Ok(json!({"b": r#"{"f":1}"#})));
        let missing = data(&["n=@/nope"], "").unwrap_err();
        let wanted =
            "invalid key/value pair \"n=@/nope\": error reading file: open /nope: no such file or directory";
        assert_eq!(missing, wanted);
        let missing = data(&["@/nope"], "").unwrap_err();
        assert_eq!(missing, "invalid key/value pair \"@/nope\": open /nope: no such file or directory");
    }
}
