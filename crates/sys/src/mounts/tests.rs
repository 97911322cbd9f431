use serde_json::{Value, json};
use strongroom_pipeline::Verb;

use crate::testing::Server;

async fn enable(server: &Server, path: &str, input: Value) {
    let told = server.write(path, input).await;
    assert_eq!(told.status, 204, "{path}: {}", told.body);
}

#[tokio::test]
async fn a_new_cluster_has_its_first_mounts() {
    let server = Server::new().await;
    let mounts = server.read("sys/mounts").await;
    let names: Vec<_> = mounts.data().as_object().unwrap().keys().cloned().collect();
    assert_eq!(names, ["cubbyhole/", "sys/"]);
    assert_eq!(mounts.body["sys/"], mounts.data()["sys/"], "also at the top");
    assert_eq!(mounts.data()["sys/"]["type"], "system");
    assert_eq!(mounts.data()["sys/"]["options"], Value::Null);
    assert_eq!(mounts.data()["sys/"].get("deprecation_status"), None);
    assert_eq!(mounts.data()["cubbyhole/"]["local"], true);
    let methods = server.read("sys/auth").await;
    assert_eq!(methods.data()["token/"]["config"]["token_type"], "default-service");
    assert_eq!(methods.data().as_object().unwrap().len(), 1);
}

#[tokio::test]
async fn a_mount_is_enabled_read_and_disabled() {
    let server = Server::new().await;
    let input = json!({
        "type": "kv",
        "description": "words",
        "options": { "version": 2 },
        "local": "true",
        "seal_wrap": true,
        "external_entropy_access": true,
        "config": {
            "default_lease_ttl": "1h",
            "max_lease_ttl": 7200,
            "force_no_cache": true,
            "audit_non_hmac_request_keys": ["a", "b"],
            "audit_non_hmac_response_keys": "c",
            "listing_visibility": "unauth",
            "passthrough_request_headers": ["X-A"],
            "allowed_response_headers": ["X-B"],
            "allowed_managed_keys": null,
        },
    });
    enable(&server, "sys/mounts/team/words", input).await;
    let told = server.read("sys/mounts/team/words/").await;
    let mount = told.data();
    assert!(mount["accessor"].as_str().unwrap().starts_with("kv_"));
    assert_eq!(mount["uuid"].as_str().unwrap().len(), 36);
    assert_eq!(mount["running_plugin_version"], "v2.0.0+builtin.strongroom");
    let expected = json!({
        "accessor": mount["accessor"], "uuid": mount["uuid"],
        "running_plugin_version": mount["running_plugin_version"],
        "plugin_version": "", "running_sha256": "",
        "deprecation_status": "supported", "description": "words", "type": "kv",
        "options": { "version": "2" },
        "local": true, "seal_wrap": true, "external_entropy_access": true,
        "config": {
            "default_lease_ttl": 3600, "max_lease_ttl": 7200, "force_no_cache": true,
            "audit_non_hmac_request_keys": ["a", "b"], "audit_non_hmac_response_keys": ["c"],
            "listing_visibility": "unauth",
            "passthrough_request_headers": ["X-A"], "allowed_response_headers": ["X-B"],
        },
    });
    assert_eq!(mount, &expected);
    assert_eq!(told.body["type"], "kv", "also at the top");
    assert_eq!(server.read("team/words/data/x").await.status, 200);

    assert_eq!(server.delete("sys/mounts/team/words").await.status, 204);
    assert_eq!(
        server.read("sys/mounts/team/words").await.error(),
        (400, "No secret engine mount at team/words/")
    );
    assert_eq!(server.read("team/words/data/x").await.status, 404);
    assert_eq!(server.delete("sys/mounts/team/words").await.status, 204, "a second time, too");
}

#[tokio::test]
async fn kv_has_several_names() {
    let server = Server::new().await;
    for (path, input, options) in [
        ("a", json!({ "type": "kv" }), json!({})),
        ("b", json!({ "type": "kv-v1" }), json!({ "version": "1" })),
        ("c", json!({ "type": "kv-v2" }), json!({ "version": "2" })),
        ("d", json!({ "type": "generic" }), json!({ "version": "1" })),
        ("e", json!({ "type": "plugin", "plugin_name": "kv" }), json!({})),
    ] {
        enable(&server, &format!("sys/mounts/{path}"), input).await;
        let told = server.read(&format!("sys/mounts/{path}")).await;
        assert_eq!((&told.data()["type"], &told.data()["options"]), (&json!("kv"), &options), "{path}");
    }
}

#[tokio::test]
async fn what_cannot_be_enabled_is_named() {
    let server = Server::new().await;
    enable(&server, "sys/mounts/kv", json!({ "type": "kv" })).await;
    enable(&server, "sys/mounts/a/b", json!({ "type": "kv" })).await;
    let kv = json!({ "type": "kv" });
    let with = |config: Value| json!({ "type": "kv", "config": config });
    for (path, input, text) in [
        ("x", json!({}), "backend type must be specified as a string"),
        ("x", json!({ "type": "" }), "backend type must be specified as a string"),
        ("x", json!({ "type": "plugin" }), "plugin_name must be provided for plugin backend"),
        ("x", json!({ "type": "nope" }), "plugin not found in the catalog: nope"),
        ("x", json!({ "type": "open" }), "plugin not found in the catalog: open"),
        ("x", json!({ "type": "system" }), "mount type of \"system\" is not mountable"),
        ("x", json!({ "type": "cubbyhole" }), "mount type of \"cubbyhole\" is not mountable"),
        (
            "x",
            json!({ "type": "kv", "plugin_version": "v1.0.0" }),
            "plugin not found in the catalog: kv, version=v1.0.0",
        ),
        ("x", json!({ "type": "kv", "options": { "version": "3" } }), "unsupported KV version \"3\""),
        ("kv", kv.clone(), "path is already in use at kv/"),
        ("kv/sub", kv.clone(), "path is already in use at kv/"),
        ("a", kv.clone(), "path is already in use at a/b/"),
        ("sys", kv.clone(), "cannot mount \"sys/\""),
        ("sys/x", kv.clone(), "cannot mount \"sys/x/\""),
        ("auth/x", kv.clone(), "cannot mount \"auth/x/\""),
        ("cubbyhole", kv.clone(), "cannot mount \"cubbyhole/\""),
        ("identity", kv.clone(), "cannot mount \"identity/\""),
        ("x//y", kv.clone(), "path 'x//y/' does not match cleaned path 'x/y/'"),
        ("x/./y", kv.clone(), "path 'x/./y/' does not match cleaned path 'x/y/'"),
        (
            "x",
            with(json!({ "default_lease_ttl": "2h", "max_lease_ttl": "1h" })),
            "given default lease TTL greater than given max lease TTL",
        ),
        (
            "x",
            with(json!({ "default_lease_ttl": "9000h" })),
            "given default lease TTL greater than system max lease TTL of 2764800",
        ),
        (
            "x",
            with(json!({ "default_lease_ttl": "foo" })),
            "unable to parse default TTL of foo: time: invalid duration \"foo\"",
        ),
        (
            "x",
            with(json!({ "max_lease_ttl": "foo" })),
            "unable to parse max TTL of foo: time: invalid duration \"foo\"",
        ),
        ("x", with(json!({ "listing_visibility": "foo" })), "invalid listing_visibility foo"),
        ("x", with(json!({ "token_type": "batch" })), "'token_type' can only be modified on auth mounts"),
    ] {
        assert_eq!(server.write(&format!("sys/mounts/{path}"), input).await.error(), (400, text), "{path}");
    }
    assert_eq!(server.write("sys/mounts", kv.clone()).await.status, 405);
    assert_eq!(server.read("sys/mounts/x").await.status, 400, "nothing of it was kept");
    let plain = with(
        json!({ "options": null, "default_lease_ttl": "0s", "max_lease_ttl": "0s", "force_no_cache": false }),
    );
    assert_eq!(
        server.write("sys/mounts/y", plain).await,
        crate::testing::Told { status: 204, body: Value::Null }
    );
    let told = server.write("sys/mounts/x", with(json!({ "bogus": 1 }))).await;
    assert_eq!(told.warnings(), ["Endpoint ignored these unrecognized parameters in config: [bogus]"]);
}

#[tokio::test]
async fn what_is_always_there_stays_as_it_is() {
    let server = Server::new().await;
    for (path, text) in [
        ("mounts/sys", "cannot unmount \"sys/\""),
        ("mounts/cubbyhole", "cannot unmount \"cubbyhole/\""),
        ("mounts/identity", "cannot unmount \"identity/\""),
        ("mounts/auth/token", "cannot unmount \"auth/token/\""),
        ("auth/token", "token credential backend cannot be disabled"),
    ] {
        assert_eq!(server.delete(&format!("sys/{path}")).await.error(), (400, text));
    }
    for path in ["sys", "cubbyhole", "identity"] {
        let told = server.write(&format!("sys/mounts/{path}/tune"), json!({ "description": "x" })).await;
        assert_eq!(told.error(), (400, format!("cannot tune \"{path}/\"").as_str()));
    }
    enable(&server, "sys/auth/token/tune", json!({ "max_lease_ttl": "5h" })).await;
    assert_eq!(server.read("sys/auth/token/tune").await.data()["max_lease_ttl"], 18000);
}

#[tokio::test]
async fn tuning_changes_what_is_given_and_nothing_else() {
    let server = Server::new().await;
    enable(&server, "sys/mounts/kv", json!({ "type": "kv", "description": "words" })).await;
    let tuned = async || server.read("sys/mounts/kv/tune").await.data().clone();
    let untouched = json!({
        "default_lease_ttl": 2_764_800, "max_lease_ttl": 2_764_800, "force_no_cache": false, "description": "words",
    });
    assert_eq!(tuned().await, untouched);
    let input = json!({
        "default_lease_ttl": "1h", "max_lease_ttl": "100000h", "listing_visibility": "hidden",
        "audit_non_hmac_request_keys": "a,b", "passthrough_request_headers": ["X-A"], "options": { "foo": "7" },
    });
    enable(&server, "sys/mounts/kv/tune", input).await;
    let set = json!({
        "default_lease_ttl": 3600, "max_lease_ttl": 360_000_000, "force_no_cache": false, "description": "words",
        "listing_visibility": "hidden", "audit_non_hmac_request_keys": ["a", "b"],
        "passthrough_request_headers": ["X-A"], "options": { "foo": "7" },
    });
    assert_eq!(tuned().await, set);
    let as_the_command_line_sends = json!({
        "options": null, "default_lease_ttl": "", "description": "", "max_lease_ttl": "", "force_no_cache": true,
    });
    enable(&server, "sys/mounts/kv/tune", as_the_command_line_sends).await;
    let mut without_description = set;
    without_description["description"] = json!("");
    assert_eq!(tuned().await, without_description);
    let input = json!({
        "default_lease_ttl": "system", "max_lease_ttl": "0s", "listing_visibility": "", "description": "words",
        "audit_non_hmac_request_keys": "", "passthrough_request_headers": [], "options": { "foo": "" },
    });
    enable(&server, "sys/mounts/kv/tune", input).await;
    assert_eq!(tuned().await, untouched);
    let told = server.write("sys/mounts/kv/tune", json!({ "allowed_managed_keys": ["k"] })).await;
    assert_eq!(told.warnings(), ["'allowed_managed_keys' was ignored: there are no managed keys"]);
}

#[tokio::test]
async fn what_cannot_be_tuned_is_named() {
    let server = Server::new().await;
    enable(&server, "sys/mounts/kv", json!({ "type": "kv", "config": { "default_lease_ttl": "3h" } })).await;
    for (path, input, text) in [
        ("none", json!({ "description": "x" }), "tune of path \"none/\" failed: no mount entry found"),
        (
            "kv",
            json!({ "max_lease_ttl": "1h" }),
            "backend max lease TTL of 3600 would be less than backend default lease TTL of 10800",
        ),
        (
            "kv",
            json!({ "max_lease_ttl": "-1" }),
            "unable to parse max TTL of -1: cannot provide negative value '-1'",
        ),
        ("kv", json!({ "token_type": "batch" }), "'token_type' can only be modified on auth mounts"),
        ("kv", json!({ "plugin_version": "v1.0.0" }), "plugin not found in the catalog: kv, version=v1.0.0"),
        (
            "kv",
            json!({ "user_lockout_config": { "lockout_threshold": "3" } }),
            "tuning of user lockout configuration for auth type \"kv\" not allowed",
        ),
        ("kv", json!({ "options": { "version": "7" } }), "invalid version provided: 7"),
    ] {
        assert_eq!(server.write(&format!("sys/mounts/{path}/tune"), input).await.error(), (400, text));
    }
    assert_eq!(
        server.read("sys/mounts/none/tune").await.error(),
        (400, "cannot fetch sysview for path \"none/\"")
    );
    assert_eq!(server.read("sys/mounts/tune").await.error(), (400, "No secret engine mount at tune/"));
}

#[tokio::test]
async fn kv_goes_up_a_version_and_not_down() {
    let server = Server::new().await;
    enable(&server, "sys/mounts/kv", json!({ "type": "kv" })).await;
    assert_eq!(server.read("kv/config").await.data()["path"], "config", "version 1 has no paths of its own");
    enable(&server, "sys/mounts/kv/tune", json!({ "options": { "version": "2" } })).await;
    assert_eq!(server.read("kv/config").await.status, 204, "the engine of version 2 answers at once");
    for version in ["1", ""] {
        let told = server.write("sys/mounts/kv/tune", json!({ "options": { "version": version } })).await;
        assert_eq!(told.error(), (400, "cannot downgrade mount from version 2"));
    }
}

#[tokio::test]
async fn an_auth_method_is_enabled_tuned_and_disabled() {
    let server = Server::new().await;
    let input =
        json!({ "type": "open", "config": { "token_type": "default-batch", "default_lease_ttl": "1h" } });
    enable(&server, "sys/auth/door", input).await;
    let told = server.read("sys/auth/door").await;
    assert!(told.data()["accessor"].as_str().unwrap().starts_with("auth_open_"));
    assert_eq!(told.data()["config"]["token_type"], "default-batch");
    assert_eq!(server.read("sys/mounts/auth/door").await.data(), told.data(), "the other way to it");
    assert_eq!(server.read("sys/mounts").await.data().get("auth/door/"), None);
    enable(&server, "sys/auth/door/tune", json!({ "token_type": "service" })).await;
    let tuned = server.read("sys/auth/door/tune").await;
    assert_eq!(
        (&tuned.data()["token_type"], &tuned.data()["default_lease_ttl"]),
        (&json!("service"), &json!(3600))
    );
    enable(&server, "sys/auth/door/tune", json!({ "token_type": "" })).await;
    assert_eq!(server.read("sys/auth/door/tune").await.data()["token_type"], "default-service");

    for (path, input, text) in [
        ("door", json!({ "type": "open" }), "path is already in use at door/"),
        ("x", json!({}), "backend type must be specified as a string"),
        ("x", json!({ "type": "kv" }), "plugin not found in the catalog: kv"),
        ("x", json!({ "type": "token" }), "token credential backend cannot be instantiated"),
        ("x", json!({ "type": "open", "config": { "token_type": "foo" } }), "invalid value for 'token_type'"),
        ("door/tune", json!({ "token_type": "foo" }), "invalid value for 'token_type'"),
        (
            "token/tune",
            json!({ "token_type": "batch" }),
            "'token_type' cannot be set for 'token' or 'ns_token' auth mounts",
        ),
        (
            "none/tune",
            json!({ "description": "x" }),
            "tune of path \"auth/none/\" failed: no mount entry found",
        ),
    ] {
        assert_eq!(server.write(&format!("sys/auth/{path}"), input).await.error(), (400, text), "{path}");
    }
    assert_eq!(server.read("sys/auth/none").await.error(), (400, "No auth engine at none/"));
    assert_eq!(server.delete("sys/auth/door").await.status, 204);
    assert_eq!(server.read("sys/auth/door").await.status, 400);
}

#[tokio::test]
async fn auth_methods_take_sudo_and_their_list_does_not() {
    let server = Server::new().await;
    let all = r#"["create", "read", "update", "delete", "list"]"#;
    let plain = server.token_with(&format!("path \"sys/*\" {{ capabilities = {all} }}")).await;
    let ask = async |asked, path, input| server.ask_as(&plain, asked, path, input).await.status;
    assert_eq!(ask(Verb::Read, "sys/auth", json!({})).await, 200);
    assert_eq!(ask(Verb::Read, "sys/auth/token", json!({})).await, 403);
    assert_eq!(ask(Verb::Write, "sys/auth/x", json!({ "type": "open" })).await, 403);
    assert_eq!(ask(Verb::Write, "sys/auth/token/tune", json!({})).await, 403);
    assert_eq!(ask(Verb::Write, "sys/mounts/x", json!({ "type": "kv" })).await, 204);
    assert_eq!(ask(Verb::Write, "sys/mounts/x/tune", json!({ "description": "y" })).await, 204);
}

#[tokio::test]
async fn a_type_that_is_denied_by_its_name_is_denied_by_its_option() {
    let server = Server::new().await;
    let policy = "path \"sys/mounts/*\" { capabilities = [\"create\", \"update\", \"sudo\"] denied_parameters = { type = [\"kv-v2\"] } }";
    let token = server.token_with(policy).await;
    let enable = async |path: &str, input| {
        server.ask_as(&token, Verb::Write, &format!("sys/mounts/{path}"), input).await
    };
    assert_eq!(enable("a", json!({ "type": "kv-v2" })).await.status, 403);
    for version in [json!("2"), json!(2)] {
        let told = enable("b", json!({ "type": "kv", "options": { "version": version } })).await;
        assert_eq!(told.error(), (403, "permission denied"));
    }
    let told = enable("c", json!({ "type": "kv", "options": { "version": "1" } })).await;
    assert_eq!(told.status, 204, "{}", told.body);
    assert_eq!(enable("d", json!({ "type": "kv" })).await.status, 204);
    let told = server.write("sys/mounts/e", json!({ "type": "kv", "options": { "version": "2" } })).await;
    assert_eq!(told.status, 204, "root may: {}", told.body);
}
