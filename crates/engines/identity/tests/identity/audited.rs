//! Records of requests name the entity and its policies.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::rig::{login, server};

#[tokio::test]
async fn records_name_the_entity_and_its_policies() {
    let server = server().await;
    let path: PathBuf = std::env::temp_dir().join(format!("strongroom-identity-{}.log", std::process::id()));
    let options = json!({"type": "file", "options": {"file_path": path, "log_raw": "true"}});
    let enabled = server.write("sys/audit/file", options).await;
    assert_eq!(enabled.status, 204, "{}", enabled.body);
    let first = login(&server, json!({"name": "bob"})).await;
    let id = first.auth()["entity_id"].as_str().unwrap().to_owned();
    server.write(&format!("identity/entity/id/{id}"), json!({"policies": ["mounts"]})).await;
    let second = login(&server, json!({"name": "bob"})).await;
    server.get(&second.token(), "sys/mounts").await;
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str, path: &str| -> Vec<&Value> {
        let is = |record: &&Value| record["type"] == kind && record["request"]["path"] == path;
        records.iter().filter(is).collect()
    };
    let logins = of("response", "auth/door/login");
    assert_eq!(logins[0]["auth"]["entity_created"], true);
    assert_eq!(logins[0]["auth"]["entity_id"], id.as_str());
    assert_eq!(logins[1]["auth"].get("entity_created"), None);
    assert_eq!(logins[1]["auth"]["identity_policies"], json!(["mounts"]));
    assert_eq!(logins[1]["auth"]["policies"], json!(["default", "mounts"]));
    assert_eq!(logins[1]["auth"]["token_policies"], json!(["default"]));
    let request = of("request", "sys/mounts");
    assert_eq!(request[0]["auth"]["entity_id"], id.as_str());
    assert_eq!(request[0]["auth"]["identity_policies"], json!(["mounts"]));
    assert_eq!(request[0]["auth"]["policies"], json!(["default", "mounts"]));
}
