//! The policies in force, against a model that walks everything each time.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use strongroom_engine_api::EngineError;
use strongroom_identity::{GroupChange, IdentityId};

use crate::rig::{ROOT, Rig, texts};

const ENTITIES: usize = 4;
const GROUPS: usize = 6;

#[derive(Clone, Debug)]
enum Step {
    /// An entity's own policies.
    Policies(usize, Vec<u8>),
    /// A group's policies.
    GroupPolicies(usize, Vec<u8>),
    /// One member more or less.
    Join(usize, usize, bool),
    /// The groups in a group.
    Nest(usize, Vec<usize>),
    /// A group goes, and another takes its name.
    Replace(usize),
    /// Asked for, so that something is kept.
    Ask(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let policies = || prop::collection::vec(0..8u8, 0..3);
    prop_oneof![
        (0..ENTITIES, policies()).prop_map(|(entity, names)| Step::Policies(entity, names)),
        (0..GROUPS, policies()).prop_map(|(group, names)| Step::GroupPolicies(group, names)),
        (0..GROUPS, 0..ENTITIES, any::<bool>())
            .prop_map(|(group, entity, joins)| Step::Join(group, entity, joins)),
        (0..GROUPS, prop::collection::vec(0..GROUPS, 0..3))
            .prop_map(|(group, inner)| Step::Nest(group, inner)),
        (0..GROUPS).prop_map(Step::Replace),
        (0..ENTITIES).prop_map(Step::Ask),
    ]
}

#[derive(Default)]
struct Model {
    own: BTreeMap<usize, BTreeSet<String>>,
    granted: BTreeMap<usize, BTreeSet<String>>,
    members: BTreeMap<usize, BTreeSet<usize>>,
    inner: BTreeMap<usize, BTreeSet<usize>>,
}

impl Model {
    /// True if `inside` is in `outside`, directly or not, or is it.
    fn is_in(&self, inside: usize, outside: usize) -> bool {
        inside == outside
            || self
                .inner
                .get(&outside)
                .is_some_and(|inner| inner.iter().any(|next| self.is_in(inside, *next)))
    }

    fn policies(&self, entity: usize) -> BTreeSet<String> {
        let mut all = self.own.get(&entity).cloned().unwrap_or_default();
        for outside in 0..GROUPS {
            let has = |inside: usize| {
                self.is_in(inside, outside)
                    && self.members.get(&inside).is_some_and(|of| of.contains(&entity))
            };
            if (0..GROUPS).any(has) {
                all.extend(self.granted.get(&outside).cloned().unwrap_or_default());
            }
        }
        all
    }
}

fn names(numbers: &[u8]) -> Vec<String> {
    numbers.iter().map(|number| format!("p{number}")).collect()
}

async fn check(steps: Vec<Step>) {
    let rig = Rig::new().await;
    let mut model = Model::default();
    let (mut entities, mut groups) = (Vec::new(), Vec::new());
    for at in 0..ENTITIES {
        entities.push(rig.entity(&format!("e{at}"), &[]).await);
    }
    for at in 0..GROUPS {
        groups.push(rig.group(&format!("g{at}"), &[]).await);
    }
    for step in steps {
        apply(&rig, &mut model, &entities, &mut groups, step).await;
        for (at, id) in entities.iter().enumerate() {
            let found: BTreeSet<String> = rig.policies(*id).await.into_iter().collect();
            assert_eq!(found, model.policies(at), "entity {at}");
        }
    }
}

async fn apply(rig: &Rig, model: &mut Model, entities: &[IdentityId], groups: &mut [IdentityId], step: Step) {
    match step {
        Step::Policies(at, numbers) => {
            let policies = names(&numbers);
            let borrowed: Vec<&str> = policies.iter().map(String::as_str).collect();
            rig.entity(&format!("E{at}"), &borrowed).await;
            model.own.insert(at, policies.into_iter().collect());
        }
        Step::GroupPolicies(at, numbers) => {
            let policies = names(&numbers);
            let change = GroupChange { policies: Some(policies.clone()), ..GroupChange::default() };
            rig.write_group(Some(groups[at]), change).await.unwrap();
            model.granted.insert(at, policies.into_iter().collect());
        }
        Step::Join(group, entity, joins) => {
            let (placed, id) = ((ROOT, groups[group]), entities[entity]);
            let done = rig.commit(async |identity, txn| {
                if joins {
                    identity.add_member(txn, placed, id).await
                } else {
                    identity.remove_member(txn, placed, id).await
                }
            });
            done.await.unwrap();
            let members = model.members.entry(group).or_default();
            if joins {
                members.insert(entity)
            } else {
                members.remove(&entity)
            };
        }
        Step::Nest(group, inner) => {
            let wanted: BTreeSet<usize> = inner.into_iter().collect();
            let ids = wanted.iter().map(|at| groups[*at]).collect();
            let change = GroupChange { subgroups: Some(ids), ..GroupChange::default() };
            let done = rig.write_group(Some(groups[group]), change).await;
            let kept = model.inner.get(&group).cloned().unwrap_or_default();
            let circle = wanted.difference(&kept).any(|new| model.is_in(group, *new));
            match done {
                Err(EngineError::Invalid(text)) if circle => assert!(text.contains("cyclic"), "{text}"),
                done => {
                    assert!(!circle);
                    done.unwrap();
                    model.inner.insert(group, wanted);
                }
            }
        }
        Step::Replace(at) => {
            let id = groups[at];
            rig.commit(async |identity, txn| identity.delete_group(txn, ROOT, id).await).await.unwrap();
            groups[at] = rig.group(&format!("g{at}"), &[]).await;
            model.granted.remove(&at);
            model.members.remove(&at);
            model.inner.remove(&at);
            for inner in model.inner.values_mut() {
                inner.remove(&at);
            }
        }
        Step::Ask(at) => drop(rig.effective(entities[at]).await),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn policies_in_force_are_those_of_a_walk_through_everything(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(steps));
    }
}

#[tokio::test]
async fn what_is_kept_is_that_of_the_entity_until_its_own_changes() {
    let rig = Rig::new().await;
    let (bob, ann) = (rig.entity("bob", &["own"]).await, rig.entity("ann", &[]).await);
    let (inner, outer) = (rig.group("inner", &["a"]).await, rig.group("outer", &["b", "a"]).await);
    let other = rig.group("other", &["x"]).await;
    rig.fill(inner, &[bob], &[]).await;
    rig.fill(outer, &[], &[inner]).await;
    let first = rig.effective(bob).await.unwrap();
    assert_eq!(first.policies_of(ROOT), texts(&["a", "b", "own"]));
    assert_eq!((first.groups.len(), first.direct.len()), (2, 1));
    rig.fill(other, &[ann], &[]).await;
    rig.entity("ann", &["new"]).await;
    let again = rig.effective(bob).await.unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &again), "what happens to others is nothing to it");
    let change = GroupChange { policies: Some(texts(&["c"])), ..GroupChange::default() };
    rig.write_group(Some(outer), change).await.unwrap();
    assert_eq!(rig.policies(bob).await, texts(&["a", "c", "own"]));
    rig.fill(outer, &[], &[]).await;
    assert_eq!(rig.policies(bob).await, texts(&["a", "own"]));
}

#[tokio::test]
async fn a_circle_is_refused_also_where_two_requests_close_it_together() {
    let rig = Rig::new().await;
    let (a, b) = (rig.group("a", &[]).await, rig.group("b", &[]).await);
    let nest = |id| GroupChange { subgroups: Some(BTreeSet::from([id])), ..GroupChange::default() };
    let (one, other) = (rig.server.txn().await, rig.server.txn().await);
    rig.identity().write_group(&one, ROOT, Some(a), nest(b)).await.unwrap();
    rig.identity().write_group(&other, ROOT, Some(b), nest(a)).await.unwrap();
    one.commit().await.unwrap();
    assert!(other.commit().await.is_err(), "the second is decided again");
    let refused = rig.write_group(Some(b), nest(a)).await.unwrap_err();
    assert_eq!(refused.to_string(), format!("cyclic relationship detected for member group ID \"{a}\""));
    let refused = rig.write_group(Some(a), nest(a)).await.unwrap_err();
    assert!(refused.to_string().contains("cyclic"), "{refused}");
}

#[tokio::test]
async fn one_member_more_is_two_rows_however_many_there_are() {
    let rig = Rig::new().await;
    let group = rig.group("all", &["p"]).await;
    for count in 0..30 {
        let id = rig.entity(&format!("e{count}"), &[]).await;
        let before: usize = rig.rows().await.values().sum();
        rig.commit(async |identity, txn| identity.add_member(txn, (ROOT, group), id).await).await.unwrap();
        assert_eq!(rig.rows().await.values().sum::<usize>(), before + 2);
        assert_eq!(rig.policies(id).await, texts(&["p"]));
    }
}
