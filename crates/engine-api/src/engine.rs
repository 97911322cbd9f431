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
    ActError, Alias, Asking, AuthGrant, Backend, Call, Captures, Class, EngineError, Facts, Handler, Intent,
    IntoReply, Issued, Issuing, Job, LeaseKind, Mode, MountOption, Name, OperationDoc, Pattern, Plan,
    ReadStep, Reply, RevokeHandler, RouteTable, Schedule, Settling, View, WriteStep,
};

type Options = BTreeMap<String, String>;

/// Says what is wrong with a mount's options.
type CheckOptions = fn(&Options) -> Result<(), String>;

/// Says what is wrong with a change of a mount's options: those that it has, and those that are given.
type CheckChange = fn(&Options, &Options) -> Result<(), String>;

/// Says who logs in.
type LoginName = Arc<dyn Fn(&Call) -> Option<String> + Send + Sync>;

pub(crate) type Run<O> = Arc<dyn Fn(&Arc<Call>) -> BoxFuture<'static, Result<O, EngineError>> + Send + Sync>;

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
    owned_headers: Arc<[Name]>,
    help: Name,
    operations: BTreeMap<Operation, Endpoint>,
    exists: Option<Run<bool>>,
    login_name: Option<LoginName>,
    access: Access,
    root_only: bool,
    while_sealed: bool,
}

impl Route {
    /// A route without operations.
    pub fn new(pattern: &str) -> Self {
        let pattern = Pattern::new(pattern);
        Self {
            names: Captures::names_of(&pattern),
            pattern,
            owned_headers: Arc::default(),
            help: Name::default(),
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
    pub fn help(&self) -> &str {
        if self.help.is_empty() {
            self.operations.values().next().map_or("", |endpoint| &endpoint.doc.summary)
        } else {
            &self.help
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

    /// The endpoint of one of its operations.
    pub fn endpoint(&self, operation: Operation) -> Option<&Endpoint> {
        self.operations.get(&operation)
    }

    /// Names what the pattern captured.
    pub(crate) fn captured(&self, parts: Vec<String>) -> Captures {
        Captures::new(self.names.clone(), parts)
    }

    /// Whether what the call's path names exists; `true` where the route cannot tell.
    pub(crate) async fn exists_for(&self, call: &Arc<Call>) -> Result<bool, EngineError> {
        match &self.exists {
            Some(exists) => exists(call).await,
            None => Ok(true),
        }
    }

    /// The same at another path.
    pub(crate) fn at(&self, pattern: &str) -> Self {
        let pattern = Pattern::new(pattern);
        Self { names: Captures::names_of(&pattern), pattern, ..self.clone() }
    }

    /// Headers that are part of what the route answers, such as `Location` and `Retry-After`: they pass without the mount's
    /// tuning. Those that frame the answer are the server's all the same.
    #[must_use]
    pub fn owns<N: Clone + Into<Name>>(mut self, headers: &[N]) -> Self {
        self.owned_headers = headers.iter().cloned().map(Into::into).collect();
        self
    }

    /// The headers that pass without the mount's tuning.
    pub fn owned_headers(&self) -> &[Name] {
        &self.owned_headers
    }

    /// A longer text for `path-help`.
    #[must_use]
    pub fn explain(mut self, help: impl Into<Name>) -> Self {
        self.help = help.into();
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
    pub fn login(mut self, name: impl Fn(&Call) -> Option<String> + Send + Sync + 'static) -> Self {
        self.login_name = Some(Arc::new(name));
        self.open()
    }

    /// Who logs in with `call`; `None` where nobody does.
    pub fn login_name(&self, call: &Call) -> Option<String> {
        self.login_name.as_ref().and_then(|name| name(call))
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
        self,
        summary: &'static str,
        exists: impl Handler<B, bool>,
        handler: impl Handler<A, O>,
    ) -> Self {
        let route = self.existing(exists).on(Operation::Create, summary, handler.clone());
        route.on(Operation::Update, summary, handler)
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
        let mut doc = OperationDoc { summary: summary.into(), ..OperationDoc::default() };
        H::document(&mut doc);
        O::document(&mut doc);
        let run: Run<Reply> = Arc::new(move |call: &Arc<Call>| {
            let answer = handler.call(call);
            Box::pin(async move { answer.await?.into_reply() })
        });
        self.insert(operation, doc, Work::Handler(HandlerRun(run)));
        self
    }

    /// Says of an operation what was read at run time, in place of what the types of its steps say. The way it runs is `doc`'s
    /// where these do not settle it.
    #[must_use]
    pub fn described(mut self, operation: Operation, doc: OperationDoc) -> Self {
        if let Some(endpoint) = self.operations.get_mut(&operation) {
            let settled = endpoint.doc.mode;
            let mode = if settled.only_reads() { doc.mode } else { settled };
            endpoint.doc = OperationDoc { mode, ..doc };
        }
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
        let mut doc = OperationDoc { summary: summary.into(), ..OperationDoc::default() };
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
    pub fn issue<A, B, T, S, P, H>(
        self,
        kind: impl Into<Name>,
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
        self.issue_on(Operation::Read, kind, summary, plan, act)
    }

    /// As [`Route::issue`], for any operation.
    #[must_use]
    pub fn issue_on<A, B, T, S, P, H>(
        mut self,
        operation: Operation,
        kind: impl Into<Name>,
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
        let mut doc = OperationDoc { summary: summary.into(), ..OperationDoc::default() };
        P::document(&mut doc);
        H::document(&mut doc);
        doc.answers::<S>();
        doc.settle(Mode::Issue);
        self.insert(operation, doc, Work::Issue(Issuing::new(kind.into(), plan, act)));
        self
    }

    /// POST and PUT that change something outside of which it must be known how it stands: a rotation. `plan` answers what
    /// the engine's settlement of `kind` ([`Engine::settlement`]) needs to find that out, every value that may hold
    /// included, and is committed as an intent; `act` changes it, once; `conclude` writes the outcome and answers.
    #[must_use]
    pub fn settle<A, B, C, T, R, O, P, H, K>(
        mut self,
        kind: impl Into<Name>,
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
        let mut doc = OperationDoc { summary: summary.into(), ..OperationDoc::default() };
        P::document(&mut doc);
        H::document(&mut doc);
        K::document(&mut doc);
        O::document(&mut doc);
        doc.settle(Mode::Issue);
        self.insert(Operation::Update, doc, Work::Settle(Settling::new(kind.into(), plan, act, conclude)));
        self
    }
}

/// A secrets engine, an auth method, or a part of the server.
#[derive(Clone)]
pub struct Engine {
    facts: Facts,
    routes: RouteTable,
    extension: Option<Arc<dyn Any + Send + Sync>>,
    renew: Option<Run<AuthGrant>>,
    jobs: Vec<Job>,
    leases: BTreeMap<Name, LeaseKind>,
    check_options: Option<CheckOptions>,
    check_change: Option<CheckChange>,
    tables: &'static [TableId],
    kept_by_token: Option<TableId>,
}

impl Engine {
    /// A secrets engine without routes.
    pub fn new(kind: impl Into<Name>, help: impl Into<Name>) -> Self {
        Self::of(Facts::new(Class::Secrets, kind, help))
    }

    /// An auth method without routes.
    pub fn auth(kind: impl Into<Name>, help: impl Into<Name>) -> Self {
        Self::of(Facts::new(Class::Auth, kind, help))
    }

    /// A part of the server without routes.
    pub fn system(kind: impl Into<Name>, help: impl Into<Name>) -> Self {
        Self::of(Facts::new(Class::System, kind, help))
    }

    fn of(facts: Facts) -> Self {
        Self {
            facts,
            routes: RouteTable::default(),
            extension: None,
            renew: None,
            jobs: Vec::new(),
            leases: BTreeMap::new(),
            check_options: None,
            check_change: None,
            tables: &[],
            kept_by_token: None,
        }
    }

    /// Sets the name for generic mount paths where it is not the type.
    #[must_use]
    pub fn generic_name(mut self, name: impl Into<Name>) -> Self {
        self.facts.generic_name = Some(name.into());
        self
    }

    /// Names its page in `docs/`: `kv.md`.
    #[must_use]
    pub fn docs_page(mut self, page: impl Into<Name>) -> Self {
        self.facts.docs_page = page.into();
        self
    }

    /// Has failed logins lock users out, unless the mount or the server says otherwise.
    #[must_use]
    pub fn locks_users_out(mut self) -> Self {
        self.facts.locks_users_out = true;
        self
    }

    /// Adds a name that mounts can be enabled by, and the option that it stands for.
    #[must_use]
    pub fn alias(mut self, name: impl Into<Name>, option: impl Into<Name>, value: impl Into<Name>) -> Self {
        self.facts.aliases.push(Alias { name: name.into(), option: (option.into(), value.into()) });
        self
    }

    /// Names an option of its mounts.
    #[must_use]
    pub fn option(mut self, name: impl Into<Name>, description: impl Into<Name>) -> Self {
        self.facts.options.push(MountOption { name: name.into(), description: description.into() });
        self
    }

    /// Serves the mounts of its type that have an option with this value; the engine of the same type that says nothing of
    /// the kind serves all others.
    #[must_use]
    pub fn serving(mut self, option: impl Into<Name>, value: impl Into<Name>) -> Self {
        self.facts.variant = Some((option.into(), value.into()));
        self
    }

    /// Adds a route: `.route("role/{name}", |r| r.read("Read a role", read_role))`. A pattern with an optional tail,
    /// `ca[/pem]`, makes one of each of its forms.
    #[must_use]
    pub fn route(mut self, pattern: &str, build: impl FnOnce(Route) -> Route) -> Self {
        self.routes.add(pattern, build);
        self
    }

    /// Adds routes that concern the server as a whole, and so answer in the root namespace alone.
    #[must_use]
    pub fn root_only(mut self, area: impl FnOnce(Self) -> Self) -> Self {
        let others = std::mem::take(&mut self.routes);
        let mut built = area(self);
        let routes = std::mem::replace(&mut built.routes, others);
        for route in routes.into_routes() {
            let route = Arc::new(Route { root_only: true, ..Arc::unwrap_or_clone(route) });
            built.routes.insert(route);
        }
        built
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
    pub fn job<A>(
        mut self,
        name: impl Into<Name>,
        schedule: Schedule,
        handler: impl Handler<A, bool>,
    ) -> Self {
        self.jobs.push(Job::new(name, schedule, handler));
        self
    }

    /// Adds a kind of lease: `.lease("creds", |l| l.revoke(drop_user).renew(extend_user))`.
    #[must_use]
    pub fn lease(mut self, kind: impl Into<Name>, build: impl FnOnce(LeaseKind) -> LeaseKind) -> Self {
        self.leases.insert(kind.into(), build(LeaseKind::default()));
        self
    }

    /// Adds a way to find out how something stands outside, after an operation that changes it ([`Route::settle`]) has left
    /// it open: `.settlement("root", settle_root)`. The handler draws [`Leased`](crate::Leased) with what the plan made; what it
    /// writes is committed with the intent's end. It runs at once, and again after the longest time for which something that
    /// was sent can still arrive, so it is idempotent and gives up no value that may still come to hold before that
    /// ([`Leased::is_last`](crate::Leased)).
    #[must_use]
    pub fn settlement<A>(mut self, kind: impl Into<Name>, handler: impl RevokeHandler<A>) -> Self {
        self.leases.insert(kind.into(), LeaseKind::default().revoke(handler));
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
        self.facts.keeps_trailing_slash = true;
        self
    }

    /// Checks the options of a mount before it is enabled or tuned.
    #[must_use]
    pub fn check_options(mut self, check: CheckOptions) -> Self {
        self.check_options = Some(check);
        self
    }

    /// Checks options of a mount that are to be changed beside those that it has.
    #[must_use]
    pub fn check_change(mut self, check: CheckChange) -> Self {
        self.check_change = Some(check);
        self
    }
}

impl Backend for Engine {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn route_table(&self) -> &RouteTable {
        &self.routes
    }

    fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    fn lease_kind(&self, kind: &str) -> Option<&LeaseKind> {
        self.leases.get(kind)
    }

    fn own_tables(&self) -> &[TableId] {
        self.tables
    }

    fn table_by_token(&self) -> Option<TableId> {
        self.kept_by_token
    }

    fn extension_handle(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        self.extension.clone()
    }

    fn validate_options(&self, options: &Options) -> Result<(), String> {
        self.check_options.map_or(Ok(()), |check| check(options))
    }

    fn validate_change(&self, before: &Options, given: &Options) -> Result<(), String> {
        self.check_change.map_or(Ok(()), |check| check(before, given))
    }

    fn renewal(&self, call: &Arc<Call>) -> Option<BoxFuture<'static, Result<AuthGrant, EngineError>>> {
        self.renew.as_ref().map(|renew| renew(call))
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({})", self.facts.kind)
    }
}
