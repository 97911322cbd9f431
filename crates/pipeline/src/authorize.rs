//! Whether the caller's policies grant what is asked.

use std::sync::Arc;

use strongroom_barrier::Txn;
use strongroom_engine_api::{Access, Operation};
use strongroom_policy::{Operation as PolicyOperation, Parameters};

use super::authenticate::Authenticated;
use super::{Asked, Decided, Inbound, Pipeline, Refused, Resolved};

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

/// A refusal, and the caller it is for: boxed, since it is rare and large.
pub(super) type RefusedCaller = Box<(Refused, Option<Authenticated>)>;

impl Pipeline {
    /// Decides. A refusal comes with the caller, whose token may have a use to count.
    pub(super) async fn authorize<'a>(
        self: &Arc<Self>,
        inbound: &Arc<Inbound>,
        txn: &Txn,
        resolved: &'a Resolved,
        caller: Option<Authenticated>,
    ) -> Result<Decided<'a>, RefusedCaller> {
        let operation = match self.operation(inbound, txn, resolved, caller.as_ref()).await {
            Ok(operation) => operation,
            Err(refused) => {
                // Whether a path exists is told only to those who may ask.
                let nominal = inbound.asked.nominal();
                return match check_policies(inbound, resolved, nominal, caller) {
                    Ok(caller) => Err(Box::new((refused, caller))),
                    Err(denied) => Err(denied),
                };
            }
        };
        let caller = check_policies(inbound, resolved, operation, caller)?;
        Ok(Decided { resolved, operation, caller })
    }

    /// What is asked, once it is known what exists.
    async fn operation(
        self: &Arc<Self>,
        inbound: &Arc<Inbound>,
        txn: &Txn,
        resolved: &Resolved,
        caller: Option<&Authenticated>,
    ) -> Result<Operation, Refused> {
        if resolved.is_help() {
            return Ok(Operation::Help);
        }
        let found = resolved.found()?;
        if inbound.asked != Asked::Write || !found.route.tells_create_from_update() {
            return Ok(inbound.asked.nominal());
        }
        let call = self.call(inbound, txn, resolved, Operation::Update, caller, found.params.clone());
        Ok(if found.exists(&call).await? { Operation::Update } else { Operation::Create })
    }

    /// The refusal for a path that leads to no mount: those whom policies allow the path learn that it leads nowhere.
    pub(super) async fn authorize_nowhere(
        &self,
        inbound: &Inbound,
        txn: &Txn,
        caller: Option<&Authenticated>,
        refused: Refused,
    ) -> Refused {
        let Some(caller) = caller else { return Refused::Unauthenticated("missing client token".to_owned()) };
        if let Err(error) = self.count_use(txn, Some(caller)).await {
            return error;
        }
        let operation = policy_operation(inbound.asked.nominal());
        let path = inbound.policy_path();
        let parameters = Parameters::untyped(&inbound.input);
        let decision = caller.acl.authorize(&*path, operation, parameters, inbound.wrap_ttl);
        match decision.denial {
            Some(denial) => Refused::Denied(denial.to_string()),
            None => refused,
        }
    }
}

/// Whether the caller's policies grant `operation` on the path. A refusal gives the caller back.
fn check_policies(
    inbound: &Inbound,
    resolved: &Resolved,
    operation: Operation,
    caller: Option<Authenticated>,
) -> Result<Option<Authenticated>, RefusedCaller> {
    let access = resolved.access();
    if access == Access::Open {
        return Ok(caller.map(|caller| Authenticated { counted: false, ..caller }));
    }
    let Some(mut caller) = caller else {
        return Err(Box::new((Refused::Unauthenticated("missing client token".to_owned()), None)));
    };
    let mounted = &resolved.mounted;
    if mounted.engine.table_by_token().is_some() && mounted.namespace.id != caller.home.id {
        // It ends with the token, and is looked for in the token's namespace.
        let text = "what is kept by token is in the token's own namespace".to_owned();
        return Err(Box::new((Refused::Denied(text), Some(caller))));
    }
    let acl = caller.acl.clone();
    let path = resolved.policy_path(inbound);
    let types = resolved.parameters();
    let parameters = Parameters::new(&inbound.input, &types);
    let decision =
        acl.authorize(path.as_request(), policy_operation(operation), parameters, inbound.wrap_ttl);
    if let Some(denial) = &decision.denial {
        return Err(Box::new((Refused::Denied(denial.to_string()), Some(caller))));
    }
    if access == Access::Sudo && !decision.sudo {
        let text = "the path needs the \"sudo\" capability".to_owned();
        return Err(Box::new((Refused::Denied(text), Some(caller))));
    }
    caller.sudo = decision.sudo;
    if let Some(rule) = decision.rule {
        caller.granting = rule.sources().iter().map(|source| source.policy.clone()).collect();
    }
    Ok(Some(caller))
}
