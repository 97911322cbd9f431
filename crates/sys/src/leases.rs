//! `sys/leases/*`, and the older paths `sys/renew`, `sys/revoke`, `sys/revoke-prefix`, `sys/revoke-force`. Source:
//! Vault's API page `sys/leases`.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{Txn, View};
use strongroom_engine_api::lenient::{Flag, Text, Ttl};
use strongroom_engine_api::{
    Clock, Data, Engine, EngineError, Extension, Input, Moment, Mount, Paging, Path, Reply,
    View as MountView, bad_request,
};
use strongroom_expiry::LeaseState;
use strongroom_identity::{Identity, IdentityId};
use strongroom_leases::{Leases, Renewing};
use strongroom_pipeline::{ServerPart, ServerReply};
use strongroom_revocation::Revocation;
use strongroom_tokens::{Tidy, TokenStore};

pub(crate) fn routes(engine: Engine) -> Engine {
    let engine = engine
        .route("leases/lookup", |r| r.update("Look up a lease.", lookup))
        .route("leases/tidy", |r| r.update("Look for leases whose token is gone, and remove them.", tidy))
        .route("leases/lookup/{prefix..}", |r| r.sudo().list("List lease ids under a prefix.", list));
    // The older paths have the newer ones' routes.
    ["leases/", ""].into_iter().fold(engine, |engine, at| {
        engine
            .route(&format!("{at}renew"), |r| r.ask("Renew a lease.", renewed, ask_engine, renew))
            .route(&format!("{at}renew/{{url_lease_id..}}"), |r| {
                r.ask("Renew a lease.", renewed_at, ask_engine, renew)
            })
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
    /// If true, answers when the lease is revoked in the external system, too, or with the error; otherwise that is
    /// done after the answer.
    sync: Option<Flag>,
}

#[derive(Deserialize, JsonSchema)]
struct PrefixInput {
    /// If true, answers when all leases are revoked in external systems, too; otherwise that is done, and large numbers
    /// are revoked, after the answer.
    sync: Option<Flag>,
}

/// The facts shown of a lease.
#[derive(Serialize, JsonSchema)]
struct LeaseFactsView {
    /// Attempts at revoking it that failed, where it is to be revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    /// The error of the last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The time at which it expires (RFC 3339); null: never.
    expire_time: Option<String>,
    /// Its id.
    id: String,
    /// The time at which it was granted (RFC 3339).
    issue_time: String,
    /// The time of its last renewal (RFC 3339).
    last_renewal: Option<String>,
    /// The time of the next attempt (RFC 3339), where it is not at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt: Option<String>,
    /// The path that it was granted at.
    path: String,
    /// True if it may be renewed.
    renewable: bool,
    /// Its state: active, revoking or irrevocable.
    state: &'static str,
    /// The TTL that is left, in seconds.
    ttl: u64,
}

fn required(lease_id: Option<Text>) -> Result<String, EngineError> {
    let lease_id = lease_id.map(|id| id.0).filter(|id| !id.is_empty());
    lease_id.ok_or_else(|| bad_request("lease_id must be specified"))
}

async fn lookup(
    Extension(leases): Extension<Leases>,
    mount: Arc<Mount>,
    Input(input): Input<LeaseInput>,
    view: View,
    clock: Clock,
) -> Result<Data<LeaseFactsView>, EngineError> {
    let id = required(input.lease_id)?;
    let facts = leases.lease_facts(&view, mount.namespace, &id).await?;
    let facts = facts.ok_or_else(|| bad_request("invalid lease"))?;
    let revoking = facts.state.revoking();
    let is_tried = matches!(facts.state, LeaseState::Revoking(_));
    let next = revoking.map(|revoking| revoking.next);
    Ok(Data(LeaseFactsView {
        attempts: revoking.map(|revoking| revoking.attempts),
        error: revoking.map(|revoking| revoking.error.clone()).filter(|error| !error.is_empty()),
        next_attempt: next.filter(|next| is_tried && *next > Moment::default()).map(Moment::rfc3339),
        path: granted_at(&id),
        state: facts.state.name(),
        expire_time: facts.expires.map(Moment::rfc3339),
        id,
        issue_time: facts.issued.rfc3339(),
        last_renewal: facts.renewed.map(Moment::rfc3339),
        renewable: facts.renewable,
        ttl: facts.expires.map_or(0, |end| end.since(clock.now()).as_secs()),
    }))
}

/// The path that a lease was granted at: its id without what tells it from others of that path.
pub(crate) fn granted_at(id: &str) -> String {
    id.rsplit_once('/').map_or(id, |(path, _)| path).to_owned()
}

async fn list(
    Extension(leases): Extension<Leases>,
    mount: Arc<Mount>,
    Path(prefix): Path<String>,
    paging: Paging,
    view: View,
) -> Result<Reply, EngineError> {
    let folder = if prefix.is_empty() || prefix.ends_with('/') { prefix } else { format!("{prefix}/") };
    let names =
        leases.lease_children(&view, mount.namespace, &folder, paging.after.as_deref(), paging.limit).await?;
    Reply::keys(&names)
}

async fn renewed(
    _own: MountView,
    Extension(leases): Extension<Leases>,
    mount: Arc<Mount>,
    Input(input): Input<RenewInput>,
    view: View,
) -> Result<Renewing, EngineError> {
    let (id, increment) = (required(input.lease_id)?, input.increment.map(|increment| increment.0));
    leases.renewable_lease(&view, mount.namespace, &id, increment).await
}

async fn renewed_at(
    _own: MountView,
    Extension(leases): Extension<Leases>,
    mount: Arc<Mount>,
    Path(url_lease_id): Path<String>,
    Input(input): Input<RenewInput>,
    view: View,
) -> Result<Renewing, EngineError> {
    let id = required(input.lease_id.filter(|id| !id.is_empty()).or(Some(Text(url_lease_id))))?;
    leases.renewable_lease(&view, mount.namespace, &id, input.increment.map(|increment| increment.0)).await
}

async fn ask_engine(
    renewing: Renewing,
    Extension(leases): Extension<Leases>,
    Extension(identity): Extension<Identity>,
) -> Result<Renewing, EngineError> {
    if let Some((home, id)) = renewing.entity() {
        identity.require_enabled(home, IdentityId::of_bytes(id)).await?;
    }
    leases.ask_engine(renewing).await
}

async fn renew(
    asked: Arc<Renewing>,
    Extension(leases): Extension<Leases>,
    txn: Txn,
) -> Result<ServerReply, EngineError> {
    let (lease, warning) = leases.renew_lease(&txn, &asked).await?;
    let part = ServerPart { lease: Some(lease), ..ServerPart::default() };
    Ok(ServerReply::of(part).warned(warning))
}

async fn revoke(
    Extension(revocation): Extension<Revocation>,
    mount: Arc<Mount>,
    Input(input): Input<RevokeInput>,
    txn: Txn,
) -> Result<(), EngineError> {
    end(&revocation, &mount, &required(input.lease_id)?, input.sync, &txn).await
}

async fn revoke_at(
    Extension(revocation): Extension<Revocation>,
    mount: Arc<Mount>,
    Path(url_lease_id): Path<String>,
    Input(input): Input<RevokeInput>,
    txn: Txn,
) -> Result<(), EngineError> {
    let id = required(input.lease_id.filter(|id| !id.is_empty()).or(Some(Text(url_lease_id))))?;
    end(&revocation, &mount, &id, input.sync, &txn).await
}

async fn end(
    revocation: &Revocation,
    mount: &Mount,
    id: &str,
    sync: Option<Flag>,
    txn: &Txn,
) -> Result<(), EngineError> {
    if sync.is_some_and(|sync| sync.0) {
        return revocation.revoke_lease_now(mount.namespace, id).await;
    }
    revocation.revoke_lease_id(txn, mount.namespace, id).await?;
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
    Extension(revocation): Extension<Revocation>,
    mount: Arc<Mount>,
    Path(prefix): Path<String>,
    Input(input): Input<PrefixInput>,
    txn: Txn,
) -> Result<(), EngineError> {
    checked(&prefix)?;
    if input.sync.is_some_and(|sync| sync.0) {
        return revocation.revoke_prefix_now(mount.namespace, &prefix, false).await;
    }
    revocation.revoke_prefix(&txn, mount.namespace, &prefix, false).await?;
    Ok(())
}

async fn revoke_force(
    Extension(revocation): Extension<Revocation>,
    mount: Arc<Mount>,
    Path(prefix): Path<String>,
    // Drawn so that the operation is known to write.
    _txn: Txn,
) -> Result<(), EngineError> {
    checked(&prefix)?;
    revocation.revoke_prefix_now(mount.namespace, &prefix, true).await
}

async fn tidy(
    Extension(tokens): Extension<TokenStore>,
    mount: Arc<Mount>,
    txn: Txn,
) -> Result<Reply, EngineError> {
    let started = tokens.start_tidying_in(&txn, mount.namespace, Tidy::Leases).await?;
    Ok(Reply::status(202).warned(if started {
        "Tidy operation successfully started. Any information from the operation will be printed to the server logs."
    } else {
        "Tidy operation already in progress."
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use std::time::Duration;
    use strongroom_pipeline::Verb;
    use strongroom_tokens::TokenEntry;

    use crate::testing::Server;

    async fn lent(server: &Server, name: &str) -> String {
        let told = server.ask(Verb::Read, &format!("loans/creds/{name}"), json!({"ttl": "1h"})).await;
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
        let lend = async || server.ask_as(&token, Verb::Read, "loans/creds/web", json!({})).await;
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
            "path": "loans/creds/web", "state": "active",
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
        let key = u128::from_be_bytes(server.core.services.tokens.token_id(&token).unwrap().key);
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
        let told = server.ask_as(&token, Verb::List, "sys/leases/lookup/loans", json!({})).await;
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
            server.core.background.run_jobs_once(false).await.unwrap();
            let (_, name) = stays.rsplit_once('/').unwrap();
            assert_eq!(
                server.list("sys/leases/lookup/loans/creds/website").await.data()["keys"],
                json!([name])
            );
            assert_eq!(server.list("sys/leases/lookup/loans/creds/web").await.status, 404);
            server.write(&format!("{path}/auth/token/create"), input).await;
            let told = server.ask_as(&token, Verb::Read, "auth/token/lookup-self", json!({})).await;
            assert_eq!(told.status, 403);
        }
    }

    /// Asks for something that waits for revocations, with the jobs running meanwhile.
    async fn with_jobs<T>(server: &Server, asked: impl Future<Output = T>) -> T {
        tokio::pin!(asked);
        loop {
            tokio::select! {
                biased;
                told = &mut asked => return told,
                () = tokio::task::yield_now() => server.core.background.run_jobs_once(false).await.unwrap(),
            }
        }
    }

    #[tokio::test]
    async fn what_the_outside_refuses_is_told_everywhere_and_forced_at_last() {
        let server = Server::new().await;
        server.write("sys/mounts/outside", json!({"type": "outside"})).await;
        let told = server.read("outside/creds/refused").await;
        let id = told.body["lease_id"].as_str().unwrap().to_owned();
        let look = async || server.write("sys/leases/lookup", json!({"lease_id": id})).await.data().clone();
        assert_eq!((&look().await["state"], &look().await["renewable"]), (&json!("active"), &json!(true)));
        assert_eq!(server.write("sys/leases/revoke", json!({"lease_id": id})).await.status, 204);
        let told = look().await;
        assert_eq!((&told["state"], &told["attempts"]), (&json!("revoking"), &json!(0)));
        assert_eq!((&told["path"], &told["renewable"]), (&json!("outside/creds/refused"), &json!(false)));
        server.core.background.run_jobs_once(false).await.unwrap();
        let told = look().await;
        assert_eq!((&told["attempts"], &told["error"]), (&json!(1), &json!("no such privilege")));
        assert!(told["next_attempt"].as_str().unwrap().starts_with("2023-11-14T22:13:"), "{told}");
        let refused = format!("failed to revoke {id:?}: no such privilege");
        for (path, input) in [
            ("sys/leases/revoke".to_owned(), json!({"lease_id": id, "sync": true})),
            (format!("sys/revoke/{id}"), json!({"sync": true})),
            ("sys/leases/revoke-prefix/outside/creds".to_owned(), json!({"sync": true})),
        ] {
            let told = with_jobs(&server, server.write(&path, input)).await;
            assert_eq!(told.error(), (400, refused.as_str()), "{path}");
        }
        for _ in 0..6 {
            server.clock.advance(Duration::from_mins(10));
            server.core.background.run_jobs_once(false).await.unwrap();
        }
        assert_eq!(look().await["state"], "irrevocable");
        let accessor = server.read("sys/mounts/outside").await.data()["accessor"].clone();
        let ask = async |path: &str| server.ask(Verb::Read, path, json!({"type": "irrevocable"})).await;
        let listed = json!({
            "lease_id": id, "path": "outside/creds/refused", "mount_path": "outside/", "mount_accessor": accessor,
            "state": "irrevocable", "attempts": 6, "error": "no such privilege",
        });
        assert_eq!(ask("sys/leases").await.data(), &json!({"lease_count": 1, "leases": [listed]}));
        let counts = json!({"lease_count": 1, "counts": {accessor.as_str().unwrap(): 1}});
        assert_eq!(ask("sys/leases/count").await.data(), &counts);
        // Its mount goes, and it is still known.
        assert_eq!(server.delete("sys/mounts/outside").await.status, 204);
        server.core.background.run_jobs_once(false).await.unwrap();
        assert_eq!(ask("sys/leases").await.data()["leases"][0]["mount_path"], "outside/");
        let told = with_jobs(&server, server.write("sys/leases/revoke-force/outside", json!({}))).await;
        assert_eq!(told.status, 204);
        assert_eq!(ask("sys/leases").await.data(), &json!({"lease_count": 0, "leases": []}));
        assert_eq!(server.write("sys/leases/lookup", json!({"lease_id": id})).await.status, 400);
    }

    #[tokio::test]
    async fn a_moved_mount_still_ends_what_it_lent_before() {
        let server = Server::new().await;
        server.write("sys/mounts/outside", json!({"type": "outside"})).await;
        let told = server.read("outside/creds/web").await;
        let id = told.body["lease_id"].as_str().unwrap().to_owned();
        let told = server.write("sys/remount", json!({"from": "outside", "to": "inside"})).await;
        assert!(told.status < 300, "{}", told.body);
        let told = server.write("sys/leases/lookup", json!({"lease_id": id})).await;
        assert_eq!(told.data()["state"], "revoking");
        server.core.background.run_jobs_once(false).await.unwrap();
        assert_eq!(server.write("sys/leases/lookup", json!({"lease_id": id})).await.status, 400);
        let told = server.read("inside/creds/web").await;
        assert!(told.body["lease_id"].as_str().unwrap().starts_with("inside/creds/web/"), "{}", told.body);
    }

    #[tokio::test]
    async fn what_could_not_be_revoked_is_counted() {
        let server = server().await;
        let ask = async |path: &str| server.ask(Verb::Read, path, json!({"type": "irrevocable"})).await;
        assert_eq!(ask("sys/leases").await.data(), &json!({"lease_count": 0, "leases": []}));
        assert_eq!(ask("sys/leases/count").await.data(), &json!({"lease_count": 0, "counts": {}}));
        assert_eq!(server.read("sys/leases").await.status, 404);
        let told = server.write("sys/leases/tidy", json!({})).await;
        assert_eq!(told.status, 202);
        assert!(told.warnings()[0].starts_with("Tidy operation successfully started."));
        let told = server.write("sys/leases/tidy", json!({})).await;
        assert_eq!(told.warnings(), ["Tidy operation already in progress."]);
        // Each namespace has its own.
        server.write("sys/namespaces/a", json!({})).await;
        let told = server.write_in("a", "sys/leases/tidy", json!({})).await;
        assert!(told.warnings()[0].starts_with("Tidy operation successfully started."), "{}", told.body);
    }
}
