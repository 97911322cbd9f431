//! `path-help`: what a mount and its paths are for, from the route tables, in the layout of Vault's `path-help` command.

use std::fmt::Write as _;

use serde_json::Value;
use strongroom_engine_api::{Backend, Characters, Field, Operation, Pattern, Route, RouteError, Segment};

use super::RequestError;

/// The help of a path below a mount, or of the mount itself.
pub(crate) fn help_of(engine: &dyn Backend, path: &str) -> Result<String, RequestError> {
    if path.is_empty() {
        return Ok(help_of_engine(engine));
    }
    let matching = engine.routes().iter().find(|route| route.pattern().captures(path).is_some());
    matching.map(|route| page(route, path)).ok_or_else(|| RequestError::unrouted(RouteError::UnsupportedPath))
}

/// The help of a mount: what it is, and its paths.
fn help_of_engine(engine: &dyn Backend) -> String {
    let mut paths: Vec<_> =
        engine.routes().iter().map(|route| (expression(route.pattern()), synopsis(route))).collect();
    paths.sort_unstable();
    let mut text = format!("## DESCRIPTION\n\n{}\n\n", engine.help());
    let options = &engine.facts().options;
    if !options.is_empty() {
        text.push_str("## OPTIONS\n\n");
        for option in options {
            append(&mut text, format_args!("    {}\n        {}\n\n", option.name, option.description));
        }
    }
    text.push_str(
        "## PATHS\n\nAsk for the help of any path that matches one of these patterns to learn more.\nWhat a token may do \
         there is up to its policies.",
    );
    for (path, synopsis) in paths {
        append(&mut text, format_args!("\n\n    {path}\n        {synopsis}"));
    }
    text
}

/// The help of a route for a request's path below the mount.
fn page(route: &Route, path: &str) -> String {
    let synopsis = synopsis(route);
    let mut text =
        format!("Request:        {path}\nMatching Route: {}\n\n{synopsis}\n\n", expression(route.pattern()));
    let parameters = parameters(route);
    if !parameters.is_empty() {
        text.push_str("## PARAMETERS\n");
        for (name, kind, description) in parameters {
            append(&mut text, format_args!("\n    {name} ({kind})\n\n{}\n", indented(&description)));
        }
    }
    text.push_str("\n## DESCRIPTION\n");
    if route.help() != synopsis {
        append(&mut text, format_args!("\n{}\n", route.help()));
    }
    for (operations, summary) in summaries(route) {
        append(&mut text, format_args!("\n{operations}: {summary}"));
    }
    text
}

fn append(text: &mut String, more: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _infallible = text.write_fmt(more);
}

fn indented(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("        {line}")).collect();
    lines.join("\n")
}

fn synopsis(route: &Route) -> &str {
    route.operations().next().map_or("", |(_, endpoint)| &endpoint.doc.summary)
}

/// The summary of each operation. A creation that has the same summary as an update is listed with it.
fn summaries(route: &Route) -> Vec<(String, &str)> {
    let mut summaries: Vec<(String, &str)> = Vec::new();
    for (operation, endpoint) in route.operations() {
        let summary = &*endpoint.doc.summary;
        match summaries.iter_mut().find(|(_, other)| operation == Operation::Update && *other == summary) {
            Some((operations, _)) => append(operations, format_args!(", {operation}")),
            None => summaries.push((operation.to_string(), summary)),
        }
    }
    summaries
}

/// Name, type and description of what the route takes, in the path and as fields, in order of name.
fn parameters(route: &Route) -> Vec<(String, &'static str, String)> {
    let in_path = route.pattern().parameters();
    let mut parameters: Vec<_> = in_path
        .iter()
        .map(|name| ((*name).to_owned(), "string", format!("The part {{{name}}} of the path.")))
        .collect();
    for (_, endpoint) in route.operations() {
        for field in endpoint.doc.fields.iter().filter(|field| !in_path.contains(&field.name.as_str())) {
            // Backticks are for the documentation of the code.
            let description = field.description.replace('`', "");
            parameters.push((field.name.clone(), kind(field), description));
        }
    }
    parameters.sort_by(|a, b| a.0.cmp(&b.0));
    parameters.dedup_by(|a, b| a.0 == b.0);
    parameters
}

/// Vault's name for a field's type.
fn kind(field: &Field) -> &'static str {
    let text = |member| field.schema.get(member).and_then(Value::as_str);
    match (text("type"), text("format")) {
        (Some("string"), Some("seconds")) => "duration (sec)",
        (Some("string"), _) => "string",
        (Some("boolean"), _) => "bool",
        (Some("integer"), _) => "int",
        (Some("number"), _) => "float",
        (Some("array"), _) => "slice",
        (Some("object"), Some("kvpairs")) => "keypair",
        _ => "map",
    }
}

/// A pattern as the regular expression that Vault shows in its place.
fn expression(pattern: &Pattern) -> String {
    let mut text = String::from("^");
    let segments = pattern.segments();
    for (at, segment) in segments.iter().enumerate() {
        if at > 0 {
            text.push('/');
        }
        let is_last = at.saturating_add(1) == segments.len();
        match segment {
            Segment::Fixed(fixed) => text.push_str(&fixed.replace('.', r"\.")),
            Segment::One(name, Characters::Name | Characters::Caseless) => {
                append(&mut text, format_args!(r"(?P<{name}>\w(([\w-.@]+)?\w)?)"));
            }
            Segment::One(name, Characters::Hex) => {
                append(&mut text, format_args!("(?P<{name}>[0-9A-Fa-f-:]+)"));
            }
            Segment::One(name, Characters::Any) => append(&mut text, format_args!("(?P<{name}>[^/]+)")),
            Segment::Raw(name) => append(&mut text, format_args!("(?P<{name}>.*)")),
            Segment::Rest(name) | Segment::CaselessRest(name) if is_last => {
                append(&mut text, format_args!("(?P<{name}>.*)"));
            }
            Segment::Rest(name) | Segment::CaselessRest(name) => {
                append(&mut text, format_args!("(?P<{name}>.+?)"));
            }
        }
    }
    if pattern.openapi().ends_with('/') {
        text.push_str("/?");
    }
    text.push('$');
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use strongroom_engine_api::{Engine, EngineError, Paging, Path};

    use super::*;

    async fn read(Path(_name): Path<String>) -> Result<(), EngineError> {
        Ok(())
    }

    async fn exists() -> Result<bool, EngineError> {
        Ok(true)
    }

    async fn list(_paging: Paging) -> Result<(), EngineError> {
        Ok(())
    }

    async fn tune() -> Result<(), EngineError> {
        Ok(())
    }

    fn engine() -> Engine {
        Engine::new("shelves", "Keeps shelves.")
            .route("shelf/", |r| r.list("List the shelves.", list))
            .route("shelf/{name}", |r| {
                r.read("Read a shelf.", read)
                    .upsert("Write a shelf.", exists, read)
                    .explain("A shelf holds books.")
            })
            .route("a.b/{path..}/tune", |r| r.read("Tune.", tune))
            .route("all/{path..}", |r| r.read("All.", tune))
    }

    fn help(path: &str) -> String {
        help_of(&engine(), path).unwrap()
    }

    #[test]
    fn a_route_has_the_layout_of_vaults_help() {
        let expected = r"Request:        shelf/x
Matching Route: ^shelf/(?P<name>\w(([\w-.@]+)?\w)?)$

Write a shelf.

## PARAMETERS

    name (string)

        The part {name} of the path.

## DESCRIPTION

A shelf holds books.

create, update: Write a shelf.
read: Read a shelf.";
        assert_eq!(help("shelf/x"), expected);
        let expected = r"Request:        shelf
Matching Route: ^shelf/?$

List the shelves.

## PARAMETERS

    after (string)

        Lists entries after this one; it need not exist.

    limit (int)

        Lists at most this many entries; all when absent, zero or below.

## DESCRIPTION

list: List the shelves.";
        assert_eq!(help("shelf"), expected);
        let expected = "Request:        all/x\nMatching Route: ^all/(?P<path>.*)$\n\nAll.\n\n\
                        ## PARAMETERS\n\n    path (string)\n\n        The part {path} of the path.\n\n\
                        ## DESCRIPTION\n\nread: All.";
        assert_eq!(help("all/x"), expected);
    }

    #[test]
    fn types_have_vaults_names() {
        for (schema, name) in [
            (json!({ "type": "string" }), "string"),
            (json!({ "type": "string", "format": "seconds" }), "duration (sec)"),
            (json!({ "type": "boolean" }), "bool"),
            (json!({ "type": "integer" }), "int"),
            (json!({ "type": "array", "items": { "type": "string" } }), "slice"),
            (json!({ "type": "object", "format": "kvpairs" }), "keypair"),
            (json!({ "type": "object" }), "map"),
            (json!(true), "map"),
        ] {
            let field = Field { schema, ..Field::default() };
            assert_eq!(kind(&field), name);
        }
    }

    #[test]
    fn a_mount_lists_its_paths() {
        let text = help("");
        let (head, paths) = text.split_once("policies.\n\n").unwrap();
        assert!(head.starts_with("## DESCRIPTION\n\nKeeps shelves.\n\n## PATHS\n\n"), "{head}");
        let expected = r"    ^a\.b/(?P<path>.+?)/tune$
        Tune.

    ^all/(?P<path>.*)$
        All.

    ^shelf/(?P<name>\w(([\w-.@]+)?\w)?)$
        Write a shelf.

    ^shelf/?$
        List the shelves.";
        assert_eq!(paths, expected);
        assert_eq!(help_of(&engine(), "nowhere").unwrap_err().for_client().0, 404);
        let text = help_of(&engine().option("depth", "How deep shelves are."), "").unwrap();
        let options =
            "Keeps shelves.\n\n## OPTIONS\n\n    depth\n        How deep shelves are.\n\n## PATHS\n\n";
        assert!(text.contains(options), "{text}");
    }
}
