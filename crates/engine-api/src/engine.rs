//! Engines and their route tables.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Serialize;
use strongroom_barrier::{Stored, TableId};
use strongroom_wire::Operation;

use crate::{
    ActError, Asking, AuthGrant, BodyMode, Call, Captures, EngineError, Handler, Intent, IntoReply, Issued,
    Issuing, Job, LeaseKind, Meaning, Mode, OperationDoc, Pattern, Plan, ReadStep, Reply, RevokeHandler,
    Schedule, Segment, Settling, View, WriteStep,
};

/// Says what is wrong with a mount's options.
type CheckOptions = fn(&BTreeMap<String, String>) -> Result<(), String>;

/// Says who logs in.
type LoginName = fn(&Call) -> Option<String>;

pub(crate) type Run<O> = Arc<dyn Fn(&Arc<Call>) -> BoxFuture<'static, Result<O, EngineError>> + Send + Sync>;

/// What an engine is mounted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Under a path of its own.
    Secrets,
    /// Under `auth/`.
    Auth,
    /// Part of the server (`sys`, `cubbyhole`): not to be enabled, moved or disabled.
    System,
}

/// Who may call a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// A token whose policies grant the operation's capability.
    #[default]
    Granted,
    /// That, and `sudo`.
    Sudo,
    /// Anyone: the handler decides by what it is given.
    Open,
}

/// One operation at one route.
#[derive(Clone)]
pub struct Endpoint {
    /// What it says of itself.
    pub doc: OperationDoc,
    /// Who may call it.
    pub access: Access,
    /// Whether it answers while sealed.
    pub while_sealed: bool,
    /// How it is done.
    pub work: Work,
}

impl Endpoint {
    /// Runs a handler once. Operations in several steps are run step by step.
    pub async fn run(&self, call: &Arc<Call>) -> Result<Reply, EngineError> {
        match &self.work {
            Work::Handler(handler) => handler.run(call).await,
            _ => Err(EngineError::Internal("the operation has several steps".to_owned())),
        }
    }
}

/// How an operation is done.
#[derive(Clone)]
pub enum Work {
    /// By a handler, in one transaction.
    Handler(HandlerRun),
    /// By asking outside, and writing then.
    Ask(Asking),
    /// By making something outside that a lease ends.
    Issue(Issuing),
    /// By changing something outside of which it must be known how it stands.
    Settle(Settling),
}

/// A handler without its types.
#[derive(Clone)]
pub struct HandlerRun(Run<Reply>);

impl HandlerRun {
    /// Runs the handler once.
    pub async fn run(&self, call: &Arc<Call>) -> Result<Reply, EngineError> {
        (self.0)(call).await
    }
}

/// A pattern and what can be done there.
#[derive(Clone)]
pub struct Route {
    pattern: Pattern,
    /// The names of what the pattern captures.
    names: Arc<[String]>,
    /// Headers of its answers that pass whatever the mount's tuning says.
    owned_headers: &'static [&'static str],
    help: &'static str,
    operations: BTreeMap<Operation, Endpoint>,
    exists: Option<Run<bool>>,
    login_name: Option<LoginName>,
    access: Access,
    root_only: bool,
    while_sealed: bool,
}

impl Route {
    fn new(pattern: &str) -> Self {
        let pattern = Pattern::new(pattern);
        Self {
            names: Captures::names_of(&pattern),
            pattern,
            owned_headers: &[],
            help: "",
            operations: BTreeMap::new(),
            exists: None,
            login_name: None,
            access: Access::Granted,
            while_sealed: false,
            root_only: false,
        }
    }

    /// The route's path.
    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// What `path-help` prints of it.
    pub fn help(&self) -> &'static str {
        if self.help.is_empty() {
            self.operations.values().next().map_or("", |endpoint| endpoint.doc.summary)
        } else {
            self.help
        }
    }

    /// Its operations.
    pub fn operations(&self) -> impl Iterator<Item = (Operation, &Endpoint)> {
        self.operations.iter().map(|(operation, endpoint)| (*operation, endpoint))
    }

    /// Whether it concerns the server as a whole, and answers in the root namespace alone.
    pub const fn is_root_only(&self) -> bool {
        self.root_only
    }

    /// Whether POST can tell a creation from an update here.
    pub fn tells_create_from_update(&self) -> bool {
        self.exists.is_some()
    }

    /// The same at another path.
    fn at(&self, pattern: &str) -> Self {
        let pattern = Pattern::new(pattern);
        Self { names: Captures::names_of(&pattern), pattern, ..self.clone() }
    }

    /// Headers that are part of what the route answers, such as `Location` and `Retry-After`: they pass without the mount's
    /// tuning. Those that frame the answer are the server's all the same.
    #[must_use]
    pub fn owns(mut self, headers: &'static [&'static str]) -> Self {
        self.owned_headers = headers;
        self
    }

    /// The headers that pass without the mount's tuning.
    pub const fn owned_headers(&self) -> &'static [&'static str] {
        self.owned_headers
    }

    /// Says what the operations added so far make of a field's text, where texts that differ can mean the same: policies
    /// compare what is meant.
    #[must_use]
    pub fn means(mut self, field: &str, meaning: Meaning) -> Self {
        let docs = self.operations.values_mut().map(|endpoint| &mut endpoint.doc);
        for field in docs.flat_map(|doc| &mut doc.fields).filter(|known| known.name == field) {
            field.meaning = meaning;
        }
        self
    }

    /// A longer text for `path-help`.
    #[must_use]
    pub fn explain(mut self, help: &'static str) -> Self {
        self.help = help;
        self
    }

    /// From here on, operations of this route need no token.
    #[must_use]
    pub fn open(mut self) -> Self {
        self.access = Access::Open;
        self
    }

    /// This is where people or machines log in; `name` says as whom, so that failures can be counted.
    #[must_use]
    pub fn login(mut self, name: fn(&Call) -> Option<String>) -> Self {
        self.login_name = Some(name);
        self.open()
    }

    /// Who logs in with `call`; `None` where nobody does.
    pub fn login_name(&self, call: &Call) -> Option<String> {
        self.login_name.and_then(|name| name(call))
    }

    /// From here on, operations of this route need `sudo` too.
    #[must_use]
    pub fn sudo(mut self) -> Self {
        self.access = Access::Sudo;
        self
    }

    /// From here on, operations of this route answer while sealed.
    #[must_use]
    pub fn while_sealed(mut self) -> Self {
        self.while_sealed = true;
        self
    }

    /// GET.
    #[must_use]
    pub fn read<A, O: IntoReply + Send + 'static>(
        self,
        summary: &'static str,
        handler: impl Handler<A, O>,
    ) -> Self {
        self.on(Operation::Read, summary, handler)
    }

    /// POST and PUT, where nothing tells a creation from an update.
    #[must_use]
    pub fn update<A, O: IntoReply + Send + 'static>(
        self,
        summary: &'static str,
        handler: impl Handler<A, O>,
    ) -> Self {
        self.on(Operation::Update, summary, handler)
    }

    /// POST and PUT, where `exists` tells a creation from an update: policies may grant one and not the other.
    #[must_use]
    pub fn upsert<A, B, O: IntoReply + Send + 'static>(
        mut self,
        summary: &'static str,
        exists: impl Handler<B, bool>,
        handler: impl Handler<A, O>,
    ) -> Self {
        self.exists = Some(Arc::new(move |call: &Arc<Call>| exists.call(call)));
        self.on(Operation::Create, summary, handler.clone()).on(Operation::Update, summary, handler)
    }

    /// Has POST and PUT tell a creation from an update, for operations in several steps: policies may grant one and not the
    /// other. Each is then declared by itself ([`Route::ask_on`]).
    #[must_use]
    pub fn existing<B>(mut self, exists: impl Handler<B, bool>) -> Self {
        self.exists = Some(Arc::new(move |call: &Arc<Call>| exists.call(call)));
        self
    }

    /// DELETE.
    #[must_use]
    pub fn delete<A, O: IntoReply + Send + 'static>(
        self,
        summary: &'static str,
        handler: impl Handler<A, O>,
    ) -> Self {
        self.on(Operation::Delete, summary, handler)
    }

    /// LIST.
    #[must_use]
    pub fn list<A, O: IntoReply + Send + 'static>(
        self,
        summary: &'static str,
        handler: impl Handler<A, O>,
    ) -> Self {
        self.on(Operation::List, summary, handler)
    }

    /// SCAN: a recursive list.
    #[must_use]
    pub fn scan<A, O: IntoReply + Send + 'static>(
        self,
        summary: &'static str,
        handler: impl Handler<A, O>,
    ) -> Self {
        self.on(Operation::Scan, summary, handler)
    }

    /// PATCH.
    #[must_use]
    pub fn patch<A, O: IntoReply + Send + 'static>(
        self,
        summary: &'static str,
        handler: impl Handler<A, O>,
    ) -> Self {
        self.on(Operation::Patch, summary, handler)
    }

    fn on<A, O, H>(mut self, operation: Operation, summary: &'static str, handler: H) -> Self
    where
        O: IntoReply + Send + 'static,
        H: Handler<A, O>,
    {
        let mut doc = OperationDoc { summary, ..OperationDoc::default() };
        H::document(&mut doc);
        O::document(&mut doc);
        let run: Run<Reply> = Arc::new(move |call: &Arc<Call>| {
            let answer = handler.call(call);
            Box::pin(async move { answer.await?.into_reply() })
        });
        self.insert(operation, doc, Work::Handler(HandlerRun(run)));
        self
    }

    fn insert(&mut self, operation: Operation, doc: OperationDoc, work: Work) {
        let endpoint = Endpoint { doc, access: self.access, while_sealed: self.while_sealed, work };
        self.operations.insert(operation, endpoint);
    }

    /// POST and PUT that ask outside or compute for long, and then write. `prepare` reads what the question needs, `ask`
    /// runs once and in no transaction, `conclude` writes what came of it and answers.
    #[must_use]
    pub fn ask<A, B, C, Q, R, O, P, H, K>(
        self,
        summary: &'static str,
        prepare: P,
        ask: H,
        conclude: K,
    ) -> Self
    where
        P: ReadStep<View, A, Q, EngineError>,
        H: ReadStep<Q, B, R, EngineError>,
        K: WriteStep<Arc<R>, C, O, EngineError>,
        Q: Send + Sync + 'static,
        R: Send + Sync + 'static,
        O: IntoReply + Send + 'static,
    {
        self.ask_on(Operation::Update, summary, prepare, ask, conclude)
    }

    /// As [`Route::ask`], for any operation.
    #[must_use]
    pub fn ask_on<A, B, C, Q, R, O, P, H, K>(
        mut self,
        operation: Operation,
        summary: &'static str,
        prepare: P,
        ask: H,
        conclude: K,
    ) -> Self
    where
        P: ReadStep<View, A, Q, EngineError>,
        H: ReadStep<Q, B, R, EngineError>,
        K: WriteStep<Arc<R>, C, O, EngineError>,
        Q: Send + Sync + 'static,
        R: Send + Sync + 'static,
        O: IntoReply + Send + 'static,
    {
        let mut doc = OperationDoc { summary, ..OperationDoc::default() };
        P::document(&mut doc);
        H::document(&mut doc);
        K::document(&mut doc);
        O::document(&mut doc);
        doc.settle(Mode::Ask);
        self.insert(operation, doc, Work::Ask(Asking::new(prepare, ask, conclude)));
        self
    }

    /// GET that makes something outside which a lease of `kind` ends ([`Engine::lease`]): Vault's way of asking for a
    /// credential. `plan` says what is to be made and is committed as an intent, `act` makes it, once.
    #[must_use]
    pub fn issue<A, B, T, S, P, H>(self, kind: &'static str, summary: &'static str, plan: P, act: H) -> Self
    where
        P: Handler<A, Plan<T>>,
        H: ReadStep<Intent<T>, B, Issued<S>, ActError>,
        T: Stored + Send + Sync + 'static,
        S: Serialize + JsonSchema + Send + 'static,
    {
        self.issue_on(Operation::Read, kind, summary, plan, act)
    }

    /// As [`Route::issue`], for any operation.
    #[must_use]
    pub fn issue_on<A, B, T, S, P, H>(
        mut self,
        operation: Operation,
        kind: &'static str,
        summary: &'static str,
        plan: P,
        act: H,
    ) -> Self
    where
        P: Handler<A, Plan<T>>,
        H: ReadStep<Intent<T>, B, Issued<S>, ActError>,
        T: Stored + Send + Sync + 'static,
        S: Serialize + JsonSchema + Send + 'static,
    {
        let mut doc = OperationDoc { summary, ..OperationDoc::default() };
        P::document(&mut doc);
        H::document(&mut doc);
        doc.answers::<S>();
        doc.settle(Mode::Issue);
        self.insert(operation, doc, Work::Issue(Issuing::new(kind, plan, act)));
        self
    }

    /// POST and PUT that change something outside of which it must be known how it stands: a rotation. `plan` answers what
    /// the engine's settlement of `kind` ([`Engine::settlement`]) needs to find that out, every value that may hold
    /// included, and is committed as an intent; `act` changes it, once; `conclude` writes the outcome and answers.
    #[must_use]
    pub fn settle<A, B, C, T, R, O, P, H, K>(
        mut self,
        kind: &'static str,
        summary: &'static str,
        plan: P,
        act: H,
        conclude: K,
    ) -> Self
    where
        P: Handler<A, T>,
        H: ReadStep<Intent<T>, B, R, ActError>,
        K: WriteStep<Arc<R>, C, O, EngineError>,
        T: Stored + Send + Sync + 'static,
        R: Send + Sync + 'static,
        O: IntoReply + Send + 'static,
    {
        let mut doc = OperationDoc { summary, ..OperationDoc::default() };
        P::document(&mut doc);
        H::document(&mut doc);
        K::document(&mut doc);
        O::document(&mut doc);
        doc.settle(Mode::Issue);
        self.insert(Operation::Update, doc, Work::Settle(Settling::new(kind, plan, act, conclude)));
        self
    }
}

/// Why a path leads nowhere in an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No route matches the path.
    UnsupportedPath,
    /// The route does not have the operation.
    UnsupportedOperation,
}

/// The route that a path leads to.
#[derive(Clone)]
pub struct Found {
    /// The route.
    pub route: Arc<Route>,
    /// What the pattern captured.
    pub params: Captures,
}

impl Found {
    /// Whether what the path names exists, where the route can tell; `true` where it cannot.
    pub async fn exists(&self, call: &Arc<Call>) -> Result<bool, EngineError> {
        match &self.route.exists {
            Some(exists) => exists(call).await,
            None => Ok(true),
        }
    }

    /// The endpoint for `operation`. Vault asks for `create` or `update` according to what exists; a route that
    /// cannot tell has `update` only.
    pub fn endpoint(&self, operation: Operation) -> Result<&Endpoint, Refusal> {
        self.route.operations.get(&operation).ok_or(Refusal::UnsupportedOperation)
    }
}

/// A secrets engine, an auth method, or a part of the server.
#[derive(Clone)]
pub struct Engine {
    kind: &'static str,
    /// The name under which the OpenAPI document's generic mount path is known (`kv_v2`); the kind where empty.
    generic_name: &'static str,
    class: Class,
    help: &'static str,
    routes: Vec<Arc<Route>>,
    /// Whether some operation reads its body otherwise than as JSON.
    reads_bytes: bool,
    extension: Option<Arc<dyn Any + Send + Sync>>,
    renew: Option<Run<AuthGrant>>,
    jobs: Vec<Job>,
    leases: BTreeMap<&'static str, LeaseKind>,
    check_options: Option<CheckOptions>,
    tables: &'static [TableId],
    kept_by_token: Option<TableId>,
    keeps_trailing_slash: bool,
}

impl Engine {
    /// A secrets engine without routes.
    pub fn new(kind: &'static str, help: &'static str) -> Self {
        Self {
            kind,
            generic_name: "",
            class: Class::Secrets,
            help,
            routes: Vec::new(),
            reads_bytes: false,
            extension: None,
            renew: None,
            jobs: Vec::new(),
            leases: BTreeMap::new(),
            check_options: None,
            tables: &[],
            kept_by_token: None,
            keeps_trailing_slash: false,
        }
    }

    /// An auth method without routes.
    pub fn auth(kind: &'static str, help: &'static str) -> Self {
        Self { class: Class::Auth, ..Self::new(kind, help) }
    }

    /// A part of the server without routes.
    pub fn system(kind: &'static str, help: &'static str) -> Self {
        Self { class: Class::System, ..Self::new(kind, help) }
    }

    /// Sets the name for generic mount paths where it is not the type.
    #[must_use]
    pub fn generic_name(mut self, name: &'static str) -> Self {
        self.generic_name = name;
        self
    }

    /// Adds a route: `.route("role/{name}", |r| r.read("Read a role", read_role))`. A pattern with an optional tail,
    /// `ca[/pem]`, makes one of each of its forms.
    #[must_use]
    pub fn route(mut self, pattern: &str, build: impl FnOnce(Route) -> Route) -> Self {
        let forms = Pattern::forms(pattern);
        let route = build(Route::new(pattern));
        let is_json = |endpoint: &Endpoint| endpoint.doc.body == BodyMode::Json;
        self.reads_bytes |= !route.operations.values().all(is_json);
        for form in &forms {
            let route = route.at(form);
            self.insert(Arc::new(route));
        }
        self
    }

    fn insert(&mut self, route: Arc<Route>) {
        let rank = route.pattern.specificity();
        let at = self.routes.partition_point(|other| other.pattern.specificity() <= rank);
        self.routes.insert(at, route);
    }

    /// Adds routes that concern the server as a whole, and so answer in the root namespace alone.
    #[must_use]
    pub fn root_only(mut self, area: impl FnOnce(Self) -> Self) -> Self {
        let others = std::mem::take(&mut self.routes);
        let mut built = area(self);
        let routes = std::mem::replace(&mut built.routes, others);
        for route in routes {
            let route = Arc::new(Route { root_only: true, ..Arc::unwrap_or_clone(route) });
            built.insert(route);
        }
        built
    }

    /// How the body of a request for a path (relative to the mount) is read.
    pub fn body_mode(&self, path: &str, operations: &[Operation]) -> BodyMode {
        if !self.reads_bytes {
            return BodyMode::Json;
        }
        let found = self.find(path, operations).ok();
        let endpoint = found
            .as_ref()
            .and_then(|found| operations.iter().find_map(|operation| found.route.operations.get(operation)));
        endpoint.map_or(BodyMode::Json, |endpoint| endpoint.doc.body)
    }

    /// What handlers can draw with [`crate::Extension`].
    #[must_use]
    pub fn extension<T: Any + Send + Sync>(mut self, extension: Arc<T>) -> Self {
        self.extension = Some(extension);
        self
    }

    /// An auth method's say in a renewal: answers the grant as it would be made today, or refuses.
    #[must_use]
    pub fn on_renew<A>(mut self, handler: impl Handler<A, AuthGrant>) -> Self {
        self.renew = Some(Arc::new(move |call: &Arc<Call>| handler.call(call)));
        self
    }

    /// Adds work in the background. The handler does one bounded step and answers whether there is more to do at once.
    #[must_use]
    pub fn job<A>(mut self, name: &'static str, schedule: Schedule, handler: impl Handler<A, bool>) -> Self {
        let run: Run<bool> = Arc::new(move |call: &Arc<Call>| handler.call(call));
        self.jobs.push(Job { name, schedule, run });
        self
    }

    /// Adds a kind of lease: `.lease("creds", |l| l.revoke(drop_user).renew(extend_user))`.
    #[must_use]
    pub fn lease(mut self, kind: &'static str, build: impl FnOnce(LeaseKind) -> LeaseKind) -> Self {
        self.leases.insert(kind, build(LeaseKind::default()));
        self
    }

    /// Adds a way to find out how something stands outside, after an operation that changes it ([`Route::settle`]) has left
    /// it open: `.settlement("root", settle_root)`. The handler draws [`Leased`](crate::Leased) with what the plan made; what it
    /// writes is committed with the intent's end. It runs at once, and again after the longest time for which something that
    /// was sent can still arrive, so it is idempotent and gives up no value that may still come to hold before that
    /// ([`Leased::is_last`](crate::Leased)).
    #[must_use]
    pub fn settlement<A>(mut self, kind: &'static str, handler: impl RevokeHandler<A>) -> Self {
        self.leases.insert(kind, LeaseKind::default().revoke(handler));
        self
    }

    /// Names the tables of its mounts, for the registry of formats.
    #[must_use]
    pub fn tables(mut self, tables: &'static [TableId]) -> Self {
        self.tables = tables;
        self
    }

    /// Names the table whose keys begin with [`Caller::token_key`](crate::Caller): those entries end with their token.
    #[must_use]
    pub fn kept_by_token(mut self, table: TableId) -> Self {
        self.kept_by_token = Some(table);
        self
    }

    /// Has paths that end in a slash mean other things than those that do not, where a route takes the rest of a path:
    /// secrets under paths of their users' choice. Elsewhere a slash at the end means nothing, and is dropped before
    /// policies see the path.
    #[must_use]
    pub fn keeps_trailing_slash(mut self) -> Self {
        self.keeps_trailing_slash = true;
        self
    }

    /// Checks the options of a mount before it is enabled or tuned.
    #[must_use]
    pub fn check_options(mut self, check: CheckOptions) -> Self {
        self.check_options = Some(check);
        self
    }

    /// Its type, as `sys/mounts` shows it.
    pub const fn kind(&self) -> &'static str {
        self.kind
    }

    /// The name for generic mount paths.
    pub const fn generic(&self) -> &'static str {
        if self.generic_name.is_empty() { self.kind } else { self.generic_name }
    }

    /// What it is mounted as.
    pub const fn class(&self) -> Class {
        self.class
    }

    /// What `path-help` prints for the mount.
    pub const fn help(&self) -> &'static str {
        self.help
    }

    /// Its routes, the more specific first.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// What handlers can draw with [`crate::Extension`].
    pub fn extension_handle(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        self.extension.clone()
    }

    /// The route for a path (relative to the mount) that has one of `operations`; where several match, the most
    /// specific; where none has the operation, the most specific that matches, for its refusal.
    pub fn find(&self, path: &str, operations: &[Operation]) -> Result<Found, Refusal> {
        let mut matched = None;
        for route in &self.routes {
            let Some(params) = route.pattern.captures(path) else { continue };
            if operations.iter().any(|operation| route.operations.contains_key(operation)) {
                let params = Captures::new(route.names.clone(), params);
                return Ok(Found { route: route.clone(), params });
            }
            matched.get_or_insert(());
        }
        Err(if matched.is_some() { Refusal::UnsupportedOperation } else { Refusal::UnsupportedPath })
    }

    /// Whether grants are renewed by the method itself.
    pub async fn renew(&self, call: &Arc<Call>) -> Option<Result<AuthGrant, EngineError>> {
        match &self.renew {
            Some(renew) => Some(renew(call).await),
            None => None,
        }
    }

    /// Its work in the background.
    pub fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    /// Whether a slash at the end of `path` (relative to the mount) says nothing for `operations`.
    pub fn ignores_trailing_slash(&self, path: &str, operations: &[Operation]) -> bool {
        let Ok(found) = self.find(path, operations) else { return true };
        match found.route.pattern().segments().last() {
            Some(Segment::Raw(_)) => false,
            Some(Segment::Rest(_)) => !self.keeps_trailing_slash,
            _ => true,
        }
    }

    /// Whether the route of `path` reads the end of it as it was sent.
    pub fn owns_raw_tail(&self, path: &str, operations: &[Operation]) -> bool {
        self.find(path, operations).is_ok_and(|found| found.route.pattern().has_raw_tail())
    }

    /// The kind of lease with this name.
    pub fn lease_kind(&self, kind: &str) -> Option<&LeaseKind> {
        self.leases.get(kind)
    }

    /// The tables of its mounts.
    pub const fn own_tables(&self) -> &'static [TableId] {
        self.tables
    }

    /// The table whose entries end with their token.
    pub const fn table_by_token(&self) -> Option<TableId> {
        self.kept_by_token
    }

    /// Checks mount options; the text says what is wrong.
    pub fn validate_options(&self, options: &BTreeMap<String, String>) -> Result<(), String> {
        self.check_options.map_or(Ok(()), |check| check(options))
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({})", self.kind)
    }
}
