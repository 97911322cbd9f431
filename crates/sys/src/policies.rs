//! `sys/policy`, `sys/policies/acl` and `sys/policies/password`. Source: Vault's API pages of these names.
//! `sys/policies/explain`, which says why a token may do something or not, is in [`explain`].

mod explain;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{Txn, View};
use strongroom_engine_api::lenient::Text;
use strongroom_engine_api::{
    Call, Data, Engine, EngineError, Extension, Input, Meaning, Mount, Paging, Path, Reply, bad_request,
};
use strongroom_passwords::Passwords;
use strongroom_pipeline::RequestError;
use strongroom_policies::Policies;

use crate::envelopes::MergedData;

pub(crate) fn routes(engine: Engine) -> Engine {
    let engine = engine
        .route("policy", |r| {
            r.read("List the ACL policies.", list_older).list("List the ACL policies.", list_older)
        })
        .route("policy/{name..:caseless}", |r| {
            r.read("Read an ACL policy.", read_older)
                .update("Write an ACL policy.", write_older)
                .means("policy", DECODED)
                .means("rules", DECODED)
                .delete("Delete an ACL policy.", delete)
        })
        .route("policies/acl", |r| r.list("List the ACL policies.", list))
        .route("policies/acl/{name..:caseless}", |r| {
            r.read("Read an ACL policy.", read)
                .update("Write an ACL policy.", write)
                .means("policy", DECODED)
                .delete("Delete an ACL policy.", delete)
        })
        .route("policies/password", |r| r.list("List the password policies.", list_password))
        .route("policies/password/{name}", |r| {
            r.read("Read a password policy.", read_password)
                .update("Write a password policy.", write_password)
                .means("policy", DECODED)
                .delete("Delete a password policy.", delete_password)
        })
        .route("policies/password/{name}/generate", |r| r.read("Make a password.", generate_password));
    explain::routes(engine)
}

#[derive(Deserialize, JsonSchema)]
struct PolicyInput {
    /// The rules of the policy, in HCL or JSON; may be base64-encoded.
    policy: Option<Text>,
}

#[derive(Deserialize, JsonSchema)]
struct OlderPolicyInput {
    /// The rules of the policy, in HCL or JSON; may be base64-encoded.
    policy: Option<Text>,
    /// Use 'policy' instead.
    #[schemars(extend("x-newer-name" = "policy"))]
    rules: Option<Text>,
}

/// An ACL policy.
#[derive(Serialize, JsonSchema)]
struct PolicyView {
    /// Its name.
    name: String,
    /// Its text, as it was written.
    policy: String,
}

/// An ACL policy as the older path answers it.
#[derive(Serialize, JsonSchema)]
struct OlderPolicyView {
    /// Its name.
    name: String,
    /// Its text, as it was written.
    rules: String,
}

/// The ACL policies as the older path answers them.
#[derive(Serialize, JsonSchema)]
struct Names {
    /// All names.
    keys: Vec<String>,
    /// The same.
    policies: Vec<String>,
}

async fn names(
    policies: &Policies,
    mount: &Mount,
    paging: &Paging,
    view: &View,
) -> Result<Vec<String>, EngineError> {
    let names = policies.policy_names(view, mount.namespace).await?;
    let rest = match &paging.after {
        Some(after) => names.into_iter().skip_while(|name| name != after).skip(1).collect(),
        None => names,
    };
    Ok(rest.into_iter().take(paging.limit).collect())
}

async fn list(
    Extension(policies): Extension<Policies>,
    mount: Arc<Mount>,
    paging: Paging,
    view: View,
) -> Result<Reply, EngineError> {
    Reply::keys(&names(&policies, &mount, &paging, &view).await?)
}

async fn list_older(
    Extension(policy_store): Extension<Policies>,
    mount: Arc<Mount>,
    paging: Paging,
    view: View,
) -> Result<MergedData<Names>, EngineError> {
    let keys = names(&policy_store, &mount, &paging, &view).await?;
    Ok(MergedData(Names { policies: keys.clone(), keys }))
}

async fn read(
    Extension(policies): Extension<Policies>,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    view: View,
) -> Result<Option<Data<PolicyView>>, EngineError> {
    let policy = policies.policy_text(&view, mount.namespace, &name).await?;
    Ok(policy.map(|policy| Data(PolicyView { name: name.to_lowercase(), policy })))
}

async fn read_older(
    Extension(policies): Extension<Policies>,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    view: View,
) -> Result<Option<MergedData<OlderPolicyView>>, EngineError> {
    let rules = policies.policy_text(&view, mount.namespace, &name).await?;
    Ok(rules.map(|rules| MergedData(OlderPolicyView { name: name.to_lowercase(), rules })))
}

async fn write(
    Extension(policies): Extension<Policies>,
    call: Arc<Call>,
    Path(name): Path<String>,
    Input(input): Input<PolicyInput>,
    txn: Txn,
) -> Result<(), EngineError> {
    put(&policies, &call, &name, input.policy, &txn)
}

async fn write_older(
    Extension(policies): Extension<Policies>,
    call: Arc<Call>,
    Path(name): Path<String>,
    Input(input): Input<OlderPolicyInput>,
    txn: Txn,
) -> Result<(), EngineError> {
    let given = input.policy.filter(|policy| !policy.is_empty());
    if given.is_none() && input.rules.is_some() {
        call.warn("'rules' is deprecated, please use 'policy' instead");
    }
    put(&policies, &call, &name, given.or(input.rules), &txn)
}

fn put(
    policies: &Policies,
    call: &Call,
    name: &str,
    text: Option<Text>,
    txn: &Txn,
) -> Result<(), EngineError> {
    let text = text.map(|text| text.0).filter(|text| !text.is_empty());
    let text = decoded(text.ok_or_else(|| bad_request("'policy' parameter not supplied or empty"))?);
    let lower = name.to_lowercase();
    if lower != name {
        call.warn(format!("policy name was converted to {lower}"));
    }
    policies.write_policy(txn, call.mount.namespace, &lower, &text)
}

/// The text that a policy is given as, which may be base64.
const DECODED: Meaning = Meaning::Each(|text| Some(decoded(text.to_owned())));

/// A policy's text; no policy is base64 by itself.
fn decoded(text: String) -> String {
    let bytes = STANDARD.decode(text.trim()).ok();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or(text)
}

async fn delete(
    Extension(policies): Extension<Policies>,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    txn: Txn,
) -> Result<(), EngineError> {
    policies.delete_policy(&txn, mount.namespace, &name)
}

/// A password policy.
#[derive(Serialize, JsonSchema)]
struct PasswordPolicyView {
    /// Its text, as it was written.
    policy: String,
}

/// A password.
#[derive(Serialize, JsonSchema)]
struct PasswordView {
    /// Made as the policy has it.
    password: String,
}

fn no_policy() -> EngineError {
    EngineError::Status(404, RequestError::list(&["policy does not exist"]))
}

/// Answers an error in a password policy as a list, as Vault does.
fn listed(error: EngineError) -> EngineError {
    match error {
        EngineError::Invalid(text) => EngineError::Invalid(RequestError::list(&[text])),
        other => other,
    }
}

async fn list_password(
    Extension(passwords): Extension<Passwords>,
    mount: Arc<Mount>,
    paging: Paging,
    view: View,
) -> Result<Reply, EngineError> {
    Reply::keys(&passwords.policy_names(&view, mount.namespace, paging.after.as_deref(), paging.limit).await?)
}

async fn read_password(
    Extension(passwords): Extension<Passwords>,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    view: View,
) -> Result<Data<PasswordPolicyView>, EngineError> {
    let found = passwords.policy_text(&view, mount.namespace, &name).await?;
    Ok(Data(PasswordPolicyView { policy: found.ok_or_else(no_policy)? }))
}

async fn write_password(
    Extension(passwords): Extension<Passwords>,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    Input(input): Input<PolicyInput>,
    txn: Txn,
) -> Result<(), EngineError> {
    let text = input.policy.map(|text| text.0).filter(|text| !text.is_empty());
    let text = decoded(text.ok_or_else(|| listed(bad_request("missing policy")))?);
    passwords.write_policy(&txn, mount.namespace, &name, &text).map_err(listed)
}

async fn delete_password(
    Extension(passwords): Extension<Passwords>,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    txn: Txn,
) -> Result<(), EngineError> {
    passwords.delete_policy(&txn, mount.namespace, &name);
    Ok(())
}

async fn generate_password(
    Extension(passwords): Extension<Passwords>,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    view: View,
) -> Result<Data<PasswordView>, EngineError> {
    let made = passwords.generate(&view, mount.namespace, &name).await?;
    Ok(Data(PasswordView { password: made.ok_or_else(no_policy)?.expose().clone() }))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use serde_json::json;

    use super::STANDARD;
    use crate::testing::Server;

    const READS: &str = "path \"secret/*\" { capabilities = [\"read\"] }";

    #[tokio::test]
    async fn policies_are_written_read_listed_and_deleted() {
        let server = Server::new().await;
        assert_eq!(server.write("sys/policies/acl/dev", json!({"policy": READS})).await.status, 204);
        assert_eq!(
            server.read("sys/policies/acl/dev").await.data(),
            &json!({"name": "dev", "policy": READS})
        );
        let told = server.read("sys/policy/dev").await;
        assert_eq!(told.data(), &json!({"name": "dev", "rules": READS}));
        assert_eq!((&told.body["name"], &told.body["rules"]), (&json!("dev"), &json!(READS)));
        assert_eq!(
            server.list("sys/policies/acl").await.data(),
            &json!({"keys": ["default", "dev", "root"]})
        );
        for told in [server.read("sys/policy").await, server.list("sys/policy").await] {
            assert_eq!(told.data()["keys"], json!(["default", "dev", "root"]));
            assert_eq!(told.body["policies"], json!(["default", "dev", "root"]));
        }
        let page = server.ask(
            strongroom_pipeline::Verb::List,
            "sys/policies/acl",
            json!({"after": "default", "limit": 1}),
        );
        assert_eq!(page.await.data(), &json!({"keys": ["dev"]}));
        assert_eq!(server.delete("sys/policy/dev").await.status, 204);
        assert_eq!(server.delete("sys/policies/acl/dev").await.status, 204);
        assert_eq!(server.read("sys/policies/acl/dev").await.status, 404);
        assert_eq!(server.read("sys/policy/root").await.data(), &json!({"name": "root", "rules": ""}));
    }

    #[tokio::test]
    async fn writing_has_its_forms() {
        let server = Server::new().await;
        let told = server.write("sys/policies/acl/Team/Dev", json!({"policy": STANDARD.encode(READS)})).await;
        assert_eq!(told.warnings(), ["policy name was converted to team/dev"]);
        assert_eq!(server.read("sys/policies/acl/team/dev").await.data()["policy"], READS);
        let told = server.write("sys/policy/old", json!({"rules": READS})).await;
        assert_eq!(told.warnings(), ["'rules' is deprecated, please use 'policy' instead"]);
        let empty = "'policy' parameter not supplied or empty";
        for (path, input, text) in [
            ("sys/policy/x", json!({}), empty),
            ("sys/policies/acl/x", json!({"policy": ""}), empty),
            ("sys/policies/acl/x", json!({"rules": READS}), empty),
            ("sys/policies/acl/root", json!({"policy": READS}), "cannot update \"root\" policy"),
            (
                "sys/policy/response-wrapping",
                json!({"policy": READS}),
                "cannot update \"response-wrapping\" policy",
            ),
        ] {
            assert_eq!(server.write(path, input).await.error(), (400, text));
        }
        let told =
            server.write("sys/policies/acl/x", json!({"policy": "path \"x\" {capabilities=[\"rd\"]}"})).await;
        assert!(told.error().1.starts_with("failed to parse policy: path \"x\": invalid capability \"rd\""));
        for (name, text) in [
            ("root", "cannot delete \"root\" policy"),
            ("default", "cannot delete default policy"),
            ("response-wrapping", "cannot delete \"response-wrapping\" policy"),
        ] {
            assert_eq!(server.delete(&format!("sys/policies/acl/{name}")).await.error(), (400, text));
        }
    }

    #[tokio::test]
    async fn passwords_are_made_by_policy() {
        let server = Server::new().await;
        let text = "length = 20\nrule \"charset\" {\n  charset = \"abc\"\n  min-chars = 1\n}";
        assert_eq!(server.write("sys/policies/password/x", json!({"policy": text})).await.status, 204);
        assert_eq!(server.read("sys/policies/password/x").await.data(), &json!({"policy": text}));
        assert_eq!(server.list("sys/policies/password").await.data(), &json!({"keys": ["x"]}));
        let told = server.read("sys/policies/password/x/generate").await;
        let password = told.data()["password"].as_str().unwrap();
        assert!(password.len() == 20 && password.chars().all(|c| "abc".contains(c)));
        assert_eq!(server.delete("sys/policies/password/x").await.status, 204);
        for path in ["sys/policies/password/x", "sys/policies/password/x/generate"] {
            assert_eq!(
                server.read(path).await.error(),
                (404, "1 error occurred:\n\t* policy does not exist\n\n")
            );
        }
        let told = server.write("sys/policies/password/x", json!({})).await;
        assert_eq!(told.error(), (400, "1 error occurred:\n\t* missing policy\n\n"));
        let told = server.write("sys/policies/password/x", json!({"policy": "length = 20"})).await;
        let text = "1 error occurred:\n\t* invalid password policy: no charset specified\n\n";
        assert_eq!(told.error(), (400, text));
    }
}
