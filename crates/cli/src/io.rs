//! What a command sees of the outside: its streams, its environment and its terminal.

use std::io::{self, IsTerminal, Read, Write};

use zeroize::Zeroizing;

/// Answers for one environment variable.
pub type Lookup = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The outside of a command. Tests give it buffers, the program gives it the process's own ([`Io::system`]).
pub struct Io {
    /// Where piped values are read from.
    pub stdin: Box<dyn Read + Send>,
    /// Where results go.
    pub stdout: Box<dyn Write + Send>,
    /// Where errors, warnings and prompts go.
    pub stderr: Box<dyn Write + Send>,
    /// The environment.
    pub env: Lookup,
    /// Whether a person types at the standard input, who can be asked for a secret.
    pub stdin_is_terminal: bool,
    /// Whether a person looks at the standard error, who may like colours.
    pub stderr_is_terminal: bool,
}

impl Io {
    /// The process's streams and environment.
    pub fn system() -> Self {
        Self {
            stdin: Box::new(io::stdin()),
            stdout: Box::new(io::stdout()),
            stderr: Box::new(io::stderr()),
            env: Box::new(|name| std::env::var(name).ok()),
            stdin_is_terminal: io::stdin().is_terminal(),
            stderr_is_terminal: io::stderr().is_terminal(),
        }
    }

    /// A variable of ours under either prefix: `STRONGROOM_X`, then `VAULT_X`. Empty counts as unset.
    pub fn variable(&self, name: &str) -> Option<String> {
        let plain = |full: String| (self.env)(&full).filter(|value| !value.is_empty());
        plain(format!("STRONGROOM_{name}")).or_else(|| plain(format!("VAULT_{name}")))
    }

    /// All that is piped in, wiped from memory when dropped.
    pub fn read_stdin(&mut self) -> io::Result<Zeroizing<String>> {
        let mut text = Zeroizing::new(String::new());
        self.stdin.read_to_string(&mut text)?;
        Ok(text)
    }

    /// Asks for a line that is not shown while it is typed. Fails where nobody sits at a terminal: a secret from a
    /// pipe has its own syntax, and a prompt in a script would wait for ever.
    pub fn ask_hidden(&mut self, prompt: &str) -> io::Result<Zeroizing<String>> {
        write!(self.stderr, "{prompt}")?;
        self.stderr.flush()?;
        let answer = if self.stdin_is_terminal {
            hidden_line()
        } else {
            Err(io::Error::other("file descriptor 0 is not a terminal"))
        };
        writeln!(self.stderr)?;
        answer
    }
}

/// Reads a line from the terminal with its echo off, and turns it on again whatever happens.
fn hidden_line() -> io::Result<Zeroizing<String>> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let stdin = io::stdin();
    let before = tcgetattr(&stdin)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    silent.local_modes.insert(LocalModes::ICANON | LocalModes::ECHONL);
    tcsetattr(&stdin, OptionalActions::Flush, &silent)?;
    let mut line = Zeroizing::new(String::new());
    let read = stdin.read_line(&mut line);
    tcsetattr(&stdin, OptionalActions::Flush, &before)?;
    if read? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned()))
}
