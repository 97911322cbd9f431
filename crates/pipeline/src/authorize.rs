//! Checks the request against the caller's policies: the fourth stage.

use std::sync::Arc;

use strongroom_barrier::Txn;
use strongroom_engine_api::{Access, Operation};
use strongroom_policy::{Operation as PolicyOperation, Parameters};

use super::authenticate::{Authenticated, Identified};
use super::inline::NOTHING_KEPT;
use super::resolve::AtMount;
use super::{Inbound, Pipeline, RequestError, Resolved, Verb};

/// The policy crate's name for an operation.
pub(crate) const fn policy_operation(operation: Operation) -> PolicyOperation {
    match operation {
        Operation::Create => PolicyOperation::Create,
        Operation::Read => PolicyOperation::Read,
        Operation::Update => PolicyOperation::Update,
        Operation::Patch => PolicyOperation::Patch,
        Operation::Delete => PolicyOperation::Delete,
        Operation::List => PolicyOperation::List,
        Operation::Scan => PolicyOperation::Scan,
        Operation::Help => PolicyOperation::Help,
    }
}

/// A request that policies grant. Only [`Pipeline::authorize`] makes one.
pub(crate) struct Authorized<'a> {
    pub(super) resolved: &'a Arc<Resolved>,
    /// The mount that it leads to.
    pub(super) at: &'a AtMount,
    /// The operation, after the check whether the target exists.
    pub(super) operation: Operation,
    pub(super) caller: Option<Authenticated>,
}

impl<'a> Authorized<'a> {
    pub(super) fn inbound(&self) -> &'a Inbound {
        &self.resolved.inbound
    }
}

/// A refusal, and the caller it is for: boxed, since it is rare and large.
pub(super) type RefusedCaller = Box<(RequestError, Option<Authenticated>)>;

impl Pipeline {
    /// Decides. A refusal comes with the caller, whose token may have a use to count.
    ///
    /// Tells only callers with the capability for it whether a path exists, or leads anywhere.
    pub(super) async fn authorize<'a>(
        self: &Arc<Self>,
        identified: Identified<'a>,
        txn: &Txn,
    ) -> Result<Authorized<'a>, RefusedCaller> {
        let (resolved, caller) = identified.into_parts();
        let nominal = resolved.inbound.asked.nominal();
        let Some(at) = resolved.to.mount() else {
            let caller = check_path(resolved, nominal, caller)?;
            return Err(Box::new((resolved.to.no_route(), Some(caller))));
        };
        match self.operation(resolved, at, txn, caller.as_ref()).await {
            Ok(operation) => {
                let caller = check_policies(resolved, at, operation, caller)?;
                Ok(Authorized { resolved, at, operation, caller })
            }
            Err(refused) => {
                let caller = check_policies(resolved, at, nominal, caller)?;
                Err(Box::new((refused, caller)))
            }
        }
    }

    /// The operation, after the check whether the target exists.
    async fn operation(
        self: &Arc<Self>,
        resolved: &Resolved,
        at: &AtMount,
        txn: &Txn,
        caller: Option<&Authenticated>,
    ) -> Result<Operation, RequestError> {
        let asked = resolved.inbound.asked;
        if asked == Verb::Help {
            return Ok(Operation::Help);
        }
        let found = at.found()?;
        if asked != Verb::Write || !found.route.tells_create_from_update() {
            return Ok(asked.nominal());
        }
        let call = self.call(resolved, at, txn, Operation::Update, caller, found);
        Ok(if found.exists(&call).await? { Operation::Update } else { Operation::Create })
    }
}

/// Lets through who may use `operation` on a path of which nothing is known.
fn check_path(
    resolved: &Resolved,
    operation: Operation,
    caller: Option<Authenticated>,
) -> Result<Authenticated, RefusedCaller> {
    let inbound = &resolved.inbound;
    let Some(caller) = caller else { return Err(no_token()) };
    let (path, parameters) = (resolved.to.policy_path(), Parameters::untyped(&inbound.input));
    // No capability stands for help: without any other here, it is not told that there is no mount.
    if operation == Operation::Help && !caller.acl.has_any_access_under(path.as_request().text()) {
        let text = "no policy grants anything here".to_owned();
        return Err(Box::new((RequestError::Denied(text), Some(caller))));
    }
    let operation = policy_operation(operation);
    let decision = caller.acl.authorize(path.as_request(), operation, parameters, inbound.wrap_ttl);
    match decision.denial.map(|denial| RequestError::Denied(denial.to_string())) {
        Some(denied) => Err(Box::new((denied, Some(caller)))),
        None => Ok(caller),
    }
}

/// Lets through whose policies grant `operation` on the path. A refusal gives the caller back.
fn check_policies(
    resolved: &Resolved,
    at: &AtMount,
    operation: Operation,
    caller: Option<Authenticated>,
) -> Result<Option<Authenticated>, RefusedCaller> {
    if at.is_open() {
        let counted = at.access == Access::OpenCounting;
        return Ok(caller.map(|caller| Authenticated { counted: counted && !caller.ephemeral, ..caller }));
    }
    let Some(mut caller) = caller else { return Err(no_token()) };
    if operation == Operation::Help && !may_see(at, resolved, &caller) {
        let text = "no policy grants anything on this mount".to_owned();
        return Err(Box::new((RequestError::Denied(text), Some(caller))));
    }
    let is_by_token = at.mounted.engine.table_by_token().is_some();
    if is_by_token && caller.ephemeral {
        return Err(Box::new((RequestError::status(400, NOTHING_KEPT), Some(caller))));
    }
    if is_by_token && at.mounted.namespace.id != caller.home.id {
        // It ends with the token, and is looked for in the token's namespace.
        let text = "what is kept by token is in the token's own namespace".to_owned();
        return Err(Box::new((RequestError::Denied(text), Some(caller))));
    }
    let (acl, inbound, path) = (caller.acl.clone(), &resolved.inbound, resolved.to.policy_path());
    let types = at.parameters(inbound.asked);
    let parameters = Parameters::new(&inbound.input, &types);
    let decision =
        acl.authorize(path.as_request(), policy_operation(operation), parameters, inbound.wrap_ttl);
    if let Some(denial) = &decision.denial {
        return Err(Box::new((RequestError::Denied(denial.to_string()), Some(caller))));
    }
    if at.access == Access::Sudo && !decision.sudo {
        let text = "the path needs the \"sudo\" capability".to_owned();
        return Err(Box::new((RequestError::Denied(text), Some(caller))));
    }
    caller.sudo = decision.sudo;
    if let Some(rule) = decision.rule {
        caller.granting = rule.sources().iter().map(|source| source.policy.clone()).collect();
    }
    Ok(Some(caller))
}

/// True if the caller may do anything on the mount: no capability stands for help, and help tells what is mounted.
fn may_see(at: &AtMount, resolved: &Resolved, caller: &Authenticated) -> bool {
    let path = resolved.to.policy_path();
    let path = path.as_request();
    let mount = path.text().strip_suffix(&*at.rest).unwrap_or(path.text());
    caller.acl.has_any_access_under(mount)
}

fn no_token() -> RefusedCaller {
    Box::new((RequestError::Unauthenticated("missing client token".to_owned()), None))
}
