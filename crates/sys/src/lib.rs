//! The system engine: `sys/`, one file an area.

mod audit;
mod auth;
mod auto_snapshots;
mod autopilot;
mod capabilities;
#[cfg(test)]
mod derived_tests;
mod envelopes;
mod group_policies;
mod health;
mod history;
mod init;
mod internal;
mod irrevocable;
mod jobs;
mod leases;
mod locked_users;
mod mfa;
mod mounts;
mod namespaces;
mod openapi;
#[cfg(test)]
mod outside_tests;
mod policies;
mod policy_paths;
mod raft;
mod raw;
mod rekey;
mod remount;
mod root_token;
mod root_use;
mod rotate;
mod seal;
mod snapshots;
mod tables;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod told_backend_tests;
mod tools;
mod tuning;
mod wrapping;

use strongroom_barrier::TableId;
use strongroom_engine_api::{Engine, Reading};

/// The server's own tables that the system endpoints keep, for the registry of formats.
pub const fn tables() -> &'static [TableId] {
    tables::TABLES
}

/// The engine that every server mounts at `sys/`.
pub fn engine() -> Engine {
    engine_with(|kind| Reading::Items([kind.to_owned()].into()))
}

/// The engine of a server that knows types of engines by several names: `types` resolves a name, so that a policy that
/// denies one denies it by each.
pub fn engine_with(types: fn(&str) -> Reading) -> Engine {
    let engine = Engine::system("system", "The system backend: seal, mounts, policies, leases, audit.")
        .docs_page("api.md");
    let of_the_server = [
        audit::routes,
        auto_snapshots::routes,
        autopilot::routes,
        group_policies::routes,
        health::routes,
        history::routes,
        init::routes,
        internal::server_routes,
        jobs::routes,
        raft::routes,
        raw::routes,
        rekey::routes,
        root_token::routes,
        root_use::routes,
        rotate::routes,
        seal::routes,
        snapshots::routes,
    ];
    let engine = of_the_server.into_iter().fold(engine, Engine::root_only);
    [
        auth::routes,
        capabilities::routes,
        internal::routes,
        irrevocable::routes,
        leases::routes,
        locked_users::routes,
        mfa::routes,
        namespaces::routes,
        openapi::routes,
        policies::routes,
        remount::routes,
        tools::routes,
        wrapping::routes,
    ]
    .into_iter()
    .fold(mounts::routes(engine, types), |engine, area| area(engine))
}
