//! `oidc/key`: named keys.
//!
//! Making a private key takes long, so writing and rotating are operations in steps: what is missing is made aside, and kept in
//! the transaction that answers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{NamespaceId, Reads, Txn, View};
use strongroom_engine_api::lenient::{List, Text, Ttl};
use strongroom_engine_api::{
    Data, Engine, EngineError, Extension, Input, Mount, Operation, Paging, Path, Reply, Route,
    View as MountView, bad_request,
};
use strongroom_oidc::{Algorithm, CLIENTS, DEFAULT_KEY, KEYS, KeyChange, KeyMaterial, Oidc, ROLES};

use super::{each_once, page};

pub(super) fn routes(engine: Engine) -> Engine {
    engine
        .route("oidc/key", |r| r.list("List named keys.", list))
        .route("oidc/key/{name}", |r| {
            writing(r.read("Read a named key.", read).existing(exists))
                .delete("Delete a named key that nothing signs with.", delete)
        })
        .route("oidc/key/{name}/rotate", |r| {
            r.ask("Have the next key of a name sign from now on.", missing_to_rotate, make, rotate)
        })
}

fn writing(route: Route) -> Route {
    let summary = "Create or update a named key.";
    route.ask_on(Operation::Create, summary, missing, make, write).ask_on(
        Operation::Update,
        summary,
        missing,
        make,
        write,
    )
}

#[derive(Deserialize, JsonSchema)]
struct KeyInput {
    /// Signing algorithm to use: RS256 (default), RS384, RS512, ES256, ES384, ES512 or `EdDSA`.
    algorithm: Option<Text>,
    /// Comma separated string or array of role client ids allowed to use this key for signing. If empty no roles are allowed. If
    /// "*" all roles are allowed.
    allowed_client_ids: Option<List>,
    /// Interval at which a new key pair is generated.
    rotation_period: Option<Ttl>,
    /// Controls how long the public portion of a key will be available for verification after being rotated.
    verification_ttl: Option<Ttl>,
}

impl KeyInput {
    fn algorithm(&self) -> Result<Option<Algorithm>, EngineError> {
        let Some(Text(name)) = self.algorithm.as_ref().filter(|name| !name.0.is_empty()) else {
            return Ok(None);
        };
        let known = Algorithm::from_name(name);
        known.map(Some).ok_or_else(|| bad_request(format!("unknown signing algorithm {name:?}")))
    }
}

#[derive(Deserialize, JsonSchema)]
struct RotateInput {
    /// Controls how long the public portion of a key will be available for verification after being rotated. Setting
    /// `verification_ttl` here will override the `verification_ttl` set on the key.
    verification_ttl: Option<Ttl>,
}

/// A named key.
#[derive(Serialize, JsonSchema)]
struct KeyView {
    /// The algorithm.
    algorithm: &'static str,
    /// The client IDs that may sign with it.
    allowed_client_ids: Vec<String>,
    /// Seconds between rotations.
    rotation_period: u64,
    /// Seconds for which a key is verified after it has last signed.
    verification_ttl: u64,
}

async fn exists(mount: Arc<Mount>, Path(name): Path<String>, view: View) -> Result<bool, EngineError> {
    let is_kept = KEYS.get(&view, &(mount.namespace, name.as_str())).await?.is_some();
    Ok(is_kept || name == DEFAULT_KEY)
}

async fn read(
    Extension(oidc): Extension<Oidc>,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    view: View,
) -> Result<Option<Data<KeyView>>, EngineError> {
    let key = oidc.key(&view, mount.namespace, &name).await?;
    Ok(key.map(|key| {
        Data(KeyView {
            algorithm: key.algorithm.name(),
            allowed_client_ids: key.allowed_client_ids.clone(),
            rotation_period: key.rotation_period.as_secs(),
            verification_ttl: key.verification_ttl.as_secs(),
        })
    }))
}

async fn list(mount: Arc<Mount>, paging: Paging, view: View) -> Result<Reply, EngineError> {
    let names = KEYS.keys(&view, &mount.namespace, None, usize::MAX).await?;
    let mut names: BTreeSet<String> = names.into_iter().map(|(_, name)| name).collect();
    names.insert(DEFAULT_KEY.to_owned());
    Reply::keys(&page(names, &paging))
}

/// The private keys to be made: their algorithm and number.
pub(super) type Missing = (Algorithm, usize);

async fn missing(
    _of_mount: MountView,
    Extension(oidc): Extension<Oidc>,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    Input(input): Input<KeyInput>,
    view: View,
) -> Result<Missing, EngineError> {
    let algorithm = input.algorithm()?;
    Ok(oidc.missing_keys(&view, mount.namespace, &name, algorithm).await?)
}

async fn missing_to_rotate(
    _of_mount: MountView,
    Extension(oidc): Extension<Oidc>,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    view: View,
) -> Result<Missing, EngineError> {
    if oidc.key(&view, mount.namespace, &name).await?.is_none() {
        return Err(no_such_key(&name));
    }
    let (algorithm, missing) = oidc.missing_keys(&view, mount.namespace, &name, None).await?;
    Ok((algorithm, missing.max(1)))
}

/// The step of making keys, of every operation that may need some.
pub(super) async fn make(
    (algorithm, number): Missing,
    Extension(oidc): Extension<Oidc>,
) -> Result<Vec<KeyMaterial>, EngineError> {
    oidc.make_keys(algorithm, number).await
}

/// The private keys that a named key lacks that is about to be used. Only the built-in one can.
pub(super) async fn missing_to_use(
    oidc: &Oidc,
    reads: &impl Reads,
    namespace: NamespaceId,
    name: &str,
) -> Result<Missing, EngineError> {
    if name != DEFAULT_KEY {
        return Ok((Algorithm::default(), 0));
    }
    Ok(oidc.missing_keys(reads, namespace, name, None).await?)
}

async fn write(
    made: Arc<Vec<KeyMaterial>>,
    Extension(oidc): Extension<Oidc>,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    Input(input): Input<KeyInput>,
    txn: Txn,
) -> Result<(), EngineError> {
    let change = KeyChange {
        algorithm: input.algorithm()?,
        rotation_period: input.rotation_period.map(|period| period.0),
        verification_ttl: input.verification_ttl.map(|ttl| ttl.0),
        allowed_client_ids: input.allowed_client_ids.map(|ids| each_once(ids.0)),
    };
    if let Some(ttl) = change.verification_ttl {
        check_ttls(&txn, mount.namespace, &name, ttl).await?;
    }
    oidc.write_key(&txn, mount.namespace, &name, change, &made).await
}

/// Refuses a verification TTL that is shorter than the life of tokens that are to be verified by it.
async fn check_ttls(txn: &Txn, namespace: NamespaceId, name: &str, ttl: Duration) -> Result<(), EngineError> {
    let roles = ROLES.scan(txn, &namespace, None, usize::MAX).await?;
    let roles = roles.into_iter().filter(|(_, role)| role.key == name && role.ttl > ttl);
    let clients = CLIENTS.scan(txn, &namespace, None, usize::MAX).await?;
    let clients = clients.into_iter().filter(|(_, client)| client.key == name && client.id_token_ttl > ttl);
    let roles: Vec<String> = roles.map(|((_, role), _)| role).collect();
    let clients: Vec<String> = clients.map(|((_, client), _)| client).collect();
    let (by, names) = match (roles.is_empty(), clients.is_empty()) {
        (true, true) => return Ok(()),
        (false, _) => ("roles with a token ttl", roles),
        (true, false) => ("clients with an id_token_ttl", clients),
    };
    Err(bad_request(format!(
        "unable to update key {name:?} because it is currently referenced by one or more {by} greater than {} seconds: {}",
        ttl.as_secs(),
        names.join(", ")
    )))
}

async fn rotate(
    made: Arc<Vec<KeyMaterial>>,
    Extension(oidc): Extension<Oidc>,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    Input(input): Input<RotateInput>,
    txn: Txn,
) -> Result<(), EngineError> {
    let ttl = input.verification_ttl.map(|ttl| ttl.0);
    if oidc.rotate_key(&txn, mount.namespace, &name, ttl, &made).await? {
        return Ok(());
    }
    Err(no_such_key(&name))
}

fn no_such_key(name: &str) -> EngineError {
    bad_request(format!("no named key found at {name:?}"))
}

async fn delete(
    Extension(oidc): Extension<Oidc>,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    txn: Txn,
) -> Result<(), EngineError> {
    let namespace = mount.namespace;
    if name == DEFAULT_KEY {
        return Err(bad_request(format!("deletion of key {name:?} not allowed")));
    }
    let roles = ROLES.scan(&txn, &namespace, None, usize::MAX).await?;
    let roles = roles.into_iter().filter(|(_, role)| role.key == name).map(|((_, role), _)| role);
    let clients = CLIENTS.scan(&txn, &namespace, None, usize::MAX).await?;
    let clients = clients.into_iter().filter(|(_, client)| client.key == name);
    let (roles, clients): (Vec<_>, Vec<_>) = (roles.collect(), clients.map(|((_, name), _)| name).collect());
    for (by, names) in [("roles", roles), ("clients", clients)] {
        if !names.is_empty() {
            return Err(bad_request(format!(
                "unable to delete key {name:?} because it is currently referenced by these {by}: {}",
                names.join(", ")
            )));
        }
    }
    oidc.delete_key(&txn, namespace, &name).await
}
