//! `operator`: commands for operators of the server.

mod cluster;
mod init;
mod raft;
mod rekey;
mod root_token;
mod seal;
mod snapshot;

use crate::command::{Command, Outside};

pub(crate) static OPERATOR: Command = Command::group(
    "operator",
    "Perform operator-specific tasks",
    r"
Initializes, unseals and seals the server, rotates its keys and manages its cluster.

    $ {p} operator init
    $ {p} operator unseal
    $ {p} operator rotate
",
    &[
        &root_token::GENERATE_ROOT,
        &init::INIT,
        &cluster::KEY_STATUS,
        &cluster::MEMBERS,
        &MIGRATE,
        &raft::RAFT,
        &rekey::REKEY,
        &cluster::ROTATE,
        &seal::SEAL,
        &cluster::STEP_DOWN,
        &seal::UNSEAL,
    ],
);

static MIGRATE: Command =
    Command::outside("migrate", "Copies all data from one storage backend to another", Outside::Migrate);

/// Reads the PGP keys that a flag names: files of public keys, base64-encoded for the API. A file that is base64
/// already is taken as it is. Names of the form `keybase:user` are not looked up: the server has no business on the
/// internet, and neither has this command.
pub(crate) fn pgp_keys(names: &str) -> Result<Vec<String>, crate::failure::Failure> {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    let wrong = |name: &str, reason: &str| {
        crate::failure::Failure::local(format!("Error parsing PGP key {name:?}: {reason}"))
    };
    let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
    let read = |name: &str| {
        if name.starts_with("keybase:") {
            return Err(wrong(name, "Keybase names are not supported; give the file of the public key"));
        }
        let path = name.strip_prefix('@').unwrap_or(name);
        let bytes = std::fs::read(path).map_err(|error| wrong(name, &crate::failure::io_reason(&error)))?;
        let text = String::from_utf8_lossy(&bytes);
        if text.contains("-----BEGIN PGP") {
            return dearmored(&text).ok_or_else(|| wrong(name, "malformed ASCII armor"));
        }
        match STANDARD.decode(text.trim()) {
            Ok(_) => Ok(text.trim().to_owned()),
            Err(_) => Ok(STANDARD.encode(&bytes)),
        }
    };
    names.map(read).collect()
}

/// The base64 of an ASCII-armored key: the lines between the headers and the checksum (RFC 9580, section 6.2).
fn dearmored(text: &str) -> Option<String> {
    let mut lines =
        text.lines().map(str::trim).skip_while(|line| !line.starts_with("-----BEGIN PGP")).skip(1);
    // Headers end at the first empty line.
    lines.by_ref().find(|line| line.is_empty())?;
    let body: String =
        lines.take_while(|line| !line.starts_with('=') && !line.starts_with("-----END")).collect();
    (!body.is_empty()).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_from_files() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path.display().to_string()
        };
        let binary = write("a", &[0x99, 0, 1, 2]);
        let base64 = write("b", b"mQABAg==\n");
        let armored = write("c", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\nComment: x\n\nmQAB\nAg==\n=abcd\n-----END PGP PUBLIC KEY BLOCK-----\n");
        assert_eq!(
            pgp_keys(&format!("{binary}, {base64},@{armored}")).unwrap(),
            ["mQABAg==", "mQABAg==", "mQABAg=="]
        );
        assert!(pgp_keys("/nope").is_err());
        assert!(pgp_keys("keybase:somebody").is_err());
    }
}
