//! Several nodes: standbys, and conflicts.

use serde_json::{Value, json};
use strongroom_pipeline::Verb;
use strongroom_testkit::cluster::{Cluster, Faults, Image};
use strongroom_testkit::{Request, Response};

async fn at(cluster: &Cluster, node: usize, token: &str, path: &str) -> Response {
    let request = Request::new(token, Verb::Read, path, Value::Null);
    cluster.send(node, &request, None).await.unwrap().expect("an answer")
}

async fn cluster(conflicts: u64) -> (Cluster, String, String) {
    let image = Image::new().await;
    let cluster = Cluster::new(&image, 2, 1, Faults { conflicts, unknown: 0 }).await;
    let role =
        json!({"allowed_entity_aliases": ["*"], "orphan": true, "allowed_policies": ["default", "none"]});
    cluster.done(Verb::Write, "auth/token/roles/app", role).await;
    let made = cluster.done(Verb::Write, "auth/token/create/app", json!({"entity_alias": "web"})).await;
    let (token, id) = (made.token(), made.auth()["entity_id"].as_str().unwrap().to_owned());
    (cluster, token, id)
}

#[tokio::test]
async fn a_standby_knows_of_policies_and_disabling_with_the_next_read() {
    for conflicts in [0, 40] {
        let (cluster, token, id) = cluster(conflicts).await;
        let read = "sys/mounts";
        for node in [0, 1] {
            assert_eq!(at(&cluster, node, &token, read).await.status, 403);
        }
        let entity = format!("identity/entity/id/{id}");
        cluster.done(Verb::Write, &entity, json!({"policies": ["all"]})).await;
        for node in [1, 0] {
            assert_eq!(at(&cluster, node, &token, read).await.status, 200, "node {node}");
        }
        let group = json!({"name": "g", "policies": ["all"], "member_entity_ids": [id]});
        cluster.done(Verb::Write, "identity/group", group).await;
        cluster.done(Verb::Write, &entity, json!({"policies": []})).await;
        assert_eq!(at(&cluster, 1, &token, read).await.status, 200, "by the group");
        cluster.done(Verb::Write, &entity, json!({"disabled": true})).await;
        for node in [1, 0] {
            assert_eq!(at(&cluster, node, &token, read).await.status, 403, "node {node}");
        }
        cluster.done(Verb::Write, &entity, json!({"disabled": false})).await;
        assert_eq!(at(&cluster, 1, &token, read).await.status, 200);
        cluster.done(Verb::Delete, &entity, Value::Null).await;
        for node in [1, 0] {
            assert_eq!(at(&cluster, node, &token, read).await.status, 403, "node {node}");
        }
    }
}
