//! `sys/remount`. Source: Vault's API page of this name.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{NamespaceId, Stored, Txn, View};
use strongroom_engine_api::lenient::Text;
use strongroom_engine_api::{
    Clock, Engine, EngineError, Entropy, Extension, Input, Meaning, Moment, Mount, Path, Schedule,
    bad_request,
};
use strongroom_mounts::{MountMove, Mounts, MoveStage};
use strongroom_revocation::Revocation;

use crate::envelopes::MergedData;
use crate::mounts::{AUTH, TOKEN, as_kept, is_reserved};

use crate::tables::MOVES;

pub(crate) fn routes(engine: Engine) -> Engine {
    engine
        .route("remount", |r| {
            r.sudo()
                .update("Move a mount to another path, with all that it keeps.", remount)
                .means("from", Meaning::Each(|path| given_path(path).ok()))
                .means("to", Meaning::Each(|path| given_path(path).ok()))
                .explain(
                    "Moves a mount to another path, with all that it keeps. Its leases and tokens are revoked. Either path may lead \
                     into a namespace within this one. A mount that moves to another namespace answers nothing meanwhile.",
                )
        })
        .route("remount/status/{migration_id}", |r| r.read("Check the status of a mount move.", status))
        .job("forget-moves", Schedule::Every(FORGET_INTERVAL), forget_old)
}

/// The time for which the status of a move is kept.
const REMEMBERED: Duration = Duration::from_hours(24);
/// The time between two removals of records of old moves.
const FORGET_INTERVAL: Duration = Duration::from_secs(600);
/// Records of moves removed in one step.
const STEP: usize = 128;

/// A move that has taken place, or has begun.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Move {
    from: String,
    to: String,
    at: Moment,
    /// The namespace that was asked: both paths begin in it.
    #[serde(default, skip_serializing_if = "NamespaceId::is_root")]
    namespace: NamespaceId,
    /// The namespace in which the mount had its path, and that path there, where it is another than the one that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    inside: Option<(NamespaceId, String)>,
    /// True if it is a move from one namespace to another, of which the service has a record while something is left of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    across: bool,
}

impl Stored for Move {}

/// The input of moving a mount.
#[derive(Deserialize, JsonSchema)]
struct RemountInput {
    /// The path of the mount, with "auth/" in front for an auth method. It may begin with namespaces within this one.
    from: Option<Text>,
    /// The path to move it to. It may begin with namespaces within this one.
    to: Option<Text>,
}

/// The id by which the status of a move is requested.
#[derive(Serialize, JsonSchema)]
struct Begun {
    /// The id of the move.
    migration_id: String,
}

async fn remount(
    Extension(mounts): Extension<Mounts>,
    Extension(revocation): Extension<Revocation>,
    clock: Clock,
    txn: Txn,
    mount: Arc<Mount>,
    entropy: Entropy,
    Input(input): Input<RemountInput>,
) -> Result<MergedData<Begun>, EngineError> {
    let path = |given: Option<Text>| given.map(|given| given.0).filter(|path| !path.is_empty());
    let (Some(from), Some(to)) = (path(input.from), path(input.to)) else {
        return Err(bad_request("both 'from' and 'to' path must be specified as a string"));
    };
    let (from, to) = (given_path(&from)?, given_path(&to)?);
    let (source, old) = mounts.descend_to(&txn, mount.namespace, &from).await?;
    let (target, new) = mounts.descend_to(&txn, mount.namespace, &to).await?;
    if old.is_empty() {
        return Err(bad_request(format!("cannot remount {from:?}")));
    }
    if new.is_empty() {
        return Err(bad_request(format!("cannot remount to destination {to}")));
    }
    check(old, new)?;
    let migration_id = entropy.uuid()?;
    let across = source.id != target.id;
    if across {
        mounts.begin_move(&txn, &migration_id, (source.id, old), (target.id, new)).await?;
    } else {
        let moved = mounts.move_mount(&txn, source.id, old, new).await?;
        revocation.revoke_moved(&txn, source.id, old, moved).await?;
    }
    let inside = (source.id != mount.namespace).then(|| (source.id, old.to_owned()));
    let (at, namespace) = (clock.now(), mount.namespace);
    MOVES.put(&txn, migration_id.as_str(), Move { from, to, at, namespace, inside, across })?;
    Ok(MergedData(Begun { migration_id }))
}

/// A path as it is kept.
fn given_path(path: &str) -> Result<String, EngineError> {
    as_kept(path.trim_start_matches('/'))
}

fn check(from: &str, to: &str) -> Result<(), EngineError> {
    if is_reserved(from) || from == AUTH || from == TOKEN {
        return Err(bad_request(format!("cannot remount {from:?}")));
    }
    match (from.starts_with(AUTH), to.starts_with(AUTH)) {
        (true, false) => Err(bad_request(format!("cannot remount auth mount to non-auth mount {to:?}"))),
        (false, true) => Err(bad_request(format!("cannot remount to destination {to}"))),
        _ if is_reserved(to) || to == AUTH || to == TOKEN => {
            Err(bad_request(format!("cannot remount to destination {to}")))
        }
        _ => Ok(()),
    }
}

/// The status of a move.
#[derive(Serialize, JsonSchema)]
struct Status {
    /// The id of the move.
    migration_id: String,
    /// The mount that is moved, and the state of the move.
    migration_info: Info,
}

/// The paths of a move.
#[derive(Serialize, JsonSchema)]
struct Info {
    /// The path it had.
    source_mount: String,
    /// The path it has.
    target_mount: String,
    /// `in-progress` while leases of the old path are left or data is copied, then `success` or `failure`.
    status: &'static str,
    /// The work that a move to another namespace is at: `ending-leases`, `revoking-leases` or `copying-data`.
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<&'static str>,
    /// The reason why the move has failed, or why leases could not be revoked so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

async fn status(
    (Extension(mounts), Extension(revocation)): (Extension<Mounts>, Extension<Revocation>),
    view: View,
    mount: Arc<Mount>,
    Path(id): Path<String>,
) -> Result<Option<MergedData<Status>>, EngineError> {
    let done = MOVES.get(&view, id.as_str()).await?;
    let Some(done) = done.filter(|done| done.namespace == mount.namespace) else { return Ok(None) };
    let (status, stage, error) = if done.across {
        match mounts.mount_move(&view, &id).await? {
            Some(moving) => standing(&revocation, &moving),
            None => (SUCCESS, None, None),
        }
    } else {
        let (namespace, from) =
            done.inside.as_ref().map_or((mount.namespace, &done.from), |at| (at.0, &at.1));
        let is_revoking = revocation.is_revoking(&view, namespace, from).await?;
        (if is_revoking { IN_PROGRESS } else { SUCCESS }, None, None)
    };
    let (source_mount, target_mount) = (done.from.clone(), done.to.clone());
    let info = Info { source_mount, target_mount, status, stage, error };
    Ok(Some(MergedData(Status { migration_id: id, migration_info: info })))
}

const SUCCESS: &str = "success";
const IN_PROGRESS: &str = "in-progress";

/// The status, the stage and the error of a move to another namespace.
fn standing(
    revocation: &Revocation,
    moving: &MountMove,
) -> (&'static str, Option<&'static str>, Option<String>) {
    match &moving.stage {
        MoveStage::Ending(_) => (IN_PROGRESS, Some("ending-leases"), None),
        MoveStage::Revoking => (IN_PROGRESS, Some("revoking-leases"), revocation.error_of_revoking(moving)),
        MoveStage::Copying(_) => (IN_PROGRESS, Some("copying-data"), None),
        MoveStage::Clearing(_) => (SUCCESS, None, None),
        MoveStage::Undoing(reason) | MoveStage::Failed(reason, _) => ("failure", None, Some(reason.clone())),
    }
}

/// Removes some records of old moves, and of those in namespaces that are gone; answers whether there may be more.
async fn forget_old(
    Extension(mounts): Extension<Mounts>,
    txn: Txn,
    clock: Clock,
) -> Result<bool, EngineError> {
    let (now, router) = (clock.now(), mounts.router().await?);
    let mut removed = 0usize;
    let mut page = MOVES.scan(txn.peek(), "", None, STEP).await?;
    while let Some((last, _)) = page.last() {
        for (id, done) in &page {
            let over = over_since(&mounts, &txn, id, done).await?;
            let is_old = over.is_some_and(|over| now.since(over) >= REMEMBERED);
            if is_old || router.namespace(done.namespace).is_none() {
                MOVES.delete(&txn, id.as_str());
                removed = removed.saturating_add(1);
            }
        }
        if removed >= STEP {
            return Ok(true);
        }
        page = MOVES.scan(txn.peek(), "", Some(last.as_str()), STEP).await?;
    }
    Ok(false)
}

/// The moment from which on the status of a move is kept for a while; `None` while something of it is left to do.
async fn over_since(
    mounts: &Mounts,
    txn: &Txn,
    id: &str,
    done: &Move,
) -> Result<Option<Moment>, EngineError> {
    let found = if done.across { mounts.mount_move(txn.peek(), id).await? } else { None };
    Ok(match found.as_ref().map(|moving| &moving.stage) {
        None => Some(done.at),
        Some(MoveStage::Failed(_, at)) => Some(*at),
        Some(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use strongroom_pipeline::Verb;

    use crate::testing::Server;

    #[tokio::test]
    async fn a_mount_moves_with_its_accessor_and_without_its_leases() {
        let server = Server::new().await;
        server.write("sys/mounts/loans", json!({ "type": "loans" })).await;
        let lent = server.read("loans/creds/a").await;
        assert_ne!(lent.body["lease_id"], "");
        let before = server.read("sys/mounts/loans").await.data()["accessor"].clone();

        let told = server.write("sys/remount", json!({ "from": "loans", "to": "x/moved/" })).await;
        let id = told.data()["migration_id"].as_str().unwrap().to_owned();
        assert_eq!(told.body["migration_id"], id.as_str());
        assert_eq!(server.read("sys/mounts/x/moved").await.data()["accessor"], before);
        assert_eq!(server.read("sys/mounts/loans").await.error(), (400, "No secret engine mount at loans/"));
        assert_eq!(server.read("x/moved/creds/a").await.status, 200);
        assert_eq!(server.read("loans/creds/a").await.status, 404);

        let status = server.read(&format!("sys/remount/status/{id}")).await;
        let info = json!({ "source_mount": "loans/", "target_mount": "x/moved/", "status": "success" });
        assert_eq!(status.data()["migration_info"], info);
        server.clock.advance(REMEMBERED);
        server.core.background.run_jobs_once(true).await.unwrap();
        assert_eq!(server.read(&format!("sys/remount/status/{id}")).await.status, 404);
    }

    #[tokio::test]
    async fn moves_are_known_in_their_namespace_and_forgotten_with_it() {
        let server = Server::new().await;
        server.write("sys/namespaces/team", json!({})).await;
        let moved = async |namespace: &str, from: &str, to: &str| {
            let input = json!({ "from": from, "to": to });
            let told = server.write(&format!("{namespace}sys/remount"), input).await;
            told.data()["migration_id"].as_str().unwrap().to_owned()
        };
        for namespace in ["", "team/"] {
            server.write(&format!("{namespace}sys/mounts/a"), json!({ "type": "loans" })).await;
        }
        // More of them than one step looks at, none of which is old.
        let mut here = String::new();
        for _ in 0..=STEP / 2 {
            moved("", "a", "b").await;
            here = moved("", "b", "a").await;
        }
        let there = moved("team/", "a", "b").await;
        let status = async |namespace: &str, id: &str| {
            server.read(&format!("{namespace}sys/remount/status/{id}")).await.status
        };
        assert_eq!((status("", &here).await, status("team/", &there).await), (200, 200));
        assert_eq!((status("team/", &here).await, status("", &there).await), (404, 404));
        assert_eq!(server.ask(Verb::Delete, "sys/namespaces/team", json!({})).await.status, 204);
        server.core.background.run_jobs_once(true).await.unwrap();
        let view = server.core.services.barrier.pinned_view().await.unwrap();
        assert!(MOVES.get(&view, there.as_str()).await.unwrap().is_none());
        assert_eq!(status("", &here).await, 200);
    }

    #[tokio::test]
    async fn a_mount_with_many_leases_moves_at_once_and_they_end_behind_it() {
        const LEASES: usize = 300;
        let server = Server::new().await;
        server.write("sys/mounts/loans", json!({ "type": "loans" })).await;
        for _ in 0..LEASES {
            assert_eq!(server.read("loans/creds/a").await.status, 200);
        }
        let told = server.write("sys/remount", json!({ "from": "loans", "to": "moved" })).await;
        let status = format!("sys/remount/status/{}", told.data()["migration_id"].as_str().unwrap());
        let state = async || server.read(&status).await.data()["migration_info"]["status"].clone();
        assert_eq!(state().await, "in-progress");
        // Another takes the path meanwhile: what it lends is its own.
        server.write("sys/mounts/loans", json!({ "type": "loans" })).await;
        let new = server.read("loans/creds/a").await.body["lease_id"].clone();
        while state().await == "in-progress" {
            server.core.background.run_jobs_once(true).await.unwrap();
        }
        assert_eq!(state().await, "success");
        let left = server.list("sys/leases/lookup/loans/creds/a").await;
        let left: Vec<String> = serde_json::from_value(left.data()["keys"].clone()).unwrap();
        assert_eq!(left.len(), 1, "{left:?}");
        assert!(new.as_str().unwrap().ends_with(&left[0]));
    }

    #[tokio::test]
    async fn moving_an_auth_method_ends_its_tokens() {
        let server = Server::new().await;
        server.write("sys/auth/door", json!({ "type": "open" })).await;
        let login = server.ask_as("", Verb::Write, "auth/door/login/a", json!({})).await;
        let token = login.body["auth"]["client_token"].as_str().unwrap().to_owned();
        assert_eq!(server.ask_as(&token, Verb::Read, "auth/token/lookup-self", json!({})).await.status, 204);
        let told = server.write("sys/remount", json!({ "from": "auth/door", "to": "auth/gate" })).await;
        assert_eq!(told.status, 200, "{}", told.body);
        assert_eq!(server.ask_as(&token, Verb::Read, "auth/token/lookup-self", json!({})).await.status, 403);
        assert_eq!(server.ask_as("", Verb::Write, "auth/gate/login/a", json!({})).await.status, 200);
    }

    #[tokio::test]
    async fn what_cannot_be_moved_is_named() {
        let server = Server::new().await;
        for path in ["one", "two"] {
            server.write(&format!("sys/mounts/{path}"), json!({ "type": "kv" })).await;
        }
        server.write("sys/auth/door", json!({ "type": "open" })).await;
        for (from, to, text) in [
            ("one", "", "both 'from' and 'to' path must be specified as a string"),
            ("none", "three", "no matching mount at \"none/\""),
            ("one", "two", "path already in use at \"two/\""),
            ("one", "two/sub", "path already in use at \"two/\""),
            ("one", "one", "path already in use at \"one/\""),
            ("sys", "three", "cannot remount \"sys/\""),
            ("cubbyhole", "three", "cannot remount \"cubbyhole/\""),
            ("one", "sys", "cannot remount to destination sys/"),
            ("one", "auth/x", "cannot remount to destination auth/x/"),
            ("auth/door", "x", "cannot remount auth mount to non-auth mount \"x/\""),
            ("auth/token", "auth/x", "cannot remount \"auth/token/\""),
            ("auth/door", "auth/token", "cannot remount to destination auth/token/"),
        ] {
            let told = server.write("sys/remount", json!({ "from": from, "to": to })).await;
            assert_eq!(told.error(), (400, text));
        }
        assert_eq!(server.read("sys/remount/status/none").await.status, 404);
        let plain = server.token_with(r#"path "sys/remount" { capabilities = ["update"] }"#).await;
        let input = json!({ "from": "one", "to": "three" });
        assert_eq!(server.ask_as(&plain, Verb::Write, "sys/remount", input).await.status, 403);
    }
}
