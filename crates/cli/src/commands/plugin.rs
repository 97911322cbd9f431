//! `plugin`: the catalog of plugins.

use serde_json::{Map, Value, json};
use strongroom_client::Request;

use crate::call::Call;
use crate::command::Command;
use crate::failure::{Because, Failure, Outcome, SendError};
use crate::flags::Flag;
use crate::output::{Format, go, table};

pub(crate) static PLUGIN: Command = Command::group(
    "plugin",
    "Interact with Vault plugins and catalog",
    r#"
Lists, registers and reloads plugins. Plugins are of TYPE "auth", "database" or "secret".

    $ {p} plugin list database
    $ {p} plugin register -sha256=d3f0a8b... auth my-custom-plugin
"#,
    &[&DEREGISTER, &INFO, &LIST, &REGISTER, &RELOAD, &RELOAD_STATUS],
)
.foreign();

static LIST: Command = Command::remote(
    "list",
    "Lists available plugins",
    "[options] [TYPE]",
    "Lists the plugins in the catalog, whether in use or not.",
    |call| Box::pin(list(call)),
)
.format()
.flags(&[Flag::switch("detailed", "Also show the deprecation status.").default("false")])
.args(0, 1)
.foreign();

static INFO: Command = Command::remote(
    "info",
    "Read information about a plugin in the catalog",
    "[options] TYPE NAME",
    "Shows a plugin in the catalog.",
    |call| Box::pin(info(call)),
)
.field()
.flags(&[Flag::text("version", "Version of the plugin.")])
.takes(2)
.foreign();

static REGISTER: Command = Command::remote(
    "register",
    "Registers a new plugin in the catalog",
    "[options] TYPE NAME",
    r"
Registers a plugin whose binary is in the server's plugin directory.

    $ {p} plugin register -sha256=d3f0a8b... -version=v1.0.0 auth my-custom-plugin
",
    |call| Box::pin(register(call)),
)
.flags(&[
    Flag::list("args", "Argument of the plugin. Several are separated by commas."),
    Flag::text("command", "Command that starts the plugin. The default is its name."),
    Flag::list("env", "Variable of the plugin, as KEY=value. Can be given several times."),
    Flag::text("oci_image", "OCI image that the plugin is in."),
    Flag::text("runtime", "Container runtime of the plugin."),
    Flag::text("sha256", "SHA-256 of the plugin's binary, in hexadecimal."),
    Flag::text("version", "Version of the plugin."),
])
.takes(2)
.foreign();

static DEREGISTER: Command = Command::remote(
    "deregister",
    "Deregister an existing plugin in the catalog",
    "[options] TYPE NAME",
    "Removes a plugin from the catalog.",
    |call| Box::pin(deregister(call)),
)
.flags(&[Flag::text("version", "Version of the plugin.")])
.takes(2)
.foreign();

static RELOAD: Command = Command::remote(
    "reload",
    "Reload mounted plugin backend",
    "[options]",
    r"
Reloads a plugin: all its mounts with -plugin, or the mounts that -mounts names.

    $ {p} plugin reload -plugin=my-custom-plugin
",
    |call| Box::pin(reload(call)),
)
.flags(&[
    Flag::list("mounts", "Path of a mount to reload. Several are separated by commas."),
    Flag::text("plugin", "Name of the plugin to reload."),
    Flag::text("scope", "\"global\" to reload on all nodes."),
    Flag::text("type", "Type of the plugin, to reload it by its catalog entry."),
])
.takes(0)
.foreign();

static RELOAD_STATUS: Command = Command::remote(
    "reload-status",
    "Get the status of an active or recently completed global plugin reload",
    "[options] RELOAD_ID",
    "Shows the status of a reload on all nodes.",
    |call| Box::pin(reload_status(call)),
)
.field()
.takes(1)
.foreign();

async fn list(call: &mut Call<'_>) -> Outcome {
    let wanted = call.arg(0).trim().to_lowercase();
    let what = "Error listing available plugins";
    if !wanted.is_empty() && !matches!(wanted.as_str(), "auth" | "database" | "secret") {
        return Err(Failure::local(format!("Error parsing type: {wanted:?} is not a supported plugin type")));
    }
    let body = call.fields(Request::read("sys/plugins/catalog")).await.because(what)?;
    let data = body.get("data").and_then(Value::as_object).cloned().unwrap_or(body);
    let listed = data.get("detailed").and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |plugin: &Value, key: &str| plugin.get(key).map(go::value).unwrap_or_default();
    let mut plugins: Vec<&Value> =
        listed.iter().filter(|plugin| wanted.is_empty() || text(plugin, "type") == wanted).collect();
    plugins.sort_by_key(|plugin| (text(plugin, "type"), text(plugin, "name"), text(plugin, "version")));
    if call.format != Format::Table {
        let mut names: Map<String, Value> = Map::new();
        for plugin in &plugins {
            let entry = names.entry(text(plugin, "type")).or_insert_with(|| json!([]));
            if let Some(list) = entry.as_array_mut() {
                list.push(json!(text(plugin, "name")));
            }
        }
        return if call.flags.on("detailed") { call.show_value(&plugins) } else { call.show_value(&names) };
    }
    let detailed = call.flags.on("detailed");
    let mut header = vec!["Name"];
    if wanted.is_empty() {
        header.push("Type");
    }
    header.push("Version");
    if detailed {
        header.push("Deprecation Status");
    }
    let key = |name: &&str| match *name {
        "Deprecation Status" => "deprecation_status".to_owned(),
        other => other.to_lowercase(),
    };
    let rows =
        plugins.iter().map(|plugin| header.iter().map(|name| text(plugin, &key(name))).collect()).collect();
    call.say(table::headed(&header, rows))
}

fn entry(call: &Call<'_>) -> (String, String) {
    let name = call.arg(1).trim().to_owned();
    (format!("sys/plugins/catalog/{}/{name}", call.arg(0).trim().to_lowercase()), name)
}

async fn info(call: &mut Call<'_>) -> Outcome {
    let (path, name) = entry(call);
    let mut request = Request::read(path);
    if let Some(version) = call.flags.text("version") {
        request = request.query("version", version);
    }
    let what = format!("Error reading plugin named {name}");
    match call.reply(request).await.because(what)? {
        Some(reply) if call.format == Format::Table || call.flags.text("field").is_some() => {
            call.show(&reply)
        }
        Some(reply) => call.show_value(&reply.data.unwrap_or_default()),
        None => Err(Failure::remote(format!("No plugin named {name}"))),
    }
}

/// The values of a repeatable flag, each of which may hold several, separated by commas.
fn split(call: &Call<'_>, flag: &str) -> Vec<String> {
    call.flags.list(flag).iter().flat_map(|text| text.split(',')).map(|part| part.trim().to_owned()).collect()
}

async fn register(call: &mut Call<'_>) -> Outcome {
    let (path, name) = entry(call);
    let text = |flag: &str| call.flags.text(flag).unwrap_or_default();
    let mut body = json!({
        "args": split(call, "args"),
        "command": call.flags.text("command").unwrap_or(&name),
        "sha256": text("sha256"),
        "version": text("version"),
    });
    if let Some(fields) = body.as_object_mut() {
        for flag in ["oci_image", "runtime"] {
            if let Some(value) = call.flags.text(flag) {
                fields.insert(flag.to_owned(), json!(value));
            }
        }
        if call.flags.given("env") {
            fields.insert("env".to_owned(), json!(call.flags.list("env")));
        }
    }
    let what = format!("Error registering plugin {name}");
    let request = Request::write(path).json(&body).because(&what)?;
    call.reply(request).await.because(what)?;
    call.say(format!("Success! Registered plugin: {name}"))
}

async fn deregister(call: &mut Call<'_>) -> Outcome {
    let (path, name) = entry(call);
    let mut request = Request::delete(path);
    if let Some(version) = call.flags.text("version") {
        request = request.query("version", version);
    }
    call.reply(request).await.because(format!("Error deregistering plugin named {name}"))?;
    call.say(format!("Success! Deregistered plugin (if it was registered): {name}"))
}

async fn reload(call: &mut Call<'_>) -> Outcome {
    let plugin = call.flags.text("plugin").unwrap_or_default().to_owned();
    let mounts = split(call, "mounts");
    match (plugin.is_empty(), mounts.is_empty()) {
        (true, true) => {
            return Err(Failure::local(
                "No plugins specified, must specify exactly one of -plugin or -mounts",
            ));
        }
        (false, false) => return Err(Failure::local("Must specify exactly one of -plugin or -mounts")),
        _ => {}
    }
    let scope = call.flags.text("scope").unwrap_or_default().to_owned();
    let what = "Error reloading plugin/mounts";
    let request = match call.flags.text("type") {
        Some(kind) => {
            Request::post(format!("sys/plugins/reload/{kind}/{plugin}")).json(&json!({ "scope": scope }))
        }
        None => Request::write("sys/plugins/reload/backend")
            .json(&json!({ "plugin": plugin, "mounts": mounts, "scope": scope })),
    };
    let reply = match call.reply(request.because(what)?).await {
        Err(SendError::Client(error)) if error.status() == Some(404) => {
            return Err(Failure::remote(format!("{what}: {error}")));
        }
        outcome => outcome.because(what)?,
    };
    let id = reply.as_ref().and_then(|reply| reply.field("reload_id")).map(go::value);
    match (id, plugin.is_empty()) {
        (Some(id), false) => call.say(format!("Success! Reloading plugin: {plugin}, reload_id: {id}")),
        (Some(id), true) => {
            call.say(format!("Success! Reloading mounts: [{}], reload_id: {id}", mounts.join(" ")))
        }
        (None, false) => call.say(format!("Success! Reloaded plugin: {plugin}")),
        (None, true) => call.say(format!("Success! Reloaded mounts: [{}]", mounts.join(" "))),
    }
}

async fn reload_status(call: &mut Call<'_>) -> Outcome {
    let id = call.arg(0).trim().to_owned();
    let request = Request::read("sys/plugins/reload/backend/status").query("reload_id", &id);
    let what = "Error retrieving plugin reload status";
    match call.reply_or_none(request).await.because(what)? {
        Some(reply) => call.show(&reply),
        None => Err(Failure::remote(format!("No reload with id {id}"))),
    }
}
