//! `sys/jobs`: the work of this node in the background, job by job, and what is left of disabled mounts. Vault has no endpoint of
//! this kind.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{Txn, View};
use strongroom_engine_api::lenient::Flag;
use strongroom_engine_api::{Data, Engine, EngineError, Extension, Input, Moment, Paging, Path};
use strongroom_jobs::{JobStatus, Jobs};
use strongroom_revocation::{DrainingMount, Revocation, Stage};

pub(crate) fn routes(engine: Engine) -> Engine {
    engine
        .route("jobs", |r| {
            r.sudo()
                .read("List the background jobs of the active node, with their last run and next run.", list)
        })
        .route("jobs/disabled-mounts", |r| {
            r.sudo().read("List disabled mounts of which something is left.", draining)
        })
        .route("jobs/disabled-mounts/{accessor}", |r| {
            r.sudo()
                .read("Read the state of a disabled mount of which something is left.", draining_mount)
                .update("Have the leases of a disabled mount tried at once.", retry)
                .explain(
                    "A disabled mount is known by its accessor: its path may have been taken by another. All of its leases are \
                     tried at once, those that are irrevocable too. With 'force', each is tried once more and then dropped, \
                     whatever the external system says.",
                )
        })
}

/// Disabled mounts of which something is left, by accessor.
#[derive(Serialize, JsonSchema)]
struct DrainingView {
    /// The accessors, in the order in which the mounts were enabled.
    keys: Vec<String>,
    /// The state of each.
    key_info: BTreeMap<String, DrainingMountView>,
}

/// The state of a disabled mount.
#[derive(Serialize, JsonSchema)]
struct DrainingMountView {
    /// The path that it had; another mount may have it by now.
    path: String,
    /// The path of its namespace; `null` where that is deleted.
    namespace: Option<String>,
    /// The type of its engine.
    #[serde(rename = "type")]
    kind: String,
    /// The work that is left: `ending-leases`, `revoking-leases` or `removing-data`.
    state: &'static str,
    /// Leases that are not yet revoked, irrevocable ones among them; 1000 where there are more.
    leases: usize,
    /// Leases that the external system has refused to revoke, and that are not tried again of themselves.
    irrevocable: usize,
    /// Attempts in a row that failed.
    attempts: u32,
    /// The time of the next attempt after one that failed (RFC 3339).
    next_attempt: Option<String>,
    /// The error of the last attempt.
    last_error: Option<String>,
}

impl From<DrainingMount> for DrainingMountView {
    fn from(mount: DrainingMount) -> Self {
        Self {
            path: mount.path,
            namespace: mount.namespace_path,
            kind: mount.kind,
            state: match mount.stage {
                Stage::EndingLeases => "ending-leases",
                Stage::RevokingLeases => "revoking-leases",
                Stage::RemovingData => "removing-data",
            },
            leases: mount.leases,
            irrevocable: mount.irrevocable,
            attempts: mount.attempts,
            next_attempt: mount.next_attempt.map(Moment::rfc3339),
            last_error: mount.last_error,
        }
    }
}

#[derive(Deserialize, JsonSchema)]
struct RetryInput {
    /// If true, leases that cannot be revoked are dropped.
    force: Option<Flag>,
}

async fn draining(
    Extension(revocation): Extension<Revocation>,
    paging: Paging,
    view: View,
) -> Result<Data<DrainingView>, EngineError> {
    let found = revocation.draining_mounts(&view, paging.after.as_deref(), paging.limit).await?;
    let keys = found.iter().map(|mount| mount.accessor.clone()).collect();
    let key_info = found.into_iter().map(|mount| (mount.accessor.clone(), mount.into())).collect();
    Ok(Data(DrainingView { keys, key_info }))
}

async fn draining_mount(
    Extension(revocation): Extension<Revocation>,
    Path(accessor): Path<String>,
    view: View,
) -> Result<Option<Data<DrainingMountView>>, EngineError> {
    Ok(revocation.draining_mount(&view, &accessor).await?.map(|mount| Data(mount.into())))
}

async fn retry(
    Extension(revocation): Extension<Revocation>,
    Path(accessor): Path<String>,
    Input(input): Input<RetryInput>,
    // Drawn so that the operation is known to write.
    _txn: Txn,
) -> Result<(), EngineError> {
    let forced = input.force.is_some_and(|force| force.0);
    if revocation.retry_draining(&accessor, forced).await? { Ok(()) } else { Err(EngineError::NotFound) }
}

/// Every job by name: its mount's path and its own name, or its name alone for the server's own.
#[derive(Serialize, JsonSchema)]
struct JobsView {
    /// The names, sorted.
    keys: Vec<String>,
    /// The state of each.
    key_info: BTreeMap<String, Job>,
}

/// The state of a job. It is that of this node since it became active.
#[derive(Serialize, JsonSchema)]
struct Job {
    /// The path of the mount it works for; empty for the server's own.
    mount: String,
    /// The schedule, in words.
    schedule: String,
    /// True if it runs now.
    running: bool,
    /// The number of runs.
    runs: u64,
    /// The start of its last run (RFC 3339).
    last_run: Option<String>,
    /// The end of its last run without a failure (RFC 3339).
    last_success: Option<String>,
    /// The time of its next run (RFC 3339); `null` where it waits for a commit.
    next_run: Option<String>,
    /// Failures in a row.
    failures: u32,
    /// The error of the last run, where that failed.
    last_error: Option<String>,
}

impl From<JobStatus> for Job {
    fn from(status: JobStatus) -> Self {
        let text = |moment: Option<Moment>| moment.map(Moment::rfc3339);
        Self {
            mount: status.name.owner.to_string(),
            schedule: status.schedule,
            running: status.running,
            runs: status.runs,
            last_run: text(status.last_run),
            last_success: text(status.last_success),
            next_run: text(status.next_run),
            failures: status.failures,
            last_error: status.last_error,
        }
    }
}

async fn list(Extension(jobs): Extension<Jobs>) -> Result<Data<JobsView>, EngineError> {
    let key_info: BTreeMap<String, Job> =
        jobs.status().into_iter().map(|status| (status.name.to_string(), status.into())).collect();
    Ok(Data(JobsView { keys: key_info.keys().cloned().collect(), key_info }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};
    use strongroom_pipeline::Verb;

    use crate::testing::Server;

    const DRAINING: &str = "sys/jobs/disabled-mounts";

    async fn accessor(server: &Server, mount: &str) -> String {
        let told = server.read(&format!("sys/mounts/{mount}")).await;
        told.data()["accessor"].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_disabled_mount_is_listed_until_nothing_of_it_is_left() {
        let server = Server::new().await;
        server.write("sys/mounts/db", json!({ "type": "outside" })).await;
        assert_eq!(server.read("db/creds/down").await.status, 200);
        let accessor = accessor(&server, "db").await;
        assert_eq!(server.read(DRAINING).await.data(), &json!({ "keys": [], "key_info": {} }));
        assert_eq!(server.ask(Verb::Delete, "sys/mounts/db", Value::Null).await.status, 204);
        let one = format!("{DRAINING}/{accessor}");
        let told = server.read(&one).await;
        assert_eq!((&told.data()["state"], &told.data()["leases"]), (&json!("ending-leases"), &json!(1)));
        for _ in 0..3 {
            server.core.background.run_jobs_once(false).await.unwrap();
        }
        let told = server.read(DRAINING).await;
        assert_eq!(told.data()["keys"], json!([accessor]));
        let state = &told.data()["key_info"][&accessor];
        assert_eq!((&state["path"], &state["namespace"]), (&json!("db/"), &json!("")));
        assert_eq!((&state["type"], &state["state"]), (&json!("outside"), &json!("revoking-leases")));
        assert_eq!((&state["leases"], &state["irrevocable"]), (&json!(1), &json!(0)));
        assert_eq!((&state["attempts"], &state["last_error"]), (&json!(1), &json!("no route to host")));
        assert!(state["next_attempt"].is_string(), "{state}");
        assert_eq!(server.write(&one, json!({})).await.status, 204);
        server.core.background.run_jobs_once(false).await.unwrap();
        assert_eq!(server.read(&one).await.data()["attempts"], 2, "it was tried at once");
        assert_eq!(server.write(&one, json!({ "force": true })).await.status, 204);
        for _ in 0..3 {
            server.core.background.run_jobs_once(false).await.unwrap();
        }
        assert_eq!(server.read(DRAINING).await.data()["keys"], json!([]));
        for told in [server.read(&one).await, server.write(&one, json!({})).await] {
            assert_eq!(told.status, 404, "{}", told.body);
        }
        let plain = server.token_with(&format!("path \"{DRAINING}\" {{ capabilities = [\"read\"] }}")).await;
        assert_eq!(server.ask_as(&plain, Verb::Read, DRAINING, json!({})).await.status, 403);
    }

    #[tokio::test]
    async fn irrevocable_leases_of_a_deleted_namespace_are_within_reach() {
        let server = Server::new().await;
        server.write("sys/namespaces/team", json!({})).await;
        server.write("team/sys/mounts/db", json!({ "type": "outside" })).await;
        assert_eq!(server.read("team/db/creds/refused").await.status, 200);
        let told = server.read("team/sys/mounts/db").await;
        let accessor = told.data()["accessor"].as_str().unwrap().to_owned();
        assert_eq!(server.ask(Verb::Delete, "sys/namespaces/team", Value::Null).await.status, 204);
        for _ in 0..20 {
            server.core.background.run_jobs_once(false).await.unwrap();
            server.clock.advance(Duration::from_hours(1));
        }
        let told = server.read(DRAINING).await;
        assert_eq!(told.data()["keys"], json!([accessor]));
        let state = &told.data()["key_info"][&accessor];
        assert_eq!((&state["path"], &state["namespace"]), (&json!("db/"), &Value::Null));
        assert_eq!((&state["leases"], &state["irrevocable"]), (&json!(1), &json!(1)));
        assert_eq!((&state["attempts"], &state["last_error"]), (&json!(6), &json!("no such privilege")));
        assert_eq!(state["next_attempt"], Value::Null);
        assert_eq!(
            server.write(&format!("{DRAINING}/{accessor}"), json!({ "force": true })).await.status,
            204
        );
        for _ in 0..3 {
            server.core.background.run_jobs_once(false).await.unwrap();
        }
        assert_eq!(server.read(DRAINING).await.data()["keys"], json!([]));
    }

    #[tokio::test]
    async fn jobs_of_the_server_and_of_mounts_are_listed() {
        let server = Server::new().await;
        server.core.background.run_jobs_once(true).await.unwrap();
        let told = server.read("sys/jobs").await;
        let keys = told.data()["keys"].as_array().unwrap();
        for name in ["expiration", "revocations", "sys/version-history"] {
            assert!(keys.contains(&json!(name)), "{name}: {keys:?}");
        }
        let expiration = &told.data()["key_info"]["expiration"];
        assert_eq!(expiration["schedule"], "every 1s");
        assert_eq!(expiration["failures"], 0);
        assert_eq!(told.data()["key_info"]["sys/version-history"]["mount"], "sys/");
    }
}
