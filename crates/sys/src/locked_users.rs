//! `sys/locked-users`: the users that are locked out after failed logins. Source: Vault's API page "/sys/locked-users".

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_engine_api::lenient::Text;
use strongroom_engine_api::{Data, Engine, EngineError, Extension, Input, Mount, Path, bad_request};
use strongroom_lockout::Lockouts;
use strongroom_mounts::Mounts;

pub(crate) fn routes(engine: Engine) -> Engine {
    engine
        .route("locked-users", |r| {
            r.read("Report the locked user count metrics, for this namespace and all child namespaces.", list)
        })
        .route("locked-users/{mount_accessor}/unlock/{alias_identifier..}", |r| {
            r.update("Unlocks the user with given mount_accessor and alias_identifier", unlock)
        })
}

#[derive(Deserialize, JsonSchema)]
struct ListInput {
    /// The accessor of the mount that the user belongs to.
    mount_accessor: Option<Text>,
}

/// All users that are locked out.
#[derive(Serialize, JsonSchema)]
struct LockedUsers {
    /// By namespace, most first.
    by_namespace: Vec<LockedInNamespace>,
    /// The number of locked users.
    total: usize,
}

#[derive(Serialize, JsonSchema)]
struct LockedInNamespace {
    /// The namespace's id.
    namespace_id: String,
    /// Its path; empty for the root namespace.
    namespace_path: String,
    /// The number of locked users.
    counts: usize,
    /// By auth mount, most first.
    mount_accessors: Vec<LockedAtMount>,
}

#[derive(Serialize, JsonSchema)]
struct LockedAtMount {
    /// The mount's accessor.
    mount_accessor: String,
    /// The number of locked users.
    counts: usize,
    /// The names of the locked users.
    alias_identifiers: Vec<String>,
}

async fn list(
    Extension(mount_table): Extension<Mounts>,
    Extension(lockouts): Extension<Lockouts>,
    mount: Arc<Mount>,
    Input(input): Input<ListInput>,
) -> Result<Data<LockedUsers>, EngineError> {
    let only = input.mount_accessor.filter(|accessor| !accessor.is_empty());
    if let Some(accessor) = &only
        && mount_table.router().await?.by_accessor(mount.namespace, accessor).is_none()
    {
        return Err(bad_request(format!("mount accessor {:?} does not exist", accessor.as_str())));
    }
    let locked = lockouts.locked_users(mount.namespace).await?.into_iter();
    let mut mounts: Vec<LockedAtMount> = locked
        .filter(|(accessor, _)| only.as_ref().is_none_or(|only| only.as_str() == accessor))
        .map(|(mount_accessor, names)| LockedAtMount {
            mount_accessor,
            counts: names.len(),
            alias_identifiers: names,
        })
        .collect();
    mounts.sort_by_key(|mount| std::cmp::Reverse(mount.counts));
    let total = mounts.iter().map(|mount| mount.counts).sum();
    let namespace = mount_table.namespace(mount.namespace).ok_or(EngineError::NotFound)?;
    let here = LockedInNamespace {
        namespace_id: namespace.short_id.clone(),
        namespace_path: namespace.path.clone(),
        counts: total,
        mount_accessors: mounts,
    };
    Ok(Data(LockedUsers { by_namespace: if total == 0 { Vec::new() } else { vec![here] }, total }))
}

async fn unlock(
    Extension(lockouts): Extension<Lockouts>,
    mount: Arc<Mount>,
    Path((accessor, name)): Path<(String, String)>,
) -> Result<(), EngineError> {
    if lockouts.unlock_user(mount.namespace, &accessor, &name).await? {
        return Ok(());
    }
    Err(bad_request(format!("mount accessor {accessor:?} does not exist")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};
    use strongroom_pipeline::Verb;

    use crate::testing::{Server, Told};

    const LOGIN: &str = "auth/people/login/alice";

    async fn login(server: &Server, password: &str) -> Told {
        server.ask_as("", Verb::Write, LOGIN, json!({ "password": password })).await
    }

    async fn server() -> (Server, String) {
        let server = Server::new().await;
        server.write("sys/auth/people", json!({"type": "userpass"})).await;
        let mounts = server.read("sys/auth").await;
        let accessor = mounts.data()["people/"]["accessor"].as_str().expect("an accessor").to_owned();
        (server, accessor)
    }

    #[tokio::test]
    async fn failed_logins_lock_a_user_out_until_time_or_an_operator_lets_them_in() {
        let (server, accessor) = server().await;
        for _ in 0..4 {
            assert_eq!(login(&server, "wrong").await.status, 400);
        }
        assert_eq!(login(&server, "right").await.status, 200, "four failures are forgiven");
        for _ in 0..5 {
            assert_eq!(login(&server, "wrong").await.status, 400);
        }
        assert_eq!(login(&server, "right").await.status, 403, "locked out");
        let bob = server.ask_as("", Verb::Write, "auth/people/login/bob", json!({"password": "right"})).await;
        assert_eq!(bob.status, 200, "another user is not");
        let told = server.read("sys/locked-users").await;
        let at_mount = json!({"mount_accessor": accessor, "counts": 1, "alias_identifiers": ["alice"]});
        let expected = json!({"total": 1, "by_namespace": [
            {"namespace_id": "root", "namespace_path": "", "counts": 1, "mount_accessors": [at_mount]}]});
        assert_eq!(told.data(), &expected);
        let path = format!("sys/locked-users/{accessor}/unlock/alice");
        assert_eq!(server.write(&path, json!({})).await.status, 204);
        assert_eq!(login(&server, "right").await.status, 200);
        for _ in 0..5 {
            login(&server, "wrong").await;
        }
        server.clock.advance(Duration::from_mins(15));
        assert_eq!(login(&server, "right").await.status, 200, "after the lockout duration");
        assert_eq!(server.read("sys/locked-users").await.data()["by_namespace"], Value::Array(Vec::new()));
    }

    #[tokio::test]
    async fn a_mount_may_be_tuned_not_to_lock() {
        let (server, _) = server().await;
        for name in ["lockout_counter_reset", "lockout_counter_reset_duration"] {
            let tuning = json!({"user_lockout_config": {name: "5m"}});
            assert_eq!(server.write("sys/auth/people/tune", tuning).await.status, 204, "{name}");
            let told = server.read("sys/auth/people/tune").await;
            assert_eq!(told.data()["user_lockout_counter_reset_duration"], 300);
        }
        let tuning = json!({"user_lockout_config": {"lockout_disable": true}});
        assert_eq!(server.write("sys/auth/people/tune", tuning).await.status, 204);
        for _ in 0..20 {
            assert_eq!(login(&server, "wrong").await.status, 400);
        }
        assert_eq!(login(&server, "right").await.status, 200);
    }

    #[tokio::test]
    async fn unknown_mounts_are_refused() {
        let (server, _) = server().await;
        assert_eq!(server.write("sys/locked-users/none/unlock/alice", json!({})).await.status, 400);
        let told = server.ask(Verb::Read, "sys/locked-users", json!({"mount_accessor": "none"})).await;
        assert_eq!(told.status, 400);
    }
}
