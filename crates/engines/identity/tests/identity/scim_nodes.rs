//! SCIM on several nodes: standbys answer, and know who is deactivated with the next read.

use serde_json::{Value, json};
use strongroom_pipeline::Verb;
use strongroom_testkit::cluster::{Cluster, Faults, Image};
use strongroom_testkit::{Request, Response};

async fn at(cluster: &Cluster, node: usize, token: &str, asked: Verb, path: &str, input: Value) -> Response {
    let request = Request::new(token, asked, path, input);
    cluster.send(node, &request, None).await.unwrap().expect("an answer")
}

#[tokio::test]
async fn standbys_answer_and_refuse_who_is_deactivated() {
    for conflicts in [0, 40] {
        let image = Image::new().await;
        let cluster = Cluster::new(&image, 2, 1, Faults { conflicts, unknown: 0 }).await;
        let role =
            json!({"allowed_entity_aliases": ["*"], "orphan": true, "allowed_policies": ["default", "none"]});
        cluster.done(Verb::Write, "auth/token/roles/app", role).await;
        let made = cluster.done(Verb::Write, "auth/token/create/app", json!({"entity_alias": "scim"})).await;
        let (token, id) = (made.token(), made.auth()["entity_id"].as_str().unwrap().to_owned());
        cluster.done(Verb::Write, &format!("identity/entity/id/{id}"), json!({"policies": ["all"]})).await;
        let accessor = cluster.done(Verb::Read, "sys/auth/token", json!({})).await.data()["accessor"].clone();
        let client = json!({"access_grant_principal": id, "alias_mount_accessor": accessor});
        cluster.done(Verb::Write, "identity/scim/client/okta", client).await;
        let user = json!({"userName": "ann"});
        let made = at(&cluster, 0, &token, Verb::Write, "identity/scim/v2/Users", user).await;
        assert_eq!(made.status, 201, "{}", made.body);
        let ann = format!("identity/scim/v2/Users/{}", made.body["id"].as_str().unwrap());
        for node in [1, 0] {
            assert_eq!(at(&cluster, node, &token, Verb::Read, &ann, json!({})).await.body, made.body);
            let query = json!({"filter": "userName eq \"ANN\""});
            let found = at(&cluster, node, &token, Verb::Read, "identity/scim/v2/Users", query).await;
            assert_eq!(found.body["totalResults"], 1);
        }
        let hers =
            cluster.done(Verb::Write, "auth/token/create/app", json!({"entity_alias": "ann"})).await.token();
        let lookup = async |node| {
            at(&cluster, node, &hers, Verb::Read, "auth/token/lookup-self", json!({})).await.status
        };
        assert_eq!((lookup(0).await, lookup(1).await), (200, 200));
        let off = json!({"userName": "ann", "active": false});
        assert_eq!(at(&cluster, 0, &token, Verb::Write, &ann, off).await.status, 200);
        assert_eq!((lookup(1).await, lookup(0).await), (403, 403));
        assert_eq!(at(&cluster, 0, &token, Verb::Delete, &ann, json!({})).await.status, 204);
        assert_eq!(at(&cluster, 1, &token, Verb::Read, &ann, json!({})).await.status, 404);
    }
}
