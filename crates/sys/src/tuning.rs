//! Tuning of a mount, shared by `sys/mounts` and `sys/auth`. Source: Vault's API pages `sys/mounts` and `sys/auth`,
//! "Tune".

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{NamespaceId, Txn};
use strongroom_engine_api::lenient::{Flag, LeaseTtl, List, Pairs, Text};
use strongroom_engine_api::{Call, Class, EngineError, bad_request, parse_duration};
use strongroom_mounts::{ListingVisibility, MountEntry, MountHandle, MountTuning, Mounts};

use crate::envelopes::MergedData;
use crate::mounts::{AUTH, is_reserved, mounted_at};

/// The parameters that can be set when enabling and when tuning.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct ConfigInput {
    /// The default lease TTL of this mount; "system" or 0: the server's.
    default_lease_ttl: Option<LeaseTtl>,
    /// The maximum lease TTL of this mount; "system" or 0: the server's.
    max_lease_ttl: Option<LeaseTtl>,
    /// Has no effect: there is nothing that it would turn off. Shown as it was set when enabling.
    pub(crate) force_no_cache: Option<Flag>,
    /// Request members whose values audit devices do not hash.
    audit_non_hmac_request_keys: Option<List>,
    /// Answer members whose values audit devices do not hash.
    audit_non_hmac_response_keys: Option<List>,
    /// The visibility of the mount before login: "unauth", "hidden" or empty.
    listing_visibility: Option<Text>,
    /// Request headers that the engine gets to see.
    passthrough_request_headers: Option<List>,
    /// Headers that the engine may answer with.
    allowed_response_headers: Option<List>,
    /// The type of token an auth method issues: "default-service", "default-batch", "service" or "batch".
    token_type: Option<Text>,
    /// User lockout: `lockout_threshold`, `lockout_duration`, `lockout_counter_reset`, `lockout_disable`.
    user_lockout_config: Option<Pairs>,
    /// Managed keys that the mount may use. There are none, so that it has no effect.
    allowed_managed_keys: Option<List>,
}

/// The parameters that can be set when tuning only.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct TuneInput {
    /// A description for people.
    description: Option<Text>,
    /// Options of the engine to change; an empty text takes one away.
    options: Option<Pairs>,
    /// The version of the plugin; only the built-in one is there.
    plugin_version: Option<Text>,
}

impl ConfigInput {
    /// Takes over what is given.
    pub(crate) fn apply(
        self,
        mounts: &Mounts,
        tuning: &mut MountTuning,
        kind: &str,
        class: Class,
        call: &Call,
    ) -> Result<(), EngineError> {
        // Clients send an empty text for what is to stay as it is.
        if let Some(text) = self.default_lease_ttl.as_ref().filter(|text| !text.is_empty()) {
            tuning.default_lease_ttl = read_ttl("default", text)?;
        }
        if let Some(text) = self.max_lease_ttl.as_ref().filter(|text| !text.is_empty()) {
            tuning.max_lease_ttl = read_ttl("max", text)?;
        }
        for (given, kept) in [
            (self.audit_non_hmac_request_keys, &mut tuning.audit_non_hmac_request_keys),
            (self.audit_non_hmac_response_keys, &mut tuning.audit_non_hmac_response_keys),
            (self.passthrough_request_headers, &mut tuning.passthrough_request_headers),
            (self.allowed_response_headers, &mut tuning.allowed_response_headers),
        ] {
            if let Some(given) = given {
                *kept = given.0;
            }
        }
        if let Some(text) = &self.listing_visibility {
            tuning.listing_visibility = read_visibility(text)?;
        }
        if let Some(text) = self.token_type {
            set_token_type(tuning, &text, kind, class)?;
        }
        if let Some(given) = self.user_lockout_config {
            if !mounts.catalog().locks_users_out(class, kind) {
                let text = format!("tuning of user lockout configuration for auth type {kind:?} not allowed");
                return Err(bad_request(text));
            }
            set_lockout(tuning, &given)?;
        }
        if self.allowed_managed_keys.is_some_and(|keys| !keys.is_empty()) {
            call.warn("'allowed_managed_keys' was ignored: there are no managed keys");
        }
        Ok(())
    }
}

fn read_ttl(which: &str, text: &str) -> Result<Duration, EngineError> {
    if text == LeaseTtl::SYSTEM {
        return Ok(Duration::ZERO);
    }
    parse_duration(text)
        .map_err(|error| bad_request(format!("unable to parse {which} TTL of {text}: {error}")))
}

fn read_visibility(text: &str) -> Result<Option<ListingVisibility>, EngineError> {
    match text {
        "" => Ok(None),
        "hidden" => Ok(Some(ListingVisibility::Hidden)),
        "unauth" => Ok(Some(ListingVisibility::Unauth)),
        other => Err(bad_request(format!("invalid listing_visibility {other}"))),
    }
}

fn set_token_type(tuning: &mut MountTuning, text: &str, kind: &str, class: Class) -> Result<(), EngineError> {
    if text.is_empty() {
        tuning.token_type = None;
        return Ok(());
    }
    if class != Class::Auth {
        return Err(bad_request("'token_type' can only be modified on auth mounts"));
    }
    if kind == "token" {
        return Err(bad_request("'token_type' cannot be set for 'token' or 'ns_token' auth mounts"));
    }
    if !["default-service", "default-batch", "service", "batch"].contains(&text) {
        return Err(bad_request("invalid value for 'token_type'"));
    }
    tuning.token_type = Some(text.to_owned());
    Ok(())
}

/// Kept under the names they are set by: numbers and seconds as digits.
fn set_lockout(tuning: &mut MountTuning, given: &BTreeMap<String, String>) -> Result<(), EngineError> {
    for (name, text) in given {
        let unreadable = |what: &str| bad_request(format!("unable to parse user lockout {what}: {text:?}"));
        let seconds = || parse_duration(text).map(|span| span.as_secs().to_string()).ok();
        let value = match name.as_str() {
            "lockout_threshold" => {
                text.parse::<u64>().ok().ok_or_else(|| unreadable("threshold"))?.to_string()
            }
            "lockout_duration" => seconds().ok_or_else(|| unreadable("duration"))?,
            // The API's page says the one, the command line sends the other.
            "lockout_counter_reset" | "lockout_counter_reset_duration" => {
                seconds().ok_or_else(|| unreadable("counter reset duration"))?
            }
            "lockout_disable" => match text.to_lowercase().as_str() {
                "1" | "t" | "true" => "true".to_owned(),
                "" | "0" | "f" | "false" => "false".to_owned(),
                _ => return Err(unreadable("disable flag")),
            },
            other => return Err(bad_request(format!("unknown user lockout parameter {other:?}"))),
        };
        let name = if name == "lockout_counter_reset_duration" { "lockout_counter_reset" } else { name };
        tuning.user_lockout.insert(name.to_owned(), value);
    }
    Ok(())
}

/// Only the built-in engines are there, which have no version of their own.
pub(crate) fn check_plugin_version(kind: &str, version: Option<&Text>) -> Result<(), EngineError> {
    match version.map(|version| version.as_str()) {
        None | Some("") => Ok(()),
        Some(version) => {
            Err(bad_request(format!("plugin not found in the catalog: {kind}, version={version}")))
        }
    }
}

/// Checks that the TTLs of a new mount go together.
pub(crate) fn check_new_ttls(tuning: &MountTuning, system_max: Duration) -> Result<(), EngineError> {
    let MountTuning { default_lease_ttl: default, max_lease_ttl: max, .. } = tuning;
    if !max.is_zero() && default > max {
        return Err(bad_request("given default lease TTL greater than given max lease TTL"));
    }
    if max.is_zero() && *default > system_max {
        let seconds = system_max.as_secs();
        return Err(bad_request(format!(
            "given default lease TTL greater than system max lease TTL of {seconds}"
        )));
    }
    Ok(())
}

/// Tunes the mount at a path as kept.
pub(crate) async fn tune(
    mounts: &Mounts,
    txn: &Txn,
    call: &Call,
    path: &str,
    config: ConfigInput,
    input: TuneInput,
) -> Result<(), EngineError> {
    if is_reserved(path) {
        return Err(bad_request(format!("cannot tune {path:?}")));
    }
    let Some(entry) = mounts.mount_entry(txn, call.mount.namespace, path).await? else {
        return Err(bad_request(format!("tune of path {path:?} failed: no mount entry found")));
    };
    let mut entry = (*entry).clone();
    let class = if path.starts_with(AUTH) { Class::Auth } else { Class::Secrets };
    check_plugin_version(&entry.kind, input.plugin_version.as_ref())?;
    config.apply(mounts, &mut entry.tuning, &entry.kind, class, call)?;
    let MountTuning { default_lease_ttl: default, max_lease_ttl: max, .. } = &entry.tuning;
    if !max.is_zero() && default > max {
        let (max, default) = (max.as_secs(), default.as_secs());
        let text = format!(
            "backend max lease TTL of {max} would be less than backend default lease TTL of {default}"
        );
        return Err(bad_request(text));
    }
    if let Some(description) = input.description {
        entry.description = description.0;
    }
    if let Some(options) = input.options {
        set_options(mounts, &mut entry, options.0, class)?;
    }
    mounts.put_mount(txn, call.mount.namespace, path, entry)?;
    Ok(())
}

fn set_options(
    mounts: &Mounts,
    entry: &mut MountEntry,
    given: BTreeMap<String, String>,
    class: Class,
) -> Result<(), EngineError> {
    if let Some(engine) = mounts.catalog().engine(class, &entry.kind, &entry.options) {
        engine.validate_change(&entry.options, &given).map_err(bad_request)?;
    }
    for (name, value) in given {
        if value.is_empty() {
            entry.options.remove(&name);
        } else {
            entry.options.insert(name, value);
        }
    }
    let engine = mounts.catalog().engine(class, &entry.kind, &entry.options);
    let gone = || bad_request(format!("plugin not found in the catalog: {}", entry.kind));
    engine.ok_or_else(gone)?.validate_options(&entry.options).map_err(bad_request)
}

/// The parameters set by tuning, where they differ from the default.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ConfigView {
    /// The default lease TTL in seconds; 0: the server's.
    default_lease_ttl: u64,
    /// Kept for clients that set it.
    force_no_cache: bool,
    /// The maximum lease TTL in seconds; 0: the server's.
    max_lease_ttl: u64,
    #[serde(flatten)]
    settings: SettingsView,
    /// User lockout, where it was set.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_lockout_config: Option<LockoutView>,
}

/// A mount's tuning in force.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TuneView {
    /// The default lease TTL in seconds.
    default_lease_ttl: u64,
    /// For people.
    description: String,
    /// Kept for clients that set it.
    force_no_cache: bool,
    /// The maximum lease TTL in seconds.
    max_lease_ttl: u64,
    /// True if the mount may use the seal's source of randomness, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    external_entropy_access: Option<bool>,
    /// The engine's options, where there are some.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    options: BTreeMap<String, String>,
    #[serde(flatten)]
    settings: SettingsView,
    #[serde(flatten)]
    lockout: Option<LockoutView>,
}

/// Parameters that are shown only when set.
#[derive(Serialize, JsonSchema)]
struct SettingsView {
    /// Request members whose values audit devices do not hash.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    audit_non_hmac_request_keys: Vec<String>,
    /// Answer members whose values audit devices do not hash.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    audit_non_hmac_response_keys: Vec<String>,
    /// The visibility of the mount before login.
    #[serde(skip_serializing_if = "Option::is_none")]
    listing_visibility: Option<&'static str>,
    /// Request headers that the engine gets to see.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    passthrough_request_headers: Vec<String>,
    /// Headers that the engine may answer with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed_response_headers: Vec<String>,
    /// The type of token an auth method issues.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<String>,
}

/// User lockout as set.
#[derive(Serialize, JsonSchema)]
#[allow(clippy::struct_field_names, reason = "the members that Vault answers")]
struct LockoutView {
    /// The time after the last failure at which the count of failures is reset, seconds.
    user_lockout_counter_reset_duration: u64,
    /// True if users are never locked out.
    user_lockout_disable: bool,
    /// The duration of a lockout, seconds.
    user_lockout_duration: u64,
    /// Failures before a user is locked out.
    user_lockout_threshold: u64,
}

impl SettingsView {
    fn of(mounted: &MountHandle) -> Self {
        let tuning = &mounted.entry.tuning;
        let is_auth = mounted.path.starts_with(AUTH);
        Self {
            audit_non_hmac_request_keys: tuning.audit_non_hmac_request_keys.clone(),
            audit_non_hmac_response_keys: tuning.audit_non_hmac_response_keys.clone(),
            listing_visibility: tuning.listing_visibility.map(|visibility| match visibility {
                ListingVisibility::Hidden => "hidden",
                ListingVisibility::Unauth => "unauth",
            }),
            passthrough_request_headers: tuning.passthrough_request_headers.clone(),
            allowed_response_headers: tuning.allowed_response_headers.clone(),
            token_type: is_auth
                .then(|| tuning.token_type.clone().unwrap_or_else(|| "default-service".to_owned())),
        }
    }
}

impl LockoutView {
    fn of(tuning: &MountTuning) -> Option<Self> {
        let text = |name: &str| tuning.user_lockout.get(name).map_or("", String::as_str);
        let number = |name: &str| text(name).parse().unwrap_or_default();
        (!tuning.user_lockout.is_empty()).then(|| Self {
            user_lockout_counter_reset_duration: number("lockout_counter_reset"),
            user_lockout_disable: text("lockout_disable") == "true",
            user_lockout_duration: number("lockout_duration"),
            user_lockout_threshold: number("lockout_threshold"),
        })
    }
}

impl ConfigView {
    pub(crate) fn of(mounted: &MountHandle) -> Self {
        let tuning = &mounted.entry.tuning;
        Self {
            default_lease_ttl: tuning.default_lease_ttl.as_secs(),
            force_no_cache: tuning.force_no_cache,
            max_lease_ttl: tuning.max_lease_ttl.as_secs(),
            settings: SettingsView::of(mounted),
            user_lockout_config: LockoutView::of(tuning),
        }
    }
}

/// The tuning in force of the mount at a path as kept.
pub(crate) async fn read(
    mounts: &Mounts,
    namespace: NamespaceId,
    path: &str,
) -> Result<MergedData<TuneView>, EngineError> {
    let Some(mounted) = mounted_at(mounts, namespace, path).await? else {
        return Err(bad_request(format!("cannot fetch sysview for path {path:?}")));
    };
    let entry = &mounted.entry;
    Ok(MergedData(TuneView {
        default_lease_ttl: mounted.mount.lifetimes.default.as_secs(),
        description: entry.description.clone(),
        force_no_cache: entry.tuning.force_no_cache,
        max_lease_ttl: mounted.mount.lifetimes.max.as_secs(),
        external_entropy_access: entry.external_entropy_access.then_some(true),
        options: entry.options.clone(),
        settings: SettingsView::of(&mounted),
        lockout: LockoutView::of(&entry.tuning),
    }))
}
