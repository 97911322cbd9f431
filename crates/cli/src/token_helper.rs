//! The storage of the token between calls: `~/.vault-token`, or a program named in `~/.vault`.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use strongroom_output_file::OutputFile;
use strongroom_stdx::Secret;

use crate::failure::{Failure, io_reason};
use crate::io::Io;

/// The place a token is kept at.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TokenHelper {
    /// A file that only its owner can read.
    File(PathBuf),
    /// A program that is called with `get` or `store`.
    Program(PathBuf),
    /// No home directory: nothing is kept.
    Nowhere,
}

impl TokenHelper {
    /// Finds the place: `token_helper` in the file that `VAULT_CONFIG_PATH` names or in `~/.vault`; otherwise the file
    /// that `VAULT_TOKEN_PATH` names, or `~/.vault-token`.
    pub(crate) fn find(io: &Io) -> Result<Self, Failure> {
        let home = (io.env)("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        let config =
            io.variable("CONFIG_PATH").map(PathBuf::from).or_else(|| Some(home.as_ref()?.join(".vault")));
        if let Some(program) = config.as_deref().map(configured).transpose()?.flatten() {
            return Ok(Self::Program(program));
        }
        let file = io.variable("TOKEN_PATH").map(PathBuf::from).or_else(|| Some(home?.join(".vault-token")));
        Ok(file.map_or(Self::Nowhere, Self::File))
    }

    /// The kept token.
    pub(crate) fn get(&self) -> Result<Option<Secret<String>>, Failure> {
        let text = match self {
            Self::Nowhere => return Ok(None),
            // Of a pipe or a device nothing can be read that was stored there, and reading may wait for ever.
            Self::File(path) if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) => {
                return Ok(None);
            }
            Self::File(path) => match fs::read_to_string(path) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => {
                    return Err(failed("get", &format!("open {}: {}", path.display(), io_reason(&error))));
                }
            },
            Self::Program(program) => call(program, "get", None)?,
        };
        let token = text.trim().to_owned();
        Ok((!token.is_empty()).then(|| Secret::new(token)))
    }

    /// Keeps a token in place of the one before.
    pub(crate) fn store(&self, token: &str) -> Result<(), Failure> {
        match self {
            Self::Nowhere => Err(failed("store", "no home directory to keep it in")),
            // No moment shows half a token or a readable one.
            Self::File(path) => OutputFile::write_at(path, 0o600, token.as_bytes())
                .map_err(|error| failed("store", &format!("open {}: {}", path.display(), io_reason(&error)))),
            Self::Program(program) => call(program, "store", Some(token)).map(|_| ()),
        }
    }
}

fn failed(what: &str, reason: &str) -> Failure {
    Failure::local(format!("Error calling token helper: {what}: {reason}"))
}

/// The program that a configuration file names.
fn configured(path: &Path) -> Result<Option<PathBuf>, Failure> {
    let wrong = |reason: &str| Failure::local(format!("Error loading config {}: {reason}", path.display()));
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // A directory of that name is not ours.
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => return Ok(None),
        Err(error) => return Err(wrong(&io_reason(&error))),
    };
    let config = strongroom_hcl::parse(&text).map_err(|error| wrong(&error.to_string()))?;
    let item = config.items.iter().rev().find(|item| item.key == "token_helper");
    match item.map(|item| &item.value) {
        None => Ok(None),
        Some(strongroom_hcl::Value::String(program)) if program.is_empty() => Ok(None),
        Some(strongroom_hcl::Value::String(program)) => Ok(Some(PathBuf::from(program))),
        Some(_) => Err(wrong("token_helper must be a string")),
    }
}

/// Calls a helper program, which shares our standard error.
fn call(program: &Path, what: &str, input: Option<&str>) -> Result<String, Failure> {
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut child = Command::new(program)
        .arg(what)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(what, &format!("{}: {}", program.display(), io_reason(&error))))?;
    if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input) {
        // A helper that does not read its input is judged by its exit status.
        let _ = pipe.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| failed(what, &io_reason(&error)))?;
    if !output.status.success() {
        return Err(failed(what, &format!("{}: {}", program.display(), output.status)));
    }
    String::from_utf8(output.stdout).map_err(|error| failed(what, &error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::testing::io;

    fn at(home: &Path, more: &[(&str, &str)]) -> Result<TokenHelper, Failure> {
        let home = home.to_str().unwrap();
        let mut env = vec![("HOME", home)];
        env.extend(more);
        TokenHelper::find(&io("", &env).0)
    }

    #[test]
    fn keeps_the_token_for_its_owner_alone() {
        let home = tempfile::tempdir().unwrap();
        let helper = at(home.path(), &[]).unwrap();
        assert!(helper.get().unwrap().is_none());
        helper.store("s.one").unwrap();
        helper.store("s.two").unwrap();
        assert_eq!(helper.get().unwrap().unwrap().expose(), "s.two");
        let file = home.path().join(".vault-token");
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_path_can_be_set() {
        let home = tempfile::tempdir().unwrap();
        let helper = at(home.path(), &[("VAULT_TOKEN_PATH", "/x/token")]).unwrap();
        assert_eq!(helper, TokenHelper::File("/x/token".into()));
        assert_eq!(TokenHelper::find(&io("", &[]).0).unwrap(), TokenHelper::Nowhere);
    }

    #[test]
    fn nothing_is_read_from_a_pipe() {
        let home = tempfile::tempdir().unwrap();
        let pipe = home.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
            .unwrap();
        let helper = at(home.path(), &[("VAULT_TOKEN_PATH", pipe.to_str().unwrap())]).unwrap();
        assert!(helper.get().unwrap().is_none());
    }

    #[test]
    fn a_program_can_keep_it() {
        let home = tempfile::tempdir().unwrap();
        let program = home.path().join("helper");
        let kept = home.path().join("kept");
        let script = format!(
            "#!/bin/sh\ncase $1 in get) cat {0} 2>/dev/null || true;; store) cat > {0};; esac; exit $(cat {0}.exit 2>/dev/null || echo 0)\n",
            kept.display()
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(home.path().join(".vault"), format!("token_helper = \"{}\"\n", program.display())).unwrap();
        let helper = at(home.path(), &[]).unwrap();
        assert!(helper.get().unwrap().is_none());
        helper.store("s.kept").unwrap();
        assert_eq!(helper.get().unwrap().unwrap().expose(), "s.kept");
        fs::write(home.path().join("kept.exit"), "3").unwrap();
        assert!(helper.get().err().unwrap().to_string().contains("exit status: 3"));
    }

    #[test]
    fn a_broken_configuration_is_told() {
        let home = tempfile::tempdir().unwrap();
        for text in ["token_helper = 1", "token_helper = "] {
            fs::write(home.path().join(".vault"), text).unwrap();
            assert!(
                at(home.path(), &[]).unwrap_err().to_string().starts_with("Error loading config "),
                "{text}"
            );
        }
    }
}
