//! The backend that is written in this program: a builder of typed handlers.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use strongroom_barrier::TableId;

use crate::route::Run;
use crate::{
    Acts, Alias, Asking, AuthGrant, Backend, Call, Class, EngineError, Extensions, Facts, Handler, Hook, Job,
    LeaseKind, MountOption, Name, OnceStep, Question, ReadStep, RevokeError, Route, RouteTable, Schedule,
    View, WriteStep,
};

type Options = BTreeMap<String, String>;

/// Says what is wrong with a mount's options.
type CheckOptions = fn(&Options) -> Result<(), String>;

/// Says what is wrong with a change of a mount's options: those that it has, and those that are given.
type CheckChange = fn(&Options, &Options) -> Result<(), String>;

/// A secrets engine, an auth method, or a part of the server.
#[derive(Clone)]
pub struct Engine {
    facts: Facts,
    routes: RouteTable,
    extensions: Extensions,
    renew: Option<Run<AuthGrant>>,
    ask_on_renew: Option<Asking<AuthGrant>>,
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
            extensions: Extensions::default(),
            renew: None,
            ask_on_renew: None,
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

    /// Adds an alias by which mounts can be enabled, and the option that it sets.
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
            built.routes.insert(Arc::new(Arc::unwrap_or_clone(route).in_root_only()));
        }
        built
    }

    /// Adds what handlers can draw with [`crate::Extension`], one of each type.
    #[must_use]
    pub fn extension<T: Any + Send + Sync>(mut self, extension: Arc<T>) -> Self {
        self.extensions = self.extensions.with(extension);
        self
    }

    /// An auth method's say in a renewal: answers the grant as it would be made today, or refuses. It decides by what is
    /// stored; one that has to ask outside is [`Engine::ask_on_renew`].
    #[must_use]
    pub fn on_renew<A>(mut self, handler: impl Handler<A, AuthGrant>) -> Self {
        self.renew = Some(Arc::new(move |call: &Arc<Call>| handler.call(call)));
        self
    }

    /// As [`Engine::on_renew`], of a method that asks outside who the token's owner is today: the groups of a directory, whether
    /// an account is still there. `prepare` draws the [`Renewal`](crate::Renewal) and reads what the question needs, `ask` runs
    /// once, in no transaction and with a limited time, `conclude` answers the grant by what was found out, with what is stored when
    /// the renewal is committed. A client that goes away in between changes nothing, and a standby asks nobody.
    #[must_use]
    pub fn ask_on_renew<A, B, C, Q, R, P, H, K>(mut self, prepare: P, ask: H, conclude: K) -> Self
    where
        P: ReadStep<View, A, Q, EngineError>,
        H: OnceStep<Q, B, R, EngineError>,
        K: WriteStep<Arc<R>, C, AuthGrant, EngineError>,
        Q: Send + Sync + 'static,
        R: Send + Sync + 'static,
    {
        self.ask_on_renew = Some(Asking::new(prepare, Question::Ask, ask, conclude, Ok));
        self
    }

    /// Adds work in the background. The handler does one bounded step and answers whether there is more to do at once.
    #[must_use]
    pub fn job<A>(
        mut self,
        name: impl Into<Name>,
        schedule: Schedule,
        handler: impl Hook<A, bool, EngineError>,
    ) -> Self {
        self.jobs.push(Job::new(name, schedule, handler));
        self
    }

    /// Adds work in the background that changes something outside, each change behind an intent:
    /// `.acting_job("rotate", Schedule::Due(ROTATIONS.id()), Acts::settled_by("account", due, plan, change, note))`.
    #[must_use]
    pub fn acting_job(mut self, name: impl Into<Name>, schedule: Schedule, acts: Acts) -> Self {
        self.jobs.push(Job::acting(name, schedule, acts));
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
    pub fn settlement<A>(mut self, kind: impl Into<Name>, handler: impl Hook<A, (), RevokeError>) -> Self {
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

    fn extensions(&self) -> Extensions {
        self.extensions.clone()
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

    fn asks_at_renewal(&self) -> Option<&Asking<AuthGrant>> {
        self.ask_on_renew.as_ref()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({})", self.facts.kind)
    }
}
