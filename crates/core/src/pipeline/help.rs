//! `path-help`: what a mount and its paths are for, from the route tables.

use std::fmt::Write as _;

use strongroom_engine_api::{Engine, Route};

/// The help of one route.
pub(crate) fn help_of_route(route: &Route) -> String {
    let mut text = format!("Request:        {}\n", route.pattern().openapi());
    let mut fields: Vec<_> =
        route.operations().flat_map(|(_, endpoint)| endpoint.doc.fields.iter()).collect();
    fields.sort_by(|a, b| a.name.cmp(&b.name));
    fields.dedup_by(|a, b| a.name == b.name);
    text.push('\n');
    text.push_str(route.help());
    text.push('\n');
    if !fields.is_empty() {
        text.push_str("\n## PARAMETERS\n");
        for field in fields {
            let kind = field.schema.get("type").and_then(|kind| kind.as_str()).unwrap_or("object");
            // Writing to a String cannot fail.
            let _infallible =
                writeln!(text, "\n    {} ({kind})\n\n        {}", field.name, field.description);
        }
    }
    text.push_str("\n## OPERATIONS\n\n");
    for (operation, endpoint) in route.operations() {
        let _infallible = writeln!(text, "    {operation}: {}", endpoint.doc.summary);
    }
    text
}

/// The help of a mount: what it is, and its paths.
pub(crate) fn help_of_engine(engine: &Engine) -> String {
    let mut text = format!("## DESCRIPTION\n\n{}\n\n## PATHS\n", engine.help());
    for route in engine.routes() {
        let _infallible = writeln!(text, "\n    {}\n        {}", route.pattern().openapi(), route.help());
    }
    text
}
