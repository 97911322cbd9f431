//! From a header and a path to a namespace, a mount and a route. Nothing else knows how they lead there.
//!
//! A namespace can be named by the header, at the beginning of the path, or half by each: all come to the same request.
//! After [`Pipeline::locate`] the path is the rest within the namespace, and nobody can tell how it was said.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use strongroom_barrier::{BarrierError, MountId, NamespaceId};
use strongroom_engine_api::{
    Access, Backend, BodyMode, Call, Captures, Class, Content, Endpoint, Found, Mode, RawTail, Refusal,
    ServerTxn,
};

use strongroom_mounts::{Mounted, Namespace};
use strongroom_policy::RequestPath;

use super::{Answer, Asked, Inbound, ParametersOf, Pipeline, Refused};
use crate::{Envelope, extensions_for};

/// Where a request leads.
pub(crate) struct Resolved {
    pub(crate) mounted: Arc<Mounted>,
    /// The path below the mount.
    pub(crate) rest: Arc<str>,
    /// What the operations are that it may turn out to be.
    asked: Asked,
    found: Result<Found, Refusal>,
    /// The part of the request's path that is a name in any case.
    caseless: Option<Range<usize>>,
}

/// A namespace, and the rest of a path in it.
struct Located<'a> {
    place: Arc<Namespace>,
    rest: Cow<'a, str>,
    /// Whether the header named no namespace.
    is_nowhere: bool,
}

impl Resolved {
    fn new(mounted: Arc<Mounted>, rest: &str, inbound: &Inbound) -> Self {
        let mut found = mounted.engine.find(rest, inbound.asked.operations());
        if !mounted.namespace.is_root() && found.as_ref().is_ok_and(|found| found.route.is_root_only()) {
            found = Err(Refusal::UnsupportedPath);
        }
        // Policies see the namespace before the path.
        let before = inbound.path.len().saturating_sub(rest.len());
        let before = before.saturating_add(inbound.place.path.len());
        let part = found.as_ref().ok().and_then(|found| found.route.pattern().caseless_part(rest));
        let caseless = part.map(|part| part.start.saturating_add(before)..part.end.saturating_add(before));
        Self { mounted, rest: rest.into(), asked: inbound.asked, found, caseless }
    }

    pub(crate) fn found(&self) -> Result<&Found, Refused> {
        self.found.as_ref().map_err(|refusal| Refused::unrouted(*refusal))
    }

    pub(crate) fn is_help(&self) -> bool {
        self.asked == Asked::Help
    }

    /// How much of the request's path comes before what the route reads as it was sent; `None` where it reads nothing so.
    fn before_raw_tail(&self, inbound: &Inbound) -> Option<usize> {
        let found = self.found.as_ref().ok().filter(|found| found.route.pattern().has_raw_tail())?;
        inbound.path.len().checked_sub(found.params.last()?.len())
    }

    /// What the route reads as it was sent.
    pub(crate) fn raw_tail(&self, inbound: &Inbound) -> RawTail {
        self.before_raw_tail(inbound).map_or_else(RawTail::default, |fixed| inbound.raw_tail(fixed))
    }

    /// The path as policies see it: without what the route reads as it was sent, which has many spellings, and with a
    /// name in any case in lower case.
    pub(crate) fn policy_path<'a>(&self, inbound: &'a Inbound) -> PolicyPath<'a> {
        let fixed = self.before_raw_tail(inbound).and_then(|fixed| inbound.path.get(..fixed));
        let text = match fixed {
            Some(fixed) if inbound.place.is_root() => Cow::Borrowed(fixed),
            Some(fixed) => Cow::Owned(inbound.place.full(fixed)),
            None => inbound.policy_path(),
        };
        PolicyPath::new(text, self.caseless.clone())
    }

    /// Whether no token is needed. A path that leads nowhere is not open.
    pub(crate) fn is_open(&self) -> bool {
        self.access() == Access::Open
    }

    /// Who may do it.
    pub(crate) fn access(&self) -> Access {
        self.endpoint().map_or(Access::Granted, |endpoint| endpoint.access)
    }

    /// The way it runs.
    pub(crate) fn mode(&self) -> Mode {
        self.endpoint().map_or(Mode::Read, |endpoint| endpoint.doc.mode)
    }

    /// What is known of its parameters.
    pub(crate) fn parameters(&self) -> ParametersOf<'_> {
        ParametersOf::endpoint(self.endpoint())
    }

    fn endpoint(&self) -> Option<&Endpoint> {
        let found = self.found.as_ref().ok()?;
        self.asked.operations().iter().find_map(|operation| found.endpoint(*operation).ok())
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
    pub(super) async fn resolve(&self, inbound: &Inbound) -> Result<Resolved, Refused> {
        let router = self.services.mounts.router().await?;
        let found = router.route(inbound.place.id, &inbound.path).filter(|_| !inbound.is_nowhere);
        let Some((mounted, rest)) = found else {
            let path = inbound.place.full(&inbound.path);
            let text = format!("no handler for route {path:?}. route entry not found.");
            return Err(Refused::status(404, text));
        };
        Ok(Resolved::new(mounted, rest, inbound))
    }

    /// Finds the namespace of a request, and makes its path the rest, in its one form. A header that names no namespace leads
    /// nowhere, and is answered as a path that does: whether a namespace is there is told to those who may ask.
    ///
    /// What is answered in every state of the server is so whatever the header says: while sealed nobody knows.
    pub(super) async fn locate(&self, mut inbound: Inbound) -> Result<Inbound, (Inbound, Refused)> {
        (inbound.place, inbound.is_nowhere, inbound.before) = (Arc::default(), false, 0);
        if inbound.path.starts_with("sys/") {
            // The system engine is the same in every namespace.
            self.make_canonical(&mut inbound).await;
        }
        if self.services.barrier.is_sealed() || self.is_always_answered(&inbound) {
            return Ok(inbound);
        }
        match self.descend(&inbound.namespace, &inbound.path).await {
            Ok(Some(found)) => {
                let (place, rest, is_nowhere) = (found.place, found.rest.into_owned(), found.is_nowhere);
                inbound.before = inbound.path.len().saturating_sub(rest.len());
                (inbound.path, inbound.place, inbound.is_nowhere) = (rest, place, is_nowhere);
            }
            Ok(None) => {}
            Err(error) => return Err((inbound, error.into())),
        }
        self.make_canonical(&mut inbound).await;
        Ok(inbound)
    }

    /// The namespace that header and path lead to together. `None`: there are no namespaces, for the server is being sealed.
    async fn descend<'a>(&self, header: &str, path: &'a str) -> Result<Option<Located<'a>>, BarrierError> {
        let router = self.services.mounts.router().await?;
        let header = if header == "root" { "" } else { header };
        let Some((named, beyond)) = router.descend(NamespaceId::ROOT, header) else { return Ok(None) };
        if !beyond.is_empty() {
            let rest = Cow::Owned(format!("{beyond}/{path}"));
            return Ok(Some(Located { place: named, rest, is_nowhere: true }));
        }
        let found = router.descend(named.id, path);
        Ok(found.map(|(place, rest)| Located { place, rest: Cow::Borrowed(rest), is_nowhere: false }))
    }

    fn system_engine(&self) -> Option<Arc<dyn Backend>> {
        self.services.mounts.catalog().engine(Class::System, "system", &std::collections::BTreeMap::new())
    }

    /// Brings a path into its one form, which is routed, decided on by policies and put on record: without a slash at the
    /// end that says nothing. A `deny` on `sys/audit/file` would be passed by `sys/audit/file/` otherwise. Lists get their
    /// slash when policies are asked, and writes to a path with a slash at the end are refused.
    pub(super) async fn make_canonical(&self, inbound: &mut Inbound) {
        if !inbound.path.ends_with('/')
            || !matches!(inbound.asked, Asked::Read | Asked::Delete | Asked::Patch | Asked::Help)
        {
            return;
        }
        let trimmed = inbound.path.trim_end_matches('/');
        let engine = self.engine_in(inbound.place.id, &inbound.path).await;
        let ignores = engine.is_some_and(|(engine, rest)| {
            !rest.is_empty() && engine.ignores_trailing_slash(&rest, inbound.asked.operations())
        });
        if ignores {
            inbound.path.truncate(trimmed.len());
        }
    }

    /// Whether the route of a path reads the end of it as it was sent, so that the path has no other form.
    pub async fn owns_raw_tail(&self, asked: Asked, namespace: &str, path: &str) -> bool {
        let Ok(Some(found)) = self.descend(namespace, path).await else { return false };
        let engine = self.engine_in(found.place.id, &found.rest).await.filter(|_| !found.is_nowhere);
        engine.is_some_and(|(engine, rest)| engine.owns_raw_tail(&rest, asked.operations()))
    }

    /// The engine that a path of a namespace leads to, and the rest of the path.
    async fn engine_in(&self, namespace: NamespaceId, path: &str) -> Option<(Arc<dyn Backend>, String)> {
        if let Some(rest) = path.strip_prefix("sys/") {
            // Some of it is served sealed.
            return Some((self.system_engine()?, rest.to_owned()));
        }
        let router = self.services.mounts.router().await.ok()?;
        let (mounted, rest) = router.route(namespace, path)?;
        Some((mounted.engine.clone(), rest.to_owned()))
    }

    /// How the body of a request is to be read. `None` where it cannot be known, because the server is sealed: the request
    /// will be refused, whatever its body is.
    pub async fn body_mode(&self, asked: Asked, namespace: &str, path: &str) -> Option<BodyMode> {
        if let Some(rest) = path.strip_prefix("sys/") {
            // Some of it is served sealed.
            return self.system_engine().map(|engine| engine.body_mode(rest, asked.operations()));
        }
        let found = self.descend(namespace, path).await.ok()??;
        let engine = self.engine_in(found.place.id, &found.rest).await.filter(|_| !found.is_nowhere);
        let mode = engine.map(|(engine, rest)| engine.body_mode(&rest, asked.operations()));
        Some(mode.unwrap_or_default())
    }

    /// Whether a request is for an endpoint that answers in every state of the server.
    pub(super) fn is_always_answered(&self, inbound: &Inbound) -> bool {
        let Some(rest) = inbound.path.strip_prefix("sys/") else { return false };
        self.system_engine().is_some_and(|engine| always_answered(&*engine, rest, inbound.asked).is_some())
    }

    /// Answers what is answered whether sealed or not, before tokens and audit: `sys/seal-status`, `sys/health` and
    /// their kind. `None`: the request is none of those.
    pub(super) async fn serve_sealed(
        self: &Arc<Self>,
        inbound: &Arc<Inbound>,
    ) -> Result<Option<Answer>, Refused> {
        let Some(rest) = inbound.path.strip_prefix("sys/") else { return Ok(None) };
        let Some(engine) = self.system_engine() else { return Ok(None) };
        let Some((endpoint, params)) = always_answered(&*engine, rest, inbound.asked) else {
            return Ok(None);
        };
        let txn = self.services.barrier.transaction(self.services.barrier.view());
        let mount = Arc::new(strongroom_engine_api::Mount {
            id: MountId::NONE,
            path: "sys/".to_owned(),
            accessor: String::new(),
            kind: "system".to_owned(),
            options: std::collections::BTreeMap::new(),
            lifetimes: strongroom_engine_api::Lifetimes {
                default: self.services.settings.default_lease_ttl,
                max: self.services.settings.max_lease_ttl,
            },
            namespace: NamespaceId::ROOT,
            namespace_path: String::new(),
            local: false,
        });
        let call = Arc::new(Call {
            request: Arc::new(inbound.for_engine(
                rest.into(),
                RawTail::default(),
                inbound.asked.nominal(),
                None,
                &[],
            )),
            params,
            txn: txn.mount(mount.place()),
            mount,
            server: ServerTxn::of(txn),
            facilities: self.services.facilities.clone(),
            environment: self.services.environment.clone(),
            extensions: extensions_for(&self.extensions, &*engine),
            renewal: None,
            lease: None,
            warnings: std::sync::Mutex::default(),
        });
        let reply = endpoint.run(&call).await?;
        Ok(Some(match reply.content {
            Content::Raw(raw) => Answer::raw(raw, reply.status),
            Content::Upgrade(upgrade) => Answer::upgrade(upgrade),
            Content::Envelope(members) => {
                let envelope =
                    Envelope { data: members.data, warnings: members.warnings, ..Envelope::default() };
                Answer::envelope(&envelope, &inbound.id, reply.status)?
            }
        }))
    }
}

fn always_answered(engine: &dyn Backend, rest: &str, asked: Asked) -> Option<(Endpoint, Captures)> {
    let found = engine.find(rest, asked.operations()).ok()?;
    let endpoint = asked.operations().iter().find_map(|operation| found.endpoint(*operation).ok())?;
    endpoint.while_sealed.then(|| (endpoint.clone(), found.params.clone()))
}
