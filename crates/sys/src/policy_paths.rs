//! A path as policies see it, for operations that tell what policies would decide: with names that are the same in any case in
//! lower case, and without a slash at its end that says nothing. What is told must be what is decided: the
//! pipeline's own functions read it.

use std::sync::Arc;

use strongroom_engine_api::Found;
use strongroom_mounts::{MountHandle, Namespace, Router};
use strongroom_pipeline::{PolicyPath, Verb, canonical, caseless_part};

/// Requests of every kind.
const ANY: [Verb; 6] = [Verb::Read, Verb::Write, Verb::Delete, Verb::List, Verb::Patch, Verb::Scan];

/// The place that a path of a namespace leads to.
pub(crate) struct Led {
    /// The mount; `None` where it leads to none.
    pub(crate) mount: Option<Arc<MountHandle>>,
    /// The route; `None` where the mount has none for it.
    pub(crate) found: Option<Found>,
    /// The path, from the root namespace on.
    pub(crate) seen: PolicyPath<'static>,
}

/// Leads `path` of `namespace` to where a request would go: with `verb`, or with the first of any kind that it is for.
pub(crate) fn lead(router: &Router, namespace: &Namespace, path: &str, verb: Option<Verb>) -> Led {
    let placed = router.descend(namespace.id, path);
    let Some((mount, rest)) = placed.and_then(|(place, rest)| router.route(place.id, rest)) else {
        return Led { mount: None, found: None, seen: PolicyPath::new(namespace.full(path), None) };
    };
    let engine = &mount.engine;
    let before = path.len().saturating_sub(rest.len()).saturating_add(namespace.path.len());
    let (path, rest) = verb.map_or((path, rest), |verb| {
        let at = Some((&**engine, rest));
        (canonical(path, verb, at), canonical(rest, verb, at))
    });
    let verbs = verb.as_ref().map_or(&ANY[..], std::slice::from_ref);
    let found = verbs.iter().find_map(|verb| engine.find(rest, verb.operations()).ok());
    let part = found.as_ref().and_then(|found| caseless_part(found, rest, before));
    let seen = PolicyPath::new(namespace.full(path), part);
    Led { found, seen, mount: Some(mount.clone()) }
}
