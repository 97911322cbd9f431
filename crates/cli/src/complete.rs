//! Completion in shells. As with Vault, the shell asks the program itself: it calls it with `COMP_LINE` and
//! `COMP_POINT` set, and takes each line of the answer as a candidate.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::command::find;
use crate::failure::{Failure, Outcome, io_reason};
use crate::io::Io;
use crate::tree::ROOT;

/// The words that may follow on a line up to `point` (its end if there is none), one candidate a line.
pub(crate) fn candidates(line: &str, point: Option<usize>) -> String {
    let line = point.and_then(|point| line.get(..point)).unwrap_or(line);
    let mut words: Vec<String> = line.split_whitespace().skip(1).map(str::to_owned).collect();
    let current =
        if line.ends_with(char::is_whitespace) { String::new() } else { words.pop().unwrap_or_default() };
    let (command, _, rest) = find(&ROOT, &words);
    let mut found: Vec<String> = if current.starts_with('-') {
        let dashes = if current.starts_with("--") { "--" } else { "-" };
        command.all_flags().iter().map(|flag| format!("{dashes}{}", flag.name)).collect()
    } else if rest.is_empty() {
        command.children().iter().map(|child| child.name.to_owned()).collect()
    } else {
        Vec::new()
    };
    found.retain(|candidate| candidate.starts_with(&current));
    found.sort_unstable();
    found.into_iter().map(|candidate| candidate + "\n").collect()
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
    fs::write(file, text)
        .map_err(|error| Failure::local(format!("open {}: {}", file.display(), io_reason(&error))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::io;

    #[test]
    fn completes_commands_and_flags() {
        assert_eq!(candidates("vault sec", None), "secrets\n");
        assert!(candidates("vault kv ", None).contains("get\n"));
        assert_eq!(candidates("vault kv get -mou", None), "-mount\n");
        assert_eq!(candidates("vault kv get --mou", None), "--mount\n");
        assert_eq!(candidates("vault kv get secret/a", None), "");
        assert_eq!(candidates("vault sec xyz", Some(9)), "secrets\n");
        assert!(candidates("", None).contains("status\n"));
    }

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
