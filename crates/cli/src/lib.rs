//! The command line, as a library: Vault's commands, flags, output formats and exit codes.
//!
//! [`run`] takes the words of a call and an [`Io`], and answers with an exit code; it touches neither the process's
//! streams nor its environment by itself. Everything goes over the HTTP API, but for the commands that run in the
//! program that embeds this one ([`Commands`]).
//!
//! The grammar is one table (`tree::ROOT`): flags, help, completion and dispatch all follow from it.

mod call;
mod command;
mod commands;
mod common;
mod complete;
mod display;
mod failure;
mod flags;
mod help;
mod io;
mod output;
mod second_factor;
#[cfg(test)]
mod testing;
mod token_helper;
mod tree;
mod values;

use std::ffi::OsString;
use std::future::Future;
use std::io::Write;
use std::pin::Pin;

use crate::call::Call;
pub use crate::command::Outside;
use crate::command::{Body, Command, Handler, find};
use crate::failure::{Failure, Outcome};
pub use crate::io::{Io, Lookup};

/// The API level this program answers to, which is what programs that gate on Vault's version look for.
pub const API_VERSION: &str = "2.0.0";

/// The flags that ask for help.
const HELP: [&str; 3] = ["-h", "-help", "--help"];

/// This program's own version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The words for completion that only the embedding program knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// The flags of one of its commands, with the dash.
    Flags(Outside),
    /// The types of secrets engines that can be enabled.
    SecretsEngines,
    /// The types of auth methods that can be enabled.
    AuthMethods,
}

/// The commands that the embedding program implements.
pub trait Commands: Sync {
    /// Words for completion.
    fn known(&self, what: Known) -> Vec<String>;

    /// The help of one of its commands; `{p}` stands for the program's name.
    fn help(&self, command: Outside) -> &'static str;

    /// The words that a flag of one of its commands takes, for completion. `flag` is the name without dash.
    fn flag_values(&self, command: Outside, flag: &str) -> Vec<String>;

    /// Runs one with the words behind its name, and answers with the exit code.
    fn run<'a>(
        &'a self,
        command: Outside,
        args: Vec<String>,
        io: &'a mut Io,
    ) -> Pin<Box<dyn Future<Output = i32> + Send + 'a>>;
}

/// The first line of `version`; the version is its second word. Called as `vault`, the version is the API level, with
/// ours behind the plus sign.
pub fn version_line(program: &str) -> String {
    if program == "vault" {
        format!("Vault v{API_VERSION}+strongroom.{VERSION}")
    } else {
        format!("Strongroom v{VERSION}")
    }
}

/// The name to speak of the program by, from the word it was called with: `vault` or `bao` behind a link of that name,
/// `strongroom` otherwise.
pub fn program_name(called: &str) -> &'static str {
    match called.rsplit('/').next() {
        Some("vault") => "vault",
        Some("bao") => "bao",
        _ => "strongroom",
    }
}

/// Hands a token to the user's token helper, as `login` does: for a development server's root token.
pub fn store_token(io: &Io, token: &str) -> Result<(), String> {
    token_helper::TokenHelper::find(io)
        .and_then(|helper| helper.store(token))
        .map_err(|failure| failure.to_string())
}

/// Runs one call and answers with its exit code: 0 for success, 1 for a mistake on this side, 2 for an error on the
/// server's side, 127 for no or an unknown command. Commands that differ say so in their help.
pub async fn run(argv: Vec<OsString>, io: &mut Io, commands: &dyn Commands) -> i32 {
    let mut words = argv.into_iter().map(|word| word.to_string_lossy().into_owned());
    let program = program_name(&words.next().unwrap_or_default());
    let words = help_last(words.collect());
    let outcome = dispatch(program, &words, io, commands).await;
    let code = match outcome {
        Ok(code) => code,
        Err(failure) => conclude(&failure, io),
    };
    // Nobody is left to tell when the streams are gone.
    let _ = io.stdout.flush();
    let _ = io.stderr.flush();
    code
}

/// Says what there is to say about a failure, and knows its exit code.
fn conclude(failure: &Failure, io: &mut Io) -> i32 {
    // With a stream gone there is only the exit code left to tell with.
    match failure {
        Failure::Exit(code) => *code,
        Failure::Shown(text) => {
            let _ = writeln!(io.stdout, "{text}");
            0
        }
        // The call has shown it.
        Failure::Wrapped(_) => 0,
        Failure::Local(message) | Failure::Remote(message) => {
            let message = io.painted("31", message);
            let _ = writeln!(io.stderr, "{message}");
            if matches!(failure, Failure::Local(_)) { 1 } else { 2 }
        }
    }
}

async fn dispatch(
    program: &'static str,
    words: &[String],
    io: &mut Io,
    commands: &dyn Commands,
) -> Result<i32, Failure> {
    if let Some(line) = (io.env)("COMP_LINE") {
        let point = (io.env)("COMP_POINT").and_then(|point| point.parse().ok());
        let found = complete::candidates(&line, point, io, commands).await;
        io.stdout.write_all(found.as_bytes())?;
        return Ok(0);
    }
    match words.first().map(String::as_str) {
        Some("-v" | "-version" | "--version") => {
            writeln!(io.stdout, "{}", version_line(program))?;
            return Ok(0);
        }
        Some("-autocomplete-install" | "--autocomplete-install") => {
            return complete::install(program, io).map(|()| 0);
        }
        Some("-autocomplete-uninstall" | "--autocomplete-uninstall") => {
            return complete::uninstall(program, io).map(|()| 0);
        }
        _ => {}
    }
    let (command, path, rest) = find(&tree::ROOT, words);
    if let Some((command, path)) = behind_flags(words) {
        let text = "Invalid flags before the subcommand. If these flags are for\n\
                    the subcommand, please put them after the subcommand.\n";
        writeln!(io.stderr, "{text}")?;
        io.stderr.write_all(help::text(program, &path, command).as_bytes())?;
        return Ok(1);
    }
    if let Body::Outside(outside) = command.body {
        if wants_help(command, rest) {
            io.stdout.write_all(commands.help(outside).replace("{p}", program).as_bytes())?;
            return Ok(0);
        }
        return Ok(commands.run(outside, rest.to_vec(), io).await);
    }
    if wants_help(command, rest) {
        io.stdout.write_all(help::text(program, &path, command).as_bytes())?;
        return Ok(0);
    }
    if let Body::Run(handler) = command.body {
        return call(program, command, handler, rest, io).await.map(|()| 0);
    }
    io.stderr.write_all(help::text(program, &path, command).as_bytes())?;
    Ok(if path.is_empty() { 127 } else { 1 })
}

/// The words of a call with a request for help moved behind its command: `--help kv get` is what entrypoint scripts of
/// images ask to learn whether a command exists.
fn help_last(words: Vec<String>) -> Vec<String> {
    let asked = words.iter().take_while(|word| HELP.contains(&word.as_str())).count();
    match words.split_at_checked(asked) {
        Some(([ask, ..], command @ [first, ..])) if !first.starts_with('-') => {
            command.iter().chain([ask]).cloned().collect()
        }
        _ => words,
    }
}

/// The command behind flags that should have come after it.
fn behind_flags(words: &[String]) -> Option<(&'static Command, Vec<&'static str>)> {
    let behind = words.iter().position(|word| !word.starts_with('-')).filter(|at| *at > 0)?;
    let (flags, words) = words.split_at_checked(behind)?;
    let (command, path, _) = find(&tree::ROOT, words);
    (!path.is_empty() && !wants_help(&tree::ROOT, flags)).then_some((command, path))
}

fn wants_help(command: &Command, words: &[String]) -> bool {
    let asks = |word: &String| HELP.contains(&word.as_str());
    // Behind a group, "help" cannot be an argument.
    let group = matches!(command.body, Body::Group(_));
    (group && words.first().is_some_and(|word| word == "help"))
        || words.iter().take_while(|word| *word != "--").any(asks)
}

async fn call(
    program: &'static str,
    command: &Command,
    handler: Handler,
    words: &[String],
    io: &mut Io,
) -> Outcome {
    let declared = command.all_flags();
    let parsed = flags::parse(&declared, words, |name| io.variable(name)).map_err(Failure::Local)?;
    let late: Vec<&String> = parsed.args.iter().filter(|arg| arg.len() > 1 && arg.starts_with('-')).collect();
    if !late.is_empty() {
        let late = late.into_iter().map(String::as_str).collect::<Vec<_>>().join(" ");
        writeln!(
            io.stderr,
            "Command flags must be provided before positional arguments. The following arguments will not be parsed as \
             flags: [{late}]"
        )?;
    }
    command.check_args(parsed.args.len()).map_err(Failure::Local)?;
    let mut call = Call::new(io, program, parsed.flags, parsed.args)?;
    match handler(&mut call).await {
        Err(Failure::Wrapped(reply)) => call.show(&reply),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests;
