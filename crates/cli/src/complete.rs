//! Completion in shells. As with Vault, the shell asks the program itself: it calls it with `COMP_LINE` and
//! `COMP_POINT` set, and takes each line of the answer as a candidate.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use strongroom_client::Request;
use strongroom_output_file::OutputFile;

use crate::call::Call;
use crate::command::{Body, Command, find};
use crate::commands::mounts;
use crate::failure::{Failure, Outcome, io_reason};
use crate::flags::{Flag, Flags, Kind};
use crate::io::Io;
use crate::output::text::visible;
use crate::tree::ROOT;
use crate::{Commands, Known, Outside};

/// A kind of value that completion offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// None.
    Nothing,
    /// These words.
    Words(&'static [&'static str]),
    /// Words of the embedding program.
    Known(Known),
    /// API paths: mounts, and below them whatever can be listed.
    Paths,
    /// Paths of secrets engines.
    Mounts,
    /// Paths of auth methods.
    AuthMounts,
    /// Paths of audit devices.
    AuditDevices,
    /// Names of policies.
    Policies,
}

/// The longest that completion waits for the server: a person is about to type on.
const PATIENCE: Duration = Duration::from_secs(2);

/// The words that may follow on a line up to `point` (its end if there is none), one candidate a line. Names that only
/// the server knows are asked of it; where it does not answer, there are none.
pub(crate) async fn candidates(
    line: &str,
    point: Option<usize>,
    io: &mut Io,
    commands: &dyn Commands,
) -> String {
    let line = point.and_then(|point| line.get(..point)).unwrap_or(line);
    let mut words: Vec<String> = line.split_whitespace().skip(1).map(str::to_owned).collect();
    let current =
        if line.ends_with(char::is_whitespace) { String::new() } else { words.pop().unwrap_or_default() };
    let (command, _, rest) = find(&ROOT, &words);
    let (before, sought, place) = place(command, rest, &current);
    let mut found: Vec<String> = match place {
        Place::Flags => {
            let dashes = if current.starts_with("--") { "--" } else { "-" };
            flag_names(command, commands).into_iter().map(|name| format!("{dashes}{name}")).collect()
        }
        Place::Subcommands => command.children().iter().map(|child| child.name.to_owned()).collect(),
        Place::Values(offer) => values(offer, sought, io, commands).await,
        Place::ValuesOf(outside, flag) => commands.flag_values(outside, &flag),
    };
    // A shell takes each line for a candidate and shows it as it is.
    found.retain(|candidate| candidate.starts_with(sought) && visible(candidate) == candidate.as_str());
    found.sort_unstable();
    found.dedup();
    found.into_iter().flat_map(|candidate| [before.to_owned(), candidate, "\n".to_owned()]).collect()
}

/// The kind of word that is sought.
enum Place {
    Flags,
    Subcommands,
    Values(Offer),
    /// Values of a flag that only the embedding program knows.
    ValuesOf(Outside, String),
}

/// Makes out what the current word is: the part of it that stays as it is, the part that is sought, and its kind.
fn place<'w>(command: &Command, rest: &[String], current: &'w str) -> (&'w str, &'w str, Place) {
    if let Body::Outside(outside) = command.body
        && let Some(found) = outside_value(outside, rest, current)
    {
        return found;
    }
    let flags = command.all_flags();
    let flag = |word: &str| {
        let name = word.trim_start_matches('-');
        flags.iter().find(|flag| flag.name == name || flag.alias == Some(name)).copied()
    };
    if current.starts_with('-') {
        // Shells whose words end at the equals sign put it aside by themselves.
        return match current.split_once('=').map(|(name, value)| (name, value, flag(name))) {
            Some((name, value, Some(flag))) => {
                let before = current.get(..name.len().saturating_add(1)).unwrap_or_default();
                (before, value, Place::Values(flag.offers))
            }
            Some((_, value, None)) => ("", value, Place::Values(Offer::Nothing)),
            None => ("", current, Place::Flags),
        };
    }
    if !command.children().is_empty() {
        return (
            "",
            current,
            if rest.is_empty() { Place::Subcommands } else { Place::Values(Offer::Nothing) },
        );
    }
    let mut arguments: usize = 0;
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        if arguments > 0 || !word.starts_with('-') || word == "-" {
            arguments = arguments.saturating_add(1);
            continue;
        }
        let takes_next = |flag: &&Flag| flag.kind != Kind::Switch && !word.contains('=');
        if let Some(flag) = flag(word).filter(takes_next)
            && words.next().is_none()
        {
            return ("", current, Place::Values(flag.offers));
        }
    }
    let offer = command.offers.get(arguments).or(command.offers.last()).copied();
    ("", current, Place::Values(offer.unwrap_or(Offer::Nothing)))
}

/// The flag of an embedding program's command whose value the current word is: in the word itself, or the word before.
fn outside_value<'w>(
    outside: Outside,
    rest: &[String],
    current: &'w str,
) -> Option<(&'w str, &'w str, Place)> {
    let named = |word: &str| Place::ValuesOf(outside, word.trim_start_matches('-').to_owned());
    if current.starts_with('-') {
        let (name, value) = current.split_once('=')?;
        return Some((current.get(..name.len().saturating_add(1))?, value, named(name)));
    }
    let before = rest.last().filter(|word| word.starts_with('-') && !word.contains('='))?;
    Some(("", current, named(before)))
}

fn flag_names(command: &Command, commands: &dyn Commands) -> Vec<String> {
    match command.body {
        Body::Outside(outside) => {
            let known = commands.known(Known::Flags(outside));
            known.into_iter().map(|name| name.trim_start_matches('-').to_owned()).collect()
        }
        _ => command.all_flags().iter().map(|flag| flag.name.to_owned()).collect(),
    }
}

async fn values(offer: Offer, sought: &str, io: &mut Io, commands: &dyn Commands) -> Vec<String> {
    match offer {
        Offer::Nothing => Vec::new(),
        Offer::Words(words) => words.iter().map(|word| (*word).to_owned()).collect(),
        Offer::Known(known) => commands.known(known),
        asked => {
            let asking = async {
                let mut call = Call::new(io, "vault", Flags::default(), Vec::new()).ok()?;
                names(asked, sought, &mut call).await
            };
            tokio::time::timeout(PATIENCE, asking).await.ok().flatten().unwrap_or_default()
        }
    }
}

/// Names that the server knows; `None` if it does not tell.
async fn names(offer: Offer, sought: &str, call: &mut Call<'_>) -> Option<Vec<String>> {
    let listed = async |call: &mut Call<'_>, path: &str| {
        let reply = call.ask(Request::list(path)).await.ok()?.reply_or_none().await.ok()??;
        let names = reply.keys()?.iter().filter_map(Value::as_str).map(str::to_owned);
        Some(names.collect::<Vec<_>>())
    };
    let mounts = async |call: &mut Call<'_>, kind: &str| {
        let request = Request::read("sys/internal/ui/mounts");
        let reply = call.ask(request).await.ok()?.reply().await.ok()??;
        Some(reply.field(kind)?.as_object()?.keys().cloned().collect::<Vec<_>>())
    };
    match (offer, sought.rsplit_once('/')) {
        (Offer::Paths, None) => {
            let mut paths = mounts(call, "secret").await?;
            paths.extend(["auth/".to_owned(), "sys/".to_owned()]);
            Some(paths)
        }
        (Offer::Paths, Some(("auth", _))) => {
            Some(mounts(call, "auth").await?.into_iter().map(|path| format!("auth/{path}")).collect())
        }
        (Offer::Paths, Some((folder, _))) => {
            Some(listed(call, folder).await?.into_iter().map(|name| format!("{folder}/{name}")).collect())
        }
        (Offer::Mounts, _) => mounts(call, "secret").await,
        (Offer::AuthMounts, _) => mounts(call, "auth").await,
        (Offer::Policies, _) => listed(call, "sys/policies/acl").await,
        (Offer::AuditDevices, _) => {
            let table = mounts::table(call, "sys/audit").await.ok()?;
            Some(table.into_keys().collect())
        }
        (Offer::Nothing | Offer::Words(_) | Offer::Known(_), _) => None,
    }
}

/// The lines that turn completion on in a shell.
pub(crate) fn script(shell: &str, program: &str, binary: &str) -> Option<String> {
    match shell {
        "bash" => Some(format!("complete -C {binary} {program}\n")),
        "zsh" => Some(format!(
            "autoload -U +X bashcompinit && bashcompinit\ncomplete -o nospace -C {binary} {program}\n"
        )),
        "fish" => Some(format!(
            "function __complete_{program}\n    set -lx COMP_LINE (commandline -cp)\n    \
             test -z (commandline -ct); and set COMP_LINE \"$COMP_LINE \"\n    {binary}\nend\n\
             complete -f -c {program} -a \"(__complete_{program})\"\n"
        )),
        _ => None,
    }
}

/// Adds the lines to the start-up files of the shells that are in use.
pub(crate) fn install(program: &str, io: &mut Io) -> Outcome {
    let binary = binary(program);
    let mut done = false;
    for (shell, file) in files(io, program) {
        let Some(lines) = script(shell, program, &binary) else { continue };
        let before = read(&file)?;
        if before.contains(&lines) {
            return Err(Failure::local(format!(
                "Error executing CLI: already installed in {}",
                file.display()
            )));
        }
        let separator = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
        write(&file, &format!("{before}{separator}{lines}"))?;
        done = true;
    }
    if done {
        return Ok(());
    }
    writeln!(io.stderr, "Did not find any shells to install")?;
    Err(Failure::Exit(1))
}

/// Takes the lines out again.
pub(crate) fn uninstall(program: &str, io: &mut Io) -> Outcome {
    let binary = binary(program);
    for (shell, file) in files(io, program) {
        let Some(lines) = script(shell, program, &binary) else { continue };
        let before = read(&file)?;
        let after = before.replace(&lines, "");
        if after.is_empty() && shell == "fish" {
            fs::remove_file(&file)
                .or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
        } else if after != before {
            write(&file, &after)?;
        }
    }
    Ok(())
}

/// The path that shells call back.
fn binary(program: &str) -> String {
    std::env::current_exe()
        .map_or_else(|_unknown| program.to_owned(), |path| path.to_string_lossy().into_owned())
}

/// The start-up files of the shells whose traces are in the home directory.
fn files(io: &Io, program: &str) -> Vec<(&'static str, PathBuf)> {
    let Some(home) = (io.env)("HOME").map(PathBuf::from) else { return Vec::new() };
    let mut found = Vec::new();
    if let Some(file) =
        [".bashrc", ".bash_profile"].map(|name| home.join(name)).into_iter().find(|file| file.exists())
    {
        found.push(("bash", file));
    }
    let zshrc = home.join(".zshrc");
    if zshrc.exists() {
        found.push(("zsh", zshrc));
    }
    let fish = home.join(".config/fish");
    if fish.is_dir() {
        found.push(("fish", fish.join("completions").join(format!("{program}.fish"))));
    }
    found
}

fn read(file: &Path) -> Result<String, Failure> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(Failure::local(format!("open {}: {}", file.display(), io_reason(&error)))),
    }
}

fn write(file: &Path, text: &str) -> Outcome {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    OutputFile::write_at(file, 0o644, text.as_bytes())
        .map_err(|error| Failure::local(format!("open {}: {}", file.display(), io_reason(&error))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::io;

    #[test]
    fn installs_once_and_leaves_no_trace() {
        let home = tempfile::tempdir().unwrap();
        let bashrc = home.path().join(".bashrc");
        fs::write(&bashrc, "alias a=b").unwrap();
        fs::create_dir_all(home.path().join(".config/fish")).unwrap();
        let (mut io, _, _) = io("", &[("HOME", home.path().to_str().unwrap())]);
        install("vault", &mut io).unwrap();
        let text = fs::read_to_string(&bashrc).unwrap();
        assert!(text.starts_with("alias a=b\ncomplete -C ") && text.ends_with(" vault\n"), "{text}");
        let fish = home.path().join(".config/fish/completions/vault.fish");
        assert!(fish.exists());
        assert!(install("vault", &mut io).is_err());
        uninstall("vault", &mut io).unwrap();
        assert_eq!(fs::read_to_string(&bashrc).unwrap(), "alias a=b\n");
        assert!(!fish.exists());
    }
}
