//! A cluster that has lost its majority: it goes on as an operator says.

use std::path::Path;

use strongroom_storage::Store;

use super::{Cluster, small, until};
use crate::tests::{get, put};
use crate::{Kept, Offline, OpenError, RaftStore, Role};

fn write_peers(path: &Path, text: &str) {
    std::fs::create_dir_all(path.join("raft")).unwrap();
    std::fs::write(path.join("raft/peers.json"), text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_left_goes_on_as_peers_json_says() {
    let mut cluster = Cluster::of(3).await;
    let index = cluster.leader().await.commit(put("a", "1")).await.unwrap();
    let last = cluster.others(cluster.leader().await.as_ref()).remove(0);
    last.wait_applied(index).await.unwrap();
    let name = last.node_id().to_owned();
    for node in std::mem::take(&mut cluster.nodes) {
        node.close().await;
    }
    let path = cluster.root.path().join(&name);
    drop(last);
    write_peers(&path, &format!(r#"[{{"id": "{name}", "address": "{name}:1", "non_voter": false}}]"#));
    let last = cluster.open(&name).await;
    assert!(!path.join("raft/peers.json").exists(), "the file is used once");
    until("leadership", async || (last.role() == Role::Leads).then_some(())).await;
    assert_eq!(get(&last, "a").await.as_deref(), Some(&b"1"[..]));
    let members = last.members();
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].member.cluster_address, format!("https://{name}:1"));
    cluster.nodes.push(last);
    cluster.add("fresh").await;
    cluster.agree().await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_are_left_of_five_go_on_together() {
    let mut cluster = Cluster::of(5).await;
    cluster.agree().await;
    for node in std::mem::take(&mut cluster.nodes) {
        node.close().await;
    }
    let both = r#"[{"id": "n1", "address": ""}, {"id": "n3", "address": "", "non_voter": true}]"#;
    write_peers(&cluster.root.path().join("n1"), both);
    for name in ["n1", "n3"] {
        let node = cluster.open(name).await;
        cluster.nodes.push(node);
    }
    cluster.agree().await;
    assert_eq!(cluster.leader().await.node_id(), "n1");
    assert!(cluster.leader().await.promote("n3").await.unwrap());
    cluster.agree().await;
    assert_eq!(cluster.leader().await.members().len(), 2);
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peers_json_that_makes_no_sense_changes_nothing() {
    let cluster = Cluster::of(3).await;
    let path = cluster.root.path().join("n0");
    for node in &cluster.nodes {
        node.close().await;
    }
    for (text, expected) in [
        ("", "EOF"),
        ("[]", "it does not name this node, \"n0\", as a voter"),
        (r#"[{"id": "n1", "address": ""}]"#, "it does not name this node, \"n0\", as a voter"),
        (
            r#"[{"id": "n0", "address": "", "non_voter": true}]"#,
            "it does not name this node, \"n0\", as a voter",
        ),
        (r#"[{"id": "n0", "address": ""}, {"id": "n1", "address": ""}]"#, "it names several voters"),
        (r#"[{"id": "n0", "address": ""}, {"id": "n0", "address": ""}]"#, "\"n0\" is named twice"),
        (r#"[{"id": "n9", "address": ""}]"#, "\"n9\" is no member; members are n0, n1, n2"),
        (r#"[{"id": "n0", "adress": ""}]"#, "unknown field"),
    ] {
        write_peers(&path, text);
        let mut options = small(&path);
        options.bootstrap = false;
        let refused = RaftStore::open(options).await.err().expect(text).to_string();
        assert!(refused.contains("raft/peers.json") && refused.contains(expected), "{text}: {refused}");
        assert!(path.join("raft/peers.json").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_left_is_looked_at_and_recovered_offline() {
    let mut cluster = Cluster::of(3).await;
    let index = cluster.leader().await.commit(put("a", "1")).await.unwrap();
    cluster.agree().await;
    let path = cluster.root.path().join("n1");
    assert!(matches!(Offline::open(&path).await, Err(OpenError::Locked { .. })));
    for node in std::mem::take(&mut cluster.nodes) {
        node.close().await;
    }
    let offline = Offline::open(&path).await.unwrap();
    let survey = offline.survey();
    assert_eq!(survey.node_id, "n1");
    assert!(survey.last.index >= index && survey.committed <= survey.last.index, "{survey:?}");
    let names: Vec<&str> = survey.members.iter().map(|member| member.node_id.as_str()).collect();
    assert_eq!(names, ["n0", "n1", "n2"]);
    let stranger = Kept { node_id: "n9".to_owned(), address: String::new() };
    let refused = offline.recover(&[stranger]).await.unwrap_err().to_string();
    assert!(refused.contains("\"n9\" is no member"), "{refused}");
    offline.close().await;

    let offline = Offline::open(&path).await.unwrap();
    assert_eq!(offline.survey(), survey, "what was refused changed nothing");
    let at = offline.recover(&[]).await.unwrap();
    assert_eq!((at.index, at > survey.last), (survey.last.index + 1, true));
    offline.close().await;
    let last = cluster.open("n1").await;
    until("leadership", async || (last.role() == Role::Leads).then_some(())).await;
    assert_eq!(get(&last, "a").await.as_deref(), Some(&b"1"[..]));
    assert_eq!(last.members().len(), 1);
    last.close().await;

    let nowhere = cluster.root.path().join("nowhere");
    assert!(matches!(Offline::open(&nowhere).await, Err(OpenError::Foreign { .. })));
    assert!(!nowhere.exists());
}
