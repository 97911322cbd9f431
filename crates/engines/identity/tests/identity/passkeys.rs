//! `webauthn` methods, and the passkeys of entities: who registers them, and what is refused.

use std::time::Duration;

use serde_json::{Value, json};
use strongroom_pipeline::Verb;
use strongroom_testkit::{Request, Response, Server};

use crate::authenticator::{
    BACKED_UP, Device, ELIGIBLE, Key, PRESENT, VERIFIED, bytes, decode, encode, int, map, text,
};
use crate::mfa::enforce;
use crate::rig::{DENIED, accessor, entity, login, server, token};

pub(crate) const WEBAUTHN: &str = "identity/mfa/method/webauthn";

/// Makes a `webauthn` method.
pub(crate) async fn method(server: &Server, mut input: Value) -> String {
    input["rp_id"] = json!("example.com");
    let made = server.write(WEBAUTHN, input).await;
    made.data()["method_id"].as_str().unwrap().to_owned()
}

pub(crate) async fn admin_begin(server: &Server, method: &str, entity: &str) -> Response {
    let input = json!({"method_id": method, "entity_id": entity, "passkey_name": "blue key"});
    server.write(&format!("{WEBAUTHN}/admin-register-begin"), input).await
}

pub(crate) async fn admin_finish(server: &Server, method: &str, entity: &str, made: &Value) -> Response {
    let input = json!({"method_id": method, "entity_id": entity, "credential": made});
    server.write(&format!("{WEBAUTHN}/admin-register-finish"), input).await
}

/// Registers a device's passkey for an entity: its id.
pub(crate) async fn register(server: &Server, method: &str, entity: &str, device: &Device) -> String {
    let begun = admin_begin(server, method, entity).await;
    let made = device.make(&begun.data()["public_key"]);
    let done = admin_finish(server, method, entity, &made).await;
    assert_eq!(done.status, 200, "{}", done.body);
    done.text("/data/passkey_id")
}

/// A server whose door asks `bob` for a passkey: its method, his entity, and his device.
pub(crate) async fn guarded(settings: Value) -> (Server, String, String, Device) {
    let server = server().await;
    let bob = entity(&server, "bob").await;
    let method = method(&server, settings).await;
    let door = accessor(&server, "auth/door/").await;
    enforce(&server, "door", json!({"mfa_method_ids": [method], "auth_method_accessors": [door]})).await;
    let device = Device::new("ES256");
    register(&server, &method, &bob, &device).await;
    (server, method, bob, device)
}

/// A server with a policy for one's own passkeys, and a method.
async fn open_house() -> (Server, String) {
    let server = server().await;
    let text = format!(
        "path \"{WEBAUTHN}/register-*\" {{ capabilities = [\"update\"] }}\n\
         path \"{WEBAUTHN}/passkeys/*\" {{ capabilities = [\"list\", \"delete\"] }}"
    );
    server.policy("passkeys", &text).await;
    let method = method(&server, json!({})).await;
    (server, method)
}

async fn own(server: &Server, name: &str) -> String {
    login(server, json!({"name": name, "policies": ["passkeys"]})).await.token()
}

async fn begin(server: &Server, token: &str, method: &str) -> Response {
    let input = json!({"method_id": method, "passkey_name": " phone "});
    server.post(token, &format!("{WEBAUTHN}/register-begin"), input).await
}

async fn finish(server: &Server, token: &str, method: &str, made: &Value) -> Response {
    server
        .post(token, &format!("{WEBAUTHN}/register-finish"), json!({"method_id": method, "credential": made}))
        .await
}

async fn listed(server: &Server, token: &str, method: &str) -> Response {
    server.ask(Request::new(token, Verb::List, format!("{WEBAUTHN}/passkeys/{method}"), Value::Null)).await
}

#[tokio::test]
async fn methods_are_made_read_listed_and_deleted() {
    let server = server().await;
    let id = method(&server, json!({"method_name": "keys"})).await;
    let expected = json!({
        "algorithms": ["ES256", "EdDSA", "RS256"], "allowed_origins": ["https://example.com"], "attestation": "none", "id": id,
        "max_validation_attempts": 5, "name": "keys", "namespace_id": "root", "namespace_path": "", "rp_id": "example.com",
        "rp_name": "example.com", "type": "webauthn", "user_verification": "preferred",
    });
    for path in [format!("identity/mfa/method/{id}"), format!("{WEBAUTHN}/{id}")] {
        assert_eq!(*server.read(&path).await.data(), expected, "{path}");
    }
    for path in ["identity/mfa/method", WEBAUTHN] {
        assert_eq!(*server.list(path).await.data(), json!({"keys": [id], "key_info": {&*id: expected}}));
    }
    let at = format!("{WEBAUTHN}/{id}");
    let update = json!({"user_verification": "required", "allowed_origins": "https://a.example.com,https://example.com:8200"});
    assert_eq!(server.write(&at, update).await.status, 204);
    let read = server.read(&at).await;
    assert_eq!(read.data()["allowed_origins"], json!(["https://a.example.com", "https://example.com:8200"]));
    assert_eq!(
        (&read.data()["user_verification"], &read.data()["name"]),
        (&json!("required"), &json!("keys"))
    );
    let moved = server.write(&at, json!({"rp_id": "example.org"})).await;
    assert!(moved.error().starts_with("rp_id cannot be changed"), "{}", moved.body);
    assert_eq!(server.write(WEBAUTHN, json!({})).await.refusal(), (400, "rp_id must be set"));
    assert_eq!(server.delete(&at).await.status, 204);
    assert_eq!(server.read(&at).await.status, 404);
}

#[tokio::test]
async fn a_method_is_not_reached_by_the_paths_of_another_type() {
    let server = server().await;
    let keys = method(&server, json!({})).await;
    let phone = crate::mfa::method(&server, json!({})).await;
    for (kind, id) in [("totp", &keys), ("webauthn", &phone)] {
        let at = format!("identity/mfa/method/{kind}/{id}");
        assert_eq!(server.read(&at).await.status, 404);
        let refused = server.write(&at, json!({"max_validation_attempts": 9})).await;
        assert_eq!(refused.refusal().0, 400, "{}", refused.body);
        assert!(refused.error().contains("does not exist"), "{}", refused.body);
        server.delete(&at).await;
        assert_eq!(server.read(&format!("identity/mfa/method/{id}")).await.status, 200, "it is still there");
        assert_eq!(
            server.list(&format!("identity/mfa/method/{kind}")).await.data()["keys"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
    }
    let bob = entity(&server, "bob").await;
    let other = format!("MFA method {phone:?} is not of type webauthn");
    assert_eq!(admin_begin(&server, &phone, &bob).await.refusal(), (400, &*other));
    let input = json!({"method_id": keys, "entity_id": bob});
    for name in ["admin-generate", "admin-destroy"] {
        let refused = server.write(&format!("identity/mfa/method/totp/{name}"), input.clone()).await;
        assert_eq!(refused.refusal(), (400, &*format!("MFA method {keys:?} is not of type totp")));
    }
}

#[tokio::test]
async fn an_owner_registers_lists_and_deletes() {
    let (server, method) = open_house().await;
    let bob = own(&server, "bob").await;
    let begun = begin(&server, &bob, &method).await;
    let options = &begun.data()["public_key"];
    let entity = server.get(&bob, "auth/token/lookup-self").await.data()["entity_id"].clone();
    assert_eq!(options["rp"], json!({"id": "example.com", "name": "example.com"}));
    assert_eq!(decode(options["user"]["id"].as_str().unwrap()).len(), 16);
    let numbers: Vec<_> =
        options["pubKeyCredParams"].as_array().unwrap().iter().map(|one| &one["alg"]).collect();
    assert_eq!(numbers, [-7, -8, -257]);
    assert_eq!((&options["attestation"], &options["excludeCredentials"]), (&json!("none"), &json!([])));
    let device = Device::new("ES256");
    let made = finish(&server, &bob, &method, &device.make(options)).await;
    let id = made.text("/data/passkey_id");
    let list = listed(&server, &bob, &method).await;
    let mut info = list.data()["key_info"][&*id].clone();
    assert_eq!(info["creation_time"].take(), server.clock.now().rfc3339());
    let expected = json!({
        "aaguid": "09090909-0909-0909-0909-090909090909", "algorithm": "ES256", "attestation_format": "none", "backed_up": false,
        "backup_eligible": false, "creation_time": null, "last_used_time": "", "name": "phone", "sign_count": 1,
        "transports": ["usb", "hybrid"],
    });
    assert_eq!((&list.data()["keys"], info), (&json!([id]), expected));
    let again = finish(&server, &bob, &method, &device.make(options)).await;
    assert_eq!(
        again.refusal(),
        (400, "no registration of a passkey has begun in the last 5 minutes"),
        "its challenge is used"
    );
    let second = begin(&server, &bob, &method).await;
    let known = json!([{"type": "public-key", "id": encode(&device.id), "transports": ["usb", "hybrid"]}]);
    assert_eq!(second.data()["public_key"]["excludeCredentials"], known);
    let twice = finish(&server, &bob, &method, &device.make(&second.data()["public_key"])).await;
    assert_eq!(twice.refusal(), (400, "the passkey is registered already"));
    // Others have nothing to do with it.
    let ann = own(&server, "ann").await;
    assert_eq!(listed(&server, &ann, &method).await.status, 404);
    let at = format!("{WEBAUTHN}/passkeys/{method}/{id}");
    let delete = |token: &str| Request::new(token, Verb::Delete, at.clone(), Value::Null);
    assert_eq!(server.ask(delete(&ann)).await.status, 204, "there is none of hers");
    assert_eq!(listed(&server, &bob, &method).await.data()["keys"], json!([id]));
    let admins = format!("{WEBAUTHN}/admin-passkeys/{method}/{}", entity.as_str().unwrap());
    assert_eq!(
        server.ask(Request::new(&bob, Verb::List, admins.clone(), Value::Null)).await.refusal(),
        DENIED
    );
    assert_eq!(server.list(&admins).await.data()["keys"], json!([id]));
    assert_eq!(server.ask(delete(&bob)).await.status, 204);
    assert_eq!(listed(&server, &bob, &method).await.status, 404);
    assert_eq!(server.list(&admins).await.status, 404);
}

#[tokio::test]
async fn an_owner_needs_a_fresh_login() {
    let (server, method) = open_house().await;
    let stale = "passkeys are registered and deleted within 5 minutes of a login, with the token of that login: log in again";
    let bob = own(&server, "bob").await;
    let begun = begin(&server, &bob, &method).await;
    server.clock.advance(Duration::from_secs(299));
    let late = begin(&server, &bob, &method).await;
    assert_eq!(late.status, 200);
    server.clock.advance(Duration::from_secs(1));
    assert_eq!(begin(&server, &bob, &method).await.refusal(), (403, stale));
    let made = Device::new("ES256").make(&begun.data()["public_key"]);
    let replaced = finish(&server, &bob, &method, &made).await;
    let other = "the passkey cannot be registered: it answers another challenge";
    assert_eq!(replaced.refusal(), (400, other), "the second beginning has taken its place");
    let bob = own(&server, "bob").await;
    let id = {
        let begun = begin(&server, &bob, &method).await;
        let made = Device::new("ES256").make(&begun.data()["public_key"]);
        server.clock.advance(Duration::from_secs(299));
        let input = finish(&server, &bob, &method, &made).await;
        input.text("/data/passkey_id")
    };
    server.clock.advance(Duration::from_secs(1));
    let at = format!("{WEBAUTHN}/passkeys/{method}/{id}");
    let refused = server.ask(Request::new(&bob, Verb::Delete, at, Value::Null)).await;
    assert_eq!(refused.refusal(), (403, stale));
    // A token that another has made is as old as it likes, and no login: neither a child of one nor an orphan.
    server.policy("children", "path \"auth/token/create*\" { capabilities = [\"update\", \"sudo\"] }").await;
    let bob = login(&server, json!({"name": "bob", "policies": ["passkeys", "children"]})).await.token();
    for path in ["auth/token/create", "auth/token/create-orphan"] {
        let child = server.post(&bob, path, json!({"policies": ["passkeys"]})).await;
        assert_eq!(begin(&server, &child.token(), &method).await.status / 100, 4, "{path}");
    }
    assert_eq!(begin(&server, &bob, &method).await.status, 200);
    let root = begin(&server, &server.root.clone(), &method).await;
    assert_eq!(root.refusal(), (400, "missing entity ID"));
    let batch = login(&server, json!({"name": "bob", "policies": ["passkeys"], "batch": true})).await.token();
    assert_eq!(begin(&server, &batch, &method).await.status, 200, "a batch token of a login");
}

#[tokio::test]
async fn a_registration_is_of_one_entity_and_one_kind_of_caller() {
    let (server, method) = open_house().await;
    let (bob, ann) = (own(&server, "bob").await, own(&server, "ann").await);
    let none = (400, "no registration of a passkey has begun in the last 5 minutes");
    let begun = begin(&server, &bob, &method).await;
    let made = Device::new("ES256").make(&begun.data()["public_key"]);
    assert_eq!(finish(&server, &ann, &method, &made).await.refusal(), none);
    let entity = entity(&server, "bob").await;
    assert_eq!(admin_finish(&server, &method, &entity, &made).await.refusal(), none);
    let other = self::method(&server, json!({})).await;
    assert_eq!(finish(&server, &bob, &other, &made).await.refusal(), none);
    server.services().seal_state.seal().await;
    server.unseal().await;
    assert_eq!(finish(&server, &bob, &method, &made).await.refusal(), none, "sealing ends it");
    let begun = begin(&server, &bob, &method).await;
    let made = Device::new("ES256").make(&begun.data()["public_key"]);
    server.clock.advance(Duration::from_mins(5));
    assert_eq!(finish(&server, &bob, &method, &made).await.refusal(), none, "too late");
    for (input, why) in
        [(json!({}), "missing method ID"), (json!({"method_id": method}), "missing credential")]
    {
        let refused = server.post(&bob, &format!("{WEBAUTHN}/register-finish"), input).await;
        assert_eq!(refused.refusal(), (400, why));
    }
}

#[tokio::test]
async fn every_algorithm_and_form_of_attestation_is_read() {
    let server = server().await;
    let bob = entity(&server, "bob").await;
    for algorithm in ["ES256", "EdDSA", "RS256"] {
        let method = method(&server, json!({"attestation": "direct", "algorithms": algorithm})).await;
        let own = Device { attestation: None, ..Device::new(algorithm) };
        register(&server, &method, &bob, &own).await;
        let flags = PRESENT | ELIGIBLE | BACKED_UP;
        let with_extensions = Device {
            flags,
            extensions: map(&[(text("credProtect"), int(2))]),
            attestation: Some(("tpm", map(&[(text("ver"), text("2.0"))]))),
            ..Device::new(algorithm)
        };
        register(&server, &method, &bob, &with_extensions).await;
        let list = server.list(&format!("{WEBAUTHN}/admin-passkeys/{method}/{bob}")).await;
        let info = list.data()["key_info"].as_object().unwrap();
        let mut formats: Vec<_> =
            info.values().map(|one| (one["attestation_format"].clone(), one["backed_up"].clone())).collect();
        formats.sort_by_key(|(format, _)| format.to_string());
        assert_eq!(formats, [(json!("packed"), json!(false)), (json!("tpm"), json!(true))]);
        let others = Device::new(if algorithm == "ES256" { "EdDSA" } else { "ES256" });
        let begun = admin_begin(&server, &method, &bob).await;
        let refused = admin_finish(&server, &method, &bob, &others.make(&begun.data()["public_key"])).await;
        let text = "the passkey cannot be registered: its algorithm is not one of the method's";
        assert_eq!(refused.refusal(), (400, text));
    }
}

/// The reason why a passkey is not registered; its challenge is used up.
async fn refusal(server: &Server, method: &str, entity: &str, change: &dyn Fn(&Value) -> Value) -> String {
    let begun = admin_begin(server, method, entity).await;
    let made = change(&begun.data()["public_key"]);
    let refused = admin_finish(server, method, entity, &made).await;
    assert_eq!(refused.status, 400, "{}", refused.body);
    let again = admin_finish(server, method, entity, &made).await;
    assert!(again.error().starts_with("no registration"), "a challenge is answered once: {}", again.body);
    refused.error().strip_prefix("the passkey cannot be registered: ").unwrap().to_owned()
}

/// What a browser says of a new passkey, in all the ways in which it is wrong.
#[tokio::test]
async fn a_new_passkey_is_as_it_must_be() {
    let server = server().await;
    let bob = entity(&server, "bob").await;
    let method = method(&server, json!({"user_verification": "required"})).await;
    let new = || Device::new("ES256");
    let with_client = |client: Value| Device { client, ..new() };
    let devices = [
        (with_client(json!({"type": "webauthn.get"})), "its client data is of another type"),
        (with_client(json!({"challenge": encode(&[7; 32])})), "it answers another challenge"),
        (with_client(json!({"crossOrigin": true})), "it was made inside a page of another origin"),
        (
            with_client(json!({"topOrigin": "https://example.com"})),
            "it was made inside a page of another origin",
        ),
        (with_client(json!({"origin": null})), "its client data cannot be read"),
        (Device { origin: "https://example.com.evil.org".into(), ..new() }, "its origin is not allowed"),
        (Device { origin: "http://example.com".into(), ..new() }, "its origin is not allowed"),
        (Device { rp_id: "evil.org".into(), ..new() }, "it is for another relying party"),
        (Device { flags: VERIFIED, ..new() }, "nobody was present"),
        (Device { flags: PRESENT, ..new() }, "the user was not verified"),
        (Device { flags: PRESENT | VERIFIED | BACKED_UP, ..new() }, "its backup flags contradict each other"),
        (Device { extensions: int(1), ..new() }, "its extensions are no map"),
        (
            Device { extensions: [map(&[]), int(1)].concat(), ..new() },
            "its authenticator data goes on after its end",
        ),
        (
            Device { attestation: Some(("none", map(&[(text("a"), int(1))]))), ..new() },
            "its attestation is none and says something",
        ),
        (
            Device { attestation: Some(("packed", map(&[]))), ..new() },
            "its attestation is of another algorithm",
        ),
        (
            Device { attestation: Some(("packed", map(&[(text("alg"), int(-7))]))), ..new() },
            "its attestation has no signature",
        ),
        (
            Device {
                attestation: Some(("packed", map(&[(text("alg"), int(-7)), (text("sig"), bytes(&[1; 70]))]))),
                ..new()
            },
            "its signature is wrong",
        ),
        (Device { attestation: Some(("No Format", map(&[]))), ..new() }, "its attestation object is not one"),
        (Device { id: Vec::new(), ..new() }, "its credential id is empty or too long"),
        (Device { id: vec![1; 1024], ..new() }, "its credential id is empty or too long"),
    ];
    for (device, expected) in &devices {
        assert_eq!(refusal(&server, &method, &bob, &|options| device.make(options)).await, *expected);
    }
}

#[tokio::test]
async fn a_new_passkey_is_read_whole() {
    let server = server().await;
    let bob = entity(&server, "bob").await;
    let method = method(&server, json!({})).await;
    let good = Device::new("ES256");
    let part = |name: &'static str, change: fn(&mut Vec<u8>)| {
        let good = &good;
        move |options: &Value| {
            let mut made = good.make(options);
            let mut bytes = decode(made["response"][name].as_str().unwrap());
            change(&mut bytes);
            made["response"][name] = json!(encode(&bytes));
            made
        }
    };
    for (change, expected) in [
        (part("attestationObject", |object| object.truncate(60)), "its CBOR cannot be read"),
        (part("attestationObject", |object| object.push(0)), "its attestation object is not one"),
        (part("attestationObject", |object| *object = int(1)), "its attestation object is not one"),
        (part("attestationObject", |object| *object = map(&[])), "its attestation object is not one"),
        // The curve, and the point on it.
        (
            part("attestationObject", |object| object.last_mut().map(|last| *last ^= 1).unwrap()),
            "its public key is not one of its algorithm",
        ),
        (part("clientDataJSON", |data| data.push(b'x')), "its client data cannot be read"),
        (part("clientDataJSON", |data| data.insert(1, b'"')), "its client data cannot be read"),
    ] {
        assert_eq!(refusal(&server, &method, &bob, &change).await, expected);
    }
    let other_id = |options: &Value| {
        let mut made = good.make(options);
        (made["id"], made["rawId"]) = (json!("AAAA"), json!("AAAA"));
        made
    };
    assert_eq!(refusal(&server, &method, &bob, &other_id).await, "its credential id differs from rawId");
    for (member, value, expected) in [
        ("id", json!("AAAA"), "id and rawId differ"),
        ("type", json!("password"), "its type is not public-key"),
        ("response", json!({}), "it is not the JSON form of a new public key credential"),
    ] {
        let change = |options: &Value| {
            let mut made = good.make(options);
            made[member] = value.clone();
            made
        };
        assert_eq!(refusal(&server, &method, &bob, &change).await, expected);
    }
    assert_eq!(
        refusal(&server, &method, &bob, &|_: &Value| json!("{")).await,
        "it is not the JSON form of a new public key credential"
    );
    let long = "{".repeat(70_000);
    assert_eq!(refusal(&server, &method, &bob, &|_: &Value| json!(long)).await, "it is too long");
    register(&server, &method, &bob, &good).await;
}

#[tokio::test]
async fn an_entity_has_no_more_than_sixteen() {
    let server = server().await;
    let bob = entity(&server, "bob").await;
    let method = method(&server, json!({})).await;
    for _ in 0..15 {
        register(&server, &method, &bob, &Device { key: Key::new("EdDSA"), ..Device::new("EdDSA") }).await;
    }
    let begun = admin_begin(&server, &method, &bob).await;
    register(&server, &method, &bob, &Device::new("EdDSA")).await;
    let made = Device::new("EdDSA").make(&begun.data()["public_key"]);
    assert_eq!(admin_finish(&server, &method, &bob, &made).await.status, 400);
    let most = "the entity has 16 passkeys for this method, and cannot have more";
    assert_eq!(admin_begin(&server, &method, &bob).await.refusal(), (400, most));
    let long = json!({"method_id": method, "entity_id": bob, "passkey_name": "x".repeat(129)});
    let refused = server.write(&format!("{WEBAUTHN}/admin-register-begin"), long).await;
    assert!(refused.error().starts_with("passkey_name must have at most 128 bytes"), "{}", refused.body);
}

#[tokio::test]
async fn a_method_holds_in_its_namespace_and_below() {
    let server = server().await;
    for namespace in ["team", "other"] {
        assert_eq!(server.write(&format!("sys/namespaces/{namespace}"), json!({})).await.status, 200);
    }
    let within = async |namespace: &str, path: &str, input: Value| {
        server.ask(Request::new(&server.root, Verb::Write, path, input).within(namespace)).await
    };
    let bob = token(&server, "bob").await;
    let bob = server.get(&bob, "auth/token/lookup-self").await.data()["entity_id"].clone();
    let ann = within("team", "identity/entity", json!({"name": "ann"})).await.data()["id"].clone();
    let ours = method(&server, json!({})).await;
    let theirs = within("team", WEBAUTHN, json!({"rp_id": "example.com"})).await.text("/data/method_id");
    let begin = format!("{WEBAUTHN}/admin-register-begin");
    let input = |method: &str, entity: &Value| json!({"method_id": method, "entity_id": entity});
    assert_eq!(within("team", &begin, input(&ours, &ann)).await.status, 200, "a method of above");
    assert_eq!(within("", &begin, input(&ours, &ann)).await.status, 200, "an entity of below");
    assert_eq!(within("team", &begin, input(&theirs, &ann)).await.status, 200);
    assert_eq!(within("team", &begin, input(&theirs, &bob)).await.refusal(), (400, "invalid entity ID"));
    assert_eq!(within("other", &begin, input(&ours, &ann)).await.refusal(), (400, "invalid entity ID"));
    assert_eq!(within("other", &begin, input(&theirs, &bob)).await.status, 400);
    assert_eq!(within("", &begin, input(&theirs, &bob)).await.status, 400, "a method of below");
    let list = Request::new(
        &server.root,
        Verb::List,
        format!("{WEBAUTHN}/admin-passkeys/{ours}/{}", bob.as_str().unwrap()),
        Value::Null,
    );
    assert_eq!(server.ask(list.within("team")).await.refusal(), (400, "invalid entity ID"));
}
