//! `sys/leases` and `sys/leases/count`: the leases that an external system refused to revoke. Source: Vault's API page
//! `sys/leases`.
//!
//! They are counted as they are read, page by page, so that a million of them take no more memory than those listed.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::View;
use strongroom_engine_api::lenient::{Flag, Text};
use strongroom_engine_api::{Data, Engine, EngineError, Extension, Input, Mount, Reply, bad_request};
use strongroom_leases::{IrrevocableLease, Leases};
use strongroom_mounts::{Mounts, Namespace};

use crate::leases::granted_at;

/// Leases that are listed where nothing else is asked for.
const LISTED: usize = 10_000;
/// Leases read at a time.
const PAGE: usize = 1000;

pub(crate) fn routes(engine: Engine) -> Engine {
    engine
        .route("leases", |r| r.sudo().read("List leases that could not be revoked.", list))
        .route("leases/count", |r| r.read("Count leases that could not be revoked, by mount.", count))
}

#[derive(Deserialize, JsonSchema)]
struct CountInput {
    /// If true, leases of the namespaces inside are counted, too.
    include_child_namespaces: Option<Flag>,
    /// The type of leases: irrevocable.
    #[serde(rename = "type")]
    kind: Option<Text>,
}

#[derive(Deserialize, JsonSchema)]
struct ListInput {
    /// If true, leases of the namespaces inside are listed, too.
    include_child_namespaces: Option<Flag>,
    /// The number of leases to list at most; 'none' for all.
    limit: Option<Text>,
    /// The type of leases: irrevocable.
    #[serde(rename = "type")]
    kind: Option<Text>,
}

/// The numbers of leases that could not be revoked.
#[derive(Default, Serialize, JsonSchema)]
struct Counts {
    /// By the accessor of the mount that granted them.
    counts: BTreeMap<String, usize>,
    /// All of them.
    lease_count: usize,
}

/// Leases that could not be revoked.
#[derive(Default, Serialize, JsonSchema)]
struct Irrevocables {
    /// All of them.
    lease_count: usize,
    /// Those listed.
    leases: Vec<IrrevocableView>,
}

/// A lease that could not be revoked.
#[derive(Serialize, JsonSchema)]
struct IrrevocableView {
    /// Attempts at revoking it that failed.
    attempts: u32,
    /// The error of the last attempt.
    error: String,
    /// Its id.
    lease_id: String,
    /// The path of the mount that granted it, from the request's namespace on.
    mount_path: String,
    /// The accessor of that mount.
    mount_accessor: String,
    /// The path that it was granted at, in its namespace.
    path: String,
    /// Its state: irrevocable.
    state: &'static str,
}

/// The only type of leases that is counted and listed. Asking for none, or another, is asking for what is not there.
fn check_type(kind: Option<&Text>) -> Result<(), EngineError> {
    match kind {
        Some(kind) if kind.0.eq_ignore_ascii_case("irrevocable") => Ok(()),
        _ => Err(EngineError::NotFound),
    }
}

/// A walk through the irrevocable leases of some namespaces, a page at a time.
struct Walk<'a> {
    leases: &'a Leases,
    view: &'a View,
    /// Those still to be walked through, the next one last.
    namespaces: Vec<Arc<Namespace>>,
    after: Option<String>,
}

impl<'a> Walk<'a> {
    async fn new(
        (mounts, leases, view): (&Mounts, &'a Leases, &'a View),
        mount: &Mount,
        with_children: Option<Flag>,
    ) -> Result<Self, EngineError> {
        let mut namespaces = if with_children.is_some_and(|with| with.0) {
            mounts.namespaces_within(mount.namespace).await?
        } else {
            Vec::from_iter(mounts.namespace(mount.namespace))
        };
        namespaces.reverse();
        Ok(Self { leases, view, namespaces, after: None })
    }

    /// The next leases, and their namespace; `None` where there are no more.
    async fn next(&mut self) -> Result<Option<(Arc<Namespace>, Vec<IrrevocableLease>)>, EngineError> {
        while let Some(namespace) = self.namespaces.last().cloned() {
            let after = self.after.take();
            let page =
                self.leases.irrevocable_leases(self.view, namespace.id, after.as_deref(), PAGE).await?;
            match page.last() {
                Some(last) => {
                    self.after = Some(last.id.clone());
                    return Ok(Some((namespace, page)));
                }
                None => self.namespaces.truncate(self.namespaces.len().saturating_sub(1)),
            }
        }
        Ok(None)
    }
}

async fn count(
    Extension(mounts): Extension<Mounts>,
    Extension(leases): Extension<Leases>,
    mount: Arc<Mount>,
    Input(input): Input<CountInput>,
    view: View,
) -> Result<Data<Counts>, EngineError> {
    check_type(input.kind.as_ref())?;
    let mut walk = Walk::new((&mounts, &leases, &view), &mount, input.include_child_namespaces).await?;
    let mut told = Counts::default();
    while let Some((namespace, page)) = walk.next().await? {
        for found in &page {
            // Mounts are looked up in memory; one that is gone is counted under no accessor.
            let origin = mounts.origin_of_lease(&view, namespace.id, found.lease.mount).await?;
            let count = told.counts.entry(origin.unwrap_or_default().1).or_default();
            *count = count.saturating_add(1);
        }
        told.lease_count = told.lease_count.saturating_add(page.len());
    }
    Ok(Data(told))
}

async fn list(
    Extension(mounts): Extension<Mounts>,
    Extension(leases): Extension<Leases>,
    mount: Arc<Mount>,
    Input(input): Input<ListInput>,
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
    let mut walk = Walk::new((&mounts, &leases, &view), &mount, input.include_child_namespaces).await?;
    let mut told = Irrevocables::default();
    while let Some((namespace, page)) = walk.next().await? {
        told.lease_count = told.lease_count.saturating_add(page.len());
        for found in page.into_iter().take(limit.saturating_sub(told.leases.len())) {
            told.leases.extend(shown((&mounts, &view), &mount, &namespace, found).await?);
        }
    }
    let is_cut = told.lease_count > told.leases.len();
    let reply = Reply::data(&told)?;
    if is_cut {
        return Ok(reply.warned(format!("More than {limit} leases found; only {limit} are listed")));
    }
    Ok(reply)
}

/// A lease as shown to a request in the namespace of `mount`.
async fn shown(
    (mounts, view): (&Mounts, &View),
    mount: &Mount,
    namespace: &Namespace,
    IrrevocableLease { id, lease }: IrrevocableLease,
) -> Result<Option<IrrevocableView>, EngineError> {
    let origin = mounts.origin_of_lease(view, namespace.id, lease.mount).await?;
    let (path, mount_accessor) = origin.unwrap_or_default();
    let Some(revoking) = lease.state.revoking() else { return Ok(None) };
    let inside = namespace.path.strip_prefix(mount.namespace_path.as_str()).unwrap_or_default();
    Ok(Some(IrrevocableView {
        attempts: revoking.attempts,
        error: revoking.error.clone(),
        path: granted_at(&id),
        lease_id: id,
        mount_path: if path.is_empty() { path } else { format!("{inside}{path}") },
        mount_accessor,
        state: lease.state.name(),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use std::time::Duration;
    use strongroom_pipeline::Verb;

    use crate::testing::{Server, Told};

    async fn ask_in(server: &Server, namespace: &str, path: &str, input: Value) -> Told {
        server.ask_in(namespace, &server.root, Verb::Read, path, input).await
    }

    /// Has an external system refuse a lease in each of these namespaces, until the server has given up.
    async fn refused_in(server: &Server, namespaces: &[&str]) {
        for namespace in namespaces {
            server.write_in(namespace, "sys/mounts/outside", json!({"type": "outside"})).await;
            let told = ask_in(server, namespace, "outside/creds/refused", json!({})).await;
            let revoke = json!({"lease_id": told.body["lease_id"]});
            assert_eq!(server.write_in(namespace, "sys/leases/revoke", revoke).await.status, 204);
        }
        for _ in 0..7 {
            server.core.background.run_jobs_once(false).await.unwrap();
            server.clock.advance(Duration::from_mins(10));
        }
    }

    #[tokio::test]
    async fn namespaces_inside_are_counted_and_listed_where_that_is_asked_for() {
        let server = Server::new().await;
        for path in ["a", "a/b", "c"] {
            assert!(server.write(&format!("sys/namespaces/{path}"), json!({})).await.status < 300);
        }
        refused_in(&server, &["", "a", "a/b", "c"]).await;
        let all = json!({"type": "Irrevocable", "include_child_namespaces": "true"});
        let own = json!({"type": "irrevocable"});
        for (namespace, input, expected) in
            [("", &own, 1), ("", &all, 4), ("a", &own, 1), ("a", &all, 2), ("a/b", &all, 1)]
        {
            let told = ask_in(&server, namespace, "sys/leases/count", input.clone()).await;
            assert_eq!(told.data()["lease_count"], expected, "{namespace}: {}", told.body);
            let counts = told.data()["counts"].as_object().unwrap();
            assert!(counts.values().all(|count| *count == 1) && counts.len() == expected, "{counts:?}");
            let told = ask_in(&server, namespace, "sys/leases", input.clone()).await;
            assert_eq!(told.data()["lease_count"], expected);
            assert_eq!(told.data()["leases"].as_array().unwrap().len(), expected);
        }
        let told = ask_in(&server, "a", "sys/leases", all).await;
        let paths: Vec<_> =
            told.data()["leases"].as_array().unwrap().iter().map(|l| &l["mount_path"]).collect();
        assert_eq!(paths, [&json!("outside/"), &json!("b/outside/")]);
    }

    #[tokio::test]
    async fn a_list_that_is_cut_says_so_and_counts_all() {
        let server = Server::new().await;
        server.write("sys/namespaces/a", json!({})).await;
        refused_in(&server, &["", "a"]).await;
        let cut = json!({"type": "irrevocable", "include_child_namespaces": true, "limit": "1"});
        let told = ask_in(&server, "", "sys/leases", cut).await;
        assert_eq!(
            (&told.data()["lease_count"], told.data()["leases"].as_array().unwrap().len()),
            (&json!(2), 1)
        );
        assert_eq!(told.warnings(), ["More than 1 leases found; only 1 are listed"]);
        for limit in ["none", ""] {
            let input = json!({"type": "irrevocable", "include_child_namespaces": true, "limit": limit});
            let told = ask_in(&server, "", "sys/leases", input).await;
            assert_eq!(told.data()["leases"].as_array().unwrap().len(), 2);
        }
        let told = ask_in(&server, "", "sys/leases", json!({"type": "irrevocable", "limit": "x"})).await;
        assert_eq!(told.error(), (400, "invalid 'limit' provided: \"x\""));
        for path in ["sys/leases", "sys/leases/count"] {
            for input in [json!({}), json!({"type": "expired"})] {
                assert_eq!(ask_in(&server, "", path, input).await.status, 404);
            }
        }
    }
}
