//! Logins: who they are of, and the groups that follow from them.

use futures::future::join_all;

use crate::rig::{ROOT, Rig, texts};

#[tokio::test]
async fn the_first_login_makes_the_entity_and_later_ones_find_it() {
    let rig = Rig::new().await;
    let first = rig.log_in("auth/door/", "Bob", None).await.unwrap();
    assert!(first.is_new);
    for name in ["Bob", "bob", " BOB\t"] {
        let again = rig.log_in("auth/door/", name, None).await.unwrap();
        assert_eq!((again.entity, again.is_new, again.changed), (first.entity, false, false), "{name:?}");
    }
    let elsewhere = rig.log_in("auth/gate/", "bob", None).await.unwrap();
    assert_ne!(elsewhere.entity, first.entity, "another mount's bob is another person");
    assert!(rig.log_in("auth/door/", " ", None).await.is_err());
    assert!(rig.log_in("auth/door/", "a\u{1b}[2J", None).await.is_err());
}

#[tokio::test]
async fn many_first_logins_at_once_make_one_entity() {
    let rig = Rig::new().await;
    let logins = join_all((0..16).map(|_| rig.log_in("auth/door/", "bob", None))).await;
    let first = logins[0].as_ref().unwrap().entity;
    assert!(logins.iter().all(|login| login.as_ref().unwrap().entity == first));
    assert_eq!(logins.iter().filter(|login| login.as_ref().unwrap().is_new).count(), 1);
}

#[tokio::test]
async fn external_groups_follow_at_each_login() {
    let rig = Rig::new().await;
    rig.external("dev", "auth/door/", "Developers").await;
    rig.external("ops", "auth/door/", "operators").await;
    let gate = rig.external("gate", "auth/gate/", "developers").await;
    let bob = rig.log_in("auth/door/", "bob", Some(&["developers", "unknown"])).await.unwrap().entity;
    assert_eq!(rig.policies(bob).await, texts(&["dev"]));
    let internal = rig.group("internal", &["by-hand"]).await;
    rig.fill(internal, &[bob], &[]).await;
    rig.log_in("auth/door/", "bob", Some(&["OPERATORS", " Developers"])).await.unwrap();
    assert_eq!(rig.policies(bob).await, texts(&["by-hand", "dev", "ops"]));
    rig.log_in("auth/door/", "bob", Some(&["operators"])).await.unwrap();
    assert_eq!(rig.policies(bob).await, texts(&["by-hand", "ops"]), "and out again");
    let unchanged = rig.log_in("auth/door/", "bob", Some(&["operators"])).await.unwrap();
    assert!(!unchanged.changed);
    rig.log_in("auth/door/", "bob", None).await.unwrap();
    assert_eq!(
        rig.policies(bob).await,
        texts(&["by-hand", "ops"]),
        "a method without groups says nothing of them"
    );
    let refused = rig.commit(async |identity, txn| identity.add_member(txn, (ROOT, gate), bob).await).await;
    assert!(refused.unwrap_err().to_string().contains("external"));
    rig.log_in("auth/door/", "bob", Some(&[])).await.unwrap();
    assert_eq!(rig.policies(bob).await, texts(&["by-hand"]));
}

#[tokio::test]
async fn a_disabled_entity_does_not_log_in_until_it_is_enabled() {
    let rig = Rig::new().await;
    let bob = rig.log_in("auth/door/", "bob", None).await.unwrap().entity;
    rig.disable(bob, true).await;
    assert_eq!(rig.log_in("auth/door/", "BOB", None).await.unwrap_err().to_string(), "permission denied");
    let now = rig.server.clock.now();
    assert!(rig.effective(bob).await.unwrap().refuses(now));
    rig.disable(bob, false).await;
    assert_eq!(rig.log_in("auth/door/", "bob", None).await.unwrap().entity, bob);
    assert!(!rig.effective(bob).await.unwrap().refuses(now));
}

#[tokio::test]
async fn a_revocation_is_of_what_there_was() {
    let rig = Rig::new().await;
    let bob = rig.log_in("auth/door/", "bob", None).await.unwrap().entity;
    let then = rig.server.clock.now();
    rig.commit(async |identity, txn| identity.mark_revoked(txn, ROOT, bob).await).await.unwrap();
    rig.server.clock.advance(std::time::Duration::from_millis(1));
    let found = rig.effective(bob).await.unwrap();
    assert!(found.refuses(then) && !found.refuses(rig.server.clock.now()));
}
