//! What is left of deleted entities, groups and mounts: nothing.

use crate::rig::{ROOT, Rig};

#[tokio::test]
async fn a_deleted_entity_leaves_no_row() {
    let rig = Rig::new().await;
    let before = rig.rows().await;
    let bob = rig.entity("bob", &["p"]).await;
    let groups = [rig.group("a", &[]).await, rig.group("b", &[]).await];
    for group in groups {
        rig.fill(group, &[bob], &[]).await;
    }
    rig.alias(bob, "auth/door/", "bob").await;
    assert!(rig.effective(bob).await.is_some());
    let ids =
        rig.commit(async |identity, txn| identity.delete_entities(txn, ROOT, &[bob]).await).await.unwrap();
    assert_eq!(ids, [bob]);
    assert!(rig.effective(bob).await.is_none());
    for group in groups {
        rig.commit(async |identity, txn| identity.delete_group(txn, ROOT, group).await).await.unwrap();
    }
    assert_eq!(rig.rows().await, before);
    let again = rig.log_in("auth/door/", "bob", None).await.unwrap();
    assert!(again.is_new && again.entity != bob);
}

#[tokio::test]
async fn an_entity_in_a_thousand_groups_goes_in_steps() {
    let rig = Rig::new().await;
    let before = rig.rows().await;
    let bob = rig.entity("bob", &["own"]).await;
    let mut groups = Vec::new();
    for at in 0..1000 {
        let id = rig.group(&format!("g{at}"), &[&format!("p{}", at % 7)]).await;
        rig.commit(async |identity, txn| identity.add_member(txn, (ROOT, id), bob).await).await.unwrap();
        groups.push(id);
    }
    rig.alias(bob, "auth/door/", "bob").await;
    assert_eq!(rig.policies(bob).await.len(), 8);
    rig.commit(async |identity, txn| identity.delete_entities(txn, ROOT, &[bob]).await).await.unwrap();
    assert!(rig.effective(bob).await.is_none(), "gone at once");
    let again = rig.log_in("auth/door/", "bob", None).await.unwrap();
    assert!(again.is_new, "and its alias is free, though its rows are not all gone");
    let mut steps = 0;
    while rig.identity().continue_clearing().await.unwrap() {
        steps += 1;
    }
    assert!(steps > 5, "{steps} steps");
    assert_eq!(rig.log_in("auth/door/", "bob", None).await.unwrap().entity, again.entity);
    for group in groups {
        rig.commit(async |identity, txn| identity.delete_group(txn, ROOT, group).await).await.unwrap();
    }
    let second = again.entity;
    rig.commit(async |identity, txn| identity.delete_entities(txn, ROOT, &[second]).await).await.unwrap();
    assert_eq!(rig.rows().await, before);
}

#[tokio::test]
async fn aliases_go_with_their_mount() {
    let rig = Rig::new().await;
    let ops = rig.external("ops", "auth/door/", "operators").await;
    let mut entities = Vec::new();
    for at in 0..300 {
        let groups: &[&str] = if at % 2 == 0 { &["operators"] } else { &[] };
        let login = rig.log_in("auth/door/", &format!("user{at}"), Some(groups)).await.unwrap();
        entities.push(login.entity);
    }
    let other = rig.alias(entities[0], "auth/gate/", "zero").await;
    assert!(!rig.policies(entities[0]).await.is_empty());
    let accessor = rig.accessor("auth/door/").await;
    rig.commit(async |identity, txn| identity.forget_mount(txn, ROOT, &accessor).await).await.unwrap();
    while rig.identity().continue_clearing().await.unwrap() {}
    let view = rig.server.view().await;
    let left = rig.identity().alias_ids(&view, ROOT, None, usize::MAX).await.unwrap();
    assert_eq!(left, [other], "that of another mount stays");
    assert!(rig.identity().alias_of_group(&view, ROOT, ops).await.unwrap().is_none());
    assert!(rig.policies(entities[0]).await.is_empty(), "nothing would ever take it out of the group");
    assert_eq!(rig.identity().entity_ids(&view, ROOT, None, usize::MAX).await.unwrap().len(), 300);
}
