//! From the command line to a server that serves until it is told to stop.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use strongroom_barrier::Barrier;
use strongroom_cli::Io;
use strongroom_config::{Config, PolicyDeny, UserLockout};
use strongroom_core::{Core, LockoutRule, Settings};
use strongroom_engine_api::Environment;
use strongroom_policy::DenyMode;
use strongroom_s3::S3;
use strongroom_stdx::{Clock, Entropy};
use tokio::signal::unix::{SignalKind, signal};

use crate::cluster::{self, ClusterPort};
use crate::listen::Listeners;
use crate::logs::Logs;
use crate::options::{HELP, Options};
use crate::{catalog, dev, store, verify};

/// How long requests under way may take after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of opened entries to keep, where the configuration leaves the cache alone.
const CACHE_BYTES: u64 = 64 << 20;

/// `cache_size` counts entries; what an entry weighs on average.
const ENTRY_BYTES: u64 = 512;

/// Runs the server; answers the exit code.
pub(crate) async fn server(args: Vec<String>, io: &mut Io) -> i32 {
    if args.iter().any(|arg| matches!(arg.as_str(), "-h" | "-help" | "--help")) {
        return i32::from(io.stdout.write_all(HELP.as_bytes()).is_err());
    }
    match serve(&args, io).await {
        Ok(()) => 0,
        Err(error) => {
            // Nobody is left to tell when standard error is gone, too.
            let _ = writeln!(io.stderr, "{error:#}");
            1
        }
    }
}

async fn serve(args: &[String], io: &mut Io) -> Result<()> {
    let options = Options::parse(args, &io.env)?;
    let (config, certificates) = load(&options, io)?;
    if options.test_verify_only {
        let problems = verify::problems(&config).await;
        anyhow::ensure!(problems.is_empty(), "{}", problems.join("\n"));
        return Ok(());
    }
    let environment = Environment { clock: Clock::system(), entropy: Entropy::system() };
    let logs = Logs::start(&config, &environment.clock)?;
    lock_memory(&config);
    let opened = store::open(&config).await?;
    let cache = if config.disable_cache {
        0
    } else {
        config.cache_size.map_or(CACHE_BYTES, |entries| entries.saturating_mul(ENTRY_BYTES))
    };
    let objects = S3::new(&io.env, environment.clock.clone(), environment.entropy.clone());
    let barrier = Barrier::new(opened.store.clone(), environment.entropy.clone(), cache);
    let core = Core::new(barrier, environment, settings(&config, cache), catalog::catalog());
    let cluster = match opened.peering {
        Some(peering) => Some(ClusterPort::start(&core, &config, peering, Arc::new(objects)).await?),
        None => None,
    };
    let listeners = Listeners::start(&core, &config, opened.node_id.as_deref()).await?;
    cluster::retry_join(&core, &config).await?;
    let _pid_file = config.pid_file.as_deref().map(PidFile::write).transpose()?;
    describe(&config, &listeners, opened.store.kind(), io)?;
    if let Some(flags) = &options.dev {
        dev::begin(&core, flags, listeners.addresses(), certificates.as_ref(), io).await?;
    }
    let steward = tokio::spawn(core.clone().run_steward());
    until_stopped(&options, &core, &listeners, &logs).await?;
    writeln!(io.stdout, "==> Vault shutdown triggered")?;
    listeners.drain(PATIENCE).await;
    steward.abort();
    core.seal().await;
    drop(cluster);
    opened.store.close().await;
    Ok(())
}

/// The configuration, with what environment and flags say on top; warnings go to standard error.
fn load(options: &Options, io: &mut Io) -> Result<(Config, Option<crate::tls::DevCertificates>)> {
    if options.dev.is_none() {
        anyhow::ensure!(!options.configs.is_empty(), "Must specify at least one config path using -config");
    }
    let mut config = read(&options.configs, io)?;
    let mut certificates = None;
    if let Some(flags) = &options.dev {
        let prepared = dev::prepare(flags)?;
        certificates = prepared.certificates;
        config.listeners.splice(0..0, prepared.config.listeners);
        config.storage = config.storage.or(prepared.config.storage);
    }
    for warning in config.apply_environment(|name| (io.env)(name))? {
        writeln!(io.stderr, "WARNING! {warning}")?;
    }
    options.apply(&mut config)?;
    // The development server does without what only matters to data that is kept.
    if options.dev.is_some() {
        config.check_seals()?;
    } else {
        config.check()?;
    }
    Ok((config, certificates))
}

fn read(paths: &[String], io: &mut Io) -> Result<Config> {
    let loaded = strongroom_config::load(paths)?;
    for warning in &loaded.warnings {
        writeln!(io.stderr, "WARNING! {warning}")?;
    }
    Ok(loaded.config)
}

fn settings(config: &Config, cache_bytes: u64) -> Settings {
    let max_lease_ttl = config.effective_max_lease_ttl();
    Settings {
        default_lease_ttl: config.effective_default_lease_ttl(),
        max_lease_ttl,
        deny_mode: match config.policy_deny {
            PolicyDeny::DenyWins => DenyMode::DenyWins,
            PolicyDeny::MostSpecific => DenyMode::MostSpecific,
        },
        raw_storage_endpoint: config.raw_storage_endpoint,
        introspection_endpoint: config.introspection_endpoint,
        allow_audit_log_prefixing: config.allow_audit_log_prefixing,
        cluster_name: config.cluster_name.clone().unwrap_or_default(),
        api_addr: config.api_addr.clone().unwrap_or_default(),
        cluster_addr: config.cluster_addr.clone().unwrap_or_default(),
        sanitized: config.sanitized(),
        cache_bytes,
        lockout: (!config.user_lockout_disabled).then(|| {
            config.user_lockout.iter().map(|(kind, lockout)| (kind.clone(), rule(*lockout))).collect()
        }),
        ..Settings::default()
    }
}

fn rule(lockout: UserLockout) -> LockoutRule {
    let UserLockout { threshold, duration, counter_reset, disabled } = lockout;
    LockoutRule { threshold, duration, counter_reset, disabled }
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

fn describe(config: &Config, listeners: &Listeners, storage: &str, io: &mut Io) -> Result<()> {
    let mut facts: Vec<(String, String)> = listeners
        .addresses()
        .iter()
        .enumerate()
        .map(|(number, address)| (format!("Listener {}", number.saturating_add(1)), address.clone()))
        .collect();
    facts.push(("Api Address".to_owned(), config.api_addr.clone().unwrap_or_default()));
    facts.push(("Cluster Address".to_owned(), config.cluster_addr.clone().unwrap_or_default()));
    facts.push(("Storage".to_owned(), storage.to_owned()));
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

/// Serves; SIGHUP reloads, SIGTERM and SIGINT end it.
async fn until_stopped(
    options: &Options,
    core: &Arc<Core>,
    listeners: &Listeners,
    logs: &Logs,
) -> Result<()> {
    let mut hangup = signal(SignalKind::hangup()).context("SIGHUP")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    loop {
        tokio::select! {
            _ = hangup.recv() => reload(options, core, listeners, logs).await,
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
    }
}

/// Takes over certificates, what can change of the configuration, and audit files that were moved away. What is wrong
/// is logged, and stays as it was.
async fn reload(options: &Options, core: &Arc<Core>, listeners: &Listeners, logs: &Logs) {
    tracing::info!("reload triggered");
    listeners.reload_certificates();
    match read_again(options) {
        Ok(config) => {
            logs.reload(&config);
            listeners.reconfigure(&config);
        }
        Err(error) => tracing::error!(error = format!("{error:#}"), "configuration was not reloaded"),
    }
    if !core.barrier().is_sealed() {
        match core.auditing().await {
            Ok(auditing) => {
                if let Err(error) = auditing.broker.reload().await {
                    tracing::error!(%error, "an audit device was not reloaded");
                }
            }
            Err(error) => tracing::error!(%error, "audit devices were not reloaded"),
        }
    }
}

/// The configuration as its files are now; the flags and what they take from the environment win, as at the start.
fn read_again(options: &Options) -> Result<Config> {
    let loaded = strongroom_config::load(&options.configs)?;
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
        std::fs::write(path, std::process::id().to_string())
            .with_context(|| format!("pid_file {}", path.display()))?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // The server ends either way.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use strongroom_config::LogLevel;

    use super::*;

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
