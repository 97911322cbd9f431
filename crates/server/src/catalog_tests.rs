//! Tests over every operation of every engine, found in the catalog: an engine that is added is tested without a line
//! here.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use strongroom_barrier::Barrier;
use strongroom_core::Assembly;
use strongroom_engine_api::{Backend, Class, Endpoint, Environment, Operation, Peer, Route, Secret};
use strongroom_initialization::InitRequest;
use strongroom_mounts::NewMount;
use strongroom_pipeline::{Answer, Inbound, Settings, Verb};
use strongroom_stdx::{Clock, Entropy, Moment};
use strongroom_storage::InMemory;

use strongroom_catalog::{catalog, seals};

pub(crate) struct Rig {
    core: Arc<Assembly>,
    pub(crate) root: String,
}

/// One operation at one concrete path.
struct Case {
    path: String,
    asked: Verb,
    endpoint: Endpoint,
    /// True if the path with a slash at its end names something else.
    slash_matters: bool,
}

impl Rig {
    pub(crate) async fn new() -> Self {
        let environment = Environment {
            clock: Clock::stepped(Moment::from_secs(1_700_000_000)),
            entropy: Entropy::system(),
        };
        let barrier = Barrier::new(Arc::new(InMemory::new()), environment.entropy.clone(), 1 << 20);
        let core = Assembly::new(barrier, environment, Settings::default(), catalog(), seals());
        let made = core.services.initialization.initialize(InitRequest::key_parts(1, 1)).await.unwrap();
        core.services.seal_state.offer_key_part(made.key_parts[0].expose().clone()).await.unwrap();
        for engine in core.services.mounts.catalog().engines().cloned().collect::<Vec<_>>() {
            if engine.class() != Class::System {
                core.add_mount_for_test(
                    &mount_path(&*engine),
                    engine.kind(),
                    engine.facts().variant_options(),
                )
                .await;
            }
        }
        Self { core, root: made.root_token.expose().clone() }
    }

    async fn ask(&self, case: &Case, token: Option<&str>, input: Value) -> Answer {
        self.request(case.asked, &case.path, token, input).await
    }

    pub(crate) async fn request(&self, asked: Verb, path: &str, token: Option<&str>, input: Value) -> Answer {
        self.core
            .pipeline
            .handle(Inbound {
                input: Arc::new(input.as_object().cloned().unwrap_or_default()),
                token: token.map(|token| Arc::new(Secret::new(token.to_owned()))),
                peer: Peer::at(([127, 0, 0, 1], 4000)),
                ..Inbound::new("test", asked, path)
            })
            .await
    }

    /// Every operation of every mounted engine.
    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for engine in self.core.services.mounts.catalog().engines() {
            for route in engine.routes() {
                for (operation, endpoint) in route.operations() {
                    let (asked, rest) = (asked(operation), concrete(route));
                    let slash_matters = !engine.ignores_trailing_slash(&rest, asked.operations());
                    let path = format!("{}{rest}", mount_path(&**engine));
                    cases.push(Case { path, asked, endpoint: endpoint.clone(), slash_matters });
                }
            }
        }
        assert!(cases.len() > 150, "the catalog is found: {}", cases.len());
        cases
    }

    /// A token that holds this policy alone.
    pub(crate) async fn token_with(&self, policy: &str) -> String {
        let written = self.request(
            Verb::Write,
            "sys/policies/acl/spelling",
            Some(&self.root),
            json!({ "policy": policy }),
        );
        assert_eq!(written.await.status, 204, "{policy}");
        let input = json!({ "policies": ["spelling"], "no_default_policy": true });
        let made = self.request(Verb::Write, "auth/token/create", Some(&self.root), input).await;
        let made: Value = serde_json::from_slice(made.body.at_hand()).unwrap();
        made["auth"]["client_token"].as_str().unwrap().to_owned()
    }

    fn applied(&self) -> u64 {
        self.core.services.barrier.store().applied()
    }
}

trait AddMount {
    async fn add_mount_for_test(&self, path: &str, kind: &str, options: BTreeMap<String, String>);
}

impl AddMount for Assembly {
    async fn add_mount_for_test(&self, path: &str, kind: &str, options: BTreeMap<String, String>) {
        let txn = self.services.barrier.transaction(self.services.barrier.view());
        let mount = NewMount { kind: kind.to_owned(), options, ..NewMount::default() };
        self.services
            .mounts
            .add_mount(&txn, strongroom_barrier::NamespaceId::ROOT, path, mount)
            .await
            .unwrap();
        txn.commit().await.unwrap();
    }
}

fn mount_path(engine: &dyn Backend) -> String {
    match (engine.class(), engine.kind()) {
        (_, "system") => "sys/".to_owned(),
        (_, "token") => "auth/token/".to_owned(),
        (Class::System, kind) => format!("{kind}/"),
        (Class::Auth, _) => format!("auth/{}/", engine.generic()),
        (Class::Secrets, _) => format!("{}/", engine.generic()),
    }
}

fn concrete(route: &Route) -> String {
    route.pattern().example().trim_end_matches('/').to_owned()
}

fn asked(operation: Operation) -> Verb {
    match operation {
        Operation::Create | Operation::Update => Verb::Write,
        Operation::Read => Verb::Read,
        Operation::Patch => Verb::Patch,
        Operation::Delete => Verb::Delete,
        Operation::List => Verb::List,
        Operation::Scan => Verb::Scan,
        Operation::Help => Verb::Help,
    }
}

fn name(case: &Case) -> String {
    format!("{:?} {}", case.asked, case.path)
}

#[tokio::test]
async fn without_a_token_nothing_but_the_open_answers() {
    let rig = Rig::new().await;
    for case in
        rig.cases().iter().filter(|case| !case.endpoint.access.is_open() && !case.endpoint.while_sealed)
    {
        for token in [None, Some("hvs.notatokenatallnotatoken"), Some("hvb.AAAA")] {
            let before = rig.applied();
            let answer = rig.ask(case, token, json!({})).await;
            assert_eq!(answer.status, 403, "{}", name(case));
            let body: Value = serde_json::from_slice(answer.body.at_hand()).unwrap();
            let text = body["errors"][0].as_str().unwrap();
            assert!(text.contains("permission denied"), "{}: {text}", name(case));
            assert_eq!(rig.applied(), before, "{}", name(case));
        }
    }
}

#[tokio::test]
async fn a_token_without_a_policy_gets_nothing() {
    let rig = Rig::new().await;
    let made = rig
        .request(
            Verb::Write,
            "auth/token/create",
            Some(&rig.root),
            json!({"policies": ["none"], "no_default_policy": true}),
        )
        .await;
    let made: Value = serde_json::from_slice(made.body.at_hand()).unwrap();
    let token = made["auth"]["client_token"].as_str().unwrap().to_owned();
    for case in
        rig.cases().iter().filter(|case| !case.endpoint.access.is_open() && !case.endpoint.while_sealed)
    {
        let before = rig.applied();
        let answer = rig.ask(case, Some(&token), json!({})).await;
        assert_eq!(answer.status, 403, "{}", name(case));
        assert_eq!(rig.applied(), before, "{}", name(case));
    }
}

#[tokio::test]
async fn sealed_nothing_but_the_always_answered_answers() {
    let rig = Rig::new().await;
    let cases = rig.cases();
    rig.core.services.seal_state.seal().await;
    for case in cases.iter().filter(|case| !case.endpoint.while_sealed) {
        let answer = rig.ask(case, Some(&rig.root), json!({})).await;
        assert_eq!(answer.status, 503, "{}", name(case));
        assert_eq!(answer.body.at_hand(), b"{\"errors\":[\"Vault is sealed\"]}\n", "{}", name(case));
    }
}

#[tokio::test]
async fn unaudited_is_unanswered_and_changes_nothing() {
    let rig = Rig::new().await;
    let enabled = rig
        .request(
            Verb::Write,
            "sys/audit/full",
            Some(&rig.root),
            json!({"type": "file", "options": {"file_path": "/dev/full", "skip_test": "true"}}),
        )
        .await;
    // Enabling is on record nowhere yet; its answer is the first that the new device must take.
    assert!(enabled.status == 204 || enabled.status == 500, "{}", enabled.status);
    for case in rig.cases().iter().filter(|case| !case.endpoint.while_sealed) {
        let before = rig.applied();
        let answer = rig.ask(case, Some(&rig.root), json!({})).await;
        assert_eq!(answer.status, 500, "{}", name(case));
        assert_eq!(rig.applied(), before, "{}", name(case));
    }
}

/// Values that no lenient input of this type takes.
fn wrong_values(schema: &Value) -> Vec<Value> {
    match schema["type"].as_str() {
        Some("integer") => vec![json!("not a number"), json!({"a": 1}), json!([[]])],
        Some("boolean") => vec![json!("perhaps"), json!({"a": 1}), json!([])],
        Some("string") if schema["format"] == "seconds" => {
            vec![json!("one hour"), json!({"a": 1}), json!([])]
        }
        Some("string") => vec![json!({"a": 1}), json!(["a"])],
        Some("array") => vec![json!({"a": 1}), json!([{"a": 1}])],
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn wrong_types_are_refused_by_name_and_change_nothing() {
    let rig = Rig::new().await;
    let mut tried = 0;
    for case in rig.cases().iter().filter(|case| case.asked == Verb::Write) {
        for field in &case.endpoint.doc.fields {
            for wrong in wrong_values(&field.schema) {
                let before = rig.applied();
                let answer =
                    rig.ask(case, Some(&rig.root), json!({ field.name.clone(): wrong.clone() })).await;
                let body = String::from_utf8_lossy(answer.body.at_hand()).into_owned();
                assert_eq!(answer.status, 400, "{} {} = {wrong}: {body}", name(case), field.name);
                assert_eq!(rig.applied(), before, "{} {}", name(case), field.name);
                tried += 1;
            }
        }
    }
    assert!(tried > 300, "{tried}");
}

/// Every field at once with values that are right or wrong: whatever comes of it, it is not an internal error.
#[tokio::test]
async fn no_input_is_an_internal_error() {
    let rig = Rig::new().await;
    let values = [
        json!(null),
        json!(0),
        json!(-1),
        json!(1e300),
        json!(""),
        json!("x"),
        json!("\u{0}"),
        json!([]),
        json!(["x"]),
        json!({}),
        json!({"x": "y"}),
        json!(true),
        json!("99999999999999999999h"),
    ];
    for case in rig.cases() {
        // Sealing and revoking itself would end the test, not the input.
        if ["sys/seal", "auth/token/revoke-self", "sys/audit/thing", "sys/step-down"]
            .contains(&case.path.as_str())
        {
            continue;
        }
        for value in &values {
            let fields: Map<String, Value> =
                case.endpoint.doc.fields.iter().map(|field| (field.name.clone(), value.clone())).collect();
            let answer = rig.ask(&case, Some(&rig.root), Value::Object(fields)).await;
            assert_ne!(answer.status, 500, "{} with {value}: {:?}", name(&case), answer.body.at_hand());
        }
    }
}

#[tokio::test]
async fn paths_that_lead_nowhere_say_so() {
    let rig = Rig::new().await;
    let nowhere = rig.request(Verb::Read, "nowhere/at/all", Some(&rig.root), json!({})).await;
    assert_eq!(nowhere.status, 404);
    assert!(String::from_utf8_lossy(nowhere.body.at_hand()).contains("no handler for route"));
    let unsupported = rig.request(Verb::Delete, "sys/mounts", Some(&rig.root), json!({})).await;
    assert_eq!(unsupported.status, 405);
    for path in ["sys/../sys/mounts", "secret/a\u{0}b", "secret/a\nb", "secret/../../etc/passwd"] {
        let refused = rig.request(Verb::Read, path, Some(&rig.root), json!({})).await;
        assert_eq!(refused.status, 400, "{path:?}");
    }
}

/// A `deny` on the exact path of an operation holds for every spelling of the path that leads to the operation.
#[tokio::test]
async fn no_operation_answers_to_two_policy_paths() {
    let rig = Rig::new().await;
    let mut passed = Vec::new();
    for case in rig.cases() {
        let is_refused_by_itself = matches!(case.asked, Verb::Write | Verb::List | Verb::Scan);
        if is_refused_by_itself || case.endpoint.access.is_open() || case.endpoint.while_sealed {
            continue;
        }
        let path = case.path.trim_end_matches('/');
        let policy = format!(
            "path \"*\" {{ capabilities = [\"create\", \"read\", \"update\", \"patch\", \"delete\", \"list\", \
             \"sudo\"] }}\npath \"{path}\" {{ capabilities = [\"deny\"] }}"
        );
        let token = rig.token_with(&policy).await;
        let slashes: &[&str] = if case.slash_matters { &[""] } else { &["", "/"] };
        for slash in slashes {
            let spelling = format!("{path}{slash}");
            let answer = rig.request(case.asked, &spelling, Some(&token), json!({})).await;
            if answer.status != 403 {
                passed.push(format!("{:?} {spelling}: {}", case.asked, answer.status));
            }
        }
    }
    assert!(passed.is_empty(), "{passed:#?}");
}

/// Names that are taken in any case are compared in any case: a `deny` in capitals still denies, and so does one in lower
/// case for a name in capitals.
#[tokio::test]
async fn a_name_in_any_case_is_denied_in_any_case() {
    let rig = Rig::new().await;
    for (folder, rest) in [
        ("auth/userpass/users/", ""),
        ("auth/approle/role/", "/role-id"),
        ("sys/policies/acl/", ""),
        ("sys/policy/", ""),
    ] {
        for (denied, asked) in [("NAME", "name"), ("name", "NAME"), ("Name", "nAME")] {
            let policy = format!(
                "path \"*\" {{ capabilities = [\"read\", \"sudo\"] }}\n\
                 path \"{folder}{denied}{rest}\" {{ capabilities = [\"deny\"] }}"
            );
            let token = rig.token_with(&policy).await;
            let status = async |name: &str| {
                rig.request(Verb::Read, &format!("{folder}{name}{rest}"), Some(&token), json!({}))
                    .await
                    .status
            };
            assert_eq!(status(asked).await, 403, "{folder}{denied} denied, {asked} asked");
            assert_eq!(status("other").await, 404, "another name is not denied");
        }
    }
}
