//! The routes of a backend in the order in which they are tried.

use std::collections::BTreeMap;
use std::sync::Arc;

use strongroom_wire::Operation;

use crate::{Captures, Endpoint, EngineError, Pattern, Route, Segment};

/// The reason for which a path leads nowhere in an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteError {
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
    /// The parts that the pattern captured.
    pub params: Captures,
}

impl Found {
    /// Tells whether the path names something that exists; `true` where the route cannot tell.
    pub async fn exists(&self, call: &Arc<crate::Call>) -> Result<bool, EngineError> {
        self.route.exists_for(call).await
    }

    /// The endpoint for `operation`. Vault asks for `create` or `update` according to what exists; a route that
    /// cannot tell has `update` only.
    pub fn endpoint(&self, operation: Operation) -> Result<&Endpoint, RouteError> {
        self.route.endpoint(operation).ok_or(RouteError::UnsupportedOperation)
    }

    /// The endpoint for the first of `operations` that the route has.
    pub fn endpoint_of(&self, operations: &[Operation]) -> Option<&Endpoint> {
        operations.iter().find_map(|operation| self.route.endpoint(*operation))
    }
}

/// Routes, the more specific first.
#[derive(Clone, Default)]
pub struct RouteTable {
    routes: Vec<Arc<Route>>,
    /// Those that begin with a fixed segment, by it, in the same order: an engine has a hundred routes, and of a path's
    /// beginning a few. They are more specific than all others.
    by_beginning: BTreeMap<String, Vec<Arc<Route>>>,
    /// The index in `routes` at which the others begin.
    others: usize,
}

impl RouteTable {
    /// Adds a route. A pattern with an optional tail, `ca[/pem]`, makes one of each of its forms.
    pub fn add(&mut self, pattern: &str, build: impl FnOnce(Route) -> Route) {
        let route = build(Route::new(pattern));
        for form in &Pattern::forms(pattern) {
            self.insert(Arc::new(route.at(form)));
        }
    }

    pub(crate) fn insert(&mut self, route: Arc<Route>) {
        if let Some(Segment::Fixed(beginning)) = route.pattern().segments().first() {
            insert_in_order(self.by_beginning.entry(beginning.clone()).or_default(), route.clone());
            self.others = self.others.saturating_add(1);
        }
        insert_in_order(&mut self.routes, route);
    }

    /// The routes, the more specific first.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    pub(crate) fn into_routes(self) -> Vec<Arc<Route>> {
        self.routes
    }

    /// The route for a path that has one of `operations`; where several match, the most specific; where none has the
    /// operation, the most specific that matches, for its refusal.
    pub fn find(&self, path: &str, operations: &[Operation]) -> Result<Found, RouteError> {
        let mut refusal = RouteError::UnsupportedPath;
        let beginning = path.split_once('/').map_or(path, |(beginning, _)| beginning);
        let fixed = self.by_beginning.get(beginning).into_iter().flatten();
        for route in fixed.chain(self.routes.get(self.others..).unwrap_or_default()) {
            let Some(params) = route.pattern().captures(path) else { continue };
            if operations.iter().any(|operation| route.endpoint(*operation).is_some()) {
                return Ok(Found { params: route.captured(params), route: route.clone() });
            }
            refusal = RouteError::UnsupportedOperation;
        }
        Err(refusal)
    }
}

/// Puts a route behind those that are as specific or more.
fn insert_in_order(routes: &mut Vec<Arc<Route>>, route: Arc<Route>) {
    let rank = route.pattern().specificity();
    let at = routes.partition_point(|other| other.pattern().specificity() <= rank);
    routes.insert(at, route);
}

/// The routes of a table that is read at run time.
impl FromIterator<Route> for RouteTable {
    fn from_iter<I: IntoIterator<Item = Route>>(routes: I) -> Self {
        let mut table = Self::default();
        for route in routes {
            table.insert(Arc::new(route));
        }
        table
    }
}
