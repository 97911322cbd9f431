//! The words of a command line.

use std::ffi::OsString;
use std::io::{Cursor, sink};
use std::pin::Pin;

use strongroom_cli::{Commands, Io, Known, Outside, run};
use tokio::runtime::Builder;

use super::{parts, text};
use crate::Target;

pub(super) const ARGUMENTS: Target = Target {
    name: "arguments",
    run: arguments,
    made: crate::no_inputs,
    seeds: &[
        b"\0a=b\nc=\\@d\ne={\"x\": 1}\0{}",
        b"\x01-field=data\n-format=json\nsecret/a\0",
        b"\x02-policy=a\n-ttl=1h\n-metadata=a=b\0",
        b"\x03-path=x\n-default-lease-ttl=1h\n-options=version=2\nkv\0",
        b"\x04n\n-\0path \"a\" { capabilities = [\"read\"] }",
        b"\x05-method=userpass\nusername=a\npassword=b\0",
    ],
    words: &[
        "-",
        "--",
        "=",
        "\n",
        "-field=",
        "-format=",
        "yaml",
        "json",
        "table",
        "raw",
        "@",
        "-mount=",
        "-ttl=",
        "1h",
        "-wrap-ttl=",
        "é",
        "\\",
        "{}",
        "*",
        "'",
        "\"",
    ],
};

pub(super) const COMPLETION: Target = Target {
    name: "completion",
    run: completion,
    made: crate::no_inputs,
    seeds: &[b"vault kv get -mou", b"vault sec xyz\09", "vault é ü\09".as_bytes(), b"vault kv "],
    words: &[
        "vault ",
        "kv ",
        "get ",
        "-",
        "--",
        " ",
        "\t",
        "é",
        "\0",
        "1",
        "18446744073709551616",
        "operator ",
        "raft ",
    ],
};

/// What comes before the words of the input. None of them writes a file, and with `-output-curl-string` none asks a server.
const BEFORE: [&[&str]; 8] = [
    &["write", "-output-curl-string", "secret/a"],
    &["read", "-output-curl-string"],
    &["token", "create", "-output-curl-string"],
    &["secrets", "enable", "-output-curl-string"],
    &["policy", "write", "-output-curl-string"],
    &["login", "-output-curl-string"],
    &["write", "-output-policy", "secret/a"],
    &["patch", "-output-curl-string", "secret/a"],
];

/// The server is not started.
struct NoServer;

impl Commands for NoServer {
    fn help(&self, _command: Outside) -> &'static str {
        ""
    }

    fn flag_values(&self, _command: Outside, _flag: &str) -> Vec<String> {
        Vec::new()
    }

    fn known(&self, _what: Known) -> Vec<String> {
        Vec::new()
    }

    fn run<'a>(
        &'a self,
        _command: Outside,
        _args: Vec<String>,
        _io: &'a mut Io,
    ) -> Pin<Box<dyn Future<Output = i32> + Send + 'a>> {
        Box::pin(std::future::ready(0))
    }
}

fn call(words: &[&str], stdin: &[u8], variables: &[(&str, String)]) -> i32 {
    let variables: Vec<(String, String)> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let mut io = Io {
        stdin: Box::new(Cursor::new(stdin.to_vec())),
        stdout: Box::new(sink()),
        stderr: Box::new(sink()),
        env: Box::new(move |name| {
            variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
        }),
        stdin_is_terminal: false,
        stderr_is_terminal: false,
    };
    let argv = std::iter::once("strongroom").chain(words.iter().copied()).map(OsString::from).collect();
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(argv, &mut io, &NoServer))
}

/// A command by number, its further words, one a line, and what is piped in.
fn arguments(input: &[u8]) {
    let (command, rest) = input.split_first().unwrap_or((&0, &[]));
    let [words, stdin] = parts(rest);
    let words = text(words);
    let before = BEFORE.get(usize::from(*command) % BEFORE.len()).copied().unwrap_or_default();
    let words: Vec<&str> = before.iter().copied().chain(words.lines()).collect();
    let nowhere = [
        ("VAULT_ADDR", "http://127.0.0.1:9".to_owned()),
        ("VAULT_MAX_RETRIES", "0".to_owned()),
        ("VAULT_TOKEN", "t".to_owned()),
    ];
    let code = call(&words, stdin, &nowhere);
    assert!((0..=2).contains(&code), "exit code {code}");
}

/// The line that is being typed, and where the cursor is.
fn completion(input: &[u8]) {
    let [line, point] = parts(input);
    let variables = [("COMP_LINE", text(line).into_owned()), ("COMP_POINT", text(point).into_owned())];
    assert_eq!(call(&[], b"", &variables), 0);
}
