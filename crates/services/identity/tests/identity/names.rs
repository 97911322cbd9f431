//! Names, aliases and what they may be.

use std::collections::BTreeMap;

use strongroom_engine_api::EngineError;
use strongroom_identity::{AliasChange, EntityChange, GroupChange, Merge};

use crate::rig::{ROOT, Rig, texts};

fn named(name: &str) -> EntityChange {
    EntityChange { name: Some(name.to_owned()), ..EntityChange::default() }
}

#[tokio::test]
async fn a_name_is_taken_in_any_case() {
    let rig = Rig::new().await;
    let bob = rig.entity(" Bob ", &[]).await;
    let (again, is_new) = rig
        .commit(async |identity, txn| identity.write_entity(txn, ROOT, None, named("bOB")).await)
        .await
        .unwrap();
    assert_eq!((again, is_new), (bob, false), "no second entity");
    let ann = rig.entity("ann", &[]).await;
    let refused = rig
        .commit(async |identity, txn| identity.write_entity(txn, ROOT, Some(ann), named("BOB")).await)
        .await;
    assert_eq!(refused.unwrap_err().to_string(), "entity name is already in use");
    rig.commit(async |identity, txn| identity.write_entity(txn, ROOT, Some(bob), named("Rob")).await)
        .await
        .unwrap();
    let view = rig.server.view().await;
    assert_eq!(
        rig.identity().entity_named(&view, ROOT, "bob").await.unwrap(),
        None,
        "the former name is free"
    );
    assert_eq!(rig.identity().entity_named(&view, ROOT, "ROB").await.unwrap(), Some(bob));
    let group = rig.group("Dev", &[]).await;
    assert_eq!(rig.group("dEV", &[]).await, group);
}

#[tokio::test]
async fn nothing_of_a_refused_write_is_kept() {
    let rig = Rig::new().await;
    let before = rig.rows().await;
    let pairs = (0..10_000).map(|at| (format!("k{at}"), String::new())).collect::<BTreeMap<_, _>>();
    let wrong = [
        EntityChange { metadata: Some(pairs), ..named("a") },
        EntityChange { policies: Some(texts(&["a", " Root "])), ..named("b") },
        named("c\0d"),
    ];
    for change in wrong {
        let refused =
            rig.commit(async |identity, txn| identity.write_entity(txn, ROOT, None, change).await).await;
        assert!(matches!(refused, Err(EngineError::Invalid(_))));
    }
    let change = GroupChange { policies: Some(texts(&["ROOT"])), ..GroupChange::default() };
    assert_eq!(rig.write_group(None, change).await.unwrap_err().to_string(), "policies cannot contain root");
    assert_eq!(rig.rows().await, before);
}

#[tokio::test]
async fn an_entity_has_one_alias_a_mount() {
    let rig = Rig::new().await;
    let (bob, ann) = (rig.entity("bob", &[]).await, rig.entity("ann", &[]).await);
    let alias = rig.alias(bob, "auth/door/", "Bob").await;
    assert_eq!(rig.alias(bob, "auth/door/", "bOB").await, alias, "the same factors are the same alias");
    let accessor = rig.accessor("auth/door/").await;
    let change = |name: &str, entity| AliasChange {
        name: Some(name.to_owned()),
        accessor: Some(accessor.clone()),
        entity,
        ..AliasChange::default()
    };
    let second = change("robert", Some(bob));
    let refused = rig.commit(async |identity, txn| identity.write_alias(txn, ROOT, None, second).await).await;
    let text = "Alias already exists for requested entity and mount accessor";
    assert_eq!(refused.unwrap_err().to_string(), text);
    let to_ann = change("bob", Some(ann));
    let moved = rig.commit(async |identity, txn| identity.write_alias(txn, ROOT, None, to_ann).await).await;
    assert_eq!(moved.unwrap(), (alias, ann));
    let view = rig.server.view().await;
    assert!(rig.identity().aliases_of(&view, ROOT, bob).await.unwrap().is_empty());
    assert_eq!(rig.identity().entity_of_alias(&view, ROOT, &accessor, "BOB").await.unwrap(), Some(ann));
    for (change, expected) in [
        (change("", None), "missing alias name"),
        (AliasChange { accessor: None, ..change("x", None) }, "missing mount_accessor"),
        (
            AliasChange { accessor: Some("auth_x".to_owned()), ..change("x", None) },
            "invalid mount accessor \"auth_x\"",
        ),
    ] {
        let refused =
            rig.commit(async |identity, txn| identity.write_alias(txn, ROOT, None, change).await).await;
        assert_eq!(refused.unwrap_err().to_string(), expected);
    }
}

#[tokio::test]
async fn a_merge_moves_aliases_groups_and_tokens() {
    let rig = Rig::new().await;
    let (bob, robert) = (rig.entity("bob", &["b"]).await, rig.entity("robert", &["r"]).await);
    let group = rig.group("g", &["g"]).await;
    rig.fill(group, &[robert], &[]).await;
    let alias = rig.alias(robert, "auth/gate/", "rob").await;
    rig.alias(bob, "auth/door/", "bob").await;
    let merge = Merge { from: [robert].into(), to: bob, ..Merge::default() };
    rig.commit(async |identity, txn| identity.merge(txn, ROOT, &merge).await).await.unwrap();
    let found = rig.effective(robert).await.unwrap();
    assert_eq!(
        (found.id, found.policies_of(ROOT)),
        (bob, texts(&["b", "g"]).as_slice()),
        "no policies of its own"
    );
    assert_eq!(found.entity.merged, [robert]);
    assert_eq!(found.aliases.len(), 2);
    let gate = &found.aliases[&rig.accessor("auth/gate/").await];
    assert_eq!((gate.id, gate.merged_from.as_slice()), (alias, [robert].as_slice()));
    assert_eq!(rig.log_in("auth/gate/", "ROB", None).await.unwrap().entity, bob);
    let last = rig.entity("last", &[]).await;
    let merge = Merge { from: [bob].into(), to: last, ..Merge::default() };
    rig.commit(async |identity, txn| identity.merge(txn, ROOT, &merge).await).await.unwrap();
    assert_eq!(rig.effective(robert).await.unwrap().id, last, "also through two merges");
    assert_eq!(rig.policies(bob).await, texts(&["g"]));
}

#[tokio::test]
async fn a_merge_says_what_conflicts() {
    let rig = Rig::new().await;
    let (bob, robert) = (rig.entity("bob", &[]).await, rig.entity("robert", &[]).await);
    let (own, their) =
        (rig.alias(bob, "auth/door/", "bob").await, rig.alias(robert, "auth/door/", "robert").await);
    let before = rig.rows().await;
    let merge = |keep: &[_]| Merge { from: [robert].into(), to: bob, keep: keep.iter().copied().collect() };
    let both = rig.entity("third", &[]).await;
    for (merge, text) in [
        (merge(&[]), "toEntity and at least one fromEntity have aliases with the same mount accessor"),
        (merge(&[own, their]), "both were present"),
        (merge(&[both]), "neither were present"),
        (Merge { from: [bob].into(), ..merge(&[]) }, "to_entity_id should not be present in from_entity_ids"),
        (Merge { to: own, ..merge(&[]) }, "entity id to merge to is invalid"),
        (Merge { from: [own].into(), ..merge(&[]) }, "entity id to merge from is invalid"),
        (Merge { from: [robert, both].into(), ..merge(&[own]) }, "only supported with exactly one"),
    ] {
        let refused = rig.commit(async |identity, txn| identity.merge(txn, ROOT, &merge).await).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(text), "{refused}");
    }
    let third = rig.rows().await;
    assert_eq!(
        third.values().sum::<usize>(),
        before.values().sum::<usize>() + 2,
        "the third entity and its name"
    );
    let kept = merge(&[their]);
    rig.commit(async |identity, txn| identity.merge(txn, ROOT, &kept).await).await.unwrap();
    let found = rig.effective(bob).await.unwrap();
    let names: Vec<&str> = found.aliases.values().map(|alias| alias.name.as_str()).collect();
    assert_eq!(names, ["robert"]);
    assert!(rig.log_in("auth/door/", "bob", None).await.unwrap().is_new, "the other alias is gone");
}
