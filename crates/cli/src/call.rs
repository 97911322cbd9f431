//! One call of a command: its flags and arguments, its streams, and the server it talks to.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};
use strongroom_client::{Client, Config, Reply, Request, Response};
use strongroom_stdx::Secret;

use crate::display;
use crate::failure::{Failure, Outcome, SendError};
use crate::flags::Flags;
use crate::io::Io;
use crate::output::{self, Format, go, reply, table, text};
use crate::token_helper::TokenHelper;

/// A running command's view of the world.
pub(crate) struct Call<'io> {
    /// Its streams and environment.
    pub io: &'io mut Io,
    /// The name the program was called by: `vault` or `strongroom`.
    pub program: &'static str,
    /// Its flags.
    pub flags: Flags,
    /// Its arguments.
    pub args: Vec<String>,
    /// The format of its result.
    pub format: Format,
    client: Option<Client>,
}

impl<'io> Call<'io> {
    /// A call whose command line has been read.
    pub(crate) fn new(
        io: &'io mut Io,
        program: &'static str,
        flags: Flags,
        args: Vec<String>,
    ) -> Result<Self, Failure> {
        let format = Format::parse(flags.text("format").unwrap_or_default())?;
        Ok(Self { io, program, flags, args, format, client: None })
    }

    /// An argument; empty if there is none at this place (the table has checked how many there are).
    pub(crate) fn arg(&self, at: usize) -> &str {
        self.args.get(at).map(String::as_str).unwrap_or_default()
    }

    /// An argument as a path: without spaces and slashes around it.
    pub(crate) fn path_arg(&self, at: usize) -> String {
        sanitize(self.arg(at))
    }

    // Talking to the server.

    /// The client, made on first use from the environment, the flags and the token helper.
    pub(crate) fn client(&mut self) -> Result<Client, Failure> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let mut config = Config::from_env(|name| (self.io.env)(name))?;
        self.configure(&mut config)?;
        let client = Client::new(config).map_err(|error| match error {
            strongroom_client::ConfigError::Address { .. } => {
                Failure::remote(format!("failed to create client: {error}"))
            }
            other => Failure::remote(format!("failed to setup TLS config: {other}")),
        })?;
        self.client = Some(client.clone());
        Ok(client)
    }

    /// Uses another token from now on.
    pub(crate) fn use_token(&mut self, token: Option<Secret<String>>) -> Result<(), Failure> {
        self.client = Some(self.client()?.with_token(token));
        Ok(())
    }

    fn configure(&self, config: &mut Config) -> Result<(), Failure> {
        let flags = &self.flags;
        let given = |name: &str| flags.given_text(name).map(str::to_owned);
        let path = |name: &str| given(name).map(PathBuf::from);
        if let Some(address) = given("address") {
            config.address = address;
        }
        if let Some(address) = given("agent-address") {
            config.address = address;
        }
        // A person who waits wants the answer, not patience; scripts can ask for retries.
        if self.io.variable("MAX_RETRIES").is_none() {
            config.retry.max = 0;
        }
        config.namespace = given("namespace").or(config.namespace.take());
        if let Some(file) = path("ca-cert") {
            config.tls.ca_cert = Some(file);
            config.tls.ca_bytes = None;
        }
        config.tls.ca_path = path("ca-path").or(config.tls.ca_path.take());
        config.tls.client_cert = path("client-cert").or(config.tls.client_cert.take());
        config.tls.client_key = path("client-key").or(config.tls.client_key.take());
        config.tls.server_name = given("tls-server-name").or(config.tls.server_name.take());
        if flags.given("tls-skip-verify") {
            config.tls.skip_verify = flags.on("tls-skip-verify");
        }
        if flags.given("disable-redirects") {
            config.disable_redirects = flags.on("disable-redirects");
        }
        if flags.given("wrap-ttl") {
            config.wrap_ttl = flags.span("wrap-ttl");
        }
        if flags.given("mfa") {
            config.mfa = flags.list("mfa").to_vec();
        }
        config.policy_override = flags.on("policy-override");
        for (name, value) in flags.map("header") {
            if name.to_lowercase().starts_with("x-vault-") {
                return Err(Failure::remote(format!(
                    "failed to setup Headers[{name}]: Header starting by 'X-Vault-' are for internal usage only"
                )));
            }
            config.headers.push((name, value));
        }
        if config.token.is_none() {
            config.token = TokenHelper::find(self.io)?.get()?;
        }
        Ok(())
    }

    /// Sends a request, or shows it if that is what the flags ask for.
    pub(crate) async fn send(&mut self, request: Request) -> Result<Response, SendError> {
        let client = self.client().map_err(|failure| SendError::Setup(failure.to_string()))?;
        if self.flags.on("output-policy") {
            return Err(SendError::Shown(display::policy(&request)));
        }
        if self.flags.on("output-curl-string") {
            return Err(SendError::Shown(display::curl(&client, &request, self.program)?));
        }
        Ok(client.send(request).await?)
    }

    /// Sends a request whatever the flags say, for what the command itself has to know. The response comes unwrapped.
    pub(crate) async fn ask(&mut self, request: Request) -> Result<Response, SendError> {
        let client = self.client().map_err(|failure| SendError::Setup(failure.to_string()))?;
        Ok(client.send(request.wrap(Duration::ZERO)).await?)
    }

    /// Sends a request and reads the envelope. A `404` is an error, a wrapped response ends the command.
    pub(crate) async fn reply(&mut self, request: Request) -> Result<Option<Reply>, SendError> {
        unless_wrapped(self.send(request).await?.reply().await?)
    }

    /// Sends a request and reads the envelope. A `404` is `None`, unless it has something to tell; a wrapped response
    /// ends the command.
    pub(crate) async fn reply_or_none(&mut self, request: Request) -> Result<Option<Reply>, SendError> {
        unless_wrapped(self.send(request).await?.reply_or_none().await?)
    }

    /// Sends a request and reads the fields of the response, those of an envelope with its data among them. A `404` is
    /// an error, a wrapped response ends the command.
    pub(crate) async fn fields(&mut self, request: Request) -> Result<Map<String, Value>, SendError> {
        let body: Map<String, Value> = self.send(request).await?.json().await?;
        if body.get("wrap_info").is_some_and(Value::is_object)
            && let Ok(reply) = serde_json::from_value::<Reply>(Value::Object(body.clone()))
        {
            unless_wrapped(Some(reply))?;
        }
        Ok(body)
    }

    // Printing.

    /// Prints a line of the result.
    pub(crate) fn say(&mut self, line: impl AsRef<str>) -> Outcome {
        Ok(writeln!(self.io.stdout, "{}", line.as_ref())?)
    }

    /// Prints a message that only people want: not where the result is for programs.
    pub(crate) fn inform(&mut self, line: impl AsRef<str>) -> Outcome {
        if self.format == Format::Table { self.say(line) } else { Ok(()) }
    }

    /// Prints a warning.
    pub(crate) fn warn(&mut self, line: impl AsRef<str>) -> Outcome {
        let line = self.io.painted("33", line.as_ref());
        Ok(writeln!(self.io.stderr, "{line}")?)
    }

    /// Prints an answer: one of its fields if `-field` asks for it, else all of it in the asked format.
    pub(crate) fn show(&mut self, reply: &Reply) -> Outcome {
        if let Some(name) = self.flags.text("field").map(str::to_owned) {
            let value = reply::field(reply, &name);
            return self.show_field(&name, value.as_ref());
        }
        match self.format {
            Format::Json => self.say(output::json(reply)?),
            Format::Yaml => self.write(&output::yaml(reply)?),
            Format::Raw => Err(Failure::local("raw format is only supported for reads")),
            Format::Table => {
                self.show_warnings(reply)?;
                let rows = reply::rows(reply);
                if rows.is_empty() { Ok(()) } else { self.say(table::pairs(&rows)) }
            }
        }
    }

    /// Prints the warnings of an answer, where the format does not contain them anyway.
    pub(crate) fn show_warnings(&mut self, reply: &Reply) -> Outcome {
        if reply.auth.as_ref().is_some_and(|auth| auth.mfa_requirement.is_some()) {
            let notice = "A login request was issued that is subject to MFA validation. Please make sure to validate \
                          the login by sending another request to sys/mfa/validate endpoint.";
            self.warn(format!("{}\n", text::wrap(notice, text::WIDTH)))?;
        }
        if self.format != Format::Table || reply.warnings().is_empty() {
            return Ok(());
        }
        self.warn(text::warnings(reply.warnings()))
    }

    /// Prints one field, without a newline behind it, so that it can be piped on as it is.
    pub(crate) fn show_field(&mut self, name: &str, value: Option<&Value>) -> Outcome {
        let Some(value) = value else {
            return Err(Failure::local(format!("Field {name:?} not present in secret")));
        };
        let text = match self.format {
            Format::Json => output::json(value)?,
            Format::Yaml => output::yaml(value)?,
            Format::Table | Format::Raw => go::value(value),
        };
        self.write(&text)
    }

    /// Prints a list answer. Lists in JSON and YAML are the names alone, unless details are asked for.
    pub(crate) fn show_list(&mut self, path: &str, reply: Option<&Reply>) -> Outcome {
        let keys = reply.and_then(Reply::keys);
        let detailed = self.flags.on("detailed");
        match (reply, keys) {
            (None, _) if self.format == Format::Table => {
                Err(Failure::remote(format!("No value found at {path}")))
            }
            (None, _) | (Some(_), None) if self.format != Format::Table => {
                self.show_value(&json!({}))?;
                Err(Failure::Exit(2))
            }
            (Some(reply), Some(_)) if detailed && self.format != Format::Table => self.show_value(reply),
            (Some(_), Some(keys)) if self.format != Format::Table => self.show_value(keys),
            (Some(reply), Some(keys)) => {
                self.show_warnings(reply)?;
                let details = reply.field("key_info").and_then(Value::as_object).filter(|_| detailed);
                self.say(reply::listing(keys, details))
            }
            (Some(reply), None) if !reply.warnings().is_empty() => {
                self.show_warnings(reply)?;
                Err(Failure::remote(format!("No value found at {path}")))
            }
            _ => Err(Failure::remote(format!("No entries found at {path}"))),
        }
    }

    /// Prints a value in JSON or YAML.
    pub(crate) fn show_value(&mut self, value: &impl Serialize) -> Outcome {
        match self.format {
            Format::Yaml => self.write(&output::yaml(value)?),
            Format::Table | Format::Json | Format::Raw => self.say(output::json(value)?),
        }
    }

    /// Prints text as it is.
    pub(crate) fn write(&mut self, text: &str) -> Outcome {
        self.io.stdout.write_all(text.as_bytes())?;
        Ok(self.io.stdout.flush()?)
    }

    /// Asks for a secret at the terminal, unless the flags forbid it.
    pub(crate) fn ask_hidden(&mut self, prompt: &str) -> std::io::Result<zeroize::Zeroizing<String>> {
        if self.flags.on("non-interactive") {
            return Err(std::io::Error::other("cannot ask in non-interactive mode"));
        }
        self.io.ask_hidden(prompt)
    }
}

/// The response to work with. One that is wrapped has nothing but its wrapping, which is then the result, whatever the
/// command.
fn unless_wrapped(reply: Option<Reply>) -> Result<Option<Reply>, SendError> {
    match reply {
        Some(reply) if reply.wrap_info.is_some() => Err(SendError::Wrapped(Box::new(reply))),
        reply => Ok(reply),
    }
}

/// A path without spaces and slashes around it.
pub(crate) fn sanitize(path: &str) -> String {
    path.trim().trim_matches('/').to_owned()
}

/// A mount's path as it is shown: with a slash behind.
pub(crate) fn mount_path(path: &str) -> String {
    format!("{}/", sanitize(path))
}
