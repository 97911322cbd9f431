//! Routes: a pattern, and the operations at the paths that match it.
//!
//! The input and output of an operation are derived from the types of its handler, so that documentation, validation
//! and policies follow from one declaration; where an operation is told at run time, its documentation is given beside
//! it ([`Route::described`]). A route decides nothing about who may use it: it says what is needed, and the server asks
//! the policies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Serialize;
use strongroom_barrier::Stored;
use strongroom_wire::Operation;

use crate::{
    ActError, Asking, Call, Captures, EngineError, Handler, Intent, IntoReply, Issued, Issuing, Meaning,
    Mode, Name, OnceStep, OperationDoc, Pattern, Plan, Question, ReadStep, Reply, Settling, View, WriteStep,
};

#[cfg(doc)]
use crate::Engine;

/// A handler without its types.
pub(crate) type Run<O> = Arc<dyn Fn(&Arc<Call>) -> BoxFuture<'static, Result<O, EngineError>> + Send + Sync>;

/// A function that names the user of a login.
type LoginName = Arc<dyn Fn(&Call) -> Option<String> + Send + Sync>;

/// The callers that a route admits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// A token whose policies grant the operation's capability.
    #[default]
    Granted,
    /// That, and `sudo`.
    Sudo,
    /// Anyone: the handler decides by what it is given.
    Open,
    /// The same, and a request with a token takes a use off it, also one that the handler denies.
    OpenCounting,
    /// That, where the configuration lists this name in `enable_unauthenticated_access`; else as [`Access::Granted`].
    OpenWhere(&'static str),
}

impl Access {
    /// True if no token is needed.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::OpenCounting)
    }

    /// The callers that are admitted where the configuration opens the operations of these names.
    #[must_use]
    pub fn opened_by(self, names: &BTreeSet<String>) -> Self {
        match self {
            Self::OpenWhere(name) if names.contains(name) => Self::OpenCounting,
            Self::OpenWhere(_) => Self::Granted,
            other => other,
        }
    }
}

/// One operation at one route.
#[derive(Clone)]
pub struct Endpoint {
    /// The documentation.
    pub doc: OperationDoc,
    /// The callers that it admits.
    pub access: Access,
    /// True if it answers while sealed.
    pub while_sealed: bool,
    /// True if it answers while its namespace is locked.
    pub while_locked: bool,
    /// The way it is carried out.
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

/// The way an operation is carried out.
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
    /// Headers of its requests that its handlers see whatever the mount's tuning says.
    read_headers: Arc<[Name]>,
    /// The types of the bodies of its PATCH requests; empty: merge patches, as everywhere.
    patch_types: &'static [&'static str],
    help: Name,
    operations: BTreeMap<Operation, Endpoint>,
    exists: Option<Run<bool>>,
    login_name: Option<LoginName>,
    access: Access,
    root_only: bool,
    while_sealed: bool,
    while_locked: bool,
}

impl Route {
    /// A route without operations.
    pub fn new(pattern: &str) -> Self {
        let pattern = Pattern::new(pattern);
        Self {
            names: Captures::names_of(&pattern),
            pattern,
            owned_headers: Arc::default(),
            read_headers: Arc::default(),
            patch_types: &[],
            help: Name::default(),
            operations: BTreeMap::new(),
            exists: None,
            login_name: None,
            access: Access::Granted,
            while_sealed: false,
            while_locked: false,
            root_only: false,
        }
    }

    /// The route's path.
    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// The text that `path-help` prints for it.
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

    /// True if it concerns the server as a whole, and answers in the root namespace alone.
    pub const fn is_root_only(&self) -> bool {
        self.root_only
    }

    /// The same, concerning the server as a whole.
    pub(crate) fn in_root_only(self) -> Self {
        Self { root_only: true, ..self }
    }

    /// True if POST can tell a creation from an update here.
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

    /// Tells whether the call's path names something that exists; `true` where the route cannot tell.
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

    /// Headers by which a protocol has clients say who they are, such as `Authorization`: handlers see them in
    /// [`Request::headers`](crate::Request) without the mount's tuning.
    #[must_use]
    pub fn reads_headers<N: Clone + Into<Name>>(mut self, headers: &[N]) -> Self {
        self.read_headers = headers.iter().cloned().map(Into::into).collect();
        self
    }

    /// The headers of requests that handlers see without the mount's tuning.
    pub fn read_headers(&self) -> &[Name] {
        &self.read_headers
    }

    /// The types of the bodies of PATCH requests, where a protocol has patches of its own, such as SCIM's.
    #[must_use]
    pub const fn patches_as(mut self, types: &'static [&'static str]) -> Self {
        self.patch_types = types;
        self
    }

    /// The types of the bodies of its PATCH requests; empty: merge patches.
    pub const fn patch_types(&self) -> &'static [&'static str] {
        self.patch_types
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

    /// From here on, operations of this route need no token where the configuration lists `name` in
    /// `enable_unauthenticated_access`, and take a use off the one that they are given.
    #[must_use]
    pub fn open_where(mut self, name: &'static str) -> Self {
        self.access = Access::OpenWhere(name);
        self
    }

    /// From here on, operations of this route need no token, and take a use off the one that they are given.
    #[must_use]
    pub fn open_counting(mut self) -> Self {
        self.access = Access::OpenCounting;
        self
    }

    /// This is where people or machines log in; `name` says as whom, so that failures can be counted.
    #[must_use]
    pub fn login(mut self, name: impl Fn(&Call) -> Option<String> + Send + Sync + 'static) -> Self {
        self.login_name = Some(Arc::new(name));
        self.open()
    }

    /// The name of the user that logs in with `call`; `None` where the route is no login.
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

    /// From here on, operations of this route answer while their namespace is locked.
    #[must_use]
    pub fn while_locked(mut self) -> Self {
        self.while_locked = true;
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
        let Self { access, while_sealed, while_locked, .. } = self;
        let endpoint =
            Endpoint { doc, access: *access, while_sealed: *while_sealed, while_locked: *while_locked, work };
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
        H: OnceStep<Q, B, R, EngineError>,
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
        H: OnceStep<Q, B, R, EngineError>,
        K: WriteStep<Arc<R>, C, O, EngineError>,
        Q: Send + Sync + 'static,
        R: Send + Sync + 'static,
        O: IntoReply + Send + 'static,
    {
        let parts = [P::document, H::document, K::document, O::document];
        let doc = OperationDoc::of_steps(summary, Mode::Ask, &parts);
        let steps = Asking::new(prepare, Question::Ask, ask, conclude, O::into_reply);
        self.insert(operation, doc, Work::Ask(steps));
        self
    }

    /// As [`Route::ask`], where `prepare` may find that nobody needs to be asked: then `conclude` follows at once.
    #[must_use]
    pub fn ask_if_needed<A, B, C, Q, R, O, P, H, K>(
        mut self,
        summary: &'static str,
        prepare: P,
        ask: H,
        conclude: K,
    ) -> Self
    where
        P: ReadStep<View, A, Question<Q, R>, EngineError>,
        H: OnceStep<Q, B, R, EngineError>,
        K: WriteStep<Arc<R>, C, O, EngineError>,
        Q: Send + Sync + 'static,
        R: Send + Sync + 'static,
        O: IntoReply + Send + 'static,
    {
        let parts = [P::document, H::document, K::document, O::document];
        let doc = OperationDoc::of_steps(summary, Mode::Ask, &parts);
        let steps = Asking::new(prepare, std::convert::identity, ask, conclude, O::into_reply);
        self.insert(Operation::Update, doc, Work::Ask(steps));
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
        H: OnceStep<Intent<T>, B, Issued<S>, ActError>,
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
        H: OnceStep<Intent<T>, B, Issued<S>, ActError>,
        T: Stored + Send + Sync + 'static,
        S: Serialize + JsonSchema + Send + 'static,
    {
        let parts = [P::document, H::document, OperationDoc::answers::<S>];
        let doc = OperationDoc::of_steps(summary, Mode::Issue, &parts);
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
        H: OnceStep<Intent<T>, B, R, ActError>,
        K: WriteStep<Arc<R>, C, O, EngineError>,
        T: Stored + Send + Sync + 'static,
        R: Send + Sync + 'static,
        O: IntoReply + Send + 'static,
    {
        let parts = [P::document, H::document, K::document, O::document];
        let doc = OperationDoc::of_steps(summary, Mode::Issue, &parts);
        self.insert(Operation::Update, doc, Work::Settle(Settling::new(kind.into(), plan, act, conclude)));
        self
    }
}
