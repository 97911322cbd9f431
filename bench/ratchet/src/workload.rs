//! What is asked of the server.

use serde_json::{Value, json};

use crate::{Client, Failure, ROOT};

/// Secrets that are read and written in turn.
const SECRETS: usize = 10;
const POLICY: &str = r#"
path "secret/data/*"     { capabilities = ["create", "read", "update"] }
path "auth/token/create" { capabilities = ["update"] }
"#;

/// A request as it is sent.
pub(crate) struct Request {
    bytes: Vec<u8>,
    what: String,
}

impl Request {
    fn new(method: &str, path: &str, token: &str, body: &Value) -> Self {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let token = if token.is_empty() { String::new() } else { format!("X-Vault-Token: {token}\r\n") };
        let length = body.len();
        let head =
            format!("{method} /v1/{path} HTTP/1.1\r\nHost: ratchet\r\n{token}X-Vault-Request: true\r\n");
        let text = format!("{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}");
        Self { bytes: text.into_bytes(), what: format!("{method} {path}") }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Method and path, for messages.
    pub(crate) fn what(&self) -> &str {
        &self.what
    }
}

/// One kind of request.
#[derive(Clone, Copy)]
enum Kind {
    KvRead,
    /// A read that only the policies of an entity's groups allow, by templates.
    KvReadByIdentity,
    KvWrite,
    LookupSelf,
    TokenCreate,
    AppRoleLogin,
}

/// Requests of one kind, to a server with or without an audit device.
#[derive(Clone, Copy)]
pub(crate) struct Workload {
    kind: Kind,
    audited: bool,
}

impl Workload {
    pub(crate) fn named(name: &str) -> Option<Self> {
        let (name, audited) = name.strip_suffix("-audited").map_or((name, false), |name| (name, true));
        let kind = match name {
            "kv-read" => Kind::KvRead,
            "kv-read-by-identity" => Kind::KvReadByIdentity,
            "kv-write" => Kind::KvWrite,
            "lookup-self" => Kind::LookupSelf,
            "token-create" => Kind::TokenCreate,
            "approle-login" => Kind::AppRoleLogin,
            _ => return None,
        };
        Some(Self { kind, audited })
    }

    /// Makes what the requests need, and the requests: all with a token that carries a policy, never root.
    pub(crate) async fn prepare(self, client: &mut Client) -> Result<Vec<Request>, Failure> {
        if self.audited {
            // Records are put together and dropped: what a file system takes is not of interest.
            let device = json!({ "type": "file", "options": { "file_path": "discard" } });
            client.send(&Request::new("PUT", "sys/audit/file", ROOT, &device)).await?;
        }
        let policy = Request::new("PUT", "sys/policies/acl/ratchet", ROOT, &json!({ "policy": POLICY }));
        client.send(&policy).await?;
        let token = Request::new(
            "POST",
            "auth/token/create",
            ROOT,
            &json!({ "policies": ["ratchet"], "ttl": "24h" }),
        );
        let made = client.ask(&token).await?;
        let token = text(&made, "/auth/client_token")?;
        let secret = json!({ "username": "application", "password": "correct horse battery staple", "note": "x".repeat(200) });
        let writes = (0..SECRETS)
            .map(|n| Request::new("POST", &format!("secret/data/s{n}"), token, &json!({ "data": secret })));
        match self.kind {
            Kind::KvRead => {
                for write in writes {
                    client.send(&write).await?;
                }
                let path = |n| format!("secret/data/s{n}");
                Ok((0..SECRETS).map(|n| Request::new("GET", &path(n), token, &Value::Null)).collect())
            }
            Kind::KvReadByIdentity => reads_by_identity(client, &secret).await,
            Kind::KvWrite => Ok(writes.collect()),
            Kind::LookupSelf => Ok(vec![Request::new("GET", "auth/token/lookup-self", token, &Value::Null)]),
            Kind::TokenCreate => {
                Ok(vec![Request::new("POST", "auth/token/create", token, &json!({ "ttl": "1h" }))])
            }
            Kind::AppRoleLogin => Ok(vec![login(client, "ratchet").await?]),
        }
    }
}

/// Groups around an entity, each in the next.
const GROUPS: usize = 10;

/// Reads with the token of an entity in nested groups, each with a policy whose paths are templates. The token's own policies do
/// not allow them.
async fn reads_by_identity(client: &mut Client, secret: &Value) -> Result<Vec<Request>, Failure> {
    let login = login(client, "default").await?;
    let entered = client.ask(&login).await?;
    let (token, entity) = (text(&entered, "/auth/client_token")?, text(&entered, "/auth/entity_id")?);
    let mut member = ("member_entity_ids", entity.to_owned());
    for at in 0..GROUPS {
        let name = format!("group-{at}");
        let policy = format!(
            "path \"secret/data/{{{{identity.entity.id}}}}/{at}/*\" {{ capabilities = [\"read\"] }}
             path \"secret/data/{{{{identity.groups.names.{name}.id}}}}/*\" {{ capabilities = [\"read\"] }}"
        );
        let path = format!("sys/policies/acl/{name}");
        client.send(&Request::new("PUT", &path, ROOT, &json!({ "policy": policy }))).await?;
        let group = json!({ "name": name, "policies": [name], member.0: [member.1] });
        let made = client.ask(&Request::new("POST", "identity/group", ROOT, &group)).await?;
        member = ("member_group_ids", text(&made, "/data/id")?.to_owned());
    }
    let path = |n: usize| format!("secret/data/{entity}/{}/s{n}", n % GROUPS);
    for n in 0..SECRETS {
        client.send(&Request::new("POST", &path(n), ROOT, &json!({ "data": secret }))).await?;
    }
    Ok((0..SECRETS).map(|n| Request::new("GET", &path(n), token, &Value::Null)).collect())
}

async fn login(client: &mut Client, policies: &str) -> Result<Request, Failure> {
    const ROLE: &str = "auth/approle/role/ratchet";
    client.send(&Request::new("POST", "sys/auth/approle", ROOT, &json!({ "type": "approle" }))).await?;
    let role = json!({ "token_policies": policies, "token_ttl": "1h" });
    client.send(&Request::new("POST", ROLE, ROOT, &role)).await?;
    let of_role = |what| format!("{ROLE}/{what}");
    let role = client.ask(&Request::new("GET", &of_role("role-id"), ROOT, &Value::Null)).await?;
    let secret = client.ask(&Request::new("POST", &of_role("secret-id"), ROOT, &json!({}))).await?;
    let ids =
        json!({ "role_id": text(&role, "/data/role_id")?, "secret_id": text(&secret, "/data/secret_id")? });
    Ok(Request::new("POST", "auth/approle/login", "", &ids))
}

/// A text within an answer.
fn text<'a>(answer: &'a Value, at: &str) -> Result<&'a str, Failure> {
    answer.pointer(at).and_then(Value::as_str).ok_or_else(|| format!("{at} is missing in {answer}").into())
}
