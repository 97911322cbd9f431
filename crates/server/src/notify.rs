//! Tells the service manager how the server is: systemd's `sd_notify` protocol, for units of `Type=notify`.
//!
//! Without `NOTIFY_SOCKET` nobody wants to know. A message that cannot be delivered is logged and changes nothing: the
//! manager judges by what it hears. Source: systemd's manual, `sd_notify(3)` and `sd_watchdog_enabled(3)`.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

/// The service manager, if there is one that wants to know.
#[derive(Clone, Default)]
pub(crate) struct Manager {
    socket: Option<Arc<UnixDatagram>>,
    /// The longest silence after which the manager restarts the server.
    watchdog: Option<Duration>,
}

impl Manager {
    /// The manager that the environment names.
    pub(crate) fn of(env: impl Fn(&str) -> Option<String>) -> Self {
        let Some(name) = env("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return Self::default() };
        let socket = match connect(&name) {
            Ok(socket) => Some(Arc::new(socket)),
            Err(error) => {
                tracing::warn!(%error, name, "cannot notify the service manager");
                None
            }
        };
        let number = |name: &str| env(name)?.parse::<u64>().ok();
        let own = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|usec| own && *usec > 0).map(Duration::from_micros);
        Self { socket, watchdog }
    }

    /// The server answers requests.
    pub(crate) fn ready(&self) {
        self.tell("READY=1");
    }

    /// The configuration is read again; [`ready`](Self::ready) ends it.
    pub(crate) fn reloading(&self) {
        // The time tells this reload from others where the unit has `Type=notify-reload`.
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000);
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// The server comes to its end.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Tells the watchdog, twice in the time that it allows, that this process gets on with its work. Ends with the
    /// handle's task.
    pub(crate) fn watch(&self) -> Option<JoinHandle<()>> {
        let pause = self.watchdog.filter(|_| self.socket.is_some())?.checked_div(2)?;
        let manager = self.clone();
        Some(tokio::spawn(async move {
            let mut ticks = tokio::time::interval(pause.max(Duration::from_millis(1)));
            loop {
                ticks.tick().await;
                manager.tell("WATCHDOG=1");
            }
        }))
    }

    fn tell(&self, state: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(state.as_bytes())
        {
            tracing::warn!(%error, state, "failed to notify the service manager");
        }
    }
}

/// A path, or behind an `@` a name of Linux's abstract namespace.
fn connect(name: &str) -> io::Result<UnixDatagram> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name.as_bytes())?,
        None => SocketAddr::from_pathname(Path::new(name))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    // A manager that does not read must not hold the server up.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 100];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[tokio::test]
    async fn the_manager_hears_of_each_state() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let env = |name: &str| match name {
            "NOTIFY_SOCKET" => path.to_str().map(str::to_owned),
            "WATCHDOG_USEC" => Some("20000".to_owned()),
            _ => None,
        };
        let manager = Manager::of(env);
        manager.ready();
        manager.reloading();
        manager.stopping();
        assert_eq!(heard(&socket), "READY=1");
        let reloading = heard(&socket);
        let (state, time) = reloading.split_once("\nMONOTONIC_USEC=").unwrap();
        assert_eq!(state, "RELOADING=1");
        assert!(time.parse::<u64>().unwrap() > 0);
        assert_eq!(heard(&socket), "STOPPING=1");
        let watching = manager.watch().unwrap();
        let twice = tokio::task::spawn_blocking(move || [heard(&socket), heard(&socket)]).await.unwrap();
        assert_eq!(twice, ["WATCHDOG=1", "WATCHDOG=1"]);
        watching.abort();
    }

    #[tokio::test]
    async fn an_abstract_name_begins_with_an_at_sign() {
        let name = format!("strongroom-notify-test-{}", std::process::id());
        let socket =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes()).unwrap()).unwrap();
        Manager::of(|variable| (variable == "NOTIFY_SOCKET").then(|| format!("@{name}"))).ready();
        assert_eq!(heard(&socket), "READY=1");
    }

    #[tokio::test]
    async fn without_a_manager_nothing_is_told() {
        let manager = Manager::of(|_| None);
        manager.ready();
        assert!(manager.watch().is_none());
        let gone = |name: &str| (name == "NOTIFY_SOCKET").then(|| "/no/such/socket".to_owned());
        Manager::of(gone).ready();
        // The watchdog of another process is none of ours.
        let other = |name: &str| Some(if name == "WATCHDOG_PID" { "1" } else { "1000000" }.to_owned());
        assert!(Manager::of(other).watch().is_none());
    }
}
