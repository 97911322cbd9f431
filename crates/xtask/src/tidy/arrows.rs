//! The arrows: which crate may use which.

use std::path::Path;

use super::Report;
use super::workspace::{Package, Workspace, short};

/// For each crate, the workspace's crates that it may name; for tests also what these may name. From the bottom up, as
/// the map in ARCHITECTURE.md from the top down: nothing named here stands further below.
const ARROWS: [(&str, &[&str]); 60] = [
    ("zeroizing-alloc", &[]),
    ("stdx", &[]),
    ("hcl", &[]),
    ("shamir", &[]),
    ("wire", &["stdx"]),
    ("policy", &["hcl", "stdx", "wire"]),
    ("config", &["hcl", "stdx"]),
    ("audit", &["stdx"]),
    // Apart from what carries it out, so that engines are built without an HTTP client and a TLS library.
    ("outbound-api", &["stdx"]),
    ("outbound", &["outbound-api", "stdx"]),
    ("output-file", &["stdx"]),
    ("pgp", &["stdx"]),
    ("sockaddr", &[]),
    ("storage", &[]),
    // `wipe` for its tests, which count what is freed.
    ("raft", &["storage", "stdx", "zeroizing-alloc"]),
    ("leased-db", &["storage", "stdx"]),
    ("postgresql", &["outbound", "leased-db", "storage", "stdx"]),
    ("etcd", &["outbound", "leased-db", "storage", "stdx"]),
    ("barrier", &["storage", "stdx"]),
    ("seal", &["stdx"]),
    // The one seal that knows of shares.
    ("seal-shamir", &["barrier", "seal", "shamir", "stdx"]),
    ("snapshot", &["stdx"]),
    ("cluster", &["raft", "stdx"]),
    // Storage and `stdx` for its tests.
    ("cached", &["barrier", "storage", "stdx"]),
    ("engine-api", &["barrier", "cached", "outbound-api", "storage", "stdx", "wire"]),
    ("events", &["barrier", "storage", "stdx"]),
    // The services of the server: each may name those above it in this list.
    ("jobs", &["stdx"]),
    ("seal-state", &["barrier", "engine-api", "seal", "stdx", "storage"]),
    ("mounts", &["barrier", "engine-api", "seal-state", "stdx", "storage"]),
    ("passwords", &["barrier", "engine-api", "hcl", "stdx"]),
    ("policies", &["barrier", "engine-api", "mounts", "policy", "storage"]),
    ("identity", &["barrier", "engine-api", "mounts", "policy", "stdx", "storage"]),
    ("mfa", &["barrier", "engine-api", "identity", "mounts", "stdx", "storage"]),
    ("lockout", &["barrier", "engine-api", "mounts", "stdx"]),
    ("auditing", &["audit", "barrier", "engine-api", "stdx", "storage"]),
    ("expiry", &["barrier", "engine-api", "stdx"]),
    ("tokens", &["barrier", "engine-api", "expiry", "mounts", "policy", "seal-state", "stdx", "storage"]),
    ("leases", &["barrier", "engine-api", "expiry", "mounts", "storage", "tokens"]),
    ("revocation", &["barrier", "engine-api", "expiry", "mounts", "stdx", "storage", "tokens"]),
    ("wrapping", &["barrier", "engine-api", "policy", "stdx", "tokens"]),
    ("node", &["barrier", "cluster", "engine-api", "raft", "seal", "seal-state", "storage"]),
    ("oidc", &["barrier", "engine-api", "identity", "node", "policy", "stdx"]),
    (
        "backup",
        &["barrier", "engine-api", "node", "raft", "seal", "seal-state", "snapshot", "stdx", "storage"],
    ),
    ("s3", &["backup", "outbound", "stdx"]),
    (
        "initialization",
        &["barrier", "engine-api", "pgp", "policies", "policy", "seal-state", "stdx", "tokens"],
    ),
    (
        "ceremonies",
        &["barrier", "engine-api", "pgp", "policy", "seal", "seal-state", "stdx", "storage", "tokens"],
    ),
    (
        "pipeline",
        &[
            "audit",
            "auditing",
            "backup",
            "barrier",
            "cached",
            "ceremonies",
            "engine-api",
            "events",
            "expiry",
            "identity",
            "initialization",
            "jobs",
            "leases",
            "lockout",
            "mfa",
            "mounts",
            "node",
            "oidc",
            "passwords",
            "policies",
            "policy",
            "raft",
            "revocation",
            "seal",
            "seal-state",
            "stdx",
            "storage",
            "tokens",
            "wrapping",
        ],
    ),
    (
        "token",
        &["barrier", "engine-api", "identity", "mfa", "mounts", "pipeline", "policies", "policy", "tokens"],
    ),
    (
        "identity-engine",
        &["barrier", "engine-api", "identity", "mfa", "oidc", "policies", "policy", "revocation", "tokens"],
    ),
    (
        "sys",
        &[
            "auditing",
            "backup",
            "barrier",
            "ceremonies",
            "engine-api",
            "expiry",
            "identity",
            "initialization",
            "jobs",
            "leases",
            "lockout",
            "mfa",
            "mounts",
            "node",
            "oidc",
            "passwords",
            "pgp",
            "pipeline",
            "policies",
            "policy",
            "raft",
            "revocation",
            "seal-state",
            "stdx",
            "storage",
            "tokens",
            "wrapping",
        ],
    ),
    // Whole servers.
    (
        "core",
        &[
            "auditing",
            "backup",
            "barrier",
            "ceremonies",
            "engine-api",
            "expiry",
            "identity",
            "initialization",
            "jobs",
            "leases",
            "lockout",
            "mfa",
            "mounts",
            "node",
            "oidc",
            "passwords",
            "pipeline",
            "policies",
            "revocation",
            "seal",
            "seal-state",
            "storage",
            "tokens",
            "wrapping",
        ],
    ),
    // The parts of the server for its tests, which put it before a whole one.
    (
        "http",
        &["cluster", "core", "engine-api", "initialization", "pipeline", "raft", "stdx", "sys", "token"],
    ),
    ("client", &["outbound", "stdx"]),
    ("cli", &["client", "hcl", "output-file", "snapshot", "stdx"]),
    ("xtask", &[]),
    // The one list of engines and seals.
    ("catalog", EVERYTHING),
    // A whole server for tests.
    ("testkit", EVERYTHING),
    ("server", EVERYTHING),
    // A server in one thread, for counting: bench/ratchet.
    ("ratchet", EVERYTHING),
    ("fuzz", EVERYTHING),
];

/// Those that see more services than [`MAX_SERVICES`]: the way of a request, the endpoints over them, and the whole.
const SEE_MANY: [&str; 5] = ["core", "identity-engine", "pipeline", "sys", "token"];

/// The number of services that any other crate may see.
const MAX_SERVICES: usize = 3;

/// The program wires it all together, and fuzzing attacks it all.
const EVERYTHING: &[&str] = &["*"];

/// The crates that engines and auth methods may name, unless [`ARROWS`] has them as a part of the server.
const OF_ENGINES: &[&str] = &["engine-api"];

/// The crates that seals may name, unless [`ARROWS`] has them.
const OF_SEALS: &[&str] = &["barrier", "seal", "stdx"];

/// Libraries that belong to the crates named.
const FENCES: [(&str, &[&str]); 12] = [
    ("anyhow", &["fuzz", "server", "xtask"]),
    ("hyper", &["cluster", "http", "outbound"]),
    ("imbl", &["storage"]),
    ("mimalloc", &["zeroizing-alloc"]),
    ("openraft", &["raft"]),
    ("redb", &["raft"]),
    ("rustls", &["cluster", "outbound", "server"]),
    ("rustls-native-certs", &["outbound"]),
    ("tokio-rustls", &["cluster", "outbound", "server"]),
    ("tokio-postgres", &["postgresql"]),
    ("tokio-postgres-rustls", &["postgresql"]),
    ("tracing-subscriber", &["server"]),
];

/// Crates that only compute.
const PURE: [&str; 5] = ["config", "hcl", "policy", "shamir", "wire"];

/// The libraries that have no place in a crate that only computes.
const IMPURE: [&str; 9] =
    ["async-trait", "futures", "hyper", "redb", "rustix", "rustls", "tokio", "tracing", "tracing-subscriber"];

/// Crates that no feature of any dependency may bring in.
const FORBIDDEN: [(&str, &str); 4] = [
    ("ring", "cryptography comes from aws-lc-rs alone"),
    ("openssl", "cryptography comes from aws-lc-rs alone"),
    ("openssl-sys", "cryptography comes from aws-lc-rs alone"),
    ("native-tls", "TLS comes from rustls alone"),
];

pub(crate) fn check(workspace: &Workspace, report: &mut Report) {
    let is_service = |package: &&Package| package.folder(&workspace.root).starts_with("services");
    let services: Vec<&str> = workspace.packages.iter().filter(is_service).map(Package::short_name).collect();
    for package in &workspace.packages {
        of_package(package, &workspace.root, report);
        of_services(package, &services, report);
    }
    for (name, reason) in FORBIDDEN {
        for built in workspace.built.iter().filter(|built| built.split(' ').next() == Some(name)) {
            report.error(format!("{built} is built in, and {reason}; `cargo tree -i {name}` shows for whom"));
        }
    }
}

fn of_package(package: &Package, root: &Path, report: &mut Report) {
    let name = package.short_name();
    let Some(allowed) = allowed(name, &package.folder(root)) else {
        report
            .error(format!("{name} has no arrows: say in crates/xtask/src/tidy/arrows.rs what it may name"));
        return;
    };
    for dependency in &package.dependencies {
        if let Some(other) = short(&dependency.name) {
            let fits = allowed == EVERYTHING
                || allowed.contains(&other)
                || (dependency.is_for_tests()
                    && (other == name
                        || reaches(allowed, other)
                        || is_whole(name, other)
                        || is_double(allowed, other)));
            if !fits {
                let allowed = allowed.join(", ");
                report.error(format!("{name} names {other}; it may name only: {allowed}"));
            }
        } else if !dependency.is_for_tests() {
            of_library(name, &dependency.name, report);
        }
    }
}

/// Checks that a crate sees few services: what they do together belongs in one of them, or above.
fn of_services(package: &Package, services: &[&str], report: &mut Report) {
    let name = package.short_name();
    if SEE_MANY.contains(&name) || ARROWS.iter().any(|(listed, all)| *listed == name && *all == EVERYTHING) {
        return;
    }
    let product = package.dependencies.iter().filter(|dependency| !dependency.is_for_tests());
    let seen: Vec<&str> = product
        .filter_map(|dependency| short(&dependency.name))
        .filter(|other| services.contains(other))
        .collect();
    if seen.len() > MAX_SERVICES {
        report.error(format!("{name} sees more than {MAX_SERVICES} services: {}", seen.join(", ")));
    }
}

fn of_library(name: &str, library: &str, report: &mut Report) {
    let fence = FENCES.iter().find(|(fenced, _)| *fenced == library);
    if let Some((_, owners)) = fence.filter(|(_, owners)| !owners.contains(&name)) {
        report.error(format!("{name} names {library}, which belongs to: {}", owners.join(", ")));
    }
    if PURE.contains(&name) && IMPURE.contains(&library) {
        report.error(format!("{name} only computes and names {library}"));
    }
}

/// The crates that a crate may name; `None` for one that nothing is said of.
fn allowed(name: &str, folder: &Path) -> Option<&'static [&'static str]> {
    let listed = ARROWS.iter().find(|(crate_name, _)| *crate_name == name).map(|(_, allowed)| *allowed);
    listed.or_else(|| {
        let of_engines = folder.starts_with("engines") || folder.starts_with("auth");
        of_engines.then_some(OF_ENGINES).or(folder.starts_with("seals").then_some(OF_SEALS))
    })
}

/// True if `other` is named by one of `names`, directly or not.
fn reaches(names: &[&str], other: &str) -> bool {
    names.iter().any(|name| {
        let next = ARROWS.iter().find(|(listed, _)| listed == name).map_or(&[][..], |(_, next)| next);
        next.contains(&other) || reaches(next, other)
    })
}

/// Parts of the server are tested in a whole one, which needs a seal; which one is all the same to it. In the `tests/` of a
/// crate that is the test kit's: what the test kit is made of is the same build of the crate.
fn is_whole(name: &str, other: &str) -> bool {
    let above = name == "core" || reaches(&[name], "core") || reaches(&[name], "pipeline");
    let below = reaches(&["core"], name) && reaches(&[name], "engine-api");
    // An engine of the server's own, which sees services and is none.
    let beside = reaches(&[name], "mounts") && !reaches(&["core"], name);
    let is_seal = other.starts_with("seal-") && other != "seal-state";
    (above && other == "core")
        || (beside && other == "pipeline")
        || ((above || below || beside) && (other == "testkit" || is_seal))
}

/// Whoever asks the way out something is tested with its double, or over it.
fn is_double(allowed: &[&str], other: &str) -> bool {
    other == "outbound" && (allowed.contains(&"outbound-api") || reaches(allowed, "outbound-api"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::workspace::Dependency;

    fn found(name: &str, folder: &str, dependencies: &[(&str, Option<&str>)]) -> Vec<String> {
        let package = Package {
            name: format!("strongroom-{name}"),
            manifest_path: Path::new("/w/crates").join(folder).join("Cargo.toml"),
            license: None,
            publish: None,
            rust_version: None,
            dependencies: dependencies
                .iter()
                .map(|(name, kind)| Dependency { name: (*name).to_owned(), kind: kind.map(str::to_owned) })
                .collect(),
        };
        let mut report = Report::default();
        of_package(&package, Path::new("/w"), &mut report);
        report.errors
    }

    #[test]
    fn the_list_has_no_circles() {
        for (place, (name, allowed)) in ARROWS.iter().enumerate() {
            let below: Vec<&str> = ARROWS[..place].iter().map(|(name, _)| *name).collect();
            let known = |other: &&str| below.contains(other) || *allowed == EVERYTHING;
            assert!(allowed.iter().all(known), "{name} names what stands further below");
        }
    }

    #[test]
    fn an_engine_names_the_engine_api_alone() {
        let api = ("strongroom-engine-api", None);
        assert!(found("kv", "engines/kv", &[api, ("serde", None)]).is_empty());
        assert_eq!(found("kv", "engines/kv", &[api, ("strongroom-barrier", None)]).len(), 1);
        assert!(found("kv", "engines/kv", &[api, ("strongroom-barrier", Some("dev"))]).is_empty());
        assert_eq!(found("kv", "engines/kv", &[("strongroom-core", Some("dev"))]).len(), 1);
        assert!(found("kv", "engines/kv", &[("strongroom-outbound", Some("dev"))]).is_empty());
        assert_eq!(found("kv", "engines/kv", &[("strongroom-outbound", None)]).len(), 1);
        assert!(found("token", "auth/token", &[("strongroom-pipeline", None)]).is_empty());
        assert!(found("token", "auth/token", &[("strongroom-core", Some("dev"))]).is_empty());
        assert_eq!(found("token", "auth/token", &[("strongroom-core", None)]).len(), 1);
    }

    #[test]
    fn parts_of_the_server_are_tested_in_a_whole_one() {
        let for_tests = ("strongroom-testkit", Some("dev"));
        for (name, folder) in [
            ("leases", "services/leases"),
            ("seal-state", "services/seal-state"),
            ("core", "core"),
            ("token", "auth/token"),
            ("sys", "sys"),
        ] {
            assert!(found(name, folder, &[for_tests]).is_empty(), "{name}");
            assert_eq!(found(name, folder, &[("strongroom-testkit", None)]).len(), 1, "{name}");
        }
        for (name, folder) in [("kv", "engines/kv"), ("raft", "raft"), ("barrier", "barrier")] {
            assert_eq!(found(name, folder, &[for_tests]).len(), 1, "{name}");
        }
    }

    #[test]
    fn few_services_are_seen() {
        let package = |names: &[&str]| Package {
            name: "strongroom-wrapping".to_owned(),
            manifest_path: Path::new("/w/crates/services/wrapping/Cargo.toml").to_owned(),
            license: None,
            publish: None,
            rust_version: None,
            dependencies: names
                .iter()
                .map(|name| Dependency { name: format!("strongroom-{name}"), kind: None })
                .collect(),
        };
        let errors = |names: &[&str]| {
            let mut report = Report::default();
            of_services(&package(names), &["tokens", "leases", "mounts", "policies"], &mut report);
            report.errors.len()
        };
        assert_eq!(errors(&["tokens", "leases", "mounts", "barrier"]), 0);
        assert_eq!(errors(&["tokens", "leases", "mounts", "policies"]), 1);
    }

    #[test]
    fn storage_is_below_the_barrier() {
        assert_eq!(found("raft", "raft", &[("strongroom-barrier", None)]).len(), 1);
        assert!(found("barrier", "barrier", &[("strongroom-storage", None)]).is_empty());
        assert!(found("storage", "storage", &[("strongroom-storage", Some("dev"))]).is_empty());
    }

    #[test]
    fn shares_are_known_to_one_seal_alone() {
        let shamir = ("strongroom-shamir", None);
        assert!(found("seal-shamir", "seals/shamir", &[shamir, ("strongroom-seal", None)]).is_empty());
        for (name, folder) in
            [("core", "core"), ("sys", "sys"), ("seal", "seal"), ("seal-static", "seals/static")]
        {
            assert_eq!(found(name, folder, &[shamir]).len(), 1, "{name}");
        }
        let seal = ("strongroom-seal-shamir", Some("dev"));
        assert!(found("core", "core", &[seal]).is_empty());
        assert!(found("sys", "sys", &[seal]).is_empty());
        assert_eq!(found("core", "core", &[("strongroom-seal-shamir", None)]).len(), 1);
        assert_eq!(found("raft", "raft", &[seal]).len(), 1);
    }

    #[test]
    fn libraries_stay_where_they_belong() {
        assert_eq!(found("core", "core", &[("openraft", None)]).len(), 1);
        assert_eq!(found("policy", "policy", &[("tokio", None)]).len(), 1);
        assert!(found("policy", "policy", &[("tokio", Some("dev"))]).is_empty());
        assert!(found("raft", "raft", &[("openraft", None), ("tokio", None)]).is_empty());
    }

    #[test]
    fn a_crate_that_nothing_is_said_of_is_an_error() {
        assert_eq!(found("novel", "novel", &[]).len(), 1);
    }
}
