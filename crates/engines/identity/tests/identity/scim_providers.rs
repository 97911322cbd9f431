//! The requests of identity providers as their makers document them: Microsoft Entra ID ("Develop a SCIM endpoint") and Okta ("SCIM 2.0
//! protocol reference").

use serde_json::json;
use strongroom_pipeline::Verb;

use crate::rig::login;
use crate::scim::{ENTERPRISE, GROUP, Scim, USER, refusal};

#[tokio::test]
async fn entra_id_provisions_a_user_and_a_group() {
    let scim = Scim::new().await;
    // It looks for a user by the attribute that matches, and gets an empty list.
    let query = json!({"filter": "userName eq \"Test_User_ab6490ee\""});
    let found = scim.find("Users", query.clone()).await;
    assert_eq!((&found["totalResults"], &found["Resources"]), (&json!(0), &json!([])));
    let made = scim
        .make("Users", json!({
            "schemas": [USER, ENTERPRISE],
            "externalId": "0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef", "userName": "Test_User_ab6490ee", "active": true,
            "addresses": null, "displayName": "lennay",
            "emails": [{"primary": true, "type": "work", "value": "Test_User@testuser.com"}],
            "meta": {"resourceType": "User"},
            "name": {"formatted": "givenName familyName", "familyName": "familyName", "givenName": "givenName"},
            "roles": [],
        }))
        .await;
    let id = made["id"].as_str().unwrap();
    let path = format!("Users/{id}");
    assert_eq!(scim.find("Users", query).await["Resources"][0]["id"], id);
    let patched = scim
        .patch(&path, json!([
            {"op": "Replace", "path": "emails[type eq \"work\"].value", "value": "updatedEmail@microsoft.com"},
            {"op": "Replace", "path": "name.familyName", "value": "updatedFamilyName"},
            {"op": "Add", "path": format!("{ENTERPRISE}:manager"), "value": "d1c1a1"},
            {"op": "Add", "path": "phoneNumbers[type eq \"mobile\"].value", "value": "555"},
            {"op": "Replace", "path": "userName", "value": "5b50642d-79fc-4410-9e90-4c077cdd1a59@testuser.com"},
        ]))
        .await;
    assert_eq!(patched.status, 200, "{}", patched.body);
    assert_eq!(patched.body["emails"][0]["value"], "updatedEmail@microsoft.com");
    assert_eq!(patched.body["name"]["familyName"], "updatedFamilyName");
    assert_eq!(patched.body[ENTERPRISE]["manager"], json!({"value": "d1c1a1"}));
    assert_eq!(patched.body["phoneNumbers"], json!([{"type": "mobile", "value": "555"}]));
    let who = login(&scim.server, json!({"name": "5b50642d-79fc-4410-9e90-4c077cdd1a59@testuser.com"})).await;
    assert_eq!(who.auth()["entity_id"], id);
    let disabled = scim.patch(&path, json!([{"op": "Replace", "path": "active", "value": "False"}])).await;
    assert_eq!(disabled.body["active"], false);
    assert_eq!(scim.server.get(&who.token(), "auth/token/lookup-self").await.status, 403);

    let query = json!({"excludedAttributes": "members", "filter": "displayName eq \"displayName\""});
    assert_eq!(scim.find("Groups", query.clone()).await["totalResults"], 0);
    let made = scim
        .make("Groups", json!({
            "schemas": [GROUP, "http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group"],
            "externalId": "8aa1a0c0-c4c3-4bc0-b4a5-2ef676900159", "displayName": "displayName",
            "meta": {"resourceType": "Group"},
        }))
        .await;
    let group = format!("Groups/{}", made["id"].as_str().unwrap());
    let changes = [
        json!([{"op": "Replace", "path": "displayName", "value": "1879db59-3bdf-4490-ad68-ab880a269474updatedDisplayName"}]),
        json!([{"op": "Add", "path": "members", "value": [{"$ref": null, "value": id}]}]),
    ];
    for change in changes {
        assert_eq!(scim.patch(&group, change).await.status, 204);
    }
    let member =
        json!({"filter": format!("id eq \"{}\" and members eq \"{id}\"", made["id"].as_str().unwrap())});
    assert_eq!(scim.find("Groups", member.clone()).await["totalResults"], 1);
    let removal = json!([{"op": "Remove", "path": "members", "value": [{"$ref": null, "value": id}]}]);
    assert_eq!(scim.patch(&group, removal).await.status, 204);
    assert_eq!(scim.find("Groups", member).await["totalResults"], 0);
    let told = scim.find(&group, json!({"excludedAttributes": "members"})).await;
    assert_eq!(told["displayName"], "1879db59-3bdf-4490-ad68-ab880a269474updatedDisplayName");
    assert_eq!(scim.ask(Verb::Delete, &group, json!({})).await.status, 204);
    assert_eq!(scim.ask(Verb::Delete, &path, json!({})).await.status, 204);
}

#[tokio::test]
async fn okta_provisions_a_user_and_a_group() {
    let scim = Scim::new().await;
    let query = json!({"filter": "userName eq \"test.user@okta.local\"", "startIndex": "1", "count": "100"});
    assert_eq!(scim.find("Users", query).await["totalResults"], 0);
    let user = json!({
        "schemas": [USER], "userName": "test.user@okta.local",
        "name": {"givenName": "Test", "familyName": "User"},
        "emails": [{"primary": true, "value": "test.user@okta.local", "type": "work"}],
        "displayName": "Test User", "locale": "en-US", "externalId": "00ujl29u0le5T6Aj10h7", "groups": [],
        "password": "1mz050nq", "active": true,
    });
    let made = scim.make("Users", user.clone()).await;
    assert_eq!(made.get("password"), None);
    let id = made["id"].as_str().unwrap();
    let path = format!("Users/{id}");
    assert_eq!(refusal(&scim.ask(Verb::Write, "Users", user.clone()).await), (409, "uniqueness"));
    // A profile is pushed as a whole; a user is deactivated without a path.
    let mut whole = scim.get(&path).await;
    whole["name"]["familyName"] = json!("Changed");
    let replaced = scim.ask(Verb::Write, &path, whole).await;
    assert_eq!((replaced.status, &replaced.body["name"]["familyName"]), (200, &json!("Changed")));
    let off = scim.patch(&path, json!([{"op": "replace", "value": {"active": false}}])).await;
    assert_eq!((off.status, &off.body["active"]), (200, &json!(false)));
    assert_eq!(login(&scim.server, json!({"name": "test.user@okta.local"})).await.status, 403);
    scim.patch(&path, json!([{"op": "replace", "value": {"active": true}}])).await;

    let made =
        scim.make("Groups", json!({"schemas": [GROUP], "displayName": "Test SCIMv2", "members": []})).await;
    let group = made["id"].as_str().unwrap();
    let renaming = json!([{"op": "replace", "value": {"id": group, "displayName": "Test SCIMv2 renamed"}}]);
    let at = format!("Groups/{group}");
    assert_eq!(scim.patch(&at, renaming).await.status, 204);
    let changing = json!([
        {"op": "remove", "path": format!("members[value eq \"{id}\"]")},
        {"op": "add", "path": "members", "value": [{"value": id, "display": "test.user@okta.local"}]},
    ]);
    assert_eq!(scim.patch(&at, changing).await.status, 204);
    assert_eq!(scim.members(group).await, [id]);
    let replacing = json!([{"op": "replace", "path": "members", "value": [{"value": id, "display": "x"}]}]);
    assert_eq!(scim.patch(&at, replacing).await.status, 204);
    let read = scim.get(&at).await;
    assert_eq!(
        (&read["displayName"], &read["members"][0]["value"]),
        (&json!("Test SCIMv2 renamed"), &json!(id))
    );
    assert_eq!(scim.ask(Verb::Delete, &at, json!({})).await.status, 204);
}
