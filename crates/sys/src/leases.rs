//! `sys/leases/*`, and the older paths `sys/renew`, `sys/revoke`, `sys/revoke-prefix`, `sys/revoke-force`. Source:
//! Vault's API page `sys/leases`.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use strongroom_barrier::{MountId, NamespaceId, Txn, View};
use strongroom_core::{Core, ServerPart, ServerReply, Tidy};
use strongroom_engine_api::lenient::{Flag, Text, Ttl};
use strongroom_engine_api::{
    Clock, Data, Engine, EngineError, Extension, Input, Moment, Mount, Paging, Path, Reply, bad_request,
};

/// Irrevocable leases that are listed where nothing else is asked for.
const LISTED: usize = 10_000;

pub(crate) fn routes(engine: Engine) -> Engine {
    let engine = engine
        .route("leases", |r| r.sudo().read("List leases that could not be revoked.", irrevocable))
        .route("leases/count", |r| r.read("Count leases that could not be revoked, by mount.", count))
        .route("leases/lookup", |r| r.update("Look up a lease.", lookup))
        .route("leases/lookup/{prefix..}", |r| r.sudo().list("List lease ids under a prefix.", list));
    // The older paths have the newer ones' routes.
    ["leases/", ""].into_iter().fold(engine, |engine, at| {
        engine
            .route(&format!("{at}renew"), |r| r.update("Renew a lease.", renew))
            .route(&format!("{at}renew/{{url_lease_id..}}"), |r| r.update("Renew a lease.", renew_at))
            .route(&format!("{at}revoke"), |r| r.update("Revoke a lease.", revoke))
            .route(&format!("{at}revoke/{{url_lease_id..}}"), |r| r.update("Revoke a lease.", revoke_at))
            .route(&format!("{at}revoke-prefix/{{prefix..}}"), |r| {
                r.sudo().update("Revoke all leases and tokens under a prefix.", revoke_prefix)
            })
            .route(&format!("{at}revoke-force/{{prefix..}}"), |r| {
                r.sudo().update(
                    "Revoke all leases and tokens under a prefix, whatever engines say.",
                    revoke_force,
                )
            })
    })
}

pub(crate) fn server_routes(engine: Engine) -> Engine {
    engine.route("leases/tidy", |r| r.update("Look for leases whose token is gone, and remove them.", tidy))
}

#[derive(Deserialize, JsonSchema)]
struct LeaseInput {
    /// The lease identifier to look up.
    lease_id: Option<Text>,
}

#[derive(Deserialize, JsonSchema)]
struct RenewInput {
    /// The desired increment in seconds to the lease.
    increment: Option<Ttl>,
    /// The lease identifier to renew.
    lease_id: Option<Text>,
}

#[derive(Deserialize, JsonSchema)]
struct RevokeInput {
    /// The lease identifier to revoke.
    lease_id: Option<Text>,
    /// Whether to answer once the lease is revoked; it always is.
    #[allow(dead_code, reason = "a single lease is revoked before the answer in either case")]
    sync: Option<Flag>,
}

#[derive(Deserialize, JsonSchema)]
struct PrefixInput {
    /// Whether to answer once everything is revoked; otherwise large numbers are revoked after the answer.
    sync: Option<Flag>,
}

#[derive(Deserialize, JsonSchema)]
struct IrrevocableInput {
    /// Whether to include leases of child namespaces. (There are none beside the root namespace.)
    #[allow(dead_code, reason = "there are no child namespaces")]
    include_child_namespaces: Option<Flag>,
    /// How many leases to list at most; 'none' for all.
    limit: Option<Text>,
    /// The type of leases: irrevocable.
    #[serde(rename = "type")]
    kind: Option<Text>,
}

/// What is told of a lease.
#[derive(Serialize, JsonSchema)]
struct LeaseFactsView {
    /// When it ends (RFC 3339); null: never.
    expire_time: Option<String>,
    /// Its id.
    id: String,
    /// When it was granted (RFC 3339).
    issue_time: String,
    /// When it was last renewed (RFC 3339).
    last_renewal: Option<String>,
    /// Whether it may be renewed.
    renewable: bool,
    /// How long it has left, in seconds.
    ttl: u64,
}

/// How many leases could not be revoked.
#[derive(Serialize, JsonSchema)]
struct Counts {
    /// By the accessor of the mount that granted them.
    counts: BTreeMap<String, usize>,
    /// All of them.
    lease_count: usize,
}

/// Leases that could not be revoked.
#[derive(Serialize, JsonSchema)]
struct Irrevocables {
    /// All of them.
    lease_count: usize,
    /// Those listed.
    leases: Vec<IrrevocableView>,
}

/// A lease that could not be revoked.
#[derive(Serialize, JsonSchema)]
struct IrrevocableView {
    /// What the last attempt failed with.
    error: String,
    /// Its id.
    lease_id: String,
    /// The path of the mount that granted it.
    mount_path: String,
    /// The accessor of that mount.
    mount_accessor: String,
}

fn required(lease_id: Option<Text>) -> Result<String, EngineError> {
    let lease_id = lease_id.map(|id| id.0).filter(|id| !id.is_empty());
    lease_id.ok_or_else(|| bad_request("lease_id must be specified"))
}

async fn lookup(
    Extension(core): Extension<Core>,
    mount: Arc<Mount>,
    Input(input): Input<LeaseInput>,
    view: View,
    clock: Clock,
) -> Result<Data<LeaseFactsView>, EngineError> {
    let id = required(input.lease_id)?;
    let facts = core.lease_facts(&view, mount.namespace, &id).await?;
    let facts = facts.ok_or_else(|| bad_request("invalid lease"))?;
    Ok(Data(LeaseFactsView {
        expire_time: facts.expires.map(Moment::rfc3339),
        id,
        issue_time: facts.issued.rfc3339(),
        last_renewal: facts.renewed.map(Moment::rfc3339),
        renewable: facts.renewable,
        ttl: facts.expires.map_or(0, |end| end.since(clock.now()).as_secs()),
    }))
}

async fn list(
    Extension(core): Extension<Core>,
    mount: Arc<Mount>,
    Path(prefix): Path<String>,
    paging: Paging,
    view: View,
) -> Result<Reply, EngineError> {
    let folder = if prefix.is_empty() || prefix.ends_with('/') { prefix } else { format!("{prefix}/") };
    let names =
        core.lease_children(&view, mount.namespace, &folder, paging.after.as_deref(), paging.limit).await?;
    Reply::keys(&names)
}

async fn renew(
    Extension(core): Extension<Core>,
    mount: Arc<Mount>,
    Input(input): Input<RenewInput>,
    txn: Txn,
) -> Result<ServerReply, EngineError> {
    extend(&core, &mount, &required(input.lease_id)?, input.increment, &txn).await
}

async fn renew_at(
    Extension(core): Extension<Core>,
    mount: Arc<Mount>,
    Path(url_lease_id): Path<String>,
    Input(input): Input<RenewInput>,
    txn: Txn,
) -> Result<ServerReply, EngineError> {
    let id = required(input.lease_id.filter(|id| !id.is_empty()).or(Some(Text(url_lease_id))))?;
    extend(&core, &mount, &id, input.increment, &txn).await
}

async fn extend(
    core: &Core,
    mount: &Mount,
    id: &str,
    increment: Option<Ttl>,
    txn: &Txn,
) -> Result<ServerReply, EngineError> {
    let increment = increment.map(|increment| increment.0);
    let (lease, warning) = core.renew_lease(txn, mount.namespace, id, increment).await?;
    let part = ServerPart { lease: Some(lease), ..ServerPart::default() };
    Ok(ServerReply::of(part).warned(warning))
}

async fn revoke(
    Extension(core): Extension<Core>,
    mount: Arc<Mount>,
    Input(input): Input<RevokeInput>,
    txn: Txn,
) -> Result<(), EngineError> {
    core.revoke_lease_id(&txn, mount.namespace, &required(input.lease_id)?).await?;
    Ok(())
}

async fn revoke_at(
    Extension(core): Extension<Core>,
    mount: Arc<Mount>,
    Path(url_lease_id): Path<String>,
    Input(input): Input<RevokeInput>,
    txn: Txn,
) -> Result<(), EngineError> {
    let id = required(input.lease_id.filter(|id| !id.is_empty()).or(Some(Text(url_lease_id))))?;
    core.revoke_lease_id(&txn, mount.namespace, &id).await?;
    Ok(())
}

/// A prefix of nothing would be everything there is.
fn checked(prefix: &str) -> Result<(), EngineError> {
    if prefix.trim_matches('/').is_empty() {
        return Err(EngineError::Status(404, "unsupported path".to_owned()));
    }
    Ok(())
}

async fn revoke_prefix(
    Extension(core): Extension<Core>,
    mount: Arc<Mount>,
    Path(prefix): Path<String>,
    Input(input): Input<PrefixInput>,
    txn: Txn,
) -> Result<(), EngineError> {
    checked(&prefix)?;
    if input.sync.is_some_and(|sync| sync.0) {
        return core.revoke_prefix_now(mount.namespace, &prefix, false).await;
    }
    core.revoke_prefix(&txn, mount.namespace, &prefix, false).await?;
    Ok(())
}

async fn revoke_force(
    Extension(core): Extension<Core>,
    mount: Arc<Mount>,
    Path(prefix): Path<String>,
    // Drawn so that the operation is known to write.
    _txn: Txn,
) -> Result<(), EngineError> {
    checked(&prefix)?;
    core.revoke_prefix_now(mount.namespace, &prefix, true).await
}

async fn tidy(Extension(core): Extension<Core>, txn: Txn) -> Result<Reply, EngineError> {
    let started = core.start_tidying(&txn, Tidy::Leases).await?;
    Ok(Reply::status(202).warned(if started {
        "Tidy operation successfully started. Any information from the operation will be printed to the server logs."
    } else {
        "Tidy operation already in progress."
    }))
}

/// The only type of leases that is counted and listed.
fn check_type(kind: Option<&Text>) -> Result<(), EngineError> {
    if kind.is_some_and(|kind| kind.0 == "irrevocable") { Ok(()) } else { Err(EngineError::NotFound) }
}

async fn count(
    Extension(core): Extension<Core>,
    mount: Arc<Mount>,
    Input(input): Input<IrrevocableInput>,
    view: View,
) -> Result<Data<Counts>, EngineError> {
    check_type(input.kind.as_ref())?;
    let found = core.irrevocable_leases(&view, mount.namespace, usize::MAX).await?;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (_, why) in &found {
        let (_, accessor) = mount_of(&core, mount.namespace, why.mount).await?;
        let count = counts.entry(accessor).or_default();
        *count = count.saturating_add(1);
    }
    Ok(Data(Counts { counts, lease_count: found.len() }))
}

async fn irrevocable(
    Extension(core): Extension<Core>,
    mount: Arc<Mount>,
    Input(input): Input<IrrevocableInput>,
    view: View,
) -> Result<Reply, EngineError> {
    check_type(input.kind.as_ref())?;
    let limit = match input.limit.as_deref().map(String::as_str) {
        None | Some("") => LISTED,
        Some("none") => usize::MAX,
        Some(text) => {
            text.parse().map_err(|_no_number| bad_request(format!("invalid 'limit' provided: {text:?}")))?
        }
    };
    let found = core.irrevocable_leases(&view, mount.namespace, usize::MAX).await?;
    let mut listed = Irrevocables { lease_count: found.len(), leases: Vec::new() };
    let cut = found.len() > limit;
    for (lease_id, why) in found.into_iter().take(limit) {
        let (mount_path, mount_accessor) = mount_of(&core, mount.namespace, why.mount).await?;
        listed.leases.push(IrrevocableView { error: why.error, lease_id, mount_path, mount_accessor });
    }
    let mut reply = Reply::data(&json!(listed))?;
    if cut {
        reply = reply.warned(format!("More than {limit} leases found; only {limit} are listed"));
    }
    Ok(reply)
}

/// The path and accessor of the mount with this number; empty where it is gone.
async fn mount_of(
    core: &Core,
    namespace: NamespaceId,
    mount: MountId,
) -> Result<(String, String), EngineError> {
    let router = core.router().await?;
    let found = router.by_id(namespace, mount);
    Ok(found.map_or_else(Default::default, |mounted| (mounted.path.clone(), mounted.entry.accessor.clone())))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use std::time::Duration;
    use strongroom_core::{Asked, TokenEntry};

    use crate::testing::Server;

    async fn lent(server: &Server, name: &str) -> String {
        let told = server.ask(Asked::Read, &format!("loans/creds/{name}"), json!({"ttl": "1h"})).await;
        told.body["lease_id"].as_str().expect("a lease").to_owned()
    }

    async fn server() -> Server {
        let server = Server::new().await;
        server.write("sys/mounts/loans", json!({"type": "loans"})).await;
        server
    }

    #[tokio::test]
    async fn a_last_use_gets_no_secret_that_would_end_at_once() {
        let server = server().await;
        let entry = TokenEntry { policies: vec!["root".to_owned()], num_uses: 2, ..TokenEntry::default() };
        let token = server.token_of(entry).await;
        let lend = async || server.ask_as(&token, Asked::Read, "loans/creds/web", json!({})).await;
        let told = lend().await;
        assert_eq!(told.status, 200, "{}", told.body);
        let first = told.body["lease_id"].as_str().unwrap().to_owned();
        let told = lend().await;
        assert_eq!(told.status, 400);
        assert_eq!(
            told.body["errors"],
            json!([
                "Secret cannot be returned; token had one use left, so leased credentials were immediately revoked."
            ])
        );
        assert_eq!(lend().await.status, 403, "the use was taken");
        let told = server.write("sys/leases/lookup", json!({"lease_id": first})).await;
        assert_eq!(told.status, 400, "its leases ended with the token: {}", told.body);
        assert_eq!(server.list("sys/leases/lookup/loans/creds/web").await.status, 404);
    }

    #[tokio::test]
    async fn a_lease_is_looked_up_renewed_and_revoked() {
        let server = server().await;
        let id = lent(&server, "web").await;
        let told = server.write("sys/leases/lookup", json!({"lease_id": id})).await;
        let expected = json!({
            "id": id, "issue_time": "2023-11-14T22:13:20Z", "expire_time": "2023-11-14T23:13:20Z",
            "last_renewal": null, "renewable": true, "ttl": 3600,
        });
        assert_eq!(told.data(), &expected);
        server.clock.advance(Duration::from_mins(10));
        for (path, input) in [
            ("sys/leases/renew".to_owned(), json!({"lease_id": id, "increment": "2h"})),
            ("sys/renew".to_owned(), json!({"lease_id": id, "increment": 7200})),
            (format!("sys/leases/renew/{id}"), json!({"increment": "7200"})),
            (format!("sys/renew/{id}"), json!({"increment": "2h"})),
        ] {
            let told = server.write(&path, input).await;
            assert_eq!(
                (told.status, &told.body["lease_id"], &told.body["lease_duration"]),
                (200, &json!(id), &json!(7200))
            );
            assert_eq!(told.body["renewable"], true);
            assert_eq!(told.body["data"], Value::Null);
        }
        let told = server.write("sys/leases/renew", json!({"lease_id": id})).await;
        assert_eq!(told.body["lease_duration"], 3600, "as long as at first");
        let told = server.write("sys/leases/renew", json!({"lease_id": id, "increment": "1000h"})).await;
        assert_eq!(
            told.warnings(),
            [
                "TTL of \"1000h0m0s\" exceeded the effective max_ttl of \"767h50m0s\"; TTL value is capped accordingly"
            ]
        );
        let told = server.write("sys/leases/lookup", json!({"lease_id": id})).await;
        assert_eq!(told.data()["last_renewal"], "2023-11-14T22:23:20Z");
        for (path, input) in [
            ("sys/leases/revoke".to_owned(), json!({"lease_id": id, "sync": true})),
            ("sys/revoke".to_owned(), json!({"lease_id": lent(&server, "a").await})),
            (format!("sys/leases/revoke/{}", lent(&server, "b").await), json!({})),
            (format!("sys/revoke/{}", lent(&server, "c").await), json!({})),
        ] {
            assert_eq!(server.write(&path, input).await.status, 204);
        }
        assert_eq!(server.list("sys/leases/lookup/loans").await.status, 404);
        let lookup = server.write("sys/leases/lookup", json!({"lease_id": id})).await;
        assert_eq!(lookup.error(), (400, "invalid lease"));
        assert_eq!(
            server.write("sys/leases/revoke", json!({"lease_id": id})).await.status,
            204,
            "it is gone as asked"
        );
    }

    #[tokio::test]
    async fn refusals_are_in_vaults_words() {
        let server = server().await;
        for path in ["lookup", "renew", "revoke"] {
            let told = server.write(&format!("sys/leases/{path}"), json!({})).await;
            assert_eq!(told.error(), (400, "lease_id must be specified"));
        }
        let renew = async |id: &str| server.write("sys/leases/renew", json!({"lease_id": id})).await;
        assert_eq!(renew("nope").await.error(), (400, "lease not found"));
        let token = server.token(&["default"]).await;
        let key = u128::from_be_bytes(server.core.token_id(&token).unwrap().key);
        let told = renew(&format!("auth/token/create/h{key:032x}")).await;
        assert_eq!(told.error(), (400, "tokens cannot be renewed through this endpoint"));
        let id = lent(&server, "web").await;
        server.clock.advance(Duration::from_hours(1));
        assert_eq!(renew(&id).await.error(), (400, "lease expired"));
        for path in ["sys/leases/revoke-prefix", "sys/revoke-force", "sys/leases/revoke-prefix//"] {
            assert!(matches!(server.write(path, json!({})).await.status, 400 | 404), "{path}");
        }
    }

    #[tokio::test]
    async fn listing_goes_down_folders() {
        let server = server().await;
        lent(&server, "web").await;
        let token = server.token(&["default"]).await;
        assert_eq!(server.list("sys/leases/lookup").await.data()["keys"], json!(["auth/", "loans/"]));
        assert_eq!(server.list("sys/leases/lookup/loans").await.data()["keys"], json!(["creds/"]));
        assert_eq!(
            server.list("sys/leases/lookup/loans/creds/web/").await.data()["keys"].as_array().unwrap().len(),
            1
        );
        let told = server.ask_as(&token, Asked::List, "sys/leases/lookup/loans", json!({})).await;
        assert_eq!(told.status, 403);
    }

    #[tokio::test]
    async fn a_prefix_takes_leases_and_tokens() {
        for (path, input) in [
            ("sys/leases/revoke-prefix", json!({})),
            ("sys/revoke-prefix", json!({"sync": true})),
            ("sys/leases/revoke-force", json!({})),
            ("sys/revoke-force", json!({})),
        ] {
            let server = server().await;
            let token = server.token(&["default"]).await;
            let stays = lent(&server, "website").await;
            for _ in 0..130 {
                lent(&server, "web").await;
            }
            assert_eq!(server.write(&format!("{path}/loans/creds/web"), input.clone()).await.status, 204);
            server.core.run_jobs_once(false).await.unwrap();
            let (_, name) = stays.rsplit_once('/').unwrap();
            assert_eq!(
                server.list("sys/leases/lookup/loans/creds/website").await.data()["keys"],
                json!([name])
            );
            assert_eq!(server.list("sys/leases/lookup/loans/creds/web").await.status, 404);
            server.write(&format!("{path}/auth/token/create"), input).await;
            let told = server.ask_as(&token, Asked::Read, "auth/token/lookup-self", json!({})).await;
            assert_eq!(told.status, 403);
        }
    }

    #[tokio::test]
    async fn what_could_not_be_revoked_is_counted() {
        let server = server().await;
        let ask = async |path: &str| server.ask(Asked::Read, path, json!({"type": "irrevocable"})).await;
        assert_eq!(ask("sys/leases").await.data(), &json!({"lease_count": 0, "leases": []}));
        assert_eq!(ask("sys/leases/count").await.data(), &json!({"lease_count": 0, "counts": {}}));
        assert_eq!(server.read("sys/leases").await.status, 404);
        let told = server.write("sys/leases/tidy", json!({})).await;
        assert_eq!(told.status, 202);
        assert!(told.warnings()[0].starts_with("Tidy operation successfully started."));
        let told = server.write("sys/leases/tidy", json!({})).await;
        assert_eq!(told.warnings(), ["Tidy operation already in progress."]);
    }
}
