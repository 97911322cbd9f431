use std::collections::BTreeSet;

use serde_json::{Value, json};
use strongroom_pipeline::Verb;

use crate::testing::Server;

async fn document(server: &Server, query: Value) -> Value {
    let told = server.ask(Verb::Read, "sys/internal/specs/openapi", query).await;
    assert_eq!(told.status, 200);
    told.body
}

fn operations(document: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
    document["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
        let methods =
            item.as_object().unwrap().iter().filter(|(_, operation)| operation.get("operationId").is_some());
        methods.map(move |(method, operation)| (path, method, operation))
    })
}

#[tokio::test]
async fn every_mount_is_described_at_its_path() {
    let server = Server::new().await;
    server.write("sys/mounts/words", json!({ "type": "kv-v2" })).await;
    server.write("sys/auth/door", json!({ "type": "open" })).await;
    let document = document(&server, json!({})).await;
    assert_eq!(document["openapi"], "3.0.2");
    assert_eq!(document["info"]["version"], server.core.services.settings.version.as_str());
    let paths = &document["paths"];
    for (path, method) in [
        ("/sys/mounts", "get"),
        ("/sys/mounts/{path}", "post"),
        ("/sys/mounts/{path}", "delete"),
        ("/sys/mounts/{path}/tune", "post"),
        ("/sys/version-history/", "get"),
        ("/cubbyhole/{path}", "get"),
        ("/cubbyhole/{path}/", "get"),
        ("/auth/token/lookup-self", "get"),
        ("/auth/door/login/{name}", "post"),
        ("/words/data/{path}", "get"),
        ("/words/metadata/{path}/", "get"),
    ] {
        assert!(paths[path][method].is_object(), "{method} {path}");
    }
    assert_eq!(paths["/sys/seal-status"]["x-vault-unauthenticated"], true);
    assert_eq!(paths["/sys/seal"]["x-vault-sudo"], true);
    assert_eq!(paths["/auth/door/login/{name}"]["x-vault-unauthenticated"], true);
    assert_eq!(paths["/auth/door/config"]["get"]["tags"], json!(["auth"]));
    let parameters = &paths["/words/data/{path}"]["parameters"];
    assert_eq!((&parameters[0]["name"], &parameters[0]["in"]), (&json!("path"), &json!("path")));
}

#[tokio::test]
async fn operations_say_what_they_take_and_answer() {
    let server = Server::new().await;
    let document = document(&server, json!({ "generic_mount_paths": "true" })).await;
    let paths = &document["paths"];
    let schemas = &document["components"]["schemas"];
    let schema =
        |reference: &Value| &schemas[reference["$ref"].as_str().unwrap().rsplit('/').next().unwrap()];

    let enable = &paths["/sys/mounts/{path}"]["post"];
    assert_eq!(enable["operationId"], "sys-write-mounts-path");
    let body = schema(&enable["requestBody"]["content"]["application/json"]["schema"]);
    assert_eq!(body["properties"]["type"]["type"], "string");
    assert!(body["properties"]["type"]["description"].as_str().unwrap().contains("type of the engine"));
    assert_eq!(body["properties"]["config"]["properties"]["max_lease_ttl"]["type"], "string");
    let status = schema(
        &paths["/sys/seal-status"]["get"]["responses"]["200"]["content"]["application/json"]["schema"],
    );
    assert_eq!(status["properties"]["sealed"]["type"], "boolean");

    let list = &paths["/{kv_v1_mount_path}/{path}/"]["get"];
    let names: Vec<_> =
        list["parameters"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, ["list", "after", "limit"]);
    assert_eq!(list["parameters"][0]["required"], true);
    let query = &paths["/{loans_mount_path}/creds/{name}"]["get"]["parameters"];
    assert_eq!((&query[0]["name"], &query[0]["in"]), (&json!("ttl"), &json!("query")));
    assert_eq!(
        schemas.to_string().matches("[\"string\",\"null\"]").count(),
        0,
        "not a schema of OpenAPI 3.0"
    );
}

#[tokio::test]
async fn what_takes_any_bytes_says_so() {
    let server = Server::new().await;
    let document = document(&server, json!({})).await;
    for path in ["/sys/storage/raft/snapshot", "/sys/storage/raft/snapshot-force"] {
        let body = &document["paths"][path]["post"]["requestBody"];
        assert_eq!(body["content"]["application/octet-stream"]["schema"]["format"], "binary", "{path}");
        assert_eq!(body["required"], true);
    }
}

#[tokio::test]
async fn generic_paths_have_a_parameter_for_the_mount() {
    let server = Server::new().await;
    server.write("sys/mounts/words", json!({ "type": "kv-v2" })).await;
    let document = document(&server, json!({ "generic_mount_paths": true })).await;
    let paths = &document["paths"];
    for (path, usual) in [
        ("/{kv_v1_mount_path}/{path}", "kv"),
        ("/{kv_v2_mount_path}/data/{path}", "words"),
        ("/auth/{open_mount_path}/login/{name}", "open"),
    ] {
        let parameters = paths[path]["parameters"].as_array().unwrap();
        assert_eq!(parameters.last().unwrap()["schema"]["default"], usual, "{path}");
    }
    assert!(paths["/sys/mounts"].is_object() && paths["/auth/token/lookup-self"].is_object());
    assert!(paths["/cubbyhole/{path}"].is_object());
}

#[tokio::test]
async fn ids_are_unique_and_references_lead_somewhere() {
    let server = Server::new().await;
    server.write("sys/mounts/words", json!({ "type": "kv-v2" })).await;
    for query in [json!({}), json!({ "generic_mount_paths": true, "context": "my/context" })] {
        let with_context = query.get("context").is_some();
        let document = document(&server, query).await;
        let mut ids = BTreeSet::new();
        for (path, method, operation) in operations(&document) {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} of {method} {path} is taken");
            assert!(!with_context || id.ends_with("-my-context"), "{id}");
            assert!(!operation["summary"].as_str().unwrap().is_empty(), "{method} {path}");
            let text = operation.to_string();
            for reference in text.split("#/components/schemas/").skip(1) {
                let name = reference.split('"').next().unwrap();
                assert!(document["components"]["schemas"][name].is_object(), "{name}");
            }
            for parameter in path.split('{').skip(1).filter_map(|rest| rest.split('}').next()) {
                let declared = document["paths"][path]["parameters"].as_array().unwrap();
                assert!(declared.iter().any(|one| one["name"] == parameter), "{parameter} of {path}");
            }
        }
        assert!(ids.len() > 40);
    }
}

#[tokio::test]
async fn callers_see_what_they_may_use() {
    let server = Server::new().await;
    server.write("sys/mounts/words", json!({ "type": "kv-v2" })).await;
    for query in [json!({}), json!({ "generic_mount_paths": true })] {
        let told = server.ask_as("", Verb::Read, "sys/internal/specs/openapi", query).await;
        assert_eq!((told.status, &told.body["paths"]), (200, &json!({})));
    }
    let token = server.token_with(r#"path "cubbyhole/*" { capabilities = ["read"] }"#).await;
    let told = server.ask_as(&token, Verb::Write, "sys/internal/specs/openapi", json!({})).await;
    assert!(told.body["paths"]["/cubbyhole/{path}"].is_object());
    assert_eq!(told.body["paths"].get("/words/data/{path}"), None);
}
