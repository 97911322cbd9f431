//! `-test-verify-only`: checks all that a start would need, short of opening storage and sockets.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::fs::{Access, AtFlags, CWD};
use strongroom_config::{Config, Listener, Storage, TcpListener, UnixListener};

use crate::{cluster, listen, logs, store, tls};

/// Answers all that would keep a server with this configuration from starting, not only the first.
pub(crate) async fn problems(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    for listener in &config.listeners {
        let checked = match listener {
            Listener::Tcp(tcp) => {
                check_tcp(tcp).await.with_context(|| format!("listener tcp {}", tcp.address))
            }
            Listener::Unix(unix) => {
                check_unix(unix).with_context(|| format!("listener unix {}", unix.address.display()))
            }
        };
        found.push(checked);
    }
    if let Some(Storage::Raft(raft)) = &config.storage {
        let options = store::options(raft, &store::Addresses::of(config));
        found.push(options.and_then(|options| directory_to_be(&options.path)).context("storage \"raft\""));
        for entry in &raft.retry_join {
            found.push(cluster::join_target(entry).map(drop).context("storage \"raft\""));
        }
    }
    if let Some(storage) = &config.storage {
        found.push(store::check(storage).with_context(|| format!("storage {:?}", storage.kind())));
    }
    if let Some(path) = &config.log_file {
        found.push(file_to_be(&logs::file_at(path), directory_to_be).context("log_file"));
    }
    if let Some(path) = &config.pid_file {
        found.push(file_to_be(path, directory).context("pid_file"));
    }
    found.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect()
}

async fn check_tcp(tcp: &TcpListener) -> Result<()> {
    if let Some(settings) = &tcp.tls {
        tls::server_config(settings)?;
    }
    if !tcp.address.host.is_empty() {
        let mut known = tokio::net::lookup_host((tcp.address.host.as_str(), tcp.address.port)).await?;
        ensure!(known.next().is_some(), "the host has no address");
    }
    Ok(())
}

fn check_unix(unix: &UnixListener) -> Result<()> {
    listen::check_place(&unix.address)?;
    listen::owners(unix)?;
    directory(parent(&unix.address))
}

/// A file that is or will be written to; `check` looks at the directory it is made in.
fn file_to_be(path: &Path, check: fn(&Path) -> Result<()>) -> Result<()> {
    match path.metadata() {
        Ok(found) if found.is_dir() => bail!("{} is a directory", path.display()),
        Ok(_) => writable(path, Access::WRITE_OK),
        Err(_not_there) => check(parent(path)),
    }
}

/// A directory that is there, or can be made together with those above it.
fn directory_to_be(path: &Path) -> Result<()> {
    // An empty path is the directory that the server runs in.
    let there =
        path.ancestors().find(|ancestor| ancestor.exists()).filter(|path| !path.as_os_str().is_empty());
    directory(there.unwrap_or(Path::new(".")))
}

/// A directory in which files can be made.
fn directory(path: &Path) -> Result<()> {
    let found = path.metadata().with_context(|| path.display().to_string())?;
    ensure!(found.is_dir(), "{} is not a directory", path.display());
    writable(path, Access::WRITE_OK | Access::EXEC_OK)
}

fn writable(path: &Path, access: Access) -> Result<()> {
    rustix::fs::accessat(CWD, path, access, AtFlags::EACCESS)
        .with_context(|| format!("{} cannot be written to", path.display()))
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Problems of a configuration in which `AT` stands for an empty directory.
    async fn problems_at(directory: &Path, text: &str) -> Vec<String> {
        let text = text.replace("AT", directory.to_str().unwrap());
        let source = strongroom_config::Source { file: "server.hcl".into(), text };
        let found = problems(&strongroom_config::parse(&[source]).unwrap().config).await;
        found.iter().map(|problem| problem.replace(directory.to_str().unwrap(), "AT")).collect()
    }

    #[tokio::test]
    async fn nothing_is_made_where_nothing_is_wrong() {
        let directory = tempfile::tempdir().unwrap();
        let text = "storage \"raft\" { path = \"AT/data/here\" }\nlog_file = \"AT/logs/\"\npid_file = \"AT/pid\"\n\
                    listener \"tcp\" {\n tls_disable = true\n address = \"localhost:1\"\n}\n\
                    listener \"tcp\" {\n tls_disable = true\n address = \":8200\"\n}\n\
                    listener \"unix\" {\n address = \"AT/socket\"\n socket_user = \"root\"\n}";
        assert_eq!(problems_at(directory.path(), text).await, [""; 0]);
        assert_eq!(directory.path().read_dir().unwrap().count(), 0);
    }

    #[tokio::test]
    async fn all_that_is_wrong_is_told() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("file"), "x").unwrap();
        let text = "storage \"raft\" { path = \"AT/file\" }\nlog_file = \"AT/file/log\"\npid_file = \"AT/none/pid\"\n\
                    listener \"tcp\" {\n address = \"127.0.0.1:1\"\n tls_cert_file = \"AT/c\"\n tls_key_file = \"AT/k\"\n}\n\
                    listener \"unix\" {\n address = \"AT/file\"\n}\n\
                    listener \"unix\" {\n address = \"AT/socket\"\n socket_group = \"no-such-group\"\n}";
        let missing = "No such file or directory (os error 2)";
        assert_eq!(
            problems_at(directory.path(), text).await,
            [
                format!("listener tcp 127.0.0.1:1: tls_cert_file AT/c: {missing}"),
                "listener unix AT/file: AT/file: exists and is not a socket".to_owned(),
                "listener unix AT/socket: \"no-such-group\" is not in /etc/group".to_owned(),
                "storage \"raft\": AT/file is not a directory".to_owned(),
                "log_file: AT/file is not a directory".to_owned(),
                format!("pid_file: AT/none: {missing}"),
            ]
        );
    }

    #[tokio::test]
    async fn certificates_to_join_by_are_read() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("cut"), "-----BEGIN CERTIFICATE-----\n").unwrap();
        let joining = |tls: &str| {
            format!(
                "storage \"raft\" {{\n path = \"AT/data\"\n retry_join {{\n leader_api_addr = \"https://a:1\"\n {tls}\n }}\n}}"
            )
        };
        for (tls, wanted) in [
            (
                "leader_ca_cert_file = \"AT/none\"",
                "leader_ca_cert_file AT/none: No such file or directory (os error 2)",
            ),
            ("leader_ca_cert_file = \"AT/cut\"", "https://a:1: "),
            ("leader_ca_cert = \"-----BEGIN CERTIFICATE-----\"", "https://a:1: "),
        ] {
            let problems = problems_at(directory.path(), &joining(tls)).await;
            let begins = format!("storage \"raft\": retry_join: {wanted}");
            assert!(matches!(problems.as_slice(), [problem] if problem.starts_with(&begins)), "{problems:?}");
        }
    }

    #[tokio::test]
    async fn a_certificate_needs_its_own_key() {
        let directory = tempfile::tempdir().unwrap();
        let made = tls::make_dev_certificates(directory.path(), vec!["localhost".to_owned()]).unwrap();
        let text = "listener \"tcp\" {\n tls_cert_file = \"AT/vault-cert.pem\"\n tls_key_file = \"AT/vault-key.pem\"\n}";
        assert_eq!(problems_at(directory.path(), text).await, [""; 0]);
        std::fs::write(&made.key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
        let problem = problems_at(directory.path(), text).await.join("\n");
        let begins = "listener tcp 127.0.0.1:8200: certificate and key do not go together";
        assert!(problem.starts_with(begins), "{problem}");
    }
}
