//! SCIM: clients, users, groups, lists, and what follows for tokens.

use serde_json::{Map, Value, json};
use strongroom_pipeline::{Settings, Verb};
use strongroom_testkit::{Request, Response, Server, Setup};

use crate::rig::{accessor, door, group, login};

pub(crate) const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
pub(crate) const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
pub(crate) const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
const ERROR: &str = "urn:ietf:params:scim:api:messages:2.0:Error";
const BASE: &str = "https://vault.example:8200/v1/identity/scim/v2";
const POLICY: &str =
    r#"path "identity/scim/v2/*" { capabilities = ["create", "read", "update", "patch", "delete"] }"#;

/// A server with the client `okta`, whose users log in at `auth/door/`.
pub(crate) struct Scim {
    pub(crate) server: Server,
    /// A token of the client.
    pub(crate) token: String,
}

impl Scim {
    pub(crate) async fn new() -> Self {
        let settings = Settings { api_addr: "https://vault.example:8200".to_owned(), ..Settings::default() };
        let server = Setup::default().with(door).settings(settings).start().await;
        server.enable("auth/door/", "door").await;
        server.policy("scim", POLICY).await;
        let input = json!({"alias_mount_accessor": accessor(&server, "auth/door/").await});
        let token = client(&server, "okta", input).await;
        Self { server, token }
    }

    pub(crate) async fn ask(&self, asked: Verb, path: &str, input: Value) -> Response {
        let path = format!("identity/scim/v2/{path}");
        self.server.ask(Request::new(&self.token, asked, path, input)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let told = self.ask(Verb::Read, path, json!({})).await;
        assert_eq!(
            (told.status, told.content_type.as_str()),
            (200, "application/scim+json"),
            "{}",
            told.body
        );
        told.body
    }

    pub(crate) async fn find(&self, path: &str, query: Value) -> Value {
        let told = self.ask(Verb::Read, path, query).await;
        assert_eq!(told.status, 200, "{}", told.body);
        told.body
    }

    pub(crate) async fn make(&self, path: &str, input: Value) -> Value {
        let told = self.ask(Verb::Write, path, input).await;
        assert_eq!(
            (told.status, told.content_type.as_str()),
            (201, "application/scim+json"),
            "{}",
            told.body
        );
        assert_eq!(told.header("Location"), told.body["meta"]["location"].as_str());
        told.body
    }

    pub(crate) async fn user(&self, name: &str) -> String {
        let made = self.make("Users", json!({"schemas": [USER], "userName": name})).await;
        made["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn group(&self, name: &str, users: &[&String]) -> String {
        let members: Vec<Value> = users.iter().map(|id| json!({ "value": id })).collect();
        let made = self.make("Groups", json!({"displayName": name, "members": members})).await;
        made["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn patch(&self, path: &str, operations: Value) -> Response {
        let schemas = ["urn:ietf:params:scim:api:messages:2.0:PatchOp"];
        self.ask(Verb::Patch, path, json!({ "schemas": schemas, "Operations": operations })).await
    }

    /// The ids of members of a group, as operators see them.
    pub(crate) async fn members(&self, id: &str) -> Vec<String> {
        let told = self.server.read(&format!("identity/group/id/{id}")).await;
        let ids = told.data()["member_entity_ids"].as_array().cloned().unwrap_or_default();
        ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
    }
}

/// A client, and a token of it.
pub(crate) async fn client(server: &Server, name: &str, input: Value) -> String {
    let made = login(server, json!({"name": format!("{name}-operator"), "policies": ["scim"]})).await;
    let mut input: Map<String, Value> = input.as_object().unwrap().clone();
    input.insert("access_grant_principal".to_owned(), made.auth()["entity_id"].clone());
    let told = server.write(&format!("identity/scim/client/{name}"), Value::Object(input)).await;
    assert_eq!(told.status, 204, "{}", told.body);
    made.token()
}

/// The status and the keyword of a refusal, which has the protocol's form.
pub(crate) fn refusal(told: &Response) -> (u16, &str) {
    assert_eq!(told.content_type, "application/scim+json", "{}", told.body);
    assert_eq!(told.body["schemas"], json!([ERROR]));
    assert_eq!(told.body["status"], told.status.to_string());
    assert!(!told.body["detail"].as_str().unwrap().is_empty());
    (told.status, told.body.get("scimType").map_or("", |kind| kind.as_str().unwrap()))
}

#[tokio::test]
async fn a_client_is_created_read_listed_and_deleted() {
    let scim = Scim::new().await;
    let server = &scim.server;
    let read = server.read("identity/scim/client/OKTA").await;
    let told = read.data();
    assert_eq!((&told["client_name"], &told["deleting"]), (&json!("okta"), &json!(false)));
    assert_eq!(told["alias_mount_accessor"], accessor(server, "auth/door/").await);
    assert_eq!(told["client_id"].as_str().unwrap().len(), 36);
    for path in ["identity/scim/client", "identity/scim/clients"] {
        assert_eq!(server.list(path).await.data()["keys"], json!(["okta"]), "{path}");
    }
    let principal = told["access_grant_principal"].clone();
    let unknown = "00000000-0000-4000-8000-000000000000";
    let other = server.write("identity/entity", json!({"name": "other"})).await.data()["id"].clone();
    let user = scim.user("ann").await;
    for (name, input, text) in [
        ("b", json!({}), "missing access_grant_principal"),
        ("b", json!({"access_grant_principal": "x"}), "invalid access_grant_principal"),
        (
            "b",
            json!({"access_grant_principal": unknown}),
            "access_grant_principal is not an entity of the namespace",
        ),
        (
            "b",
            json!({"access_grant_principal": principal}),
            "access_grant_principal is that of another SCIM client",
        ),
        ("b", json!({"access_grant_principal": user}), "the entity is managed by the SCIM client \"okta\""),
        (
            "b",
            json!({"access_grant_principal": other, "alias_mount_accessor": "x"}),
            "invalid mount accessor \"x\"",
        ),
        ("okta", json!({"alias_mount_accessor": "x"}), "alias_mount_accessor cannot be changed"),
    ] {
        let told = server.write(&format!("identity/scim/client/{name}"), input.clone()).await;
        assert_eq!(told.refusal(), (400, text), "{input}");
    }
    // Another entity takes the requests over.
    let changed = server.write("identity/scim/client/okta", json!({"access_grant_principal": other})).await;
    assert_eq!(changed.status, 204, "{}", changed.body);
    assert_eq!(refusal(&scim.ask(Verb::Read, "Users", json!({})).await).0, 403);
    server.write("identity/scim/client/okta", json!({"access_grant_principal": principal})).await;
    assert_eq!(scim.get("Users").await["totalResults"], 1);
    assert_eq!(server.delete("identity/scim/client/none").await.status, 204);
}

#[tokio::test]
async fn a_deleted_client_takes_its_users_and_groups_with_it() {
    let scim = Scim::new().await;
    let server = &scim.server;
    let mut users = Vec::new();
    for n in 0..70 {
        users.push(scim.user(&format!("user-{n}")).await);
    }
    let staff = scim.group("staff", &[&users[0], &users[1]]).await;
    let token = login(server, json!({"name": "user-0"})).await.token();
    let bystander = login(server, json!({"name": "bystander"})).await.token();
    assert_eq!(server.delete("identity/scim/client/okta").await.status, 204);
    assert_eq!(server.read("identity/scim/client/okta").await.data()["deleting"], true);
    assert_eq!(refusal(&scim.ask(Verb::Read, "Users", json!({})).await).0, 403, "refused at once");
    let again = server.write("identity/scim/client/okta", json!({})).await;
    assert_eq!(again.refusal(), (400, "the SCIM client is being deleted"));
    server.settle().await;
    assert_eq!(server.read("identity/scim/client/okta").await.status, 404);
    for id in &users {
        assert_eq!(server.read(&format!("identity/entity/id/{id}")).await.status, 404);
    }
    assert_eq!(server.read(&format!("identity/group/id/{staff}")).await.status, 404);
    assert_eq!(server.get(&token, "auth/token/lookup-self").await.status, 403, "its tokens have ended");
    assert_eq!(server.get(&bystander, "auth/token/lookup-self").await.status, 200);
    let left = server.list("identity/entity/name").await.data()["keys"].as_array().unwrap().len();
    assert_eq!(left, 2, "the operator and the bystander");
}

#[tokio::test]
async fn a_user_is_created_read_replaced_and_deleted() {
    let scim = Scim::new().await;
    let input = json!({
        "schemas": [USER, ENTERPRISE], "userName": "Ann@Example.com", "externalId": "x1", "displayName": "Ann Lee",
        "name": {"givenName": "Ann", "familyName": "Lee"}, "emails": [{"value": "a@b", "type": "work", "primary": true}],
        "password": "secret", "policies": ["root"], ENTERPRISE: {"department": "Sales"},
    });
    let made = scim.make("Users", input).await;
    let id = made["id"].as_str().unwrap().to_owned();
    let expected = json!({
        "schemas": [USER, ENTERPRISE], "id": id, "externalId": "x1", "userName": "Ann@Example.com", "active": true,
        "displayName": "Ann Lee", "name": {"givenName": "Ann", "familyName": "Lee"},
        "emails": [{"value": "a@b", "type": "work", "primary": true}], ENTERPRISE: {"department": "Sales"},
        "meta": {
            "resourceType": "User", "created": "2023-11-14T22:13:20Z", "lastModified": "2023-11-14T22:13:20Z",
            "location": format!("{BASE}/Users/{id}"),
        },
    });
    assert_eq!(made, expected);
    assert_eq!(scim.get(&format!("Users/{id}")).await, expected);
    let entity = scim.server.read(&format!("identity/entity/id/{id}")).await;
    let told = entity.data();
    assert_eq!((&told["name"], &told["policies"]), (&json!("Ann@Example.com"), &json!([])));
    assert_eq!((&told["scim_client"], &told["metadata"]), (&json!("okta"), &Value::Null));
    assert_eq!(told["aliases"][0]["name"], "Ann@Example.com", "she logs in by this name");
    let who = login(&scim.server, json!({"name": "ann@example.com"})).await;
    assert_eq!(who.auth()["entity_id"], id.as_str());
    let replaced =
        scim.ask(Verb::Write, &format!("Users/{id}"), json!({"userName": "anna", "title": "Dr"})).await;
    assert_eq!(replaced.status, 200, "{}", replaced.body);
    assert_eq!((&replaced.body["userName"], &replaced.body["title"]), (&json!("anna"), &json!("Dr")));
    for gone in ["externalId", "displayName", "emails", ENTERPRISE] {
        assert_eq!(replaced.body.get(gone), None, "{gone}");
    }
    assert_eq!(login(&scim.server, json!({"name": "anna"})).await.auth()["entity_id"], id.as_str());
    assert_ne!(
        login(&scim.server, json!({"name": "ann@example.com"})).await.auth()["entity_id"],
        id.as_str()
    );
    let told = scim.ask(Verb::Delete, &format!("Users/{id}"), json!({})).await;
    assert_eq!((told.status, told.bytes.len()), (204, 0));
    assert_eq!(refusal(&scim.ask(Verb::Read, &format!("Users/{id}"), json!({})).await), (404, ""));
    assert_eq!(refusal(&scim.ask(Verb::Delete, &format!("Users/{id}"), json!({})).await), (404, ""));
    assert_eq!(scim.server.get(&who.token(), "auth/token/lookup-self").await.status, 403);
    assert_eq!(scim.get("Users").await["totalResults"], 0);
}

#[tokio::test]
async fn a_user_who_is_not_active_is_refused() {
    let scim = Scim::new().await;
    let id = scim.user("ann").await;
    let path = format!("Users/{id}");
    let token = login(&scim.server, json!({"name": "ann"})).await.token();
    let works = async || scim.server.get(&token, "auth/token/lookup-self").await.status;
    for (value, status) in [(json!("False"), 403), (json!(true), 200), (json!(false), 403)] {
        let told = scim.patch(&path, json!([{"op": "Replace", "path": "active", "value": value}])).await;
        assert_eq!((told.status, &told.body["active"]), (200, &json!(status == 200)));
        assert_eq!(works().await, status, "{value}");
    }
    assert_eq!(login(&scim.server, json!({"name": "ann"})).await.status, 403);
    // Nobody is let in by what is left out.
    let told = scim.ask(Verb::Write, &path, json!({"userName": "ann"})).await;
    assert_eq!(told.body["active"], false);
    let told = scim.patch(&path, json!([{"op": "remove", "path": "active"}])).await;
    assert_eq!(refusal(&told), (400, "invalidValue"));
    assert_eq!(works().await, 403);
    let told = scim.make("Users", json!({"userName": "bob", "active": "false"})).await;
    assert_eq!(told["active"], false);
    assert_eq!(login(&scim.server, json!({"name": "bob"})).await.status, 403);
}

#[tokio::test]
async fn a_group_has_policies_by_operators_and_members_by_its_client() {
    let scim = Scim::new().await;
    scim.server.policy("mounts", r#"path "sys/mounts" { capabilities = ["read"] }"#).await;
    let (ann, bob) = (scim.user("ann").await, scim.user("bob").await);
    let staff = scim.group("staff", &[&ann]).await;
    let path = format!("Groups/{staff}");
    let token = login(&scim.server, json!({"name": "bob"})).await.token();
    let works = async || scim.server.get(&token, "sys/mounts").await.status;
    let given =
        scim.server.write(&format!("identity/group/id/{staff}"), json!({"policies": ["mounts"]})).await;
    assert_eq!(given.status, 200, "{}", given.body);
    assert_eq!(works().await, 403);
    let added = scim.patch(&path, json!([{"op": "Add", "path": "members", "value": [{"value": bob}]}])).await;
    assert_eq!((added.status, added.bytes.len()), (204, 0));
    assert_eq!(works().await, 200);
    let read = scim.get(&path).await;
    let member = |id: &str| json!({"value": id, "$ref": format!("{BASE}/Users/{id}"), "type": "User"});
    let mut ids = [ann.as_str(), bob.as_str()];
    ids.sort_unstable();
    assert_eq!(read["members"], json!(ids.map(member)));
    assert_eq!((&read["schemas"], &read["displayName"]), (&json!([GROUP]), &json!("staff")));
    assert_eq!(read.get("policies"), None);
    let user = scim.get(&format!("Users/{bob}")).await;
    let expected = json!([{
        "value": staff, "$ref": format!("{BASE}/Groups/{staff}"), "display": "staff", "type": "direct",
    }]);
    assert_eq!(user["groups"], expected);
    let removal = json!([{"op": "remove", "path": format!("members[value eq \"{bob}\"]")}]);
    assert_eq!(scim.patch(&path, removal.clone()).await.status, 204);
    assert_eq!(scim.patch(&path, removal).await.status, 204, "again is no error");
    assert_eq!(works().await, 403);
    let renamed = scim.ask(
        Verb::Write,
        &path,
        json!({"displayName": "crew", "externalId": "e", "members": [{"value": bob}]}),
    );
    assert_eq!(renamed.await.status, 200);
    assert_eq!(scim.members(&staff).await, [bob.as_str()]);
    assert_eq!(works().await, 200, "its policies have stayed");
    assert_eq!(scim.ask(Verb::Write, &path, json!({"displayName": "crew"})).await.status, 200);
    assert!(scim.members(&staff).await.is_empty(), "a replacement without members has none");
    assert_eq!(scim.ask(Verb::Delete, &path, json!({})).await.status, 204);
    assert_eq!(refusal(&scim.ask(Verb::Read, &path, json!({})).await), (404, ""));
    assert_eq!(scim.get("Users").await["totalResults"], 2, "its members stay");
}

#[tokio::test]
async fn members_change_in_every_form_of_the_protocol() {
    let scim = Scim::new().await;
    let (ann, bob, eve) = (scim.user("ann").await, scim.user("bob").await, scim.user("eve").await);
    let staff = scim.group("staff", &[]).await;
    let path = format!("Groups/{staff}");
    let sorted = |ids: &[&String]| {
        let mut ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        ids.sort_unstable();
        ids
    };
    for (operations, members) in [
        (
            json!([{"op": "add", "value": {"members": [{"value": ann}, {"value": bob}]}}]),
            sorted(&[&ann, &bob]),
        ),
        (json!([{"op": "add", "path": "members", "value": {"value": eve}}]), sorted(&[&ann, &bob, &eve])),
        (json!([{"op": "Remove", "path": "members", "value": [{"value": ann}]}]), sorted(&[&bob, &eve])),
        (
            json!([{"op": "remove", "path": format!("members[value eq \"{bob}\" or value eq \"{eve}\"]")}]),
            sorted(&[]),
        ),
        (
            json!([{"op": "replace", "path": "members", "value": [{"value": ann}, {"value": ann}]}]),
            sorted(&[&ann]),
        ),
        (
            json!([{"op": "replace", "value": {"displayName": "crew", "members": [{"value": bob}]}}]),
            sorted(&[&bob]),
        ),
        (
            json!([
                {"op": "remove", "path": format!("members[value eq \"{bob}\"]")},
                {"op": "add", "path": "members", "value": [{"value": eve, "type": "User", "display": "Eve"}]},
                {"op": "replace", "path": "externalId", "value": "x"},
            ]),
            sorted(&[&eve]),
        ),
        (json!([{"op": "remove", "path": "members"}]), sorted(&[])),
    ] {
        let told = scim.patch(&path, operations.clone()).await;
        assert_eq!(told.status, 204, "{operations}: {}", told.body);
        assert_eq!(scim.members(&staff).await, members, "{operations}");
    }
    let read = scim.get(&path).await;
    assert_eq!((&read["displayName"], &read["externalId"]), (&json!("crew"), &json!("x")));
    let unknown = "00000000-0000-4000-8000-000000000000";
    for (operations, refused) in [
        (json!([{"op": "add", "path": "members", "value": [{"value": unknown}]}]), "invalidValue"),
        (json!([{"op": "add", "path": "members", "value": [{"value": "x"}]}]), "invalidValue"),
        (json!([{"op": "add", "path": "members", "value": [{}]}]), "invalidValue"),
        (
            json!([{"op": "add", "path": "members", "value": [{"value": staff, "type": "Group"}]}]),
            "invalidValue",
        ),
        (json!([{"op": "replace", "path": "members.value", "value": ann}]), "mutability"),
        (
            json!([{"op": "replace", "path": format!("members[value eq \"{ann}\"]"), "value": {}}]),
            "mutability",
        ),
        (json!([{"op": "remove", "path": "members[value sw \"0\"]"}]), "invalidFilter"),
        (json!([{"op": "remove", "path": "members[display eq \"0\"]"}]), "invalidFilter"),
        (json!([{"op": "remove", "path": "displayName"}]), "invalidValue"),
    ] {
        let both = json!([{"op": "add", "path": "members", "value": [{"value": ann}]}, operations[0]]);
        assert_eq!(refusal(&scim.patch(&path, both).await), (400, refused), "{operations}");
        assert!(scim.members(&staff).await.is_empty(), "all operations or none: {operations}");
    }
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let scim = Scim::new().await;
    let mut ids = Vec::new();
    for (n, name) in ["ann", "bob", "cyd", "dan", "eve"].into_iter().enumerate() {
        let input =
            json!({"userName": name, "externalId": format!("x{}", n / 2), "title": "T", "active": n != 4});
        ids.push(scim.make("Users", input).await["id"].as_str().unwrap().to_owned());
        scim.server.clock.advance(std::time::Duration::from_secs(60));
    }
    let staff = scim.group("Staff", &[&ids[0], &ids[1]]).await;
    let crew = scim.group("crew", &[&ids[1]]).await;
    let names = async |path: &str, query: Value| {
        let found = scim.find(path, query).await;
        let name = |resource: &Value| {
            let name = resource.get("userName").or_else(|| resource.get("displayName"));
            name.unwrap().as_str().unwrap().to_owned()
        };
        let mut names: Vec<String> = found["Resources"].as_array().unwrap().iter().map(name).collect();
        names.sort_unstable();
        names
    };
    for (filter, expected) in [
        (r#"userName eq "ANN""#.to_owned(), vec!["ann"]),
        (r#"userName eq "nobody""#.to_owned(), vec![]),
        (r#"userName eq "okta-operator""#.to_owned(), vec![]),
        (r#"externalId eq "x0""#.to_owned(), vec!["ann", "bob"]),
        (r#"externalId eq "x0" and userName ne "ann""#.to_owned(), vec!["bob"]),
        (r#"externalId eq "X0""#.to_owned(), vec![]),
        (format!(r#"id eq "{}""#, ids[2]), vec!["cyd"]),
        ("active eq false".to_owned(), vec!["eve"]),
        (r#"active eq "True" and userName gt "c""#.to_owned(), vec!["cyd", "dan"]),
        (r#"meta.lastModified gt "2023-11-14T22:15:20Z""#.to_owned(), vec!["dan", "eve"]),
        (r#"userName sw "a" or (userName ew "e" and not (title pr))"#.to_owned(), vec!["ann"]),
        (format!(r#"groups.value eq "{crew}""#), vec!["bob"]),
        (r#"groups.display eq "staff""#.to_owned(), vec!["ann", "bob"]),
    ] {
        assert_eq!(names("Users", json!({ "filter": filter })).await, expected, "{filter}");
        let searched = scim.ask(Verb::Write, "Users/.search", json!({ "filter": filter })).await;
        assert_eq!(searched.body["totalResults"], expected.len(), "{filter}");
    }
    for (filter, expected) in [
        (r#"displayName eq "staff""#.to_owned(), vec!["Staff"]),
        (format!(r#"members eq "{}""#, ids[1]), vec!["Staff", "crew"]),
        (format!(r#"members[value eq "{}"]"#, ids[0]), vec!["Staff"]),
        (format!(r#"id eq "{staff}" and members eq "{}""#, ids[4]), vec![]),
        (format!(r#"displayName pr and members.value ne "{}""#, ids[0]), vec!["crew"]),
    ] {
        assert_eq!(names("Groups", json!({ "filter": filter })).await, expected, "{filter}");
    }
    for (path, filter) in [
        ("Users", "userName is \"x\""),
        ("Users", "displayname"),
        ("Groups", "members pr"),
        ("Groups", "userName pr"),
    ] {
        let told = scim.ask(Verb::Read, path, json!({ "filter": filter })).await;
        assert_eq!(refusal(&told), (400, "invalidFilter"), "{filter}");
    }
    let all = scim.find("Users", json!({})).await;
    let order: Vec<Value> =
        all["Resources"].as_array().unwrap().iter().map(|user| user["id"].clone()).collect();
    assert_eq!((&all["totalResults"], &all["itemsPerPage"]), (&json!(5), &json!(5)));
    for (query, start, expected) in [
        (json!({"startIndex": 2, "count": 2}), 2, &order[1..3]),
        (json!({"startIndex": "4", "count": "10"}), 4, &order[3..]),
        (json!({"startIndex": 0, "count": 1}), 1, &order[..1]),
        (json!({"startIndex": -3, "count": -1}), 1, &order[..0]),
        (json!({"startIndex": 9}), 9, &order[..0]),
        (json!({"count": 0}), 1, &order[..0]),
    ] {
        let page = scim.find("Users", query.clone()).await;
        let ids: Vec<Value> =
            page["Resources"].as_array().unwrap().iter().map(|user| user["id"].clone()).collect();
        assert_eq!((ids.as_slice(), &page["startIndex"]), (expected, &json!(start)), "{query}");
        assert_eq!(page["totalResults"], 5);
    }
    let both = scim
        .ask(Verb::Write, ".search", json!({"filter": "externalId pr", "attributes": ["userName"]}))
        .await;
    assert_eq!(both.body["totalResults"], 5, "{}", both.body);
    let keys: Vec<&String> = both.body["Resources"][0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["id", "schemas", "userName"]);
    assert_eq!(scim.ask(Verb::Write, ".search", json!({})).await.body["totalResults"], 7);
    let brief = scim.find(&format!("Groups/{staff}"), json!({"excludedAttributes": "members"})).await;
    assert_eq!(brief.get("members"), None);
    let told = scim.ask(Verb::Read, "Users", json!({"attributes": "id", "excludedAttributes": "name"})).await;
    assert_eq!(refusal(&told), (400, "invalidValue"));
}

#[tokio::test]
async fn the_server_says_what_it_serves() {
    let scim = Scim::new().await;
    let config = scim.get("ServiceProviderConfig").await;
    let told = ["patch", "bulk", "filter", "sort", "etag", "changePassword"]
        .map(|name| config[name]["supported"].clone());
    assert_eq!(json!(told), json!([true, false, true, false, false, false]));
    for (path, count) in [("ResourceTypes", 2), ("Schemas", 6)] {
        let listed = scim.get(path).await;
        assert_eq!(listed["totalResults"], count);
        for resource in listed["Resources"].as_array().unwrap() {
            assert_eq!(&scim.get(&format!("{path}/{}", resource["id"].as_str().unwrap())).await, resource);
        }
    }
    for (path, status) in
        [("Schemas/none", 404), ("ResourceTypes/none", 404), ("nothing/there", 404), ("Me", 501)]
    {
        assert_eq!(refusal(&scim.ask(Verb::Read, path, json!({})).await).0, status, "{path}");
    }
    for path in ["Schemas", "ResourceTypes", "ServiceProviderConfig"] {
        for asked in [Verb::Write, Verb::Patch, Verb::Delete] {
            assert_eq!(scim.ask(asked, path, json!({})).await.status, 405, "{path}");
        }
    }
}

#[tokio::test]
async fn a_group_in_a_group_is_an_operators_affair() {
    let scim = Scim::new().await;
    scim.server.policy("mounts", r#"path "sys/mounts" { capabilities = ["read"] }"#).await;
    let ann = scim.user("ann").await;
    let staff = scim.group("staff", &[&ann]).await;
    let token = login(&scim.server, json!({"name": "ann"})).await.token();
    let outer =
        group(&scim.server, json!({"name": "outer", "policies": ["mounts"], "member_group_ids": [staff]}))
            .await;
    assert_eq!(scim.server.get(&token, "sys/mounts").await.status, 200);
    assert_eq!(scim.get(&format!("Users/{ann}")).await["groups"].as_array().unwrap().len(), 1);
    assert_eq!(refusal(&scim.ask(Verb::Read, &format!("Groups/{outer}"), json!({})).await), (404, ""));
}
