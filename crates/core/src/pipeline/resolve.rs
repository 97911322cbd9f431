//! From a path to a mount and a route.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use strongroom_barrier::{MountId, NamespaceId};
use strongroom_engine_api::{
    Access, BodyMode, Call, Captures, Class, Content, Endpoint, Engine, Found, Mode, RawTail, Refusal,
    ServerTxn,
};

use strongroom_policy::RequestPath;

use super::{Answer, Asked, Inbound, Refused};
use crate::mounts::Mounted;
use crate::{Core, Envelope};

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

impl Resolved {
    fn new(mounted: Arc<Mounted>, rest: &str, inbound: &Inbound) -> Self {
        let found = mounted.engine.find(rest, inbound.asked.operations());
        let before = inbound.path.len().saturating_sub(rest.len());
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
        let text = fixed.map_or_else(|| inbound.policy_path(), Cow::Borrowed);
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

impl Core {
    pub(super) async fn resolve(&self, inbound: &Inbound) -> Result<Resolved, Refused> {
        let router = self.router().await?;
        let Some((mounted, rest)) = router.route(NamespaceId::ROOT, &inbound.path) else {
            let text = format!("no handler for route {:?}. route entry not found.", inbound.path);
            return Err(Refused::status(404, text));
        };
        Ok(Resolved::new(mounted, rest, inbound))
    }

    fn system_engine(&self) -> Option<Arc<Engine>> {
        self.catalog.engine(Class::System, "system", &std::collections::BTreeMap::new())
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
        let engine = self.engine_at(&inbound.path).await;
        let ignores = engine.is_some_and(|(engine, rest)| {
            !rest.is_empty() && engine.ignores_trailing_slash(&rest, inbound.asked.operations())
        });
        if ignores {
            inbound.path.truncate(trimmed.len());
        }
    }

    /// Whether the route of a path reads the end of it as it was sent, so that the path has no other form.
    pub async fn owns_raw_tail(&self, asked: Asked, path: &str) -> bool {
        let engine = self.engine_at(path).await;
        engine.is_some_and(|(engine, rest)| engine.owns_raw_tail(&rest, asked.operations()))
    }

    /// The engine that a path leads to, and the rest of the path.
    async fn engine_at(&self, path: &str) -> Option<(Arc<Engine>, String)> {
        if let Some(rest) = path.strip_prefix("sys/") {
            // Some of it is served sealed.
            return Some((self.system_engine()?, rest.to_owned()));
        }
        let router = self.router().await.ok()?;
        let (mounted, rest) = router.route(NamespaceId::ROOT, path)?;
        Some((mounted.engine.clone(), rest.to_owned()))
    }

    /// How the body of a request is to be read. `None` where it cannot be known, because the server is sealed: the request
    /// will be refused, whatever its body is.
    pub async fn body_mode(&self, asked: Asked, path: &str) -> Option<BodyMode> {
        if let Some(rest) = path.strip_prefix("sys/") {
            // Some of it is served sealed.
            return self.system_engine().map(|engine| engine.body_mode(rest, asked.operations()));
        }
        let router = self.router().await.ok()?;
        let mode = router
            .route(NamespaceId::ROOT, path)
            .map(|(mounted, rest)| mounted.engine.body_mode(rest, asked.operations()));
        Some(mode.unwrap_or_default())
    }

    /// Whether a request is for an endpoint that answers in every state of the server.
    pub(super) fn is_always_answered(&self, inbound: &Inbound) -> bool {
        let Some(rest) = inbound.path.strip_prefix("sys/") else { return false };
        self.system_engine().is_some_and(|engine| always_answered(&engine, rest, inbound.asked).is_some())
    }

    /// Answers what is answered whether sealed or not, before tokens and audit: `sys/seal-status`, `sys/health` and
    /// their kind. `None`: the request is none of those.
    pub(super) async fn serve_sealed(
        self: &Arc<Self>,
        inbound: &Arc<Inbound>,
    ) -> Result<Option<Answer>, Refused> {
        let Some(rest) = inbound.path.strip_prefix("sys/") else { return Ok(None) };
        let Some(engine) = self.system_engine() else { return Ok(None) };
        let Some((endpoint, params)) = always_answered(&engine, rest, inbound.asked) else { return Ok(None) };
        let txn = self.barrier.transaction(self.barrier.view());
        let mount = Arc::new(strongroom_engine_api::Mount {
            id: MountId::NONE,
            path: "sys/".to_owned(),
            accessor: String::new(),
            kind: "system".to_owned(),
            options: std::collections::BTreeMap::new(),
            lifetimes: strongroom_engine_api::Lifetimes {
                default: self.settings.default_lease_ttl,
                max: self.settings.max_lease_ttl,
            },
            namespace: NamespaceId::ROOT,
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
            environment: self.environment.clone(),
            extension: self.extension_for(&engine),
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

fn always_answered(engine: &Engine, rest: &str, asked: Asked) -> Option<(Endpoint, Captures)> {
    let found = engine.find(rest, asked.operations()).ok()?;
    let endpoint = asked.operations().iter().find_map(|operation| found.endpoint(*operation).ok())?;
    endpoint.while_sealed.then(|| (endpoint.clone(), found.params.clone()))
}
