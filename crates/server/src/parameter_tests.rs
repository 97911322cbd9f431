//! Attempts to get a parameter's value past a policy in another spelling, at real operations: by another type, case,
//! unit, separator, or by an older name of the field.

use serde_json::{Value, json};
use strongroom_pipeline::Verb;

use crate::catalog_tests::Rig;
use strongroom_catalog::catalog;

/// A request's input, and whether the policy lets it through.
type Attempt = (Value, bool);

/// Rules for one operation, with attempts at them.
struct Table {
    path: &'static str,
    /// `denied_parameters`, `allowed_parameters` and `required_parameters`.
    rules: &'static str,
    attempts: Vec<Attempt>,
}

const PASS: bool = true;
const STOP: bool = false;

fn table(path: &'static str, rules: &'static str, attempts: Vec<Attempt>) -> Table {
    Table { path, rules, attempts }
}

/// Makes each attempt, and has it explained, too; both must say the same. Answers how many there were.
async fn hold(tables: Vec<Table>) -> usize {
    let rig = Rig::new().await;
    let mut wrong = Vec::new();
    let mut count = 0;
    for Table { path, rules, attempts } in tables {
        let policy = format!(
            "path \"{path}\" {{ capabilities = [\"create\", \"read\", \"update\", \"patch\", \"sudo\"]\n {rules} }}"
        );
        let token = rig.token_with(&policy).await;
        for (input, passes) in attempts {
            count = usize::saturating_add(count, 1);
            let told = rig.request(Verb::Write, path, Some(&token), input.clone()).await;
            let question = json!({
                "path": path, "operation": "update", "parameters": input, "token": token,
            });
            let explained = rig.request(Verb::Write, "sys/policies/explain", Some(&rig.root), question).await;
            let explained: Value = serde_json::from_slice(explained.body.at_hand()).unwrap();
            let found = (told.status != 403, explained["data"]["allowed"] == true);
            if found != (passes, passes) {
                wrong.push(format!("{path} {rules} {input}: {found:?}, status {}", told.status));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    count
}

#[tokio::test]
async fn no_other_spelling_gets_past_a_rule() {
    let tables = [tokens(), roles(), users(), mounts(), server(), secrets()];
    let count = hold(tables.into_iter().flatten().collect()).await;
    assert!(count >= 117, "{count}");
}

/// A field that is an older name of another must be declared, or a rule for the one says nothing of the other.
#[test]
fn older_names_are_declared() {
    let catalog = catalog();
    let mut declared = 0;
    for engine in catalog.engines() {
        for (route, endpoint) in engine
            .routes()
            .iter()
            .flat_map(|route| route.operations().map(move |(_, endpoint)| (route, endpoint)))
        {
            let (doc, at) = (&endpoint.doc, format!("{} {:?}", engine.kind(), route.pattern()));
            for field in &doc.fields {
                assert_eq!(
                    field.name,
                    field.name.to_lowercase(),
                    "{at}: policies compare names in lower case"
                );
                let told = field.description.to_lowercase();
                let says_so =
                    told.contains("instead") && (told.starts_with("use ") || told.starts_with("deprecated"));
                match &field.newer {
                    None => assert!(!says_so, "{at}: {} is an older name", field.name),
                    Some(newer) => {
                        declared += 1;
                        let present = doc.field(newer).map_or(&field.kind, |present| &present.kind);
                        assert_eq!(&field.kind, present, "{at}: {} and {newer} are read alike", field.name);
                        assert_ne!(newer, &field.name, "{at}");
                    }
                }
            }
        }
    }
    assert!(declared > 10, "{declared}");
}

const CREATE: &str = "auth/token/create";

fn tokens() -> Vec<Table> {
    [token_policies(), token_numbers(), token_texts()].into_iter().flatten().collect()
}

fn token_policies() -> Vec<Table> {
    vec![
        table(
            CREATE,
            r#"denied_parameters = { policies = ["admin", "prod-*"] }"#,
            vec![
                (json!({"policies": ["dev"]}), PASS),
                (json!({"policies": ["admin"]}), STOP),
                (json!({"policies": "admin"}), STOP),
                (json!({"policies": "ADMIN"}), STOP),
                (json!({"policies": "dev, ADMIN"}), STOP),
                (json!({"policies": ["dev", " Admin "]}), STOP),
                (json!({"policies": ["\tadmin"]}), STOP),
                (json!({"policies": "dev,,admin,"}), STOP),
                (json!({"policies": "PROD-x"}), STOP),
                (json!({"policies": ["dev", "Prod-x"]}), STOP),
                (json!({"policies": "prod"}), PASS),
                (json!({"policies": {"admin": 1}}), STOP),
                (json!({"policies": [["admin"]]}), STOP),
                (json!({"POLICIES": "admin"}), STOP),
            ],
        ),
        table(
            CREATE,
            r#"allowed_parameters = { policies = ["dev", "ops"] ttl = ["1h"] }"#,
            vec![
                (json!({"policies": "dev"}), PASS),
                (json!({"policies": "Dev, ops"}), PASS),
                (json!({"policies": ["ops", "dev", "dev"]}), PASS),
                (json!({"policies": "dev,admin"}), STOP),
                (json!({"policies": []}), STOP),
                (json!({"ttl": "60m"}), PASS),
                (json!({"ttl": 3600}), PASS),
                (json!({"lease": "3600s"}), PASS),
                (json!({"lease": "2h"}), STOP),
                (json!({"ttl": "1h1ms"}), STOP),
                (json!({"ttl": "soon"}), STOP),
                (json!({"renewable": true}), STOP),
            ],
        ),
    ]
}

fn token_numbers() -> Vec<Table> {
    vec![table(
        CREATE,
        r#"denied_parameters = { ttl = ["24h"] period = ["1d"] no_parent = [true] num_uses = [0] display_name = ["root"] }"#,
        vec![
            (json!({"ttl": "24h"}), STOP),
            (json!({"ttl": "1440m"}), STOP),
            (json!({"ttl": "86400"}), STOP),
            (json!({"ttl": 86400}), STOP),
            (json!({"ttl": " 24h"}), STOP),
            (json!({"ttl": "+24h"}), STOP),
            (json!({"ttl": "23h60m"}), STOP),
            (json!({"ttl": "86400.5s"}), STOP),
            (json!({"lease": "24h"}), STOP),
            (json!({"lease": "1d"}), STOP),
            (json!({"period": "24h"}), STOP),
            (json!({"ttl": "23h"}), PASS),
            (json!({"no_parent": true}), STOP),
            (json!({"no_parent": "true"}), STOP),
            (json!({"no_parent": 1}), STOP),
            (json!({"no_parent": "1"}), STOP),
            (json!({"no_parent": "T"}), STOP),
            (json!({"no_parent": "yes"}), STOP),
            (json!({"no_parent": [true]}), STOP),
            (json!({"no_parent": "0"}), PASS),
            (json!({"num_uses": "0"}), STOP),
            (json!({"num_uses": "00"}), STOP),
            (json!({"num_uses": ""}), STOP),
            (json!({"num_uses": false}), STOP),
            (json!({"num_uses": "0x0"}), STOP),
            (json!({"num_uses": "5"}), PASS),
            (json!({"display_name": "root!"}), STOP),
            (json!({"display_name": "root-"}), STOP),
            (json!({"display_name": "dev"}), PASS),
        ],
    )]
}

fn token_texts() -> Vec<Table> {
    const ROLE: &str = "auth/token/roles/r";
    vec![
        table(
            CREATE,
            r#"denied_parameters = { meta = ["team=admin", { a = "1", b = "2" }] }"#,
            vec![
                (json!({"meta": {"team": "admin"}}), STOP),
                (json!({"meta": {"team": "admin", "x": "y"}}), STOP),
                (json!({"meta": "x=y, team = admin"}), STOP),
                (json!({"meta": ["x=y", "team=admin"]}), STOP),
                (json!({"meta": "{\"team\": \"admin\"}"}), STOP),
                (json!({"meta": {"b": 2, "a": 1, "c": 3}}), STOP),
                (json!({"meta": {"a": "1"}}), PASS),
                (json!({"meta": "x"}), STOP),
            ],
        ),
        table(
            CREATE,
            r#"required_parameters = ["ttl", "policies"]"#,
            vec![
                (json!({"ttl": "1h", "policies": "dev"}), PASS),
                (json!({"lease": "1h", "policies": "dev"}), PASS),
                (json!({"ttl": null, "policies": "dev"}), STOP),
                (json!({"TTL": "1h", "policies": "dev"}), STOP),
                (json!({"policies": "dev"}), STOP),
            ],
        ),
        table(
            ROLE,
            r#"denied_parameters = { allowed_policies = ["admin"] token_period = ["1h"] token_type = ["default-service"] token_bound_cidrs = ["0.0.0.0/0"] }"#,
            vec![
                (json!({"allowed_policies": "dev,Admin"}), STOP),
                (json!({"allowed_policies": "dev"}), PASS),
                (json!({"period": 3600}), STOP),
                (json!({"token_period": "60m"}), STOP),
                (json!({"token_type": ""}), STOP),
                (json!({"token_type": "service"}), PASS),
                (json!({"bound_cidrs": "0.0.0.0/0"}), STOP),
                (json!({"token_bound_cidrs": "10.0.0.0/8,1.2.3.4/0"}), STOP),
                (json!({"token_bound_cidrs": "10.0.0.0/8"}), PASS),
            ],
        ),
    ]
}

fn roles() -> Vec<Table> {
    const ROLE: &str = "auth/approle/role/r";
    vec![
        table(
            ROLE,
            r#"denied_parameters = { token_policies = ["admin"] token_ttl = ["24h"] bind_secret_id = [false] token_type = ["batch"] }"#,
            vec![
                (json!({"policies": "admin"}), STOP),
                (json!({"policies": ["dev", "ADMIN"]}), STOP),
                (json!({"token_policies": "Admin"}), STOP),
                (json!({"token_policies": "dev"}), PASS),
                (json!({"token_ttl": "1440m"}), STOP),
                (json!({"token_ttl": 86400}), STOP),
                (json!({"bind_secret_id": "false"}), STOP),
                (json!({"bind_secret_id": 0}), STOP),
                (json!({"bind_secret_id": ""}), STOP),
                (json!({"bind_secret_id": "F"}), STOP),
                (json!({"bind_secret_id": 1}), PASS),
                (json!({"token_type": "default-batch"}), STOP),
                (json!({"token_type": "default-service"}), PASS),
            ],
        ),
        table(
            ROLE,
            r#"denied_parameters = { bound_cidr_list = ["10.0.0.0/8"] period = ["30m"] secret_id_num_uses = ["10"] }"#,
            vec![
                (json!({"secret_id_bound_cidrs": ["10.0.0.0/8"]}), STOP),
                (json!({"secret_id_bound_cidrs": "10.9.8.7/8"}), STOP),
                (json!({"secret_id_bound_cidrs": "11.0.0.0/8"}), PASS),
                (json!({"token_period": 1800}), STOP),
                (json!({"secret_id_num_uses": 10}), STOP),
                (json!({"secret_id_num_uses": " 10 "}), STOP),
                (json!({"secret_id_num_uses": 11}), PASS),
            ],
        ),
        table(
            "auth/approle/role/r/secret-id",
            r#"denied_parameters = { metadata = ["team=admin"] }"#,
            vec![
                (json!({"metadata": "{\"team\": \"admin\"}"}), STOP),
                (json!({"metadata": "{\"x\":\"y\",\"team\":\"admin\"}"}), STOP),
                (json!({"metadata": "x=y, team=admin"}), STOP),
                (json!({"metadata": "eyJ0ZWFtIjoiYWRtaW4ifQ=="}), STOP),
                (json!({"metadata": "team=dev"}), PASS),
            ],
        ),
    ]
}

fn users() -> Vec<Table> {
    const USER: &str = "auth/userpass/users/bob";
    vec![
        table(
            USER,
            r#"denied_parameters = { policies = ["admin"] token_num_uses = [7] token_no_default_policy = ["true"] }"#,
            vec![
                (json!({"password": "x", "token_policies": "dev, ADMIN"}), STOP),
                (json!({"password": "x", "policies": "ADMIN"}), STOP),
                (json!({"password": "x", "token_policies": ["dev"]}), PASS),
                (json!({"token_num_uses": "7"}), STOP),
                (json!({"token_num_uses": "07"}), STOP),
                (json!({"token_no_default_policy": true}), STOP),
                (json!({"token_no_default_policy": 1}), STOP),
                (json!({"token_no_default_policy": "f"}), PASS),
            ],
        ),
        table(
            USER,
            r#"allowed_parameters = { token_policies = ["reader", "team-*"] password = [] token_max_ttl = ["24h"] } required_parameters = ["token_policies"]"#,
            vec![
                (json!({"password": "x", "policies": "Reader"}), PASS),
                (json!({"policies": "team-a, TEAM-b"}), PASS),
                (json!({"policies": "team-a,admin"}), STOP),
                (json!({"token_policies": "team-a", "max_ttl": 86400}), PASS),
                (json!({"token_policies": "team-a", "token_max_ttl": "25h"}), STOP),
                (json!({"token_policies": "team-a", "ttl": 1}), STOP),
                (json!({"password": "x"}), STOP),
            ],
        ),
    ]
}

fn mounts() -> Vec<Table> {
    vec![
        table(
            "sys/mounts/m",
            r#"denied_parameters = { type = ["kv"] local = [true] options = ["version=1"] config = [{ max_lease_ttl = "24h" }] }"#,
            vec![
                (json!({"type": "kv"}), STOP),
                (json!({"type": "kv-v2"}), STOP),
                (json!({"type": "generic"}), STOP),
                (json!({"type": "plugin", "plugin_name": "kv"}), STOP),
                (json!({"type": "x", "local": "1"}), STOP),
                (json!({"type": "x", "options": {"version": 1}}), STOP),
                (json!({"type": "x", "options": "a=b,version=1"}), STOP),
                (json!({"type": "x", "config": {"max_lease_ttl": "1440m", "force_no_cache": true}}), STOP),
                (json!({"type": "x", "config": {"max_lease_ttl": "1h"}}), PASS),
            ],
        ),
        table(
            "sys/mounts/kv/tune",
            r#"denied_parameters = { default_lease_ttl = ["0"] listing_visibility = ["unauth"] audit_non_hmac_request_keys = ["password"] }"#,
            vec![
                (json!({"default_lease_ttl": "system"}), STOP),
                (json!({"default_lease_ttl": 0}), STOP),
                (json!({"default_lease_ttl": "0h"}), STOP),
                (json!({"default_lease_ttl": ""}), PASS),
                (json!({"default_lease_ttl": "1h"}), PASS),
                (json!({"audit_non_hmac_request_keys": "a, password"}), STOP),
            ],
        ),
    ]
}

fn server() -> Vec<Table> {
    vec![
        table(
            "sys/remount",
            r#"denied_parameters = { to = ["prod"] }"#,
            vec![
                (json!({"from": "nowhere", "to": "prod"}), STOP),
                (json!({"from": "nowhere", "to": "/prod/"}), STOP),
                (json!({"from": "nowhere", "to": "test"}), PASS),
            ],
        ),
        table(
            "sys/policies/acl/x",
            r#"denied_parameters = { policy = ["*sudo*"] }"#,
            vec![
                (json!({"policy": "path \"a\" { capabilities = [\"sudo\"] }"}), STOP),
                // The same in base64.
                (json!({"policy": "cGF0aCAiYSIgeyBjYXBhYmlsaXRpZXMgPSBbInN1ZG8iXSB9"}), STOP),
                (json!({"policy": "path \"a\" { capabilities = [\"read\"] }"}), PASS),
            ],
        ),
        table(
            "sys/tools/random",
            r#"allowed_parameters = { bytes = [16] format = ["hex"] }"#,
            vec![
                (json!({"bytes": "16", "format": "hex"}), PASS),
                (json!({"bytes": 16.0}), STOP),
                (json!({"bytes": "0x10"}), STOP),
                (json!({"bytes": 32}), STOP),
            ],
        ),
    ]
}

fn secrets() -> Vec<Table> {
    vec![
        table(
            "kv/a",
            r#"denied_parameters = { role = ["admin"] owner = [{ name = "root" }] }"#,
            vec![
                (json!({"role": "admin"}), STOP),
                (json!({"role": ["dev", "admin"]}), STOP),
                (json!({"role": "dev, admin"}), STOP),
                (json!({"ROLE": "admin"}), STOP),
                (json!({"owner": {"name": "root", "more": 1}}), STOP),
                // What is stored is what was sent, and this is another text.
                (json!({"role": "ADMIN"}), PASS),
            ],
        ),
        table(
            "kv_v2/metadata/a",
            r#"denied_parameters = { delete_version_after = ["1s"] max_versions = [0] cas_required = [false] }"#,
            vec![
                (json!({"delete_version_after": "1500ms"}), STOP),
                (json!({"delete_version_after": 1}), STOP),
                (json!({"max_versions": "0"}), STOP),
                (json!({"max_versions": ""}), STOP),
                (json!({"cas_required": "F"}), STOP),
                (json!({"cas_required": 1}), PASS),
                (json!({"max_versions": null}), STOP),
            ],
        ),
        table(
            "kv_v2/delete/a",
            r"denied_parameters = { versions = [1] }",
            vec![
                (json!({"versions": [2, 1]}), STOP),
                (json!({"versions": "2, 01"}), STOP),
                (json!({"versions": true}), STOP),
                (json!({"versions": ["2"]}), PASS),
            ],
        ),
        table(
            "kv_v2/delete/a",
            r"allowed_parameters = { versions = [1, 2] }",
            vec![
                (json!({"versions": "1"}), PASS),
                (json!({"versions": "2,1"}), PASS),
                (json!({"versions": [1, 3]}), STOP),
                (json!({"versions": "x"}), STOP),
            ],
        ),
    ]
}
