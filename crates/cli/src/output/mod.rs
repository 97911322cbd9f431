//! The output of results: tables, JSON, YAML, single fields.

pub(crate) mod go;
pub(crate) mod reply;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod yaml;

use serde::Serialize;

use crate::failure::Failure;

/// The format of a command's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Aligned columns for people.
    Table,
    /// JSON, indented.
    Json,
    /// YAML.
    Yaml,
    /// The server's answer as it came.
    Raw,
}

impl Format {
    /// Reads a format's name. `yml` is YAML; `pretty` is the table, as it is for all that has no look of its own.
    pub(crate) fn parse(name: &str) -> Result<Self, Failure> {
        match name.to_lowercase().as_str() {
            "" | "table" | "pretty" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            "yaml" | "yml" => Ok(Self::Yaml),
            "raw" => Ok(Self::Raw),
            _ => Err(Failure::local(format!("Invalid output format: {name}"))),
        }
    }
}

/// Indented JSON as Go's encoder writes it: two spaces, and `<`, `>`, `&` escaped. Fields keep their order, the keys
/// of maps are sorted.
pub(crate) fn json(value: &impl Serialize) -> Result<String, Failure> {
    let plain = serde_json::to_string_pretty(value).map_err(|error| Failure::local(error.to_string()))?;
    // These characters occur in JSON within strings only, where their escapes mean the same.
    Ok(plain
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029"))
}

/// YAML with sorted keys, ending in a newline.
pub(crate) fn yaml(value: &impl Serialize) -> Result<String, Failure> {
    let tree = serde_json::to_value(value).map_err(|error| Failure::local(error.to_string()))?;
    Ok(yaml::write(&tree))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_looks_as_gos() {
        let value = json!({"b": "<&>", "a": [1, {}], "e": []});
        let wanted =
            "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": \"\\u003c\\u0026\\u003e\",\n  \"e\": []\n}";
        assert_eq!(super::json(&value).unwrap(), wanted);
    }

    #[test]
    fn knows_the_documented_formats() {
        for (name, format) in
            [("table", Format::Table), ("JSON", Format::Json), ("yml", Format::Yaml), ("raw", Format::Raw)]
        {
            assert_eq!(Format::parse(name).unwrap(), format);
        }
        assert_eq!(Format::parse("zork").unwrap_err().to_string(), "Invalid output format: zork");
    }
}
