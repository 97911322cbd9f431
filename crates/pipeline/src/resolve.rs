//! Resolves a header and a path to a namespace, a mount and a route: the first stage. No other module interprets them.
//!
//! A namespace can be named by the header, at the beginning of the path, or partly by each: all resolve to the same
//! request. The result is a [`Destination`]: it says how the body is to be read and whether the request may write
//! before anything else is checked, and it does not depend on which of these forms was used.
//!
//! A destination is valid until a mount or a namespace changes; then it is resolved again. It holds no lock, so a mount
//! may be disabled while a request to it is handled: the transaction then conflicts.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use strongroom_barrier::NamespaceId;
use strongroom_engine_api::{Access, Backend, BodyMode, Class, Endpoint, Found, Mode, RawTail, RouteError};

use strongroom_mounts::{MountHandle, Namespace, Router};
use strongroom_policy::RequestPath;

use super::{Inbound, ParametersOf, Pipeline, RequestError, Verb};

/// The destination of a request.
pub struct Destination {
    asked: Verb,
    /// The namespace it is in: what header and path come to.
    pub(crate) place: Arc<Namespace>,
    /// The rest of the path within the namespace, in its one form.
    pub(crate) path: String,
    /// Bytes at the beginning of the path as it was sent, decoded, that named the namespace.
    before: usize,
    target: Target,
    /// The state of mounts and namespaces by which it was resolved.
    generation: u64,
}

/// The target of a path.
enum Target {
    /// An operation that is answered in every state of the server.
    Always(Found),
    /// A mount.
    Mount(AtMount),
    /// No mount, or no namespace.
    Nowhere,
}

/// A path below a mount.
pub(crate) struct AtMount {
    pub(crate) mounted: Arc<MountHandle>,
    /// The path below the mount.
    pub(crate) rest: Arc<str>,
    found: Result<Found, RouteError>,
    /// The part of the request's path that is a name in any case.
    caseless: Option<Range<usize>>,
    /// The callers that the route admits.
    pub(crate) access: Access,
    /// The way it runs.
    pub(crate) mode: Mode,
}

/// A request that leads somewhere, or is known to lead nowhere.
pub(crate) struct Resolved {
    pub(crate) inbound: Arc<Inbound>,
    pub(crate) to: Destination,
}

/// A namespace, and the rest of a path in it.
struct Located<'a> {
    place: Arc<Namespace>,
    rest: Cow<'a, str>,
    /// True if the header named no namespace.
    is_nowhere: bool,
}

impl Destination {
    /// The way the body of the request is to be read.
    pub fn body_mode(&self) -> BodyMode {
        let endpoint = match &self.target {
            Target::Always(found) => found.endpoint_of(self.asked.operations()),
            Target::Mount(at) => at.endpoint(self.asked),
            Target::Nowhere => None,
        };
        endpoint.map_or(BodyMode::Json, |endpoint| endpoint.doc.body)
    }

    /// True if the operation needs no token, or leads nowhere.
    pub fn is_open(&self) -> bool {
        match &self.target {
            Target::Always(_) | Target::Nowhere => true,
            Target::Mount(at) => at.is_open(),
        }
    }

    /// True if the route reads the end of its path as it was sent, so that the path has no other form.
    pub fn owns_raw_tail(&self) -> bool {
        let found = match &self.target {
            Target::Always(found) => Some(found),
            Target::Mount(at) => at.found.as_ref().ok(),
            Target::Nowhere => None,
        };
        found.is_some_and(|found| found.route.pattern().has_raw_tail())
    }

    /// The types of the bodies of its PATCH requests; empty: merge patches. `None` where nothing takes what was asked, which is
    /// answered as such, whatever its type.
    pub fn patch_types(&self) -> Option<&'static [&'static str]> {
        match &self.target {
            Target::Mount(at) => at.found.as_ref().ok().map(|found| found.route.patch_types()),
            Target::Always(_) | Target::Nowhere => Some(&[]),
        }
    }

    /// True if it is an operation that answers in every state of the server.
    pub(crate) const fn is_always_answered(&self) -> bool {
        matches!(self.target, Target::Always(_))
    }

    /// The operation, where it is one that answers in every state of the server.
    pub(crate) const fn always(&self) -> Option<&Found> {
        match &self.target {
            Target::Always(found) => Some(found),
            Target::Mount(_) | Target::Nowhere => None,
        }
    }

    /// The mount, unless it leads nowhere.
    pub(crate) const fn mount(&self) -> Option<&AtMount> {
        match &self.target {
            Target::Mount(at) => Some(at),
            Target::Always(_) | Target::Nowhere => None,
        }
    }

    /// True if the operation's handler may write. A path that leads nowhere is refused without.
    pub(crate) fn may_write(&self) -> bool {
        self.mount().is_some_and(|at| !at.mode.only_reads())
    }

    /// True if it is answered while its namespace is locked.
    pub(crate) fn answers_while_locked(&self) -> bool {
        let endpoint = self.mount().and_then(|at| at.endpoint(self.asked));
        endpoint.is_some_and(|endpoint| endpoint.while_locked)
    }

    /// The path as policies see it: from the root namespace on, and lists end in a slash.
    fn plain_policy_path(&self) -> Cow<'_, str> {
        let lists = matches!(self.asked, Verb::List | Verb::Scan);
        let end = if lists && !self.path.ends_with('/') { "/" } else { "" };
        if end.is_empty() && self.place.is_root() {
            self.path.as_str().into()
        } else {
            format!("{}{}{end}", self.place.path, self.path).into()
        }
    }

    /// The length of the path before the part that the route reads as it was sent; `None` where it reads no part so.
    fn before_raw_tail(&self) -> Option<usize> {
        let found = self.mount()?.found.as_ref().ok().filter(|found| found.route.pattern().has_raw_tail())?;
        self.path.len().checked_sub(found.params.last()?.len())
    }

    /// The path as policies see it: without what the route reads as it was sent, which has many spellings, and with a
    /// name in any case in lower case.
    pub(crate) fn policy_path(&self) -> PolicyPath<'_> {
        let fixed = self.before_raw_tail().and_then(|fixed| self.path.get(..fixed));
        let text = match fixed {
            Some(fixed) if self.place.is_root() => Cow::Borrowed(fixed),
            Some(fixed) => Cow::Owned(self.place.full(fixed)),
            None => self.plain_policy_path(),
        };
        PolicyPath::new(text, self.mount().and_then(|at| at.caseless.clone()))
    }

    /// The path within the namespace as audit devices record it: with a name in any case in the form by which policies
    /// decided and engines act.
    pub(crate) fn recorded_path(&self) -> Cow<'_, str> {
        let part = self.mount().and_then(|at| at.caseless.as_ref());
        let Some(part) = part else { return Cow::Borrowed(&self.path) };
        let before = self.place.path.len();
        let within = part.start.saturating_sub(before)..part.end.saturating_sub(before);
        PolicyPath::new(self.path.as_str(), Some(within)).text
    }

    /// The refusal of a path that leads to no mount: whether the namespace exists is told only to callers with the
    /// capability for it.
    pub(crate) fn no_route(&self) -> RequestError {
        let path = self.place.full(&self.path);
        RequestError::status(404, format!("no handler for route {path:?}. route entry not found."))
    }
}

impl Resolved {
    /// The part of the path that the route reads as it was sent.
    pub(crate) fn raw_tail(&self) -> RawTail {
        let Some(fixed) = self.to.before_raw_tail() else { return RawTail::default() };
        let target = &self.inbound.target;
        match target.path().strip_prefix("/v1/") {
            Some(sent) => RawTail::after(self.to.before.saturating_add(fixed), sent, target.query()),
            None => RawTail::default(),
        }
    }
}

impl AtMount {
    fn new(
        mounted: Arc<MountHandle>,
        rest: &str,
        asked: Verb,
        (path, place): (&str, &Namespace),
        opened: &BTreeSet<String>,
    ) -> Self {
        let mut found = mounted.engine.find(rest, asked.operations());
        if !mounted.namespace.is_root() && found.as_ref().is_ok_and(|found| found.route.is_root_only()) {
            found = Err(RouteError::UnsupportedPath);
        }
        // Policies see the namespace before the path.
        let before = path.len().saturating_sub(rest.len()).saturating_add(place.path.len());
        let caseless = found.as_ref().ok().and_then(|found| caseless_part(found, rest, before));
        let endpoint = found.as_ref().ok().and_then(|found| found.endpoint_of(asked.operations()));
        // A path that leads nowhere is not open.
        let access = endpoint.map_or(Access::Granted, |endpoint| endpoint.access.opened_by(opened));
        let mode = endpoint.map_or(Mode::Read, |endpoint| endpoint.doc.mode);
        Self { mounted, rest: rest.into(), found, caseless, access, mode }
    }

    pub(crate) fn found(&self) -> Result<&Found, RequestError> {
        self.found.as_ref().map_err(|refusal| RequestError::unrouted(*refusal))
    }

    /// True if no token is needed.
    pub(crate) fn is_open(&self) -> bool {
        self.access.is_open()
    }

    /// The known parameters of its operation.
    pub(crate) fn parameters(&self, asked: Verb) -> ParametersOf<'_> {
        ParametersOf::endpoint(self.endpoint(asked))
    }

    fn endpoint(&self, asked: Verb) -> Option<&Endpoint> {
        self.found.as_ref().ok()?.endpoint_of(asked.operations())
    }
}

/// A path as policies see it.
pub struct PolicyPath<'a> {
    text: Cow<'a, str>,
    caseless: Range<usize>,
}

impl<'a> PolicyPath<'a> {
    /// A path of which the bytes of `part` are a name in any case.
    pub fn new(text: impl Into<Cow<'a, str>>, part: Option<Range<usize>>) -> Self {
        let text = text.into();
        let Some(part) = part else { return Self { text, caseless: 0..0 } };
        let parts = (text.get(..part.start), text.get(part.clone()), text.get(part.end..));
        let (Some(before), Some(name), Some(after)) = parts else { return Self { text, caseless: 0..0 } };
        let name = name.to_lowercase();
        let caseless = part.start..part.start.saturating_add(name.len());
        Self { text: [before, &name, after].concat().into(), caseless }
    }

    /// The path to be held against rules.
    pub fn as_request(&self) -> RequestPath<'_> {
        RequestPath::with_caseless(&self.text, self.caseless.clone())
    }
}

impl Pipeline {
    /// Resolves the destination of a request, from what its method asks, the namespace that its header names (without
    /// surrounding slashes; empty: the root) and its path. A header that names no namespace leads nowhere, and is
    /// answered as a path that does.
    ///
    /// A path that is answered in every state of the server resolves so whatever the header says: while sealed no
    /// namespace is known.
    ///
    /// # Errors
    ///
    /// [`RequestError`]: sealed, or the mounts could not be read.
    pub async fn resolve(
        &self,
        asked: Verb,
        namespace: &str,
        path: &str,
    ) -> Result<Destination, RequestError> {
        if let Some(always) = self.always_answered(asked, path) {
            return Ok(always);
        }
        if self.services.barrier.is_sealed() {
            return Err(RequestError::sealed());
        }
        let router = self.services.mounts.router().await?;
        let generation = router.generation();
        // There are no namespaces where the server is being sealed.
        let located = descend(&router, namespace, path).ok_or_else(RequestError::sealed)?;
        let before = path.len().saturating_sub(located.rest.len());
        let place = located.place;
        if located.is_nowhere {
            let path = located.rest.into_owned();
            return Ok(Destination { asked, place, path, before, target: Target::Nowhere, generation });
        }
        if before > 0
            && let Some(always) = self.always_answered(asked, &located.rest)
        {
            return Ok(always);
        }
        let opened = &self.services.settings.unauthenticated;
        let mut at = at_mount(&router, &place, &located.rest, asked, opened);
        let path = canonical(&located.rest, asked, at.as_ref().map(|at| (&*at.mounted.engine, &*at.rest)));
        if path.len() < located.rest.len() {
            at = at_mount(&router, &place, path, asked, opened);
        }
        let target = at.map_or(Target::Nowhere, Target::Mount);
        Ok(Destination { asked, path: path.to_owned(), place, before, target, generation })
    }

    /// Resolves `inbound`: to the destination it was resolved to, unless a mount or a namespace has changed since.
    pub(super) async fn resolve_inbound(
        &self,
        inbound: Inbound,
    ) -> Result<Resolved, (Inbound, RequestError)> {
        let mut inbound = inbound;
        let to = match inbound.destination.take() {
            Some(to) if self.is_current(&to) => Ok(to),
            _ => self.resolve(inbound.asked, &inbound.namespace, &inbound.path).await,
        };
        match to {
            Ok(to) => Ok(Resolved { inbound: Arc::new(inbound), to }),
            Err(refused) => Err((inbound, refused)),
        }
    }

    /// The same request, and where it leads now.
    pub(super) async fn resolve_again(&self, resolved: &Resolved) -> Result<Arc<Resolved>, RequestError> {
        let inbound = resolved.inbound.clone();
        let to = self.resolve(inbound.asked, &inbound.namespace, &inbound.path).await?;
        Ok(Arc::new(Resolved { inbound, to }))
    }

    /// True if no mount and no namespace has changed since `to` was resolved.
    pub(super) fn is_current(&self, to: &Destination) -> bool {
        to.is_always_answered() || self.services.mounts.is_current(to.generation)
    }

    /// The system engine, which needs no mount.
    pub(super) fn system_engine(&self) -> Option<Arc<dyn Backend>> {
        self.services.mounts.catalog().engine(Class::System, "system", &BTreeMap::new())
    }

    /// The destination of a path that is answered in every state of the server: the same in every namespace.
    fn always_answered(&self, asked: Verb, path: &str) -> Option<Destination> {
        let rest = path.strip_prefix("sys/")?;
        let found = self.system_engine()?.find(rest, asked.operations()).ok()?;
        found.endpoint_of(asked.operations())?.while_sealed.then(|| Destination {
            asked,
            place: Arc::default(),
            path: path.trim_end_matches('/').to_owned(),
            before: 0,
            target: Target::Always(found),
            generation: 0,
        })
    }
}

/// The namespace that header and path lead to together.
fn descend<'a>(router: &Router, header: &str, path: &'a str) -> Option<Located<'a>> {
    let header = if header == "root" { "" } else { header };
    let start = if header.is_empty() {
        NamespaceId::ROOT
    } else {
        let (named, beyond) = router.descend(NamespaceId::ROOT, header)?;
        if !beyond.is_empty() {
            let rest = Cow::Owned(format!("{beyond}/{path}"));
            return Some(Located { place: named, rest, is_nowhere: true });
        }
        named.id
    };
    let (place, rest) = router.descend(start, path)?;
    Some(Located { place, rest: Cow::Borrowed(rest), is_nowhere: false })
}

/// The mount that a path of a namespace leads to.
fn at_mount(
    router: &Router,
    place: &Namespace,
    path: &str,
    asked: Verb,
    opened: &BTreeSet<String>,
) -> Option<AtMount> {
    let (mounted, rest) = router.route(place.id, path)?;
    Some(AtMount::new(mounted, rest, asked, (path, place), opened))
}

/// The one form of a path, which is routed, decided on by policies and put on record: without a slash at the end that says
/// nothing. A `deny` on `sys/audit/file` would be passed by `sys/audit/file/` otherwise. Lists get their slash when policies
/// are asked, and writes to a path with a slash at the end are refused. `at` is the engine that the path leads to, and the path
/// below its mount.
pub fn canonical<'a>(path: &'a str, asked: Verb, at: Option<(&dyn Backend, &str)>) -> &'a str {
    if !path.ends_with('/') || !matches!(asked, Verb::Read | Verb::Delete | Verb::Patch | Verb::Help) {
        return path;
    }
    let ignores = at.is_some_and(|(engine, rest)| {
        !rest.is_empty() && engine.ignores_trailing_slash(rest, asked.operations())
    });
    if ignores { path.trim_end_matches('/') } else { path }
}

/// The part of a path that is a name in any case, where `rest` of it leads to a route and follows `before` bytes.
pub fn caseless_part(found: &Found, rest: &str, before: usize) -> Option<Range<usize>> {
    let part = found.route.pattern().caseless_part(rest)?;
    Some(part.start.saturating_add(before)..part.end.saturating_add(before))
}
