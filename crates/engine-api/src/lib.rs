//! The interface of engines: a table of routes with typed handlers, from which input validation, the OpenAPI document,
//! path help, the capability an operation needs, and the tests that run over every operation are derived.
//!
//! Secrets engines, auth methods and `sys` itself are written against this crate alone.

mod act;
mod backend;
mod body;
mod cached;
mod call;
mod captures;
mod doc;
mod engine;
mod error;
mod extensions;
mod extract;
mod facilities;
mod facts;
mod handler;
#[cfg(feature = "harness")]
pub mod harness;
mod held_response;
mod job;
mod lease;
mod outbound;
mod pattern;
mod peer;
mod reply;
mod route;
mod route_table;
mod steps;
mod system;
mod token_settings;
mod upgrade;

pub use act::{ActError, ActOutcome, InForce, Intent, IntentFacts, Issued, Issuing, Plan, Planned, Settling};
pub use backend::Backend;
pub use body::{Binary, BodyMode, RequestBody, Upload};
pub use cached::{Cached, Derived, Source};
pub use call::{
    Asker, Call, Caller, Environment, Lifetimes, Mount, PolicySets, Renewal, Request, ServerTxn, TokenKind,
};
pub use captures::{Captures, Named, Path, RawTail};
pub use doc::{Field, Meaning, Mode, OperationDoc, fields_of};
pub use engine::Engine;
pub use error::{EngineError, RawError, bad_request};
pub use extensions::Extensions;
pub use extract::{Body, Extension, Extract, Input, Paging};
pub use facilities::Facilities;
pub use facts::{Alias, Class, Facts, MountOption, Name};
pub use handler::Handler;
pub use held_response::{HeldResponse, HeldResponses, WrappedResponses};
pub use job::{Acts, Job, Schedule};
pub use lease::{LeaseInHand, LeaseKind, LeaseTerms, Leased, Payload, RevokeError};
pub use outbound::Outbound;
pub use pattern::{Characters, Pattern, Segment};
pub use peer::{CertificateChain, Outline, Peer, Redactions};
pub use reply::{
    AuthGrant, Body as ReplyBody, Content, Data, Grant, IntoReply, LeaseGrant, Members, RawBody, Reply,
};
pub use route::{Access, Endpoint, HandlerRun, Route, Work};
pub use route_table::{Found, RouteError, RouteTable};
pub use steps::{
    Asking, Background, Carried, Hook, Once, OnceStep, Outgoing, Prepared, Question, ReadOnly, ReadStep,
    WriteStep,
};
pub use system::{
    Cluster, Entity, IdentityToken, IdentityTokenRequest, NoIdentityToken, NoSystem, System, SystemPort,
};
pub use token_settings::{TokenSettings, TokenSettingsInput, normal_policies, parse_cidrs};
pub use upgrade::{Upgradable, Upgrade, UpgradeOffer, Upgraded};

/// Types of the layers below that handlers use, so that an engine depends on this crate only. They reach the tables of
/// the engine's own mount and nothing else: the server's own tables, other mounts, the keys and the bootstrap entries have
/// no name here (`tests/isolation.rs`).
pub use strongroom_barrier::{
    BarrierError, Event, MountId, MountPlace, MountReads as Reads, MountTxn as Txn, MountView as View,
    NamespaceId, Stored, TableId, TableKey, tables,
};

/// The types of [`Outbound`]: requests, answers, streams, TLS, failures.
pub use strongroom_outbound_api as outbound_api;

/// A table of the engine's mount, replicated with it.
pub type Table<K, V> = strongroom_barrier::Table<strongroom_barrier::MountSpace, K, V>;

/// A table of the engine's mount that belongs to one cluster.
pub type LocalTable<K, V> = strongroom_barrier::Table<strongroom_barrier::MountLocal, K, V>;
pub use strongroom_stdx::{
    Clock, Entropy, Moment, PipeReader, Secret, format_duration, parse_duration, same_bytes,
};
pub use strongroom_wire::{Json, Operation, Reading, lenient};
