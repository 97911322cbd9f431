//! `sys/jobs`: the work of this node in the background, job by job. Vault has no endpoint of this kind.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use strongroom_engine_api::{Data, Engine, EngineError, Extension, Moment};
use strongroom_jobs::{JobStatus, Jobs};

pub(crate) fn routes(engine: Engine) -> Engine {
    engine.route("jobs", |r| {
        r.sudo().read("List the background jobs of the active node, with their last run and next run.", list)
    })
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
    use serde_json::json;

    use crate::testing::Server;

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
