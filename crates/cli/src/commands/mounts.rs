//! The parts that secrets engines and auth methods share: both are mounts, listed, enabled, tuned and moved alike.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};
use strongroom_client::Request;
use strongroom_stdx::format_duration;

use crate::call::{Call, mount_path, sanitize};
use crate::complete::Offer;
use crate::failure::{Because, Failure, Outcome, SendError};
use crate::flags::Flag;
use crate::output::{Format, go, table as columns};

/// Flags that configure a mount, when it is enabled and later.
pub(crate) const TUNING: [Flag; 16] = [
    Flag::list("allowed-managed-keys", "Managed key that the mount may use. Can be given several times."),
    Flag::list(
        "allowed-response-headers",
        "Response header that the mount may set. Can be given several times.",
    ),
    Flag::list(
        "audit-non-hmac-request-keys",
        "Key of the request's data that audit devices record in the clear. Can be given several times.",
    ),
    Flag::list(
        "audit-non-hmac-response-keys",
        "Key of the response's data that audit devices record in the clear. Can be given several times.",
    ),
    Flag::span("default-lease-ttl", "Default lease TTL of the mount. Defaults to that of the server."),
    Flag::list(
        "delegated-auth-accessors",
        "Auth mount that the mount may delegate to. Can be given several times.",
    ),
    Flag::text("description", "Description of the mount."),
    Flag::text("identity-token-key", "Key that signs the mount's plugin identity tokens."),
    Flag::text(
        "listing-visibility",
        "Visibility of the mount in unauthenticated listings: \"unauth\" or \"hidden\".",
    )
    .offers(Offer::Words(&["hidden", "unauth"])),
    Flag::span("max-lease-ttl", "Maximum lease TTL of the mount. Defaults to that of the server."),
    Flag::map("options", "A key=value option of the mount. Can be given several times."),
    Flag::list(
        "passthrough-request-headers",
        "Request header passed to the mount. Can be given several times.",
    ),
    Flag::text("plugin-version", "Version of the plugin to run."),
    Flag::text("token-type", "Type of the tokens that the mount issues.").offers(Offer::Words(&[
        "batch",
        "default-batch",
        "default-service",
        "service",
    ])),
    Flag::switch("trim-request-trailing-slashes", "Drop trailing slashes of paths sent to the mount."),
    Flag::int("version", "Version of the engine, for engines with several."),
];

/// Flags of a mount that are set when it is enabled and cannot be changed afterwards.
pub(crate) const ENABLING: [Flag; 6] = [
    Flag::switch("external-entropy-access", "Let the mount use the server's external source of entropy.")
        .default("false"),
    Flag::switch("force-no-cache", "Do not cache the mount's storage.").default("false"),
    Flag::switch("local", "Keep the mount out of replication.").default("false"),
    Flag::text("path", "Path to enable the mount at. Defaults to its type."),
    Flag::text("plugin-name", "Name of the plugin to run, if TYPE is \"plugin\"."),
    Flag::switch("seal-wrap", "Also wrap the mount's critical values with the seal.").default("false"),
];

/// Flags that lock users out, for auth methods.
pub(crate) const LOCKOUT: [Flag; 4] = [
    Flag::span(
        "user-lockout-counter-reset-duration",
        "Time after which the count of failed logins is reset.",
    ),
    Flag::switch("user-lockout-disable", "Do not lock users out."),
    Flag::span("user-lockout-duration", "Duration of a lockout."),
    Flag::int("user-lockout-threshold", "Number of failed logins that lock a user out."),
];

/// Reads a table of mounts: `sys/mounts`, `sys/auth` or `sys/audit`.
pub(crate) async fn table(call: &mut Call<'_>, path: &str) -> Result<BTreeMap<String, Value>, SendError> {
    let body = call.fields(Request::read(path)).await?;
    let data = match body.get("data") {
        Some(Value::Object(data)) => data.clone(),
        _ => body,
    };
    // The old form has the mounts beside the fields of the envelope; only mounts are maps with a type.
    Ok(data.into_iter().filter(|(_, mount)| mount.get("type").is_some_and(Value::is_string)).collect())
}

/// The configuration that the given flags stand for.
fn tuning(call: &Call<'_>) -> Map<String, Value> {
    let flags = &call.flags;
    let mut config = Map::new();
    for name in ["default-lease-ttl", "max-lease-ttl"] {
        if let Some(ttl) = flags.span(name).filter(|_| flags.given(name)) {
            config.insert(name.replace('-', "_"), json!(format_duration(ttl)));
        }
    }
    for name in ["identity-token-key", "listing-visibility", "plugin-version", "token-type"] {
        if let Some(text) = flags.given_text(name) {
            config.insert(name.replace('-', "_"), json!(text));
        }
    }
    for name in [
        "allowed-managed-keys",
        "allowed-response-headers",
        "audit-non-hmac-request-keys",
        "audit-non-hmac-response-keys",
        "delegated-auth-accessors",
        "passthrough-request-headers",
    ] {
        if flags.given(name) {
            config.insert(name.replace('-', "_"), json!(flags.list(name)));
        }
    }
    if let Some(trim) = flags.choice("trim-request-trailing-slashes") {
        config.insert("trim_request_trailing_slashes".to_owned(), json!(trim));
    }
    config
}

/// The options that `-options` and `-version` stand for.
fn options(call: &Call<'_>) -> Option<BTreeMap<String, String>> {
    let mut options = call.flags.map("options");
    if let Some(version) = call.flags.int("version").filter(|version| *version > 0) {
        options.insert("version".to_owned(), version.to_string());
    }
    (!options.is_empty()).then_some(options)
}

/// A mount that was enabled: what it is and where.
pub(crate) struct Enabled {
    /// Its type, or the plugin's name.
    pub kind: String,
    /// Its path, with a slash behind.
    pub path: String,
}

/// Enables what the first argument names, below `api` (`sys/mounts` or `sys/auth`).
/// `failed` starts the message if it cannot be.
pub(crate) async fn enable(call: &mut Call<'_>, api: &str, failed: &str) -> Result<Enabled, Failure> {
    let mut kind = call.arg(0).trim().to_owned();
    if kind == "plugin" {
        match call.flags.text("plugin-name") {
            Some(name) => name.clone_into(&mut kind),
            None => {
                return Err(Failure::local(
                    "Must specify a plugin name with -plugin-name if the type is \"plugin\"",
                ));
            }
        }
    }
    let path = mount_path(call.flags.text("path").unwrap_or(&kind));
    let mut config = tuning(call);
    if call.flags.on("force-no-cache") {
        config.insert("force_no_cache".to_owned(), json!(true));
    }
    let body = json!({
        "type": kind,
        "description": call.flags.text("description").unwrap_or_default(),
        "config": config,
        "local": call.flags.on("local"),
        "seal_wrap": call.flags.on("seal-wrap"),
        "external_entropy_access": call.flags.on("external-entropy-access"),
        "options": options(call),
    });
    let request = Request::post(format!("{api}/{}", sanitize(&path))).json(&body).because(failed)?;
    call.reply(request).await.because(failed)?;
    Ok(Enabled { kind, path })
}

/// Tunes the mount at `path` below `sys/mounts`.
pub(crate) async fn tune(call: &mut Call<'_>, path: &str) -> Result<(), SendError> {
    let mut config = tuning(call);
    if let Some(options) = options(call) {
        config.insert("options".to_owned(), json!(options));
    }
    if let Some(description) = call.flags.given_text("description") {
        config.insert("description".to_owned(), json!(description));
    }
    let mut lockout = Map::new();
    if let Some(threshold) = call.flags.int("user-lockout-threshold") {
        lockout.insert("lockout_threshold".to_owned(), json!(threshold.to_string()));
    }
    for (flag, field) in [
        ("user-lockout-duration", "lockout_duration"),
        ("user-lockout-counter-reset-duration", "lockout_counter_reset_duration"),
    ] {
        if let Some(span) = call.flags.span(flag) {
            lockout.insert(field.to_owned(), json!(format_duration(span)));
        }
    }
    if let Some(disable) = call.flags.choice("user-lockout-disable") {
        lockout.insert("lockout_disable".to_owned(), json!(disable));
    }
    if !lockout.is_empty() {
        config.insert("user_lockout_config".to_owned(), Value::Object(lockout));
    }
    call.reply(Request::post(format!("sys/mounts/{path}/tune")).json(&config)?).await?;
    Ok(())
}

/// Moves a mount and waits until it has moved. `what` names it in messages.
pub(crate) async fn relocate(call: &mut Call<'_>, what: &str) -> Outcome {
    const POLL: Duration = Duration::from_millis(200);
    let (from, to) = (mount_path(call.arg(0)), mount_path(call.arg(1)));
    let failed = format!("Error moving {what} {from} to {to}");
    let body = json!({ "from": from, "to": to });
    let request = Request::post("sys/remount").json(&body).because(&failed)?;
    let reply = call.reply(request).await.because(&failed)?;
    let id = reply.as_ref().and_then(|reply| reply.field("migration_id")).map(go::value).unwrap_or_default();
    call.say(format!("Started moving {what} {from} to {to}, with migration ID {id}"))?;
    loop {
        let path = format!("sys/remount/status/{id}");
        let status = call.reply(Request::read(path)).await.because(&failed)?;
        let info = status.as_ref().and_then(|reply| reply.field("migration_info"));
        match info.and_then(|info| info.get("status")).and_then(Value::as_str) {
            Some("success") => {
                return call
                    .say(format!("Success! Finished moving {what} {from} to {to}, with migration ID {id}"));
            }
            Some("failure") => {
                let reason = info.and_then(|info| info.get("error")).and_then(Value::as_str);
                let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
                return Err(Failure::local(format!(
                    "Failure! Error encountered moving {what} {from} to {to}, with migration ID {id}{reason}"
                )));
            }
            _ => tokio::time::sleep(POLL).await,
        }
    }
}

/// Shows a table of mounts, with the columns of auth methods or of secrets engines.
pub(crate) fn show(call: &mut Call<'_>, mounts: &BTreeMap<String, Value>, auth: bool) -> Outcome {
    if call.format != Format::Table {
        return call.show_value(mounts);
    }
    let detailed = call.flags.on("detailed");
    let rows = mounts
        .iter()
        .map(|(path, mount)| if detailed { full(path, mount, auth) } else { brief(path, mount, auth) });
    let rows = rows.collect();
    let header: Vec<&str> = match (detailed, auth) {
        (false, false) => vec!["Path", "Type", "Accessor", "Description"],
        (false, true) => vec!["Path", "Type", "Accessor", "Description", "Version"],
        (true, _) => {
            let mut header = vec!["Path", "Plugin", "Accessor", "Default TTL", "Max TTL"];
            header.push(if auth { "Token Type" } else { "Force No Cache" });
            header.extend([
                "Replication",
                "Seal Wrap",
                "External Entropy Access",
                "Options",
                "Description",
                "UUID",
            ]);
            header.extend(["Version", "Running Version", "Running SHA256", "Deprecation Status"]);
            header
        }
    };
    call.say(columns::headed(&header, rows))
}

fn text(mount: &Value, key: &str) -> String {
    mount.get(key).filter(|value| !value.is_null()).map(go::value).unwrap_or_default()
}

fn brief(path: &str, mount: &Value, auth: bool) -> Vec<String> {
    let mut row =
        vec![path.to_owned(), text(mount, "type"), text(mount, "accessor"), text(mount, "description")];
    if auth {
        row.push(text(mount, "plugin_version"));
    }
    row
}

fn full(path: &str, mount: &Value, auth: bool) -> Vec<String> {
    let kind = text(mount, "type");
    let config = mount.get("config").cloned().unwrap_or_default();
    // Zero is the server's default; the built-in mounts without leases have none.
    let ttl = |key: &str| match config.get(key).and_then(Value::as_i64).unwrap_or(0) {
        _ if matches!(kind.as_str(), "system" | "cubbyhole") => String::new(),
        0 => "system".to_owned(),
        seconds => seconds.to_string(),
    };
    let on = |value: &Value, key: &str| value.get(key).and_then(Value::as_bool).unwrap_or(false);
    let mut row = vec![
        path.to_owned(),
        kind.clone(),
        text(mount, "accessor"),
        ttl("default_lease_ttl"),
        ttl("max_lease_ttl"),
    ];
    row.push(if auth { text(&config, "token_type") } else { on(&config, "force_no_cache").to_string() });
    row.push(if on(mount, "local") { "local" } else { "replicated" }.to_owned());
    row.push(on(mount, "seal_wrap").to_string());
    row.push(on(mount, "external_entropy_access").to_string());
    let options = mount.get("options").filter(|options| options.is_object()).cloned().unwrap_or(json!({}));
    row.push(go::value(&options));
    for key in [
        "description",
        "uuid",
        "plugin_version",
        "running_plugin_version",
        "running_sha256",
        "deprecation_status",
    ] {
        row.push(text(mount, key));
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_say_what_the_defaults_are() {
        let mount = json!({"type": "kv", "accessor": "kv_1", "config": {"default_lease_ttl": 3600, "max_lease_ttl": 0},
            "options": {"version": "2"}, "local": false, "seal_wrap": true, "uuid": "u"});
        let row = full("secret/", &mount, false);
        let wanted = [
            "secret/",
            "kv",
            "kv_1",
            "3600",
            "system",
            "false",
            "replicated",
            "true",
            "false",
            "map[version:2]",
            "",
            "u",
            "",
            "",
            "",
            "",
        ];
        assert_eq!(row, wanted);
        let system = json!({"type": "system", "config": {}, "options": null});
        assert_eq!(full("sys/", &system, false)[3..5], ["", ""]);
        assert_eq!(full("sys/", &system, false)[9], "map[]");
        assert_eq!(brief("token/", &json!({"type": "token"}), true).len(), 5);
    }
}
