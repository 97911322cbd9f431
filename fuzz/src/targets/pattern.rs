//! The paths of requests, matched against routes.

use strongroom_engine_api::{Pattern, Segment};

use super::{parts, text};
use crate::Target;

pub(super) const CAPTURES: Target = Target {
    name: "pattern",
    run: captures,
    made: crate::no_inputs,
    seeds: &[
        b"role/{name}/secret-id\0role/web/secret-id",
        b"data/{path..}\0data/a/b/",
        b"mounts/{path..}/tune\0mounts/a/b/tune",
        b"{path..}\0",
    ],
    words: &[
        "/", "{name}", "{path..}", "role", "\0", "@", ".", "-", "_", "é", "//", "{}", "{..}", "tune",
        "mounts",
    ],
};

/// A route and a path: as many captures as parameters, and the route filled in with them is the path.
fn captures(input: &[u8]) {
    let [route, path] = parts(input);
    let (route, path) = (text(route), text(path));
    let pattern = Pattern::new(&route);
    let _ = pattern.openapi();
    let _ = pattern.example();
    let Some(captured) = pattern.captures(&path) else { return };
    assert!(captured.len() <= pattern.parameters().len(), "more captures than parameters");
    let mut values = captured.iter();
    let mut filled = Vec::new();
    for segment in pattern.segments() {
        match segment {
            Segment::Fixed(fixed) => filled.push(fixed.as_str()),
            Segment::One(..) | Segment::Rest(_) | Segment::CaselessRest(_) | Segment::Raw(_) => {
                filled.extend(values.next().map(String::as_str));
            }
        }
    }
    let filled = filled.join("/");
    assert_eq!(filled.trim_end_matches('/'), path.trim_end_matches('/'), "{route:?} captured {captured:?}");
}
