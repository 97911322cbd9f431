//! A PostgreSQL server for tests.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use strongroom_postgresql::{Options, Postgresql};
use strongroom_stdx::{Entropy, Secret};
use tokio_postgres::{Client, NoTls};

/// The password of everybody, in every test: it must never be seen anywhere.
pub(crate) const PASSWORD: &str = "hush-hush";

/// A server with directories, certificates and a port of its own. It ends with the process that has started it.
pub(crate) struct Server {
    port: u16,
    directory: PathBuf,
    /// Files that clients need.
    files: tempfile::TempDir,
    control: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    _child: Child,
}

impl Server {
    /// The one that all tests share which do not need one of their own. It offers TLS.
    pub(crate) fn shared() -> &'static Server {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(|| Server::start(true))
    }

    pub(crate) fn start(with_tls: bool) -> Server {
        // Another may take the port before the server does.
        (0..5).find_map(|_| Server::try_start(with_tls)).expect("PostgreSQL starts; see its output above")
    }

    fn try_start(with_tls: bool) -> Option<Server> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let files = tempfile::tempdir().unwrap();
        let (certificate, key, authority) = certificates(files.path());
        let mut command = as_ordinary_user();
        command
            .args(["sh", "-c", include_str!("server.sh"), "server.sh"])
            .arg(binaries())
            .arg(port.to_string())
            .env("ADMIN_PASSWORD", PASSWORD)
            .env("TLS", if with_tls { "on" } else { "off" })
            .env("CERTIFICATE", certificate)
            .env("KEY", key)
            .env("AUTHORITY", authority)
            .current_dir("/")
            // What interrupts the test must not interrupt its cleaning up.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("the shell starts");
        let input = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut directory = String::new();
        output.read_line(&mut directory).unwrap();
        if directory.is_empty() {
            let _ = child.wait();
            return None;
        }
        let directory = PathBuf::from(directory.trim());
        Some(Server { port, directory, files, control: Mutex::new((input, output)), _child: child })
    }

    /// Stops it as a crash does, and starts it again.
    pub(crate) fn restart(&self) {
        let mut control = self.control.lock().unwrap();
        control.0.write_all(b"restart\n").unwrap();
        let mut line = String::new();
        control.1.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "restarted");
    }

    pub(crate) fn url(&self, database: &str, query: &str) -> String {
        format!("postgres://admin:{PASSWORD}@127.0.0.1:{}/{database}?{query}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The directory of its Unix socket.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// A file of those that clients need: `authority.pem`, `other.pem` (an authority that has issued nothing here),
    /// `client.pem`, `client.key` (of the user `certified`).
    pub(crate) fn file(&self, name: &str) -> String {
        self.files.path().join(name).display().to_string()
    }

    /// Somebody who may do everything.
    pub(crate) async fn admin(&self, database: &str) -> Client {
        let url = self.url(database, "sslmode=disable");
        let (client, driver) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        tokio::spawn(driver);
        client
    }

    /// An empty database.
    pub(crate) async fn database(&self) -> Database<'_> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.admin("postgres").await.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        Database { server: self, name }
    }
}

/// An empty database of a server.
pub(crate) struct Database<'a> {
    pub(crate) server: &'a Server,
    pub(crate) name: String,
}

impl Database<'_> {
    pub(crate) fn options(&self) -> Options {
        self.options_with("sslmode=disable")
    }

    pub(crate) fn options_with(&self, query: &str) -> Options {
        Options::new(Secret::new(self.server.url(&self.name, query)))
    }

    pub(crate) async fn open(&self) -> Postgresql {
        open(&self.options()).await
    }

    pub(crate) async fn admin(&self) -> Client {
        self.server.admin(&self.name).await
    }
}

pub(crate) async fn open(options: &Options) -> Postgresql {
    Postgresql::open(options, &Entropy::system()).await.unwrap_or_else(|error| panic!("{error}"))
}

/// The database refuses to run as root.
fn as_ordinary_user() -> Command {
    let id = Command::new("id").arg("-u").output().unwrap();
    if id.stdout.trim_ascii() != b"0" {
        return Command::new("env");
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]);
    command
}

/// The directory of PostgreSQL's programs: Debian has them by version, out of the path.
fn binaries() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = versions.map(|version| version.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut all: Vec<PathBuf> = std::env::split_paths(&path).chain(debian).collect();
    all.retain(|folder| folder.join("initdb").exists());
    all.pop().expect("PostgreSQL is not installed; scripts/install-test-deps installs it")
}

/// Makes an authority, a certificate of it for `localhost`, and one for the user `certified`.
fn certificates(folder: &Path) -> (String, String, String) {
    let authority = |name: &str| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        (Issuer::new(params, key), pem)
    };
    let (issuer, pem) = authority("the authority");
    std::fs::write(folder.join("authority.pem"), &pem).unwrap();
    std::fs::write(folder.join("other.pem"), authority("another authority").1).unwrap();
    let issue = |name: &str, hosts: Vec<String>| {
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
    };
    let (client, client_key) = issue("certified", Vec::new());
    std::fs::write(folder.join("client.pem"), client).unwrap();
    std::fs::write(folder.join("client.key"), client_key).unwrap();
    let (certificate, key) = issue("server", vec!["localhost".to_owned()]);
    (certificate, key, pem)
}
