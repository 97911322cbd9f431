use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use strongroom_barrier::{KeyPlace, NamespaceId};
use strongroom_engine_api::Secret;
use strongroom_pipeline::{Inbound, Verb};
use strongroom_storage::KeyRange;
use strongroom_tokens::TokenEntry;

use crate::testing::{Server, Told};

const NOWHERE: &str = "no handler for route";
/// A policy that grants nothing.
const NONE: &str = r#"path "none" { capabilities = ["deny"] }"#;

async fn with(paths: &[&str]) -> Server {
    let server = Server::new().await;
    for path in paths {
        let told = server.write(&format!("sys/namespaces/{path}"), json!({})).await;
        assert_eq!(told.status, 200, "{path}: {}", told.body);
    }
    server
}

/// A token of a namespace, with a policy there that has this text.
async fn token_in(server: &Server, namespace: &str, policy: &str) -> String {
    server.write_in(namespace, "sys/policies/acl/mine", json!({ "policy": policy })).await.done();
    let path = format!("sys/namespaces/{namespace}");
    let id = server.read(&path).await.data()["id"].as_str().expect("an id").to_owned();
    let router = server.core.services.mounts.router().await.unwrap();
    let (found, rest) = router.descend(NamespaceId::ROOT, namespace).unwrap();
    assert_eq!((found.short_id.as_str(), rest), (id.as_str(), ""));
    let entry = TokenEntry {
        policies: vec!["default".to_owned(), "mine".to_owned()],
        path: "auth/token/create".to_owned(),
        namespace: found.id,
        renewable: true,
        ..TokenEntry::default()
    };
    let token = server.token_of(entry).await;
    assert!(token.ends_with(&format!(".{id}")), "{token}");
    token
}

impl Told {
    fn done(&self) {
        assert!(self.status < 300, "{} {}", self.status, self.body);
    }
}

#[tokio::test]
async fn namespaces_are_made_one_in_the_other_and_listed_where_they_are() {
    let server = with(&["a", "a/b"]).await;
    let told = server.write("sys/namespaces/c", json!({ "custom_metadata": { "owner": "ops" } })).await;
    assert_eq!(told.data()["path"], "c/");
    assert_eq!(told.data()["custom_metadata"], json!({ "owner": "ops" }));
    let inner = server.write_in("a/b", "sys/namespaces/deep", json!({})).await;
    assert_eq!(inner.data()["path"], "a/b/deep/");

    let listed = server.list("sys/namespaces").await;
    assert_eq!(listed.data()["keys"], json!(["a/", "c/"]));
    assert_eq!(listed.data()["key_info"]["c/"], *server.read("sys/namespaces/c").await.data());
    let inner_list = server.ask_in("a", &server.root, Verb::List, "sys/namespaces", json!({})).await;
    assert_eq!(inner_list.data()["keys"], json!(["b/"]));
    assert_eq!(server.read_in("a/b", "sys/namespaces/deep").await.data(), inner.data());
    assert_eq!(server.read("sys/namespaces/a/b/deep").await.data(), inner.data());
    assert_eq!(server.read("sys/namespaces/none").await.status, 404);
    let none = server.ask_in("c", &server.root, Verb::List, "sys/namespaces", json!({})).await;
    assert_eq!(none.status, 404);
    let ui = server.read("sys/internal/ui/namespaces").await;
    assert_eq!(ui.data()["keys"], json!(["a/", "c/"]));
    assert_eq!(server.write("sys/namespaces/none/x", json!({})).await.status, 400, "no such parent");
}

#[tokio::test]
async fn metadata_can_be_set_and_patched_and_has_bounds() {
    let server = with(&["a"]).await;
    let id = server.read("sys/namespaces/a").await.data()["id"].clone();
    let set = json!({ "custom_metadata": { "one": "1", "two": "2" } });
    assert_eq!(server.write("sys/namespaces/a", set).await.data()["id"], id, "it is the same one");
    let changes = json!({ "custom_metadata": { "one": null, "three": "3" } });
    let told = server.ask(Verb::Patch, "sys/namespaces/a", changes).await;
    assert_eq!(told.data()["custom_metadata"], json!({ "two": "2", "three": "3" }));
    assert_eq!(server.read("sys/namespaces/a").await.data(), told.data());
    assert_eq!(server.ask(Verb::Patch, "sys/namespaces/none", json!({})).await.status, 404);
    let long = json!({ "custom_metadata": { "x": "y".repeat(513) } });
    assert_eq!(server.write("sys/namespaces/a", long).await.status, 400);
}

#[tokio::test]
async fn names_of_the_server_are_no_names() {
    let server = with(&["a"]).await;
    for name in ["root", "sys", "audit", "auth", "cubbyhole", "identity", "Sys", "a/root", "a b", "a/*"] {
        let told = server.write(&format!("sys/namespaces/{name}"), json!({})).await;
        assert_eq!(told.status, 400, "{name}: {}", told.body);
    }
}

#[tokio::test]
async fn no_namespace_and_no_mount_share_a_path() {
    let server = with(&["a"]).await;
    for path in ["m", "n/o/p"] {
        server.write(&format!("sys/mounts/{path}"), json!({ "type": "kv" })).await.done();
    }
    for (path, text) in [("m", "path is already in use at m/"), ("n", "path is already in use at n/o/p/")] {
        let told = server.write(&format!("sys/namespaces/{path}"), json!({})).await;
        assert_eq!(told.error(), (400, text));
    }
    for path in ["a", "a/b", "a/b/c"] {
        let told = server.write(&format!("sys/mounts/{path}"), json!({ "type": "kv" })).await;
        assert_eq!(told.error(), (400, "path is already in use at a/"), "{path}");
    }
    // Into a namespace a mount may move, and not into its place.
    let told = server.write("sys/remount", json!({ "from": "m", "to": "a" })).await;
    assert_eq!(told.error(), (400, "cannot remount to destination a/"));
    server.write_in("a", "sys/mounts/m", json!({ "type": "kv" })).await.done();
    server.write("sys/namespaces/ab", json!({})).await.done();
    server.write("sys/mounts/abc", json!({ "type": "kv" })).await.done();
}

#[tokio::test]
async fn of_a_namespace_and_a_mount_at_one_path_one_is_made() {
    for _ in 0..20 {
        let server = Server::new().await;
        let (namespace, mount) = tokio::join!(
            server.write("sys/namespaces/x", json!({})),
            server.write("sys/mounts/x/y", json!({ "type": "kv" })),
        );
        let made = [namespace.status < 300, mount.status < 300];
        assert_eq!(made.iter().filter(|made| **made).count(), 1, "{namespace:?} {mount:?}");
    }
}

#[tokio::test]
async fn each_namespace_has_mounts_and_policies_of_its_own() {
    let server = with(&["a", "b"]).await;
    server.write_in("a", "sys/mounts/kv", json!({ "type": "kv", "description": "of a" })).await.done();
    server.write("sys/mounts/kv", json!({ "type": "kv", "description": "of all" })).await.done();
    let described = async |namespace: &str| {
        let told = server.read_in(namespace, "sys/mounts").await;
        told.data()["kv/"]["description"].as_str().map(str::to_owned)
    };
    assert_eq!(described("a").await.as_deref(), Some("of a"));
    assert_eq!(described("").await.as_deref(), Some("of all"));
    assert_eq!(described("b").await, None);
    assert_eq!(server.read_in("b", "kv/x").await.status, 404);

    let mut accessors: Vec<Value> = Vec::new();
    for namespace in ["", "a", "b"] {
        let told = server.read_in(namespace, "sys/mounts").await;
        accessors.extend(["sys/", "cubbyhole/"].map(|path| told.data()[path]["accessor"].clone()));
    }
    accessors.sort_by_key(Value::to_string);
    accessors.dedup();
    assert_eq!(accessors.len(), 6, "{accessors:?}");

    server.write_in("a", "sys/policies/acl/p", json!({ "policy": NONE })).await.done();
    let policies = async |namespace: &str| {
        server.ask_in(namespace, &server.root, Verb::List, "sys/policies/acl", json!({})).await.data()["keys"]
            .clone()
    };
    assert_eq!(policies("a").await, json!(["default", "p", "root"]));
    assert_eq!(policies("b").await, json!(["default", "root"]));
    server.ask_in("a", &server.root, Verb::Delete, "sys/mounts/kv", json!({})).await.done();
    assert_eq!(described("a").await, None);
    assert_eq!(described("").await.as_deref(), Some("of all"));
}

#[tokio::test]
async fn a_built_in_mount_that_is_tuned_keeps_its_number() {
    let server = with(&["a"]).await;
    let before = server.read_in("a", "sys/auth").await.data()["token/"].clone();
    let tuning = json!({ "default_lease_ttl": "1h" });
    server.write_in("a", "sys/auth/token/tune", tuning).await.done();
    let after = server.read_in("a", "sys/auth").await.data()["token/"].clone();
    assert_eq!(after["config"]["default_lease_ttl"], 3600);
    assert_eq!((&after["accessor"], &after["uuid"]), (&before["accessor"], &before["uuid"]));
    assert_eq!(server.read("sys/auth").await.data()["token/"]["config"]["default_lease_ttl"], 0);
    assert_eq!(server.read_in("a", "sys/auth").await.data().as_object().unwrap().len(), 1);
}

#[tokio::test]
async fn policies_are_about_paths_of_their_own_namespace() {
    let server = with(&["a", "a/b", "c"]).await;
    for namespace in ["", "a", "a/b", "c"] {
        server.write_in(namespace, "sys/mounts/kv", json!({ "type": "kv" })).await.done();
    }
    let read = async |token: &str, namespace: &str| {
        server.ask_in(namespace, token, Verb::Read, "kv/x", json!({})).await.status
    };
    let policy = r#"path "kv/*" { capabilities = ["read"] } path "b/kv/*" { capabilities = ["read"] }"#;
    let token = token_in(&server, "a", policy).await;
    let all = ["a", "a/b", "", "c"];
    let mut told = Vec::new();
    for namespace in all {
        told.push(read(&token, namespace).await);
    }
    assert_eq!(told, [200, 200, 403, 403], "{all:?}");
    let narrow = server.token_with(r#"path "kv/*" { capabilities = ["read"] }"#).await;
    assert_eq!((read(&narrow, "").await, read(&narrow, "a").await), (200, 403));
    let deep = server.token_with(r#"path "a/kv/*" { capabilities = ["read"] }"#).await;
    assert_eq!((read(&deep, "").await, read(&deep, "a").await), (403, 200));

    let input = json!({ "paths": ["kv/x", "other"] });
    let told = server.ask_in("a", &token, Verb::Write, "sys/capabilities-self", input.clone()).await;
    assert_eq!(told.data()["kv/x"], json!(["read"]));
    let told = server.ask_in("a/b", &token, Verb::Write, "b/sys/capabilities-self", input).await;
    assert_eq!(told.status, 403, "the default policy is about its own namespace");
}

#[tokio::test]
async fn a_deny_in_a_namespace_holds_for_a_name_in_any_case() {
    let server = with(&["a"]).await;
    let rules = |before: &str| {
        format!(
            r#"path "{before}sys/policies/acl/*" {{ capabilities = ["read"] }}
               path "{before}sys/policies/acl/mine" {{ capabilities = ["deny"] }}"#
        )
    };
    let own = token_in(&server, "a", &rules("")).await;
    let above = server.token_with(&rules("a/")).await;
    for token in [own, above] {
        for (name, status) in [("mine", 403), ("MINE", 403), ("Mine", 403), ("Default", 200)] {
            let path = format!("sys/policies/acl/{name}");
            let told = server.ask_in("a", &token, Verb::Read, &path, json!({})).await;
            assert_eq!(told.status, status, "{name}");
            let told = server.ask_in("", &token, Verb::Read, &format!("a/{path}"), json!({})).await;
            assert_eq!(told.status, status, "{name}");
        }
    }
}

/// The answer to a request with a token that was never made.
async fn stranger(server: &Server, namespace: &str, path: &str) -> Told {
    server.ask_in(namespace, "hvs.abcdefghijklmnopqrstuvwx", Verb::Read, path, json!({})).await
}

#[tokio::test]
async fn a_token_is_unknown_above_and_beside_its_namespace() {
    let server = with(&["a", "b"]).await;
    let token = token_in(&server, "a", r#"path "*" { capabilities = ["read", "update", "sudo"] }"#).await;
    for namespace in ["", "b"] {
        for path in ["sys/mounts", "auth/token/lookup-self", "none"] {
            let told = server.ask_in(namespace, &token, Verb::Read, path, json!({})).await;
            assert_eq!(told, stranger(&server, namespace, path).await, "{namespace} {path}");
            assert_eq!(told.status, 403);
        }
    }
    assert_eq!(server.ask_in("a", &token, Verb::Read, "sys/mounts", json!({})).await.status, 200);
    let cut = token.rsplit_once('.').unwrap().0;
    assert_eq!(server.ask_in("a", cut, Verb::Read, "sys/mounts", json!({})).await.status, 403);
}

#[tokio::test]
async fn leases_accessors_and_wrapping_tokens_belong_to_their_namespace() {
    let server = with(&["a", "b"]).await;
    for namespace in ["a", "b"] {
        server.write_in(namespace, "sys/mounts/loans", json!({ "type": "loans" })).await.done();
    }
    let id = server.read("sys/namespaces/a").await.data()["id"].as_str().unwrap().to_owned();
    let lent = server.read_in("a", "loans/creds/x").await;
    let lease = lent.body["lease_id"].as_str().unwrap().to_owned();
    assert!(lease.starts_with("loans/creds/x/") && lease.ends_with(&format!(".{id}")), "{lease}");
    let input = json!({ "lease_id": lease });
    for namespace in ["", "b"] {
        let told = server.write_in(namespace, "sys/leases/lookup", input.clone()).await;
        assert_eq!(told.error(), (400, "invalid lease"));
        let told = server.write_in(namespace, "sys/leases/renew", input.clone()).await;
        assert_eq!(told.error(), (400, "lease not found"));
        server.write_in(namespace, "sys/leases/revoke", input.clone()).await.done();
    }
    server.write_in("a", "sys/leases/renew", input.clone()).await.done();
    assert_eq!(server.write_in("a", "sys/leases/lookup", input.clone()).await.data()["id"], json!(lease));

    let token = token_in(&server, "a", NONE).await;
    let view = server.core.services.barrier.pinned_view().await.unwrap();
    let found =
        server.core.services.tokens.principal(&view, &token, server.clock.now()).await.unwrap().unwrap();
    let accessor = found.entry.accessor.clone();
    assert!(accessor.ends_with(&format!(".{id}")), "{accessor}");
    for (namespace, status) in [("a", 200), ("", 400), ("b", 400)] {
        for (path, input) in [
            ("sys/capabilities-accessor", json!({ "accessor": accessor, "paths": "x" })),
            ("sys/capabilities", json!({ "token": token, "paths": "x" })),
        ] {
            assert_eq!(server.write_in(namespace, path, input).await.status, status, "{namespace} {path}");
        }
    }

    let wrapped = server
        .send(Inbound {
            namespace: "a".to_owned(),
            wrap_ttl: Some(Duration::from_mins(1)),
            token: Some(Arc::new(Secret::new(server.root.clone()))),
            ..Inbound::new("a-request", Verb::Read, "loans/creds/y")
        })
        .await;
    let wrapping = wrapped.body["wrap_info"]["token"].as_str().unwrap().to_owned();
    assert!(wrapping.ends_with(&format!(".{id}")), "{wrapping}");
    let input = json!({ "token": wrapping });
    for namespace in ["", "b"] {
        for path in ["lookup", "unwrap", "rewrap"] {
            let told = server.write_in(namespace, &format!("sys/wrapping/{path}"), input.clone()).await;
            let text = "wrapping token is not valid or does not exist";
            assert_eq!(told.error(), (400, text), "{namespace} {path}");
        }
    }
    server.write_in("a", "sys/wrapping/lookup", input.clone()).await.done();
    assert_eq!(server.write_in("a", "sys/wrapping/unwrap", input).await.data()["name"], "y");
}

#[tokio::test]
async fn what_concerns_the_server_answers_in_the_root_namespace_alone() {
    let server = with(&["a"]).await;
    for path in
        ["sys/audit", "sys/rotate/config", "sys/jobs", "sys/raw/core", "sys/internal/inspect/router/root"]
    {
        let told = server.read_in("a", path).await;
        assert_eq!(told.error(), (404, "1 error occurred:\n\t* unsupported path\n\n"), "{path}");
    }
    let paths = async |namespace: &str| {
        let told = server.read_in(namespace, "sys/internal/specs/openapi").await.body;
        told["paths"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    let (root, inner) = (paths("").await, paths("a").await);
    assert!(root.contains(&"/sys/audit".to_owned()) && !inner.contains(&"/sys/audit".to_owned()));
    assert!(inner.contains(&"/sys/mounts".to_owned()));
    for (namespace, path) in
        [("a", "sys/seal-status"), ("", "a/sys/seal-status"), ("none", "sys/seal-status")]
    {
        assert_eq!(server.read_in(namespace, path).await.status, 200, "{namespace} {path}");
    }
}

/// Everything that a record says of its request, apart from what differs from one to the next.
fn records(log: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap();
    let records = text.lines().map(|line| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        record.as_object_mut().unwrap().remove("time");
        if let Some(response) = record["response"].as_object_mut() {
            response.remove("data");
            if let Some(lease) = response.get("secret").and_then(|secret| secret["lease_id"].as_str()) {
                let (path, id) = lease.rsplit_once('/').unwrap();
                let id = id.rsplit_once('.').map_or("", |(_, id)| id);
                response["secret"] = json!([path, id]);
            }
        }
        record
    });
    records.collect()
}

#[tokio::test]
async fn every_split_of_a_path_over_header_and_url_is_the_same_request() {
    let server = with(&["a", "a/b", "a/b/c"]).await;
    for namespace in ["a", "a/b"] {
        server.write_in(namespace, "sys/mounts/loans", json!({ "type": "loans" })).await.done();
        server.write_in(namespace, "sys/auth/door", json!({ "type": "open" })).await.done();
    }
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("audit.log");
    let device = json!({ "type": "file", "options": { "file_path": log, "log_raw": true } });
    server.write("sys/audit/main", device).await.done();
    let policy =
        r#"path "b/loans/*" { capabilities = ["read"] } path "b/sys/mounts" { capabilities = ["read"] }"#;
    let some = token_in(&server, "a", policy).await;
    let tokens = [server.root.clone(), some, String::new()];
    let mut compared = 0;
    for path in [
        "a/b/loans/creds/x",
        "a/loans/creds/x",
        "a/b/c/loans/creds/x",
        "a/b/sys/mounts",
        "a/b/none/x",
        "a/x/y/z",
        "a/b/c",
        "a/b/auth/door/login/me",
        "a/b/c/sys/namespaces/x",
        "a/b/sys/policies/acl/default",
        "a/b/sys/audit",
        "x/y/z",
        "x/b/loans/creds/x",
    ] {
        let segments: Vec<&str> = path.split('/').collect();
        for token in &tokens {
            let mut first: Option<(u16, Value, Vec<Value>)> = None;
            // The header ends no later than the namespace does: beyond, it would name none.
            let namespaces = segments.iter().take_while(|part| ["a", "b", "c"].contains(part)).count();
            for at in 0..=namespaces.max(usize::from(segments[0] == "x")) {
                std::fs::write(&log, "").unwrap();
                let (header, url) = segments.split_at(at);
                let told =
                    server.ask_in(&header.join("/"), token, Verb::Read, &url.join("/"), json!({})).await;
                let mut body = told.body.clone();
                if let Some(body) = body.as_object_mut() {
                    body.remove("lease_id");
                }
                let now = (told.status, body, records(&log));
                assert_eq!(now.2.len(), 2, "{path} at {at} is on record");
                compared += 1;
                match &first {
                    None => first = Some(now),
                    Some(first) => assert_eq!(&now, first, "{path} at {at}"),
                }
            }
        }
    }
    assert!(compared > 100, "{compared}");
}

#[tokio::test]
async fn a_header_that_names_no_namespace_leads_nowhere() {
    let server = with(&["a"]).await;
    server.write("sys/mounts/x/kv", json!({ "type": "kv" })).await.done();
    for header in ["none", "x", "a/none", "sys", "a//b"] {
        let told = server.read_in(header, "kv/y").await;
        let (status, text) = told.error();
        assert!(status == 404 && text.starts_with(NOWHERE), "{header}: {status} {text}");
        let told = server.ask_in(header, "", Verb::Read, "kv/y", json!({})).await;
        assert_eq!(told, server.ask_in("", "", Verb::Read, "none/kv/y", json!({})).await, "{header}");
    }
    assert_eq!(server.read_in("root", "x/kv/y").await.status, 200);
}

/// Storage keys of a namespace.
async fn keys_of(server: &Server, id: NamespaceId) -> Vec<KeyPlace> {
    let snapshot = server.core.services.barrier.store().snapshot().await.unwrap();
    let all = snapshot.scan(&KeyRange::prefix(b""), usize::MAX).await.unwrap();
    let places = all.iter().filter_map(|(key, _)| KeyPlace::of(key));
    places.filter(|place| place.namespace == id).collect()
}

#[tokio::test]
async fn a_deleted_namespace_is_gone_at_once_and_leaves_nothing() {
    let server = with(&["a", "a/b"]).await;
    let told = server.delete("sys/namespaces/a").await;
    assert_eq!(told.error(), (400, "child namespaces exist under path \"a/\", cannot remove"));
    server.write_in("a/b", "sys/mounts/loans", json!({ "type": "loans" })).await.done();
    server.write_in("a/b", "sys/auth/door", json!({ "type": "open" })).await.done();
    server.write_in("a/b", "sys/auth/token/tune", json!({ "description": "tuned" })).await.done();
    let token = token_in(&server, "a/b", r#"path "*" { capabilities = ["read"] }"#).await;
    for name in 0..300 {
        let path = format!("loans/creds/{name}");
        server.ask_in("a/b", &token, Verb::Read, &path, json!({})).await.done();
        server.ask_in("a/b", "", Verb::Write, &format!("auth/door/login/{name}"), json!({})).await.done();
    }
    let (found, _) =
        server.core.services.mounts.router().await.unwrap().descend(NamespaceId::ROOT, "a/b").unwrap();
    assert!(keys_of(&server, found.id).await.len() > 1000);

    server.delete("sys/namespaces/a/b").await.done();
    assert_eq!(server.read("sys/namespaces/a/b").await.status, 404);
    assert_eq!(server.read_in("a/b", "sys/mounts").await.status, 404);
    let told = server.ask_in("a", &token, Verb::Read, "loans/creds/x", json!({})).await;
    assert_eq!(told, stranger(&server, "a", "loans/creds/x").await);

    // The name is free at once, for another one.
    server.write("sys/namespaces/a/b", json!({})).await.done();
    assert_eq!(server.ask_in("a/b", &token, Verb::Read, "sys/mounts", json!({})).await.status, 403);
    assert_eq!(server.read_in("a/b", "sys/auth").await.data().as_object().unwrap().len(), 1);
    for _ in 0..20 {
        server.core.background.run_jobs_once(false).await.unwrap();
    }
    assert_eq!(keys_of(&server, found.id).await, []);
    server.delete("sys/namespaces/a/b").await.done();
    server.delete("sys/namespaces/a").await.done();
    server.delete("sys/namespaces/none").await.done();
    assert_eq!(server.list("sys/namespaces").await.status, 404);
}

#[tokio::test]
async fn what_is_kept_by_token_is_in_the_tokens_own_namespace() {
    let server = with(&["a"]).await;
    let token = token_in(&server, "a", NONE).await;
    let policy = r#"path "a/cubbyhole/*" { capabilities = ["read"] }"#;
    let above = server.token_with(policy).await;
    assert_eq!(server.ask_in("a", &above, Verb::Read, "cubbyhole/x", json!({})).await.status, 403);
    assert_ne!(server.ask_in("a", &token, Verb::Read, "cubbyhole/x", json!({})).await.status, 403);
}

/// Prints what it costs to enable a mount and to look one up after it, with few and with many mounts beside it. Run with
/// `--ignored --nocapture`.
#[tokio::test]
#[ignore = "a measurement"]
#[allow(clippy::disallowed_methods, reason = "the time that passes is what is measured")]
async fn the_cost_of_a_mount_among_many() {
    const NAMESPACES: usize = 10_000;
    for (namespaces, each) in [(0, 0), (100, 3), (1000, 3), (NAMESPACES, 3), (0, 3 * NAMESPACES)] {
        let server = Server::new().await;
        for number in 0..namespaces {
            let name = format!("tenant-{number}");
            server.write(&format!("sys/namespaces/{name}"), json!({})).await.done();
            for mount in 0..each {
                server.write_in(&name, &format!("sys/mounts/m{mount}"), json!({ "type": "kv" })).await.done();
            }
        }
        for mount in 0..(if namespaces == 0 { each } else { 0 }) {
            server.write(&format!("sys/mounts/m{mount}"), json!({ "type": "kv" })).await.done();
        }
        let place = if namespaces == 0 { "" } else { "tenant-7" };
        let (mut enabling, mut first, mut next) = (Duration::MAX, Duration::MAX, Duration::MAX);
        for round in 0..20 {
            let path = format!("new-{round}");
            let begun = std::time::Instant::now();
            server.write_in(place, &format!("sys/mounts/{path}"), json!({ "type": "kv" })).await.done();
            enabling = enabling.min(begun.elapsed());
            let begun = std::time::Instant::now();
            server.read_in(place, &format!("{path}/x")).await.done();
            first = first.min(begun.elapsed());
            let begun = std::time::Instant::now();
            server.read_in(place, &format!("{path}/x")).await.done();
            next = next.min(begun.elapsed());
        }
        let mounts = each * namespaces.max(1);
        eprintln!(
            "{mounts} mounts, {namespaces} namespaces: enable {enabling:?}, first {first:?}, next {next:?}"
        );
    }
}

#[tokio::test]
async fn without_a_token_no_namespace_is_told_from_one_that_is_not_there() {
    let server = with(&["a"]).await;
    for token in ["", "nobody"] {
        for (asked, path, input) in [
            (Verb::Write, "sys/wrapping/lookup", json!({ "token": "x" })),
            (Verb::Write, "sys/wrapping/lookup", json!({})),
            (Verb::Read, "sys/wrapping/lookup", json!({})),
            (Verb::Write, "sys/wrapping/unwrap", json!({ "token": "x" })),
            (Verb::Write, "sys/wrapping/unwrap", json!({})),
            (Verb::Read, "sys/internal/ui/mounts", json!({})),
            (Verb::Read, "sys/internal/ui/mounts/secret", json!({})),
            (Verb::Read, "sys/internal/ui/namespaces", json!({})),
            (Verb::Read, "sys/internal/specs/openapi", json!({})),
            (Verb::Write, "sys/internal/specs/openapi", json!({})),
            (Verb::Read, "sys/policies/acl/x", json!({})),
        ] {
            let there = server.ask_in("a", token, asked, path, input.clone()).await;
            let nowhere = server.ask_in("b", token, asked, path, input.clone()).await;
            assert_eq!(there, nowhere, "{asked:?} {path} as {token:?}");
            let there = server.ask_as(token, asked, &format!("a/{path}"), input.clone()).await;
            let nowhere = server.ask_as(token, asked, &format!("b/{path}"), input).await;
            assert_eq!(there, nowhere, "{asked:?} {path} as {token:?}, by path");
        }
    }
}

const LOCKED: &str = "API access to this namespace has been locked by an administrator - \"a/b\" must be unlocked to gain access.";

#[tokio::test]
async fn a_locked_namespace_and_those_in_it_answer_nothing() {
    let server = with(&["a", "a/b", "a/b/c", "z"]).await;
    let token = token_in(&server, "a/b", r#"path "*" { capabilities = ["read", "update"] }"#).await;
    let locked = server.write_in("a", "sys/namespaces/api-lock/lock/b", json!({})).await;
    let key = locked.data()["unlock_key"].as_str().unwrap().to_owned();
    let again = server.write("sys/namespaces/api-lock/lock/a/b", json!({})).await;
    assert_eq!(again.error(), (400, "namespace \"a/b/\" is already locked"));
    for place in ["a/b", "a/b/c"] {
        assert_eq!(server.read_in(place, "sys/mounts").await.error(), (503, LOCKED), "{place}");
        let own = server.ask_in(place, &token, Verb::Read, "sys/policies/acl/mine", json!({})).await;
        assert_eq!(own.error(), (503, LOCKED));
    }
    assert_eq!(server.read("a/b/sys/mounts").await.error(), (503, LOCKED), "however it is named");
    for place in ["", "a", "z"] {
        assert_eq!(server.read_in(place, "sys/mounts").await.status, 200, "{place}");
    }
    assert_eq!(server.read_in("a/b", "sys/seal-status").await.status, 200);

    // From within, with the key or with sudo.
    let unlock = async |token: &str, key: &str| {
        let path = "sys/namespaces/api-lock/unlock";
        server.ask_in("a/b", token, Verb::Write, path, json!({ "unlock_key": key })).await
    };
    assert_eq!(unlock("", &key).await.status, 403, "a token is needed");
    assert_eq!(unlock(&token, "").await.error(), (400, "unlock_key is required"));
    assert_eq!(unlock(&token, "other").await.error(), (400, "incorrect unlock_key"));
    assert_eq!(unlock(&token, &key).await.status, 204);
    assert_eq!(server.read_in("a/b/c", "sys/mounts").await.status, 200);
    assert_eq!(unlock(&token, &key).await.error(), (400, "namespace \"a/b/\" is not locked"));
    server.write_in("a/b", "sys/namespaces/api-lock/lock", json!({})).await.done();
    server.write("sys/namespaces/api-lock/unlock/a/b", json!({})).await.done();
    assert_eq!(server.read_in("a/b", "sys/mounts").await.status, 200, "root needs no key");
}

#[tokio::test]
async fn the_outermost_lock_is_to_be_opened_first() {
    let server = with(&["a", "a/b"]).await;
    server.write_in("a/b", "sys/namespaces/api-lock/lock", json!({})).await.done();
    server.write("sys/namespaces/api-lock/lock/a", json!({})).await.done();
    let outer = "API access to this namespace has been locked by an administrator - \"a\" must be unlocked to gain access.";
    assert_eq!(server.read_in("a/b", "sys/mounts").await.error(), (503, outer));
    let inner = server.write("sys/namespaces/api-lock/unlock/a/b", json!({})).await;
    assert_eq!(inner.error(), (400, "cannot unlock \"a/b/\" while namespace \"a/\" is locked"));
    let metadata = json!({ "custom_metadata": { "k": "v" } });
    server.write("sys/namespaces/a", metadata).await.done();
    assert_eq!(server.read_in("a", "sys/mounts").await.error(), (503, outer), "other changes keep it");
    server.write("sys/namespaces/api-lock/unlock/a", json!({})).await.done();
    assert_eq!(server.read_in("a", "sys/mounts").await.status, 200);
    assert_eq!(server.read_in("a/b", "sys/mounts").await.error(), (503, LOCKED), "it was locked by itself");
    let root = server.write("sys/namespaces/api-lock/lock", json!({})).await;
    assert_eq!(root.error(), (400, "the root namespace cannot be locked"));
    let nowhere = server.write("sys/namespaces/api-lock/lock/x", json!({})).await;
    assert_eq!(nowhere.error(), (400, "requested namespace \"x\" does not exist"));
}

#[tokio::test]
async fn a_lock_survives_a_seal_and_a_deleted_namespace_takes_it_along() {
    let server = with(&["a"]).await;
    server.write("sys/namespaces/api-lock/lock/a", json!({})).await.done();
    server.core.services.mounts.clear();
    assert_eq!(server.read_in("a", "sys/mounts").await.status, 503);
    server.delete("sys/namespaces/a").await.done();
    server.write("sys/namespaces/a", json!({})).await.done();
    assert_eq!(server.read_in("a", "sys/mounts").await.status, 200, "another namespace of the same name");
}
