//! `oidc/client`: applications that log people in by the server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{BarrierError, NamespaceId, Reads, Txn, View};
use strongroom_engine_api::lenient::{List, Text, Ttl};
use strongroom_engine_api::{
    Data, Engine, EngineError, Entropy, Extension, Input, Mount, Operation, Paging, Path, Reply, Secret,
    View as MountView, bad_request,
};
use strongroom_oidc::{CLIENT_IDS, CLIENTS, Client, DEFAULT_KEY, KeyMaterial, Oidc};

use super::assignments::assignment;
use super::keys::{Missing, make, missing_to_use};
use super::{each_once, page};

/// Characters of a client ID.
const CLIENT_ID_LEN: usize = 32;
/// Characters of a client secret after its prefix.
const CLIENT_SECRET_LEN: usize = 64;
const CLIENT_SECRET_PREFIX: &str = "hvo_secret_";
/// The TTL of tokens where nothing is said.
const DEFAULT_TTL: Duration = Duration::from_secs(24 * 3600);

pub(super) fn routes(engine: Engine) -> Engine {
    let summary = "Create or update a client.";
    engine.route("oidc/client", |r| r.list("List clients.", list)).route("oidc/client/{name}", |r| {
        r.read("Read a client, with its secret.", read)
            .existing(exists)
            .ask_on(Operation::Create, summary, missing, make, write)
            .ask_on(Operation::Update, summary, missing, make, write)
            .delete("Delete a client.", delete)
    })
}

#[derive(Deserialize, JsonSchema)]
struct ClientInput {
    /// The time-to-live for access tokens obtained by the client.
    access_token_ttl: Option<Ttl>,
    /// Comma separated string or array of assignment resources.
    assignments: Option<List>,
    /// The client type based on its ability to maintain confidentiality of credentials: "confidential" or "public". Defaults to
    /// "confidential".
    client_type: Option<Text>,
    /// The time-to-live for ID tokens obtained by the client.
    id_token_ttl: Option<Ttl>,
    /// A reference to a named key resource. Cannot be modified after creation. Defaults to the 'default' key.
    key: Option<Text>,
    /// Comma separated string or array of redirect URIs used by the client. One of these values must exactly match the `redirect_uri`
    /// parameter value used in each authentication request.
    redirect_uris: Option<List>,
}

/// A client.
#[derive(Serialize, JsonSchema)]
struct ClientView {
    /// Seconds that its access tokens live.
    access_token_ttl: u64,
    /// Its assignments.
    assignments: Vec<String>,
    /// Its id.
    client_id: String,
    /// Its secret, where it has one and is shown by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
    /// `confidential` or `public`.
    client_type: &'static str,
    /// Seconds that its ID tokens live.
    id_token_ttl: u64,
    /// The named key that signs.
    key: String,
    /// The addresses to which codes may be sent.
    redirect_uris: Vec<String>,
}

impl ClientView {
    /// A client without its secret.
    fn of(client: &Client) -> Self {
        Self {
            access_token_ttl: client.access_token_ttl.as_secs(),
            assignments: client.assignments.clone(),
            client_id: client.client_id.clone(),
            client_secret: None,
            client_type: if client.client_secret.is_some() { "confidential" } else { "public" },
            id_token_ttl: client.id_token_ttl.as_secs(),
            key: client.key.clone(),
            redirect_uris: client.redirect_uris.clone(),
        }
    }
}

/// The client with this client ID.
pub(super) async fn by_id(
    reads: &impl Reads,
    namespace: NamespaceId,
    client_id: &str,
) -> Result<Option<Arc<Client>>, BarrierError> {
    let Some(name) = CLIENT_IDS.get(reads, &(namespace, client_id)).await? else { return Ok(None) };
    CLIENTS.get(reads, &(namespace, name.as_str())).await
}

async fn exists(mount: Arc<Mount>, Path(name): Path<String>, view: View) -> Result<bool, EngineError> {
    Ok(CLIENTS.get(&view, &(mount.namespace, name.as_str())).await?.is_some())
}

async fn read(
    mount: Arc<Mount>,
    Path(name): Path<String>,
    view: View,
) -> Result<Option<Data<ClientView>>, EngineError> {
    let found = CLIENTS.get(&view, &(mount.namespace, name.as_str())).await?;
    Ok(found.map(|client| {
        let client_secret = client.client_secret.as_ref().map(|secret| secret.expose().clone());
        Data(ClientView { client_secret, ..ClientView::of(&client) })
    }))
}

async fn list(mount: Arc<Mount>, paging: Paging, view: View) -> Result<Reply, EngineError> {
    let found = CLIENTS.scan(&view, &mount.namespace, None, usize::MAX).await?;
    let found: BTreeMap<String, Arc<Client>> =
        found.into_iter().map(|((_, name), client)| (name, client)).collect();
    let names = page(found.keys().cloned().collect::<BTreeSet<_>>(), &paging);
    let shown = names.iter().filter_map(|name| Some((name.clone(), ClientView::of(found.get(name)?))));
    Reply::keys_with(&names, &shown.collect())
}

async fn missing(
    _of_mount: MountView,
    Extension(oidc): Extension<Oidc>,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    Input(input): Input<ClientInput>,
    view: View,
) -> Result<Missing, EngineError> {
    let kept = CLIENTS.get(&view, &(mount.namespace, name.as_str())).await?;
    let key = input.key.map(|key| key.0).or_else(|| kept.map(|client| client.key.clone()));
    let key = key.filter(|key| !key.is_empty()).unwrap_or_else(|| DEFAULT_KEY.to_owned());
    missing_to_use(&oidc, &view, mount.namespace, &key).await
}

async fn write(
    made: Arc<Vec<KeyMaterial>>,
    (Extension(oidc), entropy): (Extension<Oidc>, Entropy),
    mount: Arc<Mount>,
    Path(name): Path<String>,
    Input(input): Input<ClientInput>,
    txn: Txn,
) -> Result<(), EngineError> {
    let at = (mount.namespace, name.as_str());
    let kept = CLIENTS.get(&txn, &at).await?;
    let mut client = match &kept {
        Some(kept) => unchanged(kept, &input)?,
        None => new_client(&input, &entropy)?,
    };
    client.redirect_uris = input.redirect_uris.map_or(client.redirect_uris, |uris| each_once(uris.0));
    client.assignments = input.assignments.map_or(client.assignments, |names| each_once(names.0));
    client.id_token_ttl = input.id_token_ttl.map_or(client.id_token_ttl, |ttl| ttl.0);
    client.access_token_ttl = input.access_token_ttl.map_or(client.access_token_ttl, |ttl| ttl.0);
    for name in &client.assignments {
        if assignment(&txn, mount.namespace, name).await?.is_none() {
            return Err(bad_request(format!("assignment {name:?} does not exist")));
        }
    }
    let key = oidc.key(&txn, mount.namespace, &client.key).await?;
    let key = key.ok_or_else(|| bad_request(format!("key {:?} does not exist", client.key)))?;
    if client.id_token_ttl > key.verification_ttl {
        return Err(bad_request(
            "a client's id_token_ttl cannot be greater than the verification_ttl of the key it references",
        ));
    }
    oidc.begin_using(&txn, mount.namespace, &client.key, &made).await?;
    CLIENT_IDS.put(&txn, &(mount.namespace, client.client_id.as_str()), name.clone())?;
    Ok(CLIENTS.put(&txn, &at, client)?)
}

/// A client as it is, where nothing is asked for that cannot be changed.
fn unchanged(kept: &Client, input: &ClientInput) -> Result<Client, EngineError> {
    if input.key.as_ref().is_some_and(|key| key.0 != kept.key) {
        return Err(bad_request("key modification is not allowed"));
    }
    let kind = ClientView::of(kept).client_type;
    if input.client_type.as_ref().is_some_and(|given| given.0 != kind) {
        return Err(bad_request("client_type modification is not allowed"));
    }
    Ok(kept.clone())
}

/// A client with an id, and a secret where it can keep one.
fn new_client(input: &ClientInput, entropy: &Entropy) -> Result<Client, EngineError> {
    let given =
        |text: &Option<Text>| text.as_ref().map(|text| text.0.clone()).filter(|text| !text.is_empty());
    let client_secret = match given(&input.client_type).as_deref() {
        None | Some("confidential") => {
            let drawn = entropy.base62(CLIENT_SECRET_LEN)?;
            Some(Secret::new(format!("{CLIENT_SECRET_PREFIX}{drawn}")))
        }
        Some("public") => None,
        Some(other) => return Err(bad_request(format!("invalid client_type {other:?}"))),
    };
    Ok(Client {
        client_id: entropy.base62(CLIENT_ID_LEN)?,
        client_secret,
        key: given(&input.key).unwrap_or_else(|| DEFAULT_KEY.to_owned()),
        id_token_ttl: DEFAULT_TTL,
        access_token_ttl: DEFAULT_TTL,
        ..Client::default()
    })
}

async fn delete(mount: Arc<Mount>, Path(name): Path<String>, txn: Txn) -> Result<(), EngineError> {
    let at = (mount.namespace, name.as_str());
    if let Some(client) = CLIENTS.get(&txn, &at).await? {
        CLIENT_IDS.delete(&txn, &(mount.namespace, client.client_id.as_str()));
        CLIENTS.delete(&txn, &at);
    }
    Ok(())
}
