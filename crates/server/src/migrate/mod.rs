//! `operator migrate`: moves a whole store to another backend while no server runs.
//!
//! Source for grammar and configuration: Vault's command page "operator migrate".

mod copy;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use strongroom_cli::Io;
use strongroom_config::{Migration, Storage};
use strongroom_storage::{Coordinator, Store};

use crate::cluster::Together;
use crate::flag_words::Words;
use crate::store::{self, Addresses, Sharing};

/// The time to wait for the lock of a database that several nodes share.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The most commits that may be under way.
const MAX_PARALLEL: usize = 1024;

pub(crate) const HELP: &str = "\
Usage: {p} operator migrate [options]

  Copies all data from one storage backend to another while no server runs. The configuration names both:

      storage_source \"raft\" {
        path = \"/var/lib/strongroom\"
      }

      storage_destination \"postgresql\" {
        connection_url = \"postgres://strongroom@db.example.com/strongroom?sslmode=verify-full\"
      }

  The destination must be empty. It is not a server's store before everything is there and has been read again; a
  migration that broke off goes on when the command is given again. The source is left as it is.

      $ {p} operator migrate -config=migrate.hcl

Command options:

  -config=<path>        File or directory of the migration's configuration.
  -max-parallel=<int>   Commits under way at a time. The default is 10.
  -reset                Removes what an unfinished migration left in the destination. Nothing is copied.
";

/// Runs the command; answers the exit code.
pub(crate) async fn migrate(args: Vec<String>, io: &mut Io) -> i32 {
    match run(&args, io).await {
        Ok(()) => 0,
        Err(error) => {
            // Nobody is left to tell when standard error is gone, too.
            let _ = writeln!(io.stderr, "Error migrating: {error:#}");
            2
        }
    }
}

/// The flags of the command line.
#[derive(Debug, PartialEq, Eq)]
struct Flags {
    config: String,
    at_once: usize,
    reset: bool,
}

impl Flags {
    fn parse(args: &[String]) -> Result<Self> {
        let mut flags = Self { config: String::new(), at_once: 10, reset: false };
        let mut words = Words::new(args);
        while let Some(flag) = words.flag()? {
            if flag.name == "reset" {
                flags.reset = flag.is_on()?;
                continue;
            }
            let value = words.value(&flag)?;
            match flag.name {
                "config" => value.clone_into(&mut flags.config),
                "max-parallel" => {
                    let at_once = value.parse().ok().filter(|at_once| (1..=MAX_PARALLEL).contains(at_once));
                    flags.at_once = at_once.with_context(|| {
                        format!(
                            "invalid value {value:?} for -max-parallel: a number from 1 to {MAX_PARALLEL}"
                        )
                    })?;
                }
                "start" => bail!("-start is not needed: a migration that broke off goes on where it was"),
                name => bail!("flag provided but not defined: -{name}"),
            }
        }
        ensure!(!flags.config.is_empty(), "Must specify exactly one config path using -config");
        Ok(flags)
    }
}

async fn run(args: &[String], io: &mut Io) -> Result<()> {
    let flags = Flags::parse(args)?;
    let (migration, warnings) = Migration::load(flags.config.as_ref())?;
    for warning in warnings {
        writeln!(io.stderr, "WARNING! {warning}")?;
    }
    let destination = open_destination(&migration).await.context("storage_destination")?;
    let done = async {
        if flags.reset {
            let removed = copy::reset(destination.as_ref()).await?;
            return Ok(format!("Success! {removed} entries of an unfinished migration have been removed."));
        }
        let source = open_source(&migration.source).await.context("storage_source")?;
        let copied = copy::copy(source.as_ref(), &destination, flags.at_once).await;
        source.close().await;
        let copied = copied?;
        anyhow::Ok(format!(
            "Success! All of the keys have been migrated: {} entries, {} of them written now, and read again.",
            copied.entries, copied.written
        ))
    }
    .await;
    destination.close().await;
    writeln!(io.stdout, "{}", done?)?;
    Ok(())
}

async fn open_source(storage: &Storage) -> Result<Arc<dyn Store>> {
    if let Storage::Raft(raft) = storage {
        let path = raft.path.as_deref().context("storage \"raft\" needs a path")?;
        ensure!(path.join("FORMAT").exists(), "{}: not a Strongroom data directory", path.display());
    }
    let opened = store::open(storage, &Addresses::default(), Sharing::Exclusive).await?;
    if let Together::Peers(peering) = &opened.together {
        let voters = peering.store.status().voters;
        if voters.len() > 1 {
            peering.store.close().await;
            bail!(
                "the data directory is of one of {} nodes ({}), which alone cannot know what was acknowledged last: \
                 let the others leave their cluster first (remove-peer), or make a copy of this one a cluster of \
                 itself (operator raft recover)",
                voters.len(),
                voters.join(", ")
            );
        }
    }
    own(opened.together).await?;
    Ok(opened.store)
}

async fn open_destination(migration: &Migration) -> Result<Arc<dyn Store>> {
    let cluster = migration.cluster_addr.clone().unwrap_or_default();
    let at = Addresses { api: String::new(), cluster };
    let opened = store::open(&migration.destination, &at, Sharing::Exclusive).await?;
    if let Together::Peers(peering) = &opened.together
        && peering.store.members().is_empty()
    {
        opened.store.begin().await?;
    }
    own(opened.together).await?;
    Ok(opened.store)
}

/// Waits until no other process can write to the storage.
async fn own(together: Together) -> Result<()> {
    let coordinator: Arc<dyn Coordinator> = match together {
        Together::Alone => return Ok(()),
        Together::Peers(peering) => peering.store,
        Together::Shared { store, .. } => store,
    };
    let owned = async {
        while coordinator.leading().is_none() {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    if tokio::time::timeout(LOCK_TIMEOUT, owned).await.is_err() {
        match coordinator.active() {
            Some(active) => bail!("a server uses it: {} at {}", active.node_id, active.api_address),
            None => bail!("it cannot be written to"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Flags> {
        Flags::parse(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn flags_in_every_spelling() {
        let flags = parse(&["-config", "m.hcl", "--max-parallel=3"]).unwrap();
        assert_eq!(flags, Flags { config: "m.hcl".to_owned(), at_once: 3, reset: false });
        assert!(parse(&["-reset", "-config=m.hcl"]).unwrap().reset);
        assert!(!parse(&["-reset=false", "-config=m.hcl"]).unwrap().reset);
    }

    #[test]
    fn mistakes_are_named() {
        for (args, error) in [
            (&[][..], "Must specify exactly one config path"),
            (&["-config"], "flag needs an argument: -config"),
            (&["-config=m", "-max-parallel=0"], "invalid value \"0\" for -max-parallel"),
            (&["-config=m", "-start=x"], "goes on where it was"),
            (&["-config=m", "-nonsense=1"], "flag provided but not defined: -nonsense"),
            (&["m.hcl"], "is not a flag"),
        ] {
            let refused = parse(args).unwrap_err().to_string();
            assert!(refused.contains(error), "{refused}");
        }
    }
}
