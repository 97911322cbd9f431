//! The streams, environment and terminal of a command.

use std::io::{self, IsTerminal, Read, Write};

use zeroize::Zeroizing;

/// Answers for one environment variable.
pub type Lookup = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The outside of a command. Tests give it buffers, the program gives it the process's own ([`Io::system`]).
pub struct Io {
    /// The source of piped values.
    pub stdin: Box<dyn Read + Send>,
    /// The target of results.
    pub stdout: Box<dyn Write + Send>,
    /// The target of errors, warnings and prompts.
    pub stderr: Box<dyn Write + Send>,
    /// The environment.
    pub env: Lookup,
    /// True if a person types at the standard input, who can be asked for a secret.
    pub stdin_is_terminal: bool,
    /// True if a person looks at the standard error, who may like colors.
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

    /// A variable of ours: `STRONGROOM_X`, `BAO_X` or `VAULT_X`, in this order. Empty counts as unset.
    pub fn variable(&self, name: &str) -> Option<String> {
        strongroom_stdx::variable(&self.env, name).map(|(_, value)| value)
    }

    /// Text for the standard error in a color (an ANSI code), where a person looks at it and wants colors.
    pub(crate) fn painted(&self, colour: &str, text: &str) -> String {
        let wanted = self.stderr_is_terminal
            && self.variable("CLI_NO_COLOR").is_none()
            && (self.env)("NO_COLOR").is_none_or(|value| value.is_empty());
        if wanted { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// All that is piped in, wiped from memory when dropped.
    pub fn read_stdin(&mut self) -> io::Result<Zeroizing<String>> {
        let mut text = Zeroizing::new(String::new());
        self.stdin.read_to_string(&mut text)?;
        Ok(text)
    }

    /// Asks for a line that is not shown while it is typed. Fails without a terminal: a secret from a pipe has its own
    /// syntax, and a prompt in a script would wait for ever.
    pub fn ask_hidden(&mut self, prompt: &str) -> io::Result<Zeroizing<String>> {
        let ask = |stderr: &mut dyn Write| write!(stderr, "{prompt}").and_then(|()| stderr.flush());
        let answer = if self.stdin_is_terminal {
            hidden_line(|| ask(&mut *self.stderr))
        } else {
            ask(&mut *self.stderr)?;
            Err(io::Error::other("file descriptor 0 is not a terminal"))
        };
        writeln!(self.stderr)?;
        answer
    }
}

/// Reads a line from the terminal with its echo off, and turns it on again whatever happens: keys are read one by one,
/// so that an interrupt too comes in as one. Asks once the echo is off, which drops what was typed before: an answer that is quick
/// would be dropped, too.
fn hidden_line(ask: impl FnOnce() -> io::Result<()>) -> io::Result<Zeroizing<String>> {
    use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};
    let stdin = io::stdin();
    let before = tcgetattr(&stdin)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
    silent.special_codes[SpecialCodeIndex::VMIN] = 1;
    silent.special_codes[SpecialCodeIndex::VTIME] = 0;
    tcsetattr(&stdin, OptionalActions::Flush, &silent)?;
    let line = ask().and_then(|()| {
        keys(|| {
            let mut key = [0];
            Ok((rustix::io::read(&stdin, &mut key)? > 0).then_some(key[0]))
        })
    });
    tcsetattr(&stdin, OptionalActions::Flush, &before)?;
    line
}

/// A line from single keys: backspace and line kill work, an interrupt or the end of input cancels.
fn keys(mut next: impl FnMut() -> io::Result<Option<u8>>) -> io::Result<Zeroizing<String>> {
    const INTERRUPT: u8 = 0x03;
    const END: u8 = 0x04;
    const KILL: u8 = 0x15;
    let mut line = Zeroizing::new(Vec::new());
    loop {
        match next()? {
            None | Some(END) if line.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            None | Some(b'\r' | b'\n' | END) => break,
            Some(INTERRUPT) => return Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted")),
            Some(KILL) => line.clear(),
            Some(0x08 | 0x7f) => {
                // All bytes of the last character.
                while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            Some(key) => line.push(key),
        }
    }
    String::from_utf8(line.to_vec()).map(Zeroizing::new).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &[u8]) -> io::Result<String> {
        let mut bytes = text.iter().copied();
        keys(|| Ok(bytes.next())).map(|line| line.to_string())
    }

    #[test]
    fn keys_make_a_line() {
        assert_eq!(typed(b"secret\rmore").unwrap(), "secret");
        assert_eq!(typed("a\u{e9}\u{7f}b\u{8}c\n".as_bytes()).unwrap(), "ac");
        assert_eq!(typed(b"wrong\x15right\n").unwrap(), "right");
        assert_eq!(typed(b"end\x04").unwrap(), "end");
        assert_eq!(typed(b"\x7f\x7fx\n").unwrap(), "x");
        assert_eq!(typed(b"abc\x03").unwrap_err().kind(), io::ErrorKind::Interrupted);
        assert_eq!(typed(b"").unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(typed(b"\xff\n").is_err());
    }
}
