//! Policies in a whole server: what is stored, and what tokens may do by it.

#![allow(clippy::unwrap_used, reason = "tests fail loudly")]

use std::sync::Arc;

use serde_json::json;
use strongroom_barrier::NamespaceId;
use strongroom_policy::{CompiledAcl, DEFAULT_POLICY, DenyMode};
use strongroom_testkit::{Server, Settings, Setup};

const ROOT: NamespaceId = NamespaceId::ROOT;

async fn acl(server: &Server, namespace: NamespaceId, names: &[&str]) -> Arc<CompiledAcl> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    server.services().policies.acl(&server.view().await, namespace, &names).await.unwrap()
}

/// Writes a policy, or takes it away; the refusal.
async fn set(server: &Server, namespace: NamespaceId, name: &str, text: Option<&str>) -> Result<(), String> {
    let (txn, policies) = (server.txn().await, &server.services().policies);
    match text {
        Some(text) => policies.write_policy(&txn, namespace, name, text),
        None => policies.delete_policy(&txn, namespace, name),
    }
    .map_err(|error| error.to_string())?;
    txn.commit().await.unwrap();
    Ok(())
}

fn reads(path: &str) -> String {
    format!("path \"{path}\" {{ capabilities = [\"read\"] }}")
}

#[tokio::test]
async fn tokens_with_the_same_policies_share_their_compiled_form_until_one_changes() {
    let server = Server::new().await;
    set(&server, ROOT, "a", Some(&reads("secret/a"))).await.unwrap();
    set(&server, ROOT, "b", Some(&reads("secret/b"))).await.unwrap();
    let both = acl(&server, ROOT, &["a", "b"]).await;
    assert_eq!(both.capabilities("secret/a"), ["read"]);
    assert_eq!(both.capabilities("secret/c"), ["deny"]);
    assert!(Arc::ptr_eq(&both, &acl(&server, ROOT, &["a", "b"]).await));
    assert!(!Arc::ptr_eq(&both, &acl(&server, ROOT, &["a"]).await), "another set");
    server.child(None).await;
    assert!(Arc::ptr_eq(&both, &acl(&server, ROOT, &["a", "b"]).await), "what is no policy changes nothing");
    set(&server, ROOT, "b", Some(&reads("secret/c"))).await.unwrap();
    let changed = acl(&server, ROOT, &["a", "b"]).await;
    assert_eq!(
        (changed.capabilities("secret/b"), changed.capabilities("secret/c")),
        (vec!["deny"], vec!["read"])
    );
    set(&server, ROOT, "a", None).await.unwrap();
    let less = acl(&server, ROOT, &["a", "b"]).await;
    assert_eq!(less.capabilities("secret/a"), ["deny"], "what is deleted grants nothing any more");
    server.services().seal_state.seal().await;
    server.unseal().await;
    assert!(!Arc::ptr_eq(&less, &acl(&server, ROOT, &["a", "b"]).await), "nothing is kept while sealed");
}

/// An old view must not bring back what a newer commit has taken away.
#[tokio::test]
async fn a_set_is_compiled_as_of_the_newest_change_whatever_view_asks() {
    let server = Server::new().await;
    set(&server, ROOT, "a", Some(&reads("secret/a"))).await.unwrap();
    let old = server.view().await;
    set(&server, ROOT, "a", Some("path \"secret/a\" { capabilities = [\"deny\"] }")).await.unwrap();
    let policies = &server.services().policies;
    let found = policies.acl(&old, ROOT, &["a".to_owned()]).await.unwrap();
    assert_eq!(found.capabilities("secret/a"), ["deny"]);
}

#[tokio::test]
async fn a_name_without_a_policy_grants_nothing_and_root_everything() {
    let server = Server::new().await;
    for names in [&[][..], &["none"][..]] {
        assert_eq!(acl(&server, ROOT, names).await.capabilities("secret/a"), ["deny"]);
    }
    let root = acl(&server, ROOT, &["none", "root"]).await;
    assert!(root.is_root() && root.capabilities("sys/seal") == ["root"]);
    let default = acl(&server, ROOT, &["default"]).await;
    assert_eq!(default.capabilities("auth/token/lookup-self"), ["read"]);
}

#[tokio::test]
async fn built_in_policies_are_guarded() {
    let server = Server::new().await;
    let text = reads("secret/a");
    for (name, text, refusal) in [
        ("root", Some(text.as_str()), "cannot update \"root\" policy"),
        ("Root", Some(&text), "cannot update \"root\" policy"),
        ("response-wrapping", Some(&text), "cannot update \"response-wrapping\" policy"),
        ("root", None, "cannot delete \"root\" policy"),
        ("RESPONSE-WRAPPING", None, "cannot delete \"response-wrapping\" policy"),
        ("default", None, "cannot delete default policy"),
        ("a", Some("path \"x\" {"), "failed to parse policy: "),
        ("a", Some("path \"x\" { capabilities = [\"fly\"] }"), "failed to parse policy: "),
    ] {
        let refused = set(&server, ROOT, name, text).await.unwrap_err();
        assert!(refused.starts_with(refusal), "{name}: {refused}");
    }
    let (policies, view) = (&server.services().policies, server.view().await);
    assert_eq!(policies.policy_text(&view, ROOT, "default").await.unwrap().as_deref(), Some(DEFAULT_POLICY));
    assert_eq!(policies.policy_text(&view, ROOT, "root").await.unwrap().as_deref(), Some(""));
    assert_eq!(
        policies.policy_text(&view, ROOT, "a").await.unwrap(),
        None,
        "what was refused was not written"
    );
    set(&server, ROOT, "default", Some(&text)).await.expect("this one is an operator's to edit");
    assert_eq!(acl(&server, ROOT, &["default"]).await.capabilities("auth/token/lookup-self"), ["deny"]);
}

#[tokio::test]
async fn names_are_folded_and_listed_with_root_at_the_end() {
    let server = Server::new().await;
    for name in ["zebra", "Apple", "middle"] {
        set(&server, ROOT, name, Some(&reads("secret/a"))).await.unwrap();
    }
    let (policies, view) = (&server.services().policies, server.view().await);
    let names = policies.policy_names(&view, ROOT).await.unwrap();
    assert_eq!(names, ["apple", "default", "middle", "zebra", "root"], "without the one for wrapping tokens");
    assert!(policies.policy_text(&view, ROOT, "APPLE").await.unwrap().is_some());
    set(&server, ROOT, "ZEBRA", None).await.unwrap();
    let names = policies.policy_names(&server.view().await, ROOT).await.unwrap();
    assert_eq!(names, ["apple", "default", "middle", "root"]);
}

#[tokio::test]
async fn a_namespaces_policies_say_nothing_about_what_is_outside() {
    let server = Server::new().await;
    server.write("sys/namespaces/team", json!({})).await.data();
    let team = server.services().mounts.router().await.unwrap().child(ROOT, "team").unwrap().id;
    set(&server, ROOT, "a", Some(&reads("secret/a"))).await.unwrap();
    set(&server, team, "a", Some(&reads("secret/b"))).await.unwrap();
    let (own, theirs) = (acl(&server, ROOT, &["a"]).await, acl(&server, team, &["a"]).await);
    assert_eq!((own.capabilities("secret/a"), own.capabilities("secret/b")), (vec!["read"], vec!["deny"]));
    assert_eq!(theirs.capabilities("team/secret/b"), ["read"], "its paths are below its own");
    for outside in ["secret/a", "secret/b", "team/secret/a"] {
        assert_eq!(theirs.capabilities(outside), ["deny"], "{outside}");
    }
    assert_eq!(server.delete("sys/namespaces/team").await.status, 204);
    set(&server, ROOT, "b", Some(&reads("secret/b"))).await.unwrap();
    assert_eq!(acl(&server, team, &["a"]).await.capabilities("team/secret/b"), ["deny"], "it is gone");
}

#[tokio::test]
async fn which_rule_decides_is_the_servers_setting() {
    for (deny_mode, expected) in [(DenyMode::DenyWins, "deny"), (DenyMode::MostSpecific, "read")] {
        let server = Setup::default().settings(Settings { deny_mode, ..Settings::default() }).start().await;
        set(&server, ROOT, "wide", Some("path \"secret/*\" { capabilities = [\"deny\"] }")).await.unwrap();
        set(&server, ROOT, "narrow", Some(&reads("secret/a"))).await.unwrap();
        let both = acl(&server, ROOT, &["narrow", "wide"]).await;
        assert_eq!(both.capabilities("secret/a"), [expected]);
        assert_eq!(both.capabilities("secret/b"), ["deny"]);
    }
}
