//! Operations in several steps: the step that reaches an external system runs once and in no transaction.
//!
//! A handler that writes may run again when its transaction conflicts, so nothing that it did outside would be done once. An
//! operation that acts outside is therefore made of functions that hand a value on: those that draw a transaction may run
//! again, the one between them never does, and draws nothing that writes ([`Outgoing`], so that the compiler says so); it alone
//! draws the way out ([`Outbound`](crate::Outbound)). The server runs it on the active node, in a task that a client who goes away does not cut off.
//!
//! - [`Route::ask`](crate::Route::ask) asks outside or computes for long, and then writes: a login against a directory.
//! - [`Route::issue`](crate::Route::issue) makes something outside that a lease ends, behind an intent in storage.
//! - [`Route::settle`](crate::Route::settle) changes something outside of which it must be known afterwards how it stands:
//!   the rotation of a password, behind an intent too.
//!
//! On failure: a step that answers an error ends the operation. [`ActError`] then says what becomes of an intent.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;

use futures::future::BoxFuture;
use strongroom_stdx::Moment;

use crate::handler::drawn;
use crate::route::Run;
use crate::{Call, EngineError, Extract, Handler, OperationDoc, Reply, View};

/// An argument that changes nothing, and so may be drawn by a step that runs outside of any transaction.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be drawn by a step that only reads",
    note = "what reaches outside is drawn by the step after it, what writes by the last one"
)]
pub trait ReadOnly: Extract {}

/// Proof of a step that is not run again for a conflict, with the moment at which it is given up. This crate alone makes it, where
/// such a step begins.
pub struct Once {
    until: Moment,
}

impl Once {
    pub(crate) const fn until(&self) -> Moment {
        self.until
    }

    pub(crate) const fn before(until: Moment) -> Self {
        Self { until }
    }
}

/// An argument of a step that runs once and in no transaction: what reads, and the way out.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be drawn by a step that runs in no transaction",
    note = "steps that ask or act outside read; what they find out is written by the step after them"
)]
pub trait Outgoing: Sized + Send {
    /// Adds to the operation's documentation.
    fn document(_doc: &mut OperationDoc) {}

    /// Draws it from the call.
    fn draw(call: &Arc<Call>, once: &Once) -> Result<Self, EngineError>;
}

impl<A: ReadOnly> Outgoing for A {
    fn document(doc: &mut OperationDoc) {
        A::document(doc);
    }

    fn draw(call: &Arc<Call>, _once: &Once) -> Result<Self, EngineError> {
        A::extract(call)
    }
}

/// An argument of what the server runs by itself and again until it has succeeded, lease hooks and jobs: what any handler draws,
/// and the way out.
#[diagnostic::on_unimplemented(message = "`{Self}` cannot be drawn by a hook or a job")]
pub trait Background: Sized + Send {
    /// Draws it from the call.
    fn draw(call: &Arc<Call>, once: &Once) -> Result<Self, EngineError>;
}

impl<A: Extract> Background for A {
    fn draw(call: &Arc<Call>, _once: &Once) -> Result<Self, EngineError> {
        A::extract(call)
    }
}

macro_rules! steps {
    ($name:ident, $bound:ident, $draw:ident $drawn:tt, [$($takes:tt)*], $($arg:ident)*) => {
        #[allow(non_snake_case, unused_variables, reason = "arguments are named after their type parameters")]
        impl<F, Fut, First, O, E, X, $($arg,)*> $name<First, ($($arg,)*), O, E> for F
        where
            F: Fn(First, $($arg),*) -> Fut + Clone + Send + Sync + 'static,
            Fut: Future<Output = Result<O, X>> + Send + 'static,
            First: Send + 'static,
            O: Send + 'static,
            E: From<EngineError> + Send + 'static,
            X: Into<E> + 'static,
            $($arg: $bound + 'static,)*
        {
            fn document(doc: &mut OperationDoc) {
                $($arg::document(doc);)*
            }

            fn run(&self, first: First, $($takes)*) -> BoxFuture<'static, Result<O, E>> {
                $(
                    let $arg = drawn!($arg::$draw $drawn);
                )*
                let running = self(first, $($arg),*);
                Box::pin(async move { running.await.map_err(Into::into) })
            }
        }
    };
}

/// A step that runs in no transaction and reads: an async function of what the step before it made.
pub trait ReadStep<First, Args, O, E>: Clone + Send + Sync + 'static {
    /// Adds what its arguments say of the operation to its documentation.
    fn document(doc: &mut OperationDoc);

    /// Draws the arguments and runs it.
    fn run(&self, first: First, call: &Arc<Call>) -> BoxFuture<'static, Result<O, E>>;
}

/// A step that runs once and in no transaction, and may reach outside: an async function of what the step before it made, of
/// arguments that read, and of the way out.
pub trait OnceStep<First, Args, O, E>: Clone + Send + Sync + 'static {
    /// Adds what its arguments say of the operation to its documentation.
    fn document(doc: &mut OperationDoc);

    /// Draws the arguments and runs it.
    fn run(&self, first: First, call: &Arc<Call>, once: &Once) -> BoxFuture<'static, Result<O, E>>;
}

/// A step that runs in a transaction, and again where that conflicts.
pub trait WriteStep<First, Args, O, E>: Clone + Send + Sync + 'static {
    /// Adds what its arguments say of the operation to its documentation.
    fn document(doc: &mut OperationDoc);

    /// Draws the arguments and runs it.
    fn run(&self, first: First, call: &Arc<Call>) -> BoxFuture<'static, Result<O, E>>;
}

macro_rules! all_steps {
    ($($arg:ident)*) => {
        steps!(ReadStep, ReadOnly, extract(call), [call: &Arc<Call>], $($arg)*);
        steps!(OnceStep, Outgoing, draw(call, once), [call: &Arc<Call>, once: &Once], $($arg)*);
        steps!(WriteStep, Extract, extract(call), [call: &Arc<Call>], $($arg)*);
    };
}

all_steps!();
all_steps!(A);
all_steps!(A B);
all_steps!(A B C);
all_steps!(A B C D);
all_steps!(A B C D G);
all_steps!(A B C D G H);
all_steps!(A B C D G H I);

/// A hook or a job that the server runs by itself, without its types.
pub(crate) type RunHook<O, E> =
    Arc<dyn Fn(&Arc<Call>, &Once) -> BoxFuture<'static, Result<O, E>> + Send + Sync>;

/// A lease hook or a job: an async function of what any handler draws, and of the way out. It is run again where it has not
/// succeeded, so it is idempotent; what it writes is committed after it.
pub trait Hook<Args, O, E>: Send + Sync + 'static {
    /// The function that draws the arguments and runs it.
    #[doc(hidden)]
    fn run(self) -> RunHook<O, E>;
}

macro_rules! hooks {
    ($($arg:ident)*) => {
        #[allow(non_snake_case, unused_variables, reason = "arguments are named after their type parameters")]
        impl<F, Fut, O, E, X, $($arg,)*> Hook<($($arg,)*), O, E> for F
        where
            F: Fn($($arg),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = Result<O, X>> + Send + 'static,
            O: Send + 'static,
            E: From<EngineError> + Send + 'static,
            X: Into<E> + 'static,
            $($arg: Background + 'static,)*
        {
            fn run(self) -> RunHook<O, E> {
                Arc::new(move |call: &Arc<Call>, once: &Once| {
                    $(
                        let $arg = drawn!($arg::draw(call, once));
                    )*
                    let running = self($($arg),*);
                    Box::pin(async move { running.await.map_err(Into::into) })
                })
            }
        }
    };
}

hooks!();
hooks!(A);
hooks!(A B);
hooks!(A B C);
hooks!(A B C D);
hooks!(A B C D G);
hooks!(A B C D G H);
hooks!(A B C D G H I);
hooks!(A B C D G H I J);

/// A value on its way to the next step. Only the operation that made it can read it.
pub struct Carried(Arc<dyn Any + Send + Sync>);

impl Carried {
    pub(crate) fn new<T: Send + Sync + 'static>(value: T) -> Self {
        Self(Arc::new(value))
    }

    /// The value; an error where another operation made it, since the mount at the path has changed.
    pub(crate) fn read<T: Send + Sync + 'static>(&self) -> Result<Arc<T>, EngineError> {
        let other = || EngineError::Status(503, "the mount has changed; send the request again".to_owned());
        self.0.clone().downcast().map_err(|_other| other())
    }

    /// The value itself, for the step that runs once.
    pub(crate) fn take<T: Send + Sync + 'static>(self) -> Result<T, EngineError> {
        let held = || EngineError::Internal("a step's value is held by another step".to_owned());
        Arc::try_unwrap(self.read_owned()?).map_err(|_held| held())
    }

    fn read_owned<T: Send + Sync + 'static>(self) -> Result<Arc<T>, EngineError> {
        let other = || EngineError::Internal("a step's value is of another type".to_owned());
        self.0.downcast().map_err(|_other| other())
    }
}

/// A step whose first argument has lost its type.
pub(crate) type RunStep<O, E> =
    Arc<dyn Fn(Carried, &Arc<Call>, &Once) -> BoxFuture<'static, Result<O, E>> + Send + Sync>;
/// The last step, which may run again.
pub(crate) type RunConclusion<O = Reply> =
    Arc<dyn Fn(&Carried, &Arc<Call>) -> BoxFuture<'static, Result<O, EngineError>> + Send + Sync>;

/// A question for the outside, or the answer where it is known without asking.
pub enum Question<Q, R> {
    /// It is to be asked.
    Ask(Q),
    /// Nobody needs to be asked.
    Known(R),
}

/// A [`Question`] without its types.
pub enum Prepared {
    /// It is to be asked.
    Ask(Carried),
    /// Nobody needs to be asked.
    Known(Carried),
}

/// The steps of an operation that asks outside; the last one makes an `O`.
pub struct Asking<O = Reply> {
    prepare: Run<Prepared>,
    ask: RunStep<Carried, EngineError>,
    conclude: RunConclusion<O>,
}

// Derived, it would want what the steps make to be cloned.
impl<O> Clone for Asking<O> {
    fn clone(&self) -> Self {
        Self { prepare: self.prepare.clone(), ask: self.ask.clone(), conclude: self.conclude.clone() }
    }
}

impl<O: Send + 'static> Asking<O> {
    /// Steps, the first of which answers what `prepared` takes for a question; `finish` makes an `O` of what the last answers.
    pub(crate) fn new<A, B, C, S, Q, R, D, P, H, K>(
        prepare: P,
        prepared: fn(S) -> Question<Q, R>,
        ask: H,
        conclude: K,
        finish: fn(D) -> Result<O, EngineError>,
    ) -> Self
    where
        P: ReadStep<View, A, S, EngineError>,
        H: OnceStep<Q, B, R, EngineError>,
        K: WriteStep<Arc<R>, C, D, EngineError>,
        S: Send + 'static,
        Q: Send + Sync + 'static,
        R: Send + Sync + 'static,
        D: Send + 'static,
    {
        Self {
            prepare: Arc::new(move |call: &Arc<Call>| {
                let question = prepare.run(call.txn.peek(), call);
                Box::pin(async move {
                    Ok(match prepared(question.await?) {
                        Question::Ask(question) => Prepared::Ask(Carried::new(question)),
                        Question::Known(answer) => Prepared::Known(Carried::new(answer)),
                    })
                })
            }),
            ask: Arc::new(move |question, call, once| {
                let question = match question.take() {
                    Ok(question) => question,
                    Err(error) => return Box::pin(std::future::ready(Err(error))),
                };
                let answer = ask.run(question, call, once);
                Box::pin(async move { answer.await.map(Carried::new) })
            }),
            conclude: conclusion(conclude, finish),
        }
    }

    /// Prepares the question from what is stored; may run again.
    pub async fn prepare(&self, call: &Arc<Call>) -> Result<Prepared, EngineError> {
        (self.prepare)(call).await
    }

    /// Asks, once; it is given up `until` then.
    pub async fn ask(
        &self,
        question: Carried,
        call: &Arc<Call>,
        until: Moment,
    ) -> Result<Carried, EngineError> {
        (self.ask)(question, call, &Once::before(until)).await
    }

    /// Answers by what was found out, and writes; may run again.
    pub async fn conclude(&self, answer: &Carried, call: &Arc<Call>) -> Result<O, EngineError> {
        (self.conclude)(answer, call).await
    }
}

pub(crate) fn conclusion<C, R, D, O, K>(
    conclude: K,
    finish: fn(D) -> Result<O, EngineError>,
) -> RunConclusion<O>
where
    K: WriteStep<Arc<R>, C, D, EngineError>,
    R: Send + Sync + 'static,
    D: Send + 'static,
    O: Send + 'static,
{
    Arc::new(move |answer: &Carried, call: &Arc<Call>| match answer.read() {
        Ok(answer) => {
            let done = conclude.run(answer, call);
            Box::pin(async move { finish(done.await?) })
        }
        Err(error) => Box::pin(std::future::ready(Err(error))),
    })
}

/// A first step that draws a transaction.
pub(crate) fn first_step<A, O, T, H>(
    handler: H,
    then: impl Fn(O) -> Result<T, EngineError> + Clone + Send + Sync + 'static,
) -> Run<T>
where
    H: Handler<A, O>,
    O: Send + 'static,
    T: Send + 'static,
{
    Arc::new(move |call: &Arc<Call>| {
        let (made, then) = (handler.call(call), then.clone());
        Box::pin(async move { then(made.await?) })
    })
}

impl<T> ReadOnly for crate::Input<T> where Self: Extract {}
impl<T> ReadOnly for crate::Path<T> where Self: Extract {}
impl<T> ReadOnly for crate::Named<T> where Self: Extract {}
impl<T> ReadOnly for crate::Cached<T> where Self: Extract {}
impl<T> ReadOnly for crate::Extension<T> where Self: Extract {}
impl<T> ReadOnly for crate::Leased<T> where Self: Extract {}
impl<const MAX: usize> ReadOnly for crate::Binary<MAX> {}

macro_rules! read_only {
    ($($name:ty),* $(,)?) => { $(impl ReadOnly for $name {})* };
}

read_only!(
    View,
    Arc<crate::Mount>,
    Arc<crate::Request>,
    crate::Body,
    crate::Caller,
    crate::Paging,
    crate::Peer,
    crate::RawTail,
    crate::Redactions,
    crate::Renewal,
    crate::System,
    crate::Upload,
    strongroom_barrier::View,
    strongroom_stdx::Clock,
    strongroom_stdx::Entropy,
);
