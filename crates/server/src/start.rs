//! Starts a server from the command line, and runs it until it is told to stop.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use strongroom_backup::ObjectStore;
use strongroom_cli::Io;
use strongroom_config::{Config, ConfigError, LockoutTypes};
use strongroom_engine_api::Environment;
use strongroom_outbound::WayOut;
use strongroom_output_file::OutputFile;
use strongroom_s3::S3;
use strongroom_stdx::{Clock, Entropy};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use crate::Engines;
use crate::admission;
use crate::dev::{self, Development};
use crate::logs::Logs;
use crate::node::{Node, declared_devices};
use crate::notify::Manager;
use crate::options::Options;
use crate::outbound::{addresses_of, outbound};
use crate::verify;

/// Runs the server; answers the exit code.
pub(crate) async fn server(args: Vec<String>, io: &mut Io, engines: Engines) -> i32 {
    match serve(&args, io, engines).await {
        Ok(()) => 0,
        Err(error) => {
            // Nobody is left to tell when standard error is gone, too.
            let _ = writeln!(io.stderr, "{}", told(&error));
            1
        }
    }
}

/// An error with its causes, each said once: many errors say their cause by themselves.
fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

async fn serve(args: &[String], io: &mut Io, engines: Engines) -> Result<()> {
    let options = Options::parse(args, &io.env)?;
    let Loaded { config, others, development } = load(&options, io)?;
    if options.test_verify_only {
        let problems = verify::problems(&config).await;
        anyhow::ensure!(problems.is_empty(), "{}", problems.join("\n"));
        return Ok(());
    }
    let environment = Environment { clock: Clock::system(), entropy: Entropy::system() };
    let logs = Logs::start(&config, &environment.clock)?;
    let manager = Manager::of(&io.env);
    lock_memory(&config);
    admission::raise_descriptor_limit();
    // What is to be cleared away at the end is not left behind because the end comes early.
    let early =
        development.as_ref().is_some_and(Development::leaves_traces).then(Signals::new).transpose()?;
    let outbound = outbound(&config, &others, &io.env, &environment.clock);
    let objects: Arc<dyn ObjectStore> =
        Arc::new(S3::new(outbound.clone(), &io.env, environment.clock.clone(), environment.entropy.clone()));
    let own_addresses = outbound.own_addresses().clone();
    let way_out: Arc<dyn WayOut> = Arc::new(outbound);
    let mut nodes = Vec::new();
    let served = async {
        for config in std::iter::once(&config).chain(&others) {
            let (objects, way_out) = (objects.clone(), way_out.clone());
            let node = Node::start(config, environment.clone(), objects, way_out, engines()).await?;
            if let Some(peers) = node.peers.clone() {
                own_addresses.add_members(move || addresses_of(&peers));
            }
            nodes.push(node);
        }
        let _pid_file = config.pid_file.as_deref().map(PidFile::write).transpose()?;
        describe(&config, &nodes, io)?;
        if let (Some(flags), Some(development)) = (&options.dev, &development) {
            development.begin(&nodes, flags, io).await?;
        }
        let signals = early.map_or_else(Signals::new, Ok)?;
        manager.ready();
        let watching = manager.watch();
        until_stopped(signals, &options, &nodes, &logs, &manager).await;
        if let Some(watching) = watching {
            watching.abort();
        }
        manager.stopping();
        writeln!(io.stdout, "==> Vault shutdown triggered")?;
        Ok(())
    }
    .await;
    // All at once: none waits for another that has gone.
    let stopping: JoinSet<()> = nodes.into_iter().map(Node::stop).collect();
    stopping.join_all().await;
    development.map_or(Ok(()), Development::end)?;
    served
}

/// The configuration to be started.
struct Loaded {
    config: Config,
    /// The nodes besides the first, of a development cluster.
    others: Vec<Config>,
    development: Option<Development>,
}

/// The configuration, with what environment and flags say on top; warnings go to standard error.
fn load(options: &Options, io: &mut Io) -> Result<Loaded> {
    if options.dev.is_none() {
        anyhow::ensure!(!options.configs.is_empty(), "Must specify at least one config path using -config");
    }
    for warning in &options.warnings {
        writeln!(io.stderr, "WARNING! {warning}")?;
    }
    let mut config = read(&paths(options), io)?;
    for warning in config.apply_environment(|name| (io.env)(name))? {
        writeln!(io.stderr, "WARNING! {warning}")?;
    }
    options.apply(&mut config)?;
    let Some(flags) = &options.dev else {
        config.check()?;
        config.check_seals(&strongroom_catalog::SEALS)?;
        if let Some(warning) = config.doubtful_api_addr() {
            writeln!(io.stderr, "WARNING! {warning}")?;
        }
        return Ok(Loaded { config, others: Vec::new(), development: None });
    };
    // The development server does without what only matters to data that is kept.
    config.check_seals(&strongroom_catalog::SEALS)?;
    let (development, nodes) = dev::prepare(flags, &config)?;
    let mut nodes = nodes.into_iter();
    let config = nodes.next().context("there is a development server")?;
    Ok(Loaded { config, others: nodes.collect(), development: Some(development) })
}

/// The paths of the configuration. The development server starts without any, and with a directory that is empty.
fn paths(options: &Options) -> Vec<&String> {
    let has_files = |path: &&String| {
        let loaded = strongroom_config::load(&[path]);
        options.dev.is_none() || !matches!(loaded, Err(ConfigError::EmptyDirectory { .. }))
    };
    options.configs.iter().filter(has_files).collect()
}

fn read(paths: &[&String], io: &mut Io) -> Result<Config> {
    let mut loaded = strongroom_config::load_with(paths, &strongroom_sockaddr::expand)?;
    loaded.check_user_lockout(&lockout_types())?;
    for warning in &loaded.warnings {
        writeln!(io.stderr, "WARNING! {warning}")?;
    }
    Ok(loaded.config)
}

/// The types of auth methods whose lockout a configuration may set.
fn lockout_types() -> LockoutTypes {
    let elsewhere = strongroom_catalog::LOCKING_ELSEWHERE;
    LockoutTypes {
        here: strongroom_catalog::catalog().locking_kinds(),
        elsewhere: elsewhere.iter().map(|kind| (*kind).to_owned()).collect(),
    }
}

/// Keeps memory out of swap, unless the configuration or the system does not want it.
fn lock_memory(config: &Config) {
    if config.disable_mlock == Some(true) {
        return;
    }
    let flags = rustix::mm::MlockAllFlags::CURRENT
        | rustix::mm::MlockAllFlags::FUTURE
        | rustix::mm::MlockAllFlags::ONFAULT;
    if let Err(error) = rustix::mm::mlockall(flags) {
        tracing::warn!(%error, "memory is not locked; set disable_mlock, or allow it (ulimit -l, CAP_IPC_LOCK)");
    }
}

fn describe(config: &Config, nodes: &[Node], io: &mut Io) -> Result<()> {
    let addresses = nodes.iter().flat_map(|node| node.listeners.addresses());
    let mut facts: Vec<(String, String)> = addresses
        .enumerate()
        .map(|(number, address)| (format!("Listener {}", number.saturating_add(1)), address.clone()))
        .collect();
    facts.push(("Api Address".to_owned(), config.api_addr.clone().unwrap_or_default()));
    facts.push(("Cluster Address".to_owned(), config.cluster_addr.clone().unwrap_or_default()));
    facts.push(("Storage".to_owned(), nodes.first().map_or("", |node| node.store.kind()).to_owned()));
    facts.push(("Version".to_owned(), format!("Strongroom v{}", strongroom_cli::VERSION)));
    writeln!(io.stdout, "==> Vault server configuration:\n")?;
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
        writeln!(io.stdout, "{name:>width$}: {value}")?;
    }
    writeln!(io.stdout, "\n==> Vault server started! Log data will stream in below:\n")?;
    io.stdout.flush()?;
    Ok(())
}

/// The signals that a server heeds, from when this is made.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup()).context("SIGHUP")?,
            terminate: signal(SignalKind::terminate()).context("SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("SIGINT")?,
        })
    }
}

/// Serves; SIGHUP reloads, SIGTERM and SIGINT end it.
async fn until_stopped(
    mut signals: Signals,
    options: &Options,
    nodes: &[Node],
    logs: &Logs,
    manager: &Manager,
) {
    loop {
        tokio::select! {
            _ = signals.hangup.recv() => {
                manager.reloading();
                reload(options, nodes, logs).await;
                manager.ready();
            }
            _ = signals.terminate.recv() => return,
            _ = signals.interrupt.recv() => return,
        }
    }
}

/// Takes over certificates, what can change of the configuration, and audit files that were moved away. What is wrong
/// is logged, and stays as it was.
async fn reload(options: &Options, nodes: &[Node], logs: &Logs) {
    tracing::info!("reload triggered");
    let config = read_again(options);
    match &config {
        Ok(config) => logs.reload(config),
        Err(error) => tracing::error!(error = format!("{error:#}"), "configuration was not reloaded"),
    }
    for node in nodes {
        node.listeners.reload_certificates();
        if let Ok(config) = &config {
            node.listeners.reconfigure(config);
        }
        let services = &node.core.services;
        if let Ok(config) = &config {
            services.audit_devices.declare(declared_devices(config));
        }
        if !services.barrier.is_sealed()
            && let Err(error) = services.audit_devices.reload().await
        {
            tracing::error!(%error, "an audit device was not reloaded");
        }
    }
}

/// The configuration as its files are now; the flags and what they take from the environment win, as at the start.
fn read_again(options: &Options) -> Result<Config> {
    let mut loaded = strongroom_config::load_with(&paths(options), &strongroom_sockaddr::expand)?;
    loaded.check_user_lockout(&lockout_types())?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let mut config = loaded.config;
    options.apply(&mut config)?;
    Ok(config)
}

/// A file with the process's number, removed when the server ends.
struct PidFile(std::path::PathBuf);

impl PidFile {
    fn write(path: &Path) -> Result<Self> {
        OutputFile::write_at(path, 0o644, std::process::id().to_string().as_bytes())
            .with_context(|| format!("pid_file {}", path.display()))?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if strongroom_output_file::is_regular(&self.0) {
            // The server ends either way.
            let _ = std::fs::remove_file(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use strongroom_config::LogLevel;

    use super::*;

    #[test]
    fn an_error_is_said_once() {
        let missing = strongroom_config::load(&["/no/such.hcl"]).unwrap_err();
        assert_eq!(told(&missing.into()), "/no/such.hcl: No such file or directory (os error 2)");
        let inner = anyhow::anyhow!("inner").context("outer").context("around");
        assert_eq!(told(&inner), "around: outer: inner");
    }

    #[test]
    fn a_development_server_takes_an_empty_directory() {
        let directory = tempfile::tempdir().unwrap();
        let configs = vec![directory.path().to_str().unwrap().to_owned()];
        let words = [format!("-config={}", configs[0]), "-dev".to_owned()];
        let dev = Options::parse(&words, |_| None).unwrap();
        assert!(paths(&dev).is_empty());
        let plain = Options { configs, ..Options::default() };
        assert_eq!(paths(&plain).len(), 1);
        std::fs::write(directory.path().join("a.hcl"), "ui = true").unwrap();
        assert_eq!(paths(&dev).len(), 1);
    }

    #[test]
    fn the_configuration_is_read_again_as_it_is_now() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("server.hcl");
        let mut options = Options { configs: vec![file.to_str().unwrap().to_owned()], ..Options::default() };
        let level = |options: &Options| read_again(options).map(|config| config.log_level.unwrap());
        for (text, wanted) in [("warn", LogLevel::Warn), ("debug", LogLevel::Debug)] {
            std::fs::write(&file, format!("log_level = \"{text}\"")).unwrap();
            assert_eq!(level(&options).unwrap(), wanted);
        }
        std::fs::write(&file, "log_level = \"loud\"").unwrap();
        let error = level(&options).unwrap_err().to_string();
        assert!(error.contains("server.hcl:1:13: \"log_level\" must be one of"), "{error}");
        std::fs::write(&file, "log_level = \"warn\"").unwrap();
        options.log_level = Some("error".to_owned());
        assert_eq!(level(&options).unwrap(), LogLevel::Error, "flags win");
        std::fs::remove_file(&file).unwrap();
        assert!(level(&options).is_err());
    }
}
