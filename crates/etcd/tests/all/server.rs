//! Etcd servers that the tests start and stop.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use strongroom_etcd::{Etcd, Options};

/// The time limit of a server's start on a busy machine.
const START: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// A server of one member, stopped when it is dropped.
pub(crate) struct Server {
    running: Mutex<Child>,
    data: tempfile::TempDir,
    ports: (u16, u16),
    scheme: &'static str,
    arguments: Vec<String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Server {
    pub(crate) fn start() -> Server {
        Self::start_with("http", &[])
    }

    /// The server of all tests that do it no harm. It is stopped when no test uses it any more.
    pub(crate) fn shared() -> Arc<Server> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return server;
        }
        let server = Arc::new(Server::start());
        *shared = Arc::downgrade(&server);
        server
    }

    pub(crate) fn start_with(scheme: &'static str, arguments: &[String]) -> Server {
        // Another process may be given a port between our looking for it and etcd's taking it.
        for _ in 0..5 {
            let server = Self::launch(free_ports(), scheme, arguments.to_vec());
            if server.wait() {
                return server;
            }
        }
        panic!("etcd does not start");
    }

    /// Three members of one cluster.
    pub(crate) fn start_three() -> [Server; 3] {
        for _ in 0..5 {
            let ports = [(); 3].map(|()| free_ports());
            let all: Vec<String> =
                ports.iter().map(|(_, peer)| format!("m{peer}=http://127.0.0.1:{peer}")).collect();
            let servers = ports.map(|ports| {
                let arguments = ["--name", &format!("m{}", ports.1), "--initial-cluster", &all.join(",")];
                Self::launch(ports, "http", arguments.map(str::to_owned).to_vec())
            });
            if servers.iter().all(Server::wait) {
                return servers;
            }
        }
        panic!("etcd does not start");
    }

    fn launch(ports: (u16, u16), scheme: &'static str, arguments: Vec<String>) -> Server {
        let data = tempfile::tempdir().unwrap();
        let child = spawn(&data, ports, scheme, &arguments);
        Server { running: Mutex::new(child), data, ports, scheme, arguments }
    }

    /// True if it listens, in the end.
    fn wait(&self) -> bool {
        let waits = START.as_millis() / LOOK.as_millis();
        for _ in 0..waits {
            if self.running.lock().unwrap().try_wait().unwrap().is_some() {
                return false;
            }
            if TcpStream::connect(("127.0.0.1", self.ports.0)).is_ok() {
                return true;
            }
            std::thread::sleep(LOOK);
        }
        false
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.ports.0)
    }

    /// Options for this server alone, with patience.
    pub(crate) fn options(&self, path: &str) -> Options {
        Options {
            endpoints: vec![self.url()],
            path: path.to_owned(),
            request_timeout: Duration::from_secs(30),
            ..Options::default()
        }
    }

    pub(crate) async fn open(&self, path: &str) -> Etcd {
        Etcd::open(self.options(path)).await.unwrap()
    }

    fn signal(&self, signal: Signal) {
        let id = self.running.lock().unwrap().id();
        kill_process(Pid::from_raw(id.cast_signed()).unwrap(), signal).unwrap();
    }

    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    pub(crate) fn kill(&self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        // It may have ended already.
        let _ = running.kill();
        let _ = running.wait();
    }

    /// Starts it again on its data.
    pub(crate) fn start_again(&self) {
        self.kill();
        *self.running.lock().unwrap() = spawn(&self.data, self.ports, self.scheme, &self.arguments);
        assert!(self.wait(), "etcd does not start again");
    }
}

fn free_ports() -> (u16, u16) {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [first, second] = listeners.map(|listener| listener.local_addr().unwrap().port());
    (first, second)
}

fn spawn(data: &tempfile::TempDir, ports: (u16, u16), scheme: &str, arguments: &[String]) -> Child {
    let (client, peer) = ports;
    let client = format!("{scheme}://127.0.0.1:{client}");
    let peer = format!("http://127.0.0.1:{peer}");
    Command::new("etcd")
        .arg("--data-dir")
        .arg(data.path().join("member"))
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}"), "--log-level", "error"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("etcd is not installed; scripts/install-test-deps installs it")
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waits = START.as_millis() / LOOK.as_millis();
    for _ in 0..waits {
        if is_so().await {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
    panic!("in vain: {what}");
}
