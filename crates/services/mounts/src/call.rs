//! Calls that no client made: renewals, leases that are revoked, work in the background.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use strongroom_barrier::Txn;
use strongroom_engine_api::{
    Call, Captures, Class, Environment, Extensions, LeaseInHand, Operation, Peer, RawTail, Redactions,
    Renewal, Request, RequestBody, ServerTxn,
};

use crate::MountHandle;

/// The subject of such a call.
pub enum Errand {
    /// Work in the background.
    Job,
    /// A token that is renewed.
    Renewal(Renewal),
    /// A lease that is renewed or revoked.
    Lease(LeaseInHand),
}

impl MountHandle {
    /// A call of the mount's engine with what the engine was built with.
    pub fn internal_call(&self, txn: &Txn, environment: &Environment, errand: Errand) -> Arc<Call> {
        self.internal_call_with(txn, environment, errand, self.engine.extensions())
    }

    /// As [`MountHandle::internal_call`], with what a part of the server draws.
    pub fn internal_call_with(
        &self,
        txn: &Txn,
        environment: &Environment,
        errand: Errand,
        extensions: Extensions,
    ) -> Arc<Call> {
        let request = Request {
            id: Arc::from(""),
            operation: Operation::Update,
            path: Arc::from(""),
            input: Arc::default(),
            peer: Peer::default(),
            headers: BTreeMap::new(),
            asker: None,
            wrap_ttl: None,
            body: RequestBody::default(),
            raw_tail: RawTail::default(),
            redactions: Redactions::default(),
            upgrade: None,
        };
        let (renewal, lease) = match errand {
            Errand::Job => (None, None),
            Errand::Renewal(renewal) => (Some(renewal), None),
            Errand::Lease(lease) => (None, Some(lease)),
        };
        Arc::new(Call {
            request: Arc::new(request),
            params: Captures::default(),
            mount: self.mount.clone(),
            txn: txn.mount(self.mount.place()),
            server: self.server_txn(txn),
            facilities: self.facilities.clone(),
            environment: environment.clone(),
            extensions,
            renewal,
            lease,
            warnings: Mutex::default(),
        })
    }

    /// The transaction as the server has it, where the mount is a part of the server.
    pub fn server_txn(&self, txn: &Txn) -> ServerTxn {
        if self.engine.class() == Class::System { ServerTxn::of(txn.clone()) } else { ServerTxn::default() }
    }
}
