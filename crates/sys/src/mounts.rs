//! `sys/mounts`, and what it shares with `sys/auth`. Source: Vault's API page `sys/mounts`.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{NamespaceId, Txn};
use strongroom_engine_api::lenient::{Flag, Pairs, Text};
use strongroom_engine_api::{
    Alias, Call, Class, Engine, EngineError, Extension, Input, Meaning, Mount, Path, Reading, bad_request,
    fields_of,
};
use strongroom_mounts::{MountHandle, Mounts, NewMount};
use strongroom_pipeline::{ServerReply, Settings};
use strongroom_policies::Policies;
use strongroom_policy::{Denial, Operation as PolicyOperation, Parameters};

use crate::envelopes::MergedData;
use crate::tuning::{self, ConfigInput, ConfigView, TuneInput, TuneView};

pub(crate) fn routes(engine: Engine, types: fn(&str) -> Reading) -> Engine {
    engine
        .route("mounts", |r| r.read("List the enabled secrets engines.", list))
        .route("mounts/{path..}", |r| {
            r.read("Read the configuration of the secrets engine at the given path.", read)
                .update("Enable a secrets engine at the given path.", enable)
                .means("type", Meaning::Whole(types))
                .means("plugin_name", Meaning::Whole(types))
                .delete("Disable the secrets engine at the given path.", disable)
        })
        .route("mounts/{path..}/tune", |r| {
            r.read("Read the tuning of the mount at the given path.", read_tuning)
                .update("Tune the mount at the given path.", tune)
        })
}

/// A mount as clients see it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct MountView {
    /// The mount's accessor.
    accessor: String,
    /// The parameters set by tuning.
    config: ConfigView,
    /// The deprecation status of the engine: `supported`.
    #[serde(skip_serializing_if = "Option::is_none")]
    deprecation_status: Option<&'static str>,
    /// For people.
    description: String,
    /// True if the mount may use the seal's source of randomness.
    external_entropy_access: bool,
    /// True if the mount is left out of replication.
    local: bool,
    /// The engine's options.
    options: Option<BTreeMap<String, String>>,
    /// The version of the plugin that was asked for; empty: the built-in one.
    plugin_version: &'static str,
    /// The version of the plugin that runs.
    running_plugin_version: String,
    /// The checksum of the plugin that runs; empty for built-in ones.
    running_sha256: &'static str,
    /// True if wrapping by the seal was asked for.
    seal_wrap: bool,
    /// The engine's type.
    #[serde(rename = "type")]
    kind: String,
    /// A number that is the mount's alone.
    uuid: String,
}

impl MountView {
    pub(crate) fn of(settings: &Settings, mounted: &MountHandle) -> Self {
        let entry = &mounted.entry;
        let always_there = is_always_there(&mounted.path);
        let version = &settings.version;
        let release = version.split_once('+').map_or(version.as_str(), |(release, _)| release);
        Self {
            accessor: entry.accessor.clone(),
            config: ConfigView::of(mounted),
            deprecation_status: (!always_there).then_some("supported"),
            description: entry.description.clone(),
            external_entropy_access: entry.external_entropy_access,
            local: entry.local,
            options: (!always_there || !entry.options.is_empty()).then(|| entry.options.clone()),
            plugin_version: "",
            running_plugin_version: format!("v{release}+builtin.strongroom"),
            running_sha256: "",
            seal_wrap: entry.seal_wrap,
            kind: entry.kind.clone(),
            uuid: entry.uuid.clone(),
        }
    }
}

/// Paths of secrets engines that no client can take, free or change.
const RESERVED: [&str; 4] = ["sys/", "cubbyhole/", "identity/", "audit/"];
pub(crate) const AUTH: &str = "auth/";
pub(crate) const TOKEN: &str = "auth/token/";

pub(crate) fn is_reserved(path: &str) -> bool {
    RESERVED.iter().any(|reserved| path.starts_with(reserved))
}

fn is_always_there(path: &str) -> bool {
    is_reserved(path) || path == TOKEN
}

/// A mount's path as it is kept: with one slash at its end.
pub(crate) fn as_kept(path: &str) -> Result<String, EngineError> {
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Err(EngineError::Unsupported);
    }
    let clean: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | "." | "..")).collect();
    let clean = clean.join("/");
    if clean != path {
        return Err(bad_request(format!("path '{path}/' does not match cleaned path '{clean}/'")));
    }
    if path.chars().any(|c| c.is_control() || (c.is_whitespace() && c != ' ')) || path.trim() != path {
        return Err(bad_request("path cannot contain non-printable characters"));
    }
    Ok(format!("{path}/"))
}

/// All mounts of the one kind or the other, by the path that `sys/auth` or `sys/mounts` has for them.
pub(crate) async fn table(
    settings: &Settings,
    mount_table: &Mounts,
    namespace: NamespaceId,
    class: Class,
) -> Result<BTreeMap<String, MountView>, EngineError> {
    let router = mount_table.router().await?;
    let mounts = router.in_namespace(namespace);
    let shown = mounts.iter().filter_map(|mounted| {
        let path = match (class, mounted.path.strip_prefix(AUTH)) {
            (Class::Auth, Some(path)) => path,
            (Class::Auth, None) | (_, Some(_)) => return None,
            (_, None) => mounted.path.as_str(),
        };
        Some((path.to_owned(), MountView::of(settings, mounted)))
    });
    Ok(shown.collect())
}

/// The mount at a path as kept.
pub(crate) async fn mounted_at(
    mounts: &Mounts,
    namespace: NamespaceId,
    path: &str,
) -> Result<Option<Arc<MountHandle>>, EngineError> {
    Ok(mounts.router().await?.at(namespace, path))
}

async fn list(
    Extension(settings): Extension<Settings>,
    Extension(mounts): Extension<Mounts>,
    mount: Arc<Mount>,
) -> Result<ServerReply, EngineError> {
    ServerReply::at_top(&table(&settings, &mounts, mount.namespace, Class::Secrets).await?)
}

async fn read(
    Extension(settings): Extension<Settings>,
    Extension(mounts): Extension<Mounts>,
    mount: Arc<Mount>,
    Path(path): Path<String>,
) -> Result<MergedData<MountView>, EngineError> {
    let path = as_kept(&path)?;
    match mounted_at(&mounts, mount.namespace, &path).await? {
        Some(mounted) => Ok(MergedData(MountView::of(&settings, &mounted))),
        None => Err(bad_request(format!("No secret engine mount at {path}"))),
    }
}

/// The input of enabling a mount.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct EnableInput {
    /// The type of the engine, such as "kv" or "userpass".
    #[serde(rename = "type")]
    kind: Option<Text>,
    /// A description for people.
    description: Option<Text>,
    /// The parameters that can be tuned later.
    config: Option<ConfigInput>,
    /// Options of the engine, such as `version` for KV.
    options: Option<Pairs>,
    /// Leaves the mount out of replication.
    local: Option<Flag>,
    /// Asks for wrapping by the seal.
    seal_wrap: Option<Flag>,
    /// Lets the mount use the seal's source of randomness.
    external_entropy_access: Option<Flag>,
    /// The name of the engine where `type` is "plugin".
    #[schemars(extend("x-newer-name" = "type"))]
    plugin_name: Option<Text>,
    /// The version of the plugin; only the built-in one is there.
    plugin_version: Option<Text>,
}

/// The mount that is asked for.
pub(crate) fn asked_for(
    settings: &Settings,
    mounts: &Mounts,
    call: &Call,
    input: EnableInput,
    class: Class,
) -> Result<NewMount, EngineError> {
    let text = |text: Option<Text>| text.map(|text| text.0).unwrap_or_default();
    let flag = |flag: Option<Flag>| flag.is_some_and(|flag| flag.0);
    let mut options = input.options.map(|options| options.0).unwrap_or_default();
    let mut kind = text(input.kind);
    if kind == "plugin" {
        kind = text(input.plugin_name);
        if kind.is_empty() {
            return Err(bad_request("plugin_name must be provided for plugin backend"));
        }
    }
    if kind.is_empty() {
        return Err(bad_request("backend type must be specified as a string"));
    }
    if let Some((meant, (option, value))) = mounts.catalog().alias(class, &kind) {
        options.insert(option.to_owned(), value.to_owned());
        meant.clone_into(&mut kind);
    }
    if mounts
        .catalog()
        .engine(Class::System, &kind, &options)
        .is_some_and(|engine| engine.class() == Class::System)
    {
        return Err(bad_request(format!("mount type of {kind:?} is not mountable")));
    }
    tuning::check_plugin_version(&kind, input.plugin_version.as_ref())?;
    let mut mount = NewMount {
        description: text(input.description),
        options,
        local: flag(input.local),
        seal_wrap: flag(input.seal_wrap),
        external_entropy_access: flag(input.external_entropy_access),
        kind,
        ..NewMount::default()
    };
    if let Some(config) = input.config {
        warn_of_unknown_config(call);
        mount.tuning.force_no_cache = config.force_no_cache.as_ref().is_some_and(|flag| flag.0);
        config.apply(mounts, &mut mount.tuning, &mount.kind, class, call)?;
    }
    tuning::check_new_ttls(&mount.tuning, settings.max_lease_ttl)?;
    Ok(mount)
}

fn warn_of_unknown_config(call: &Call) {
    let Some(config) = call.request.input.get("config").and_then(|config| config.as_object()) else { return };
    let known = fields_of::<ConfigInput>();
    let is_known = |name: &str| known.iter().any(|field| field.name == name);
    let given = config.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| name.as_str());
    let unknown: Vec<&str> = given.filter(|name| !is_known(name)).collect();
    if !unknown.is_empty() {
        call.warn(format!(
            "Endpoint ignored these unrecognized parameters in config: [{}]",
            unknown.join(" ")
        ));
    }
}

/// Refuses a type with an option where the caller's policies refuse the name that both together have: `kv` with the version 2
/// is `kv-v2`.
async fn check_by_alias(
    mounts: &Mounts,
    policies: &Policies,
    txn: &Txn,
    call: &Call,
    mount: &NewMount,
) -> Result<(), EngineError> {
    let Some(engine) = mounts.catalog().engine(Class::Secrets, &mount.kind, &mount.options) else {
        return Ok(());
    };
    let is_meant = |alias: &&Alias| {
        let (option, value) = &alias.option;
        mount.options.get(&**option).is_none_or(|given| *given == **value)
    };
    let aliases: Vec<&Alias> = engine.facts().aliases.iter().filter(is_meant).collect();
    let denied = || EngineError::Denied("permission denied".to_owned());
    let Some(caller) = call.request.caller().filter(|_| !aliases.is_empty()) else { return Ok(()) };
    let acl = policies.acl_of(txn.peek(), &caller).await?;
    if acl.is_root() {
        return Ok(());
    }
    let path = mounts.full_path(call.mount.namespace, &format!("sys/{}", call.request.path));
    let path = path.ok_or_else(denied)?;
    for alias in aliases {
        let mut input = (*call.request.input).clone();
        input.insert("type".to_owned(), alias.name.to_string().into());
        let parameters = Parameters::untyped(&input);
        let decision = acl.authorize(&path, PolicyOperation::Update, parameters, call.request.wrap_ttl);
        if matches!(decision.denial, Some(Denial::DeniedValue { .. })) {
            return Err(denied());
        }
    }
    Ok(())
}

async fn enable(
    (Extension(settings), Extension(policies)): (Extension<Settings>, Extension<Policies>),
    Extension(mounts): Extension<Mounts>,
    txn: Txn,
    call: Arc<Call>,
    Path(path): Path<String>,
    Input(input): Input<EnableInput>,
) -> Result<(), EngineError> {
    let path = as_kept(&path)?;
    let mount = asked_for(&settings, &mounts, &call, input, Class::Secrets)?;
    check_by_alias(&mounts, &policies, &txn, &call, &mount).await?;
    if is_reserved(&path) || path.starts_with(AUTH) {
        return Err(bad_request(format!("cannot mount {path:?}")));
    }
    mounts.add_mount(&txn, call.mount.namespace, &path, mount).await?;
    Ok(())
}

async fn disable(
    Extension(mounts): Extension<Mounts>,
    txn: Txn,
    mount: Arc<Mount>,
    Path(path): Path<String>,
) -> Result<(), EngineError> {
    let path = as_kept(&path)?;
    if is_reserved(&path) || path.starts_with(AUTH) {
        return Err(bad_request(format!("cannot unmount {path:?}")));
    }
    mounts.remove_mount(&txn, mount.namespace, &path).await?;
    Ok(())
}

async fn read_tuning(
    Extension(mounts): Extension<Mounts>,
    mount: Arc<Mount>,
    Path(path): Path<String>,
) -> Result<MergedData<TuneView>, EngineError> {
    tuning::read(&mounts, mount.namespace, &as_kept(&path)?).await
}

async fn tune(
    Extension(mounts): Extension<Mounts>,
    txn: Txn,
    call: Arc<Call>,
    Path(path): Path<String>,
    Input(config): Input<ConfigInput>,
    Input(input): Input<TuneInput>,
) -> Result<(), EngineError> {
    tuning::tune(&mounts, &txn, &call, &as_kept(&path)?, config, input).await
}

#[cfg(test)]
mod tests;
