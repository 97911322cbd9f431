//! `operator raft recover`: makes a new cluster of what is left of one that has lost its quorum for good.
//!
//! It works on data directories that no server uses, which stay locked from the first look to the end. It knows the state of other
//! machines from reports, which it writes there itself (`-dry-run -format=json`).

mod choose;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use strongroom_cli::Io;
use strongroom_config::Storage;
use strongroom_raft::{Kept, Offline, Position};

use crate::flag_words::Words;

use self::choose::{Found, Wish, choose, describe};

pub(crate) const HELP: &str = "\
Usage: {p} operator raft recover [options]

  Makes a cluster again of what is left of one that has permanently lost more
  than half of its voters. Shows what each data directory has, takes the one with
  the latest entry, and makes its node the only voter of the cluster. Lost
  nodes must never be started again; new ones join as ever.

  The servers of the directories must be stopped. On each machine that is left,
  see what there is, and take the reports to the machine that has most:

      $ {p} operator raft recover -path=/data -dry-run -format=json > node2.json

      $ {p} operator raft recover -path=/data -report=node2.json

Command options:

  -path=<dir>         A data directory of this machine; repeatable.
  -config=<path>      A server's configuration, which names the data directory; repeatable, as for the server.
  -report=<file>      What a node of another machine has, as -dry-run -format=json writes it; repeatable.
  -peer=<id[=addr]>   Another node that stays a member, with its data; repeatable. It must be shown, by -path or
                      -report, and must not have more. It follows without a vote until it is promoted.
  -min-index=<int>    Refuses a directory whose last entry is before this one.
  -allow-data-loss    Goes back in time: gives up entries that another node has, or that -min-index asks for.
  -dry-run            Shows what there is and what would be done, and changes nothing.
  -yes                Does not ask.
  -format=<format>    table or json (VAULT_FORMAT).
";

/// The options of the command line.
#[derive(Debug, Default)]
struct Options {
    paths: Vec<PathBuf>,
    configs: Vec<String>,
    reports: Vec<PathBuf>,
    wish: Wish,
    dry_run: bool,
    yes: bool,
    json: bool,
}

/// The findings and actions, as `-format=json` shows them and `-report` reads them.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Report {
    /// The content of each directory; those of this machine first.
    nodes: Vec<Found>,
    /// The node to go on from.
    #[serde(default)]
    chosen: Option<String>,
    /// The reason why there is none.
    #[serde(default)]
    refused: Option<String>,
    /// The entry that made it a cluster, where that was done.
    #[serde(default)]
    recovered: Option<Position>,
}

/// Runs the command; answers the exit code.
pub(crate) async fn recover(args: Vec<String>, io: &mut Io) -> i32 {
    let done = match Options::parse(&args, io.variable("FORMAT").as_deref()) {
        Ok(options) => run(options, io).await,
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => 0,
        Err(error) => {
            // Nobody is left to tell when standard error is gone, too.
            let _ = writeln!(io.stderr, "Error recovering the cluster: {error:#}");
            1
        }
    }
}

async fn run(options: Options, io: &mut Io) -> Result<()> {
    let paths = options.paths()?;
    let mut elsewhere = Vec::new();
    for path in &options.reports {
        let read = || -> Result<Report> { Ok(serde_json::from_slice(&fs::read(path)?)?) };
        elsewhere.extend(read().with_context(|| format!("-report={}", path.display()))?.nodes);
    }
    let mut open = Vec::new();
    let done = on_directories(&options, &paths, elsewhere, &mut open, io).await;
    for offline in open {
        offline.close().await;
    }
    done
}

async fn on_directories(
    options: &Options,
    paths: &[PathBuf],
    elsewhere: Vec<Found>,
    open: &mut Vec<Offline>,
    io: &mut Io,
) -> Result<()> {
    let mut here = Vec::new();
    for path in paths {
        let offline = Offline::open(path).await?;
        here.push(Found { survey: offline.survey(), path: path.display().to_string() });
        open.push(offline);
    }
    let place = choose(&here, &elsewhere, &options.wish);
    let mut report = Report { nodes: here.iter().chain(&elsewhere).cloned().collect(), ..Report::default() };
    if !options.json {
        show(&report.nodes, io)?;
    }
    let place = match place {
        Ok(place) => place,
        Err(reason) => {
            report.refused = Some(reason.clone());
            show_json(options, &report, io)?;
            bail!(reason);
        }
    };
    let (chosen, offline) =
        here.get(place).zip(open.get(place)).context("what was chosen is one of those that are open")?;
    report.chosen = Some(chosen.survey.node_id.clone());
    if !options.json {
        announce(chosen, &report.nodes, &options.wish, io)?;
    }
    if options.dry_run {
        return show_json(options, &report, io);
    }
    ensure!(options.yes || is_confirmed(io)?, "not confirmed; nothing was changed");
    let at = offline.recover(&options.wish.keep).await?;
    report.recovered = Some(at);
    if !options.json {
        let name = &chosen.survey.node_id;
        writeln!(io.stdout, "Done, by entry {} of term {}. Start {name} and unseal it.", at.index, at.term)?;
    }
    show_json(options, &report, io)
}

fn show(nodes: &[Found], io: &mut Io) -> Result<()> {
    for found in nodes {
        let survey = &found.survey;
        let voters: Vec<String> =
            survey
                .members
                .iter()
                .map(|member| {
                    if member.voter {
                        member.node_id.clone()
                    } else {
                        format!("{} (no vote)", member.node_id)
                    }
                })
                .collect();
        writeln!(io.stdout, "{}", describe(found))?;
        for (name, value) in [
            ("Last entry", format!("{}, of term {}", survey.last.index, survey.last.term)),
            ("Committed", survey.committed.to_string()),
            ("On disk in the table", survey.checkpoint.to_string()),
            ("Last written", survey.written.clone().unwrap_or_else(|| "unknown".to_owned())),
            ("Members", voters.join(", ")),
            ("Cluster", survey.cluster_id.clone()),
        ] {
            writeln!(io.stdout, "    {name:<22}{value}")?;
        }
    }
    writeln!(io.stdout)?;
    Ok(())
}

/// Says what is going to be done, and what is lost by it.
fn announce(chosen: &Found, nodes: &[Found], wish: &Wish, io: &mut Io) -> Result<()> {
    let kept: Vec<&str> = wish.keep.iter().map(|kept| kept.node_id.as_str()).collect();
    let followed = if kept.is_empty() { String::new() } else { format!(", followed by {}", kept.join(", ")) };
    writeln!(
        io.stdout,
        "{} becomes the only voter of the cluster{followed}. What other members had beyond entry {} is given up,\n\
         and they must not be started again with their data.",
        describe(chosen),
        chosen.survey.last.index,
    )?;
    for ahead in nodes.iter().filter(|found| found.survey.last > chosen.survey.last) {
        writeln!(io.stdout, "{} HAS MORE, up to entry {}.", describe(ahead), ahead.survey.last.index)?;
    }
    Ok(())
}

fn show_json(options: &Options, report: &Report, io: &mut Io) -> Result<()> {
    if options.json {
        writeln!(io.stdout, "{}", serde_json::to_string_pretty(report)?)?;
    }
    Ok(())
}

fn is_confirmed(io: &mut Io) -> Result<bool> {
    ensure!(io.stdin_is_terminal, "nobody can be asked here: look at it with -dry-run, then give -yes");
    write!(io.stderr, "Go on? Only \"yes\" is taken for it: ")?;
    io.stderr.flush()?;
    let mut answer = String::new();
    BufReader::new(io.stdin.as_mut()).read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

impl Options {
    fn parse(args: &[String], format: Option<&str>) -> Result<Self> {
        let mut options = Self::default();
        let mut format = format.unwrap_or("table").to_owned();
        let mut words = Words::new(args);
        while let Some(flag) = words.flag()? {
            let switch = match flag.name {
                "dry-run" => Some(&mut options.dry_run),
                "yes" => Some(&mut options.yes),
                "allow-data-loss" => Some(&mut options.wish.allow_data_loss),
                _ => None,
            };
            if let Some(switch) = switch {
                *switch = flag.is_on()?;
                continue;
            }
            let known = ["path", "config", "report", "peer", "min-index", "format"].contains(&flag.name);
            ensure!(known, "flag provided but not defined: -{}", flag.name);
            let value = words.value(&flag)?;
            match flag.name {
                "path" => options.paths.push(value.into()),
                "config" => options.configs.push(value.to_owned()),
                "report" => options.reports.push(value.into()),
                "peer" => options.wish.keep.push(kept(value)),
                "min-index" => options.wish.min_index = flag.parsed(value)?,
                _ => value.clone_into(&mut format),
            }
        }
        options.json = match format.as_str() {
            "json" => true,
            "table" => false,
            other => bail!("-format must be \"table\" or \"json\", not {other:?}"),
        };
        Ok(options)
    }

    /// The directories of this machine.
    fn paths(&self) -> Result<Vec<PathBuf>> {
        let mut paths = self.paths.clone();
        if !self.configs.is_empty() {
            match strongroom_config::load(&self.configs)?.config.storage {
                Some(Storage::Raft(raft)) => paths.extend(raft.path),
                _ => bail!("-config names no storage \"raft\""),
            }
        }
        ensure!(!paths.is_empty(), "give a data directory with -path or -config");
        Ok(paths)
    }
}

/// `ID` or `ID=ADDRESS`.
fn kept(text: &str) -> Kept {
    let (node_id, address) = text.split_once('=').unwrap_or((text, ""));
    Kept { node_id: node_id.to_owned(), address: address.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Options> {
        Options::parse(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>(), None)
    }

    #[test]
    fn flags_in_every_spelling() {
        let options =
            parse(&["-path", "a", "--path=b", "-peer=n2=10.0.0.2:8201", "-peer=n3", "-yes", "-dry-run=0"]);
        let options = options.unwrap();
        assert_eq!(options.paths().unwrap(), [PathBuf::from("a"), PathBuf::from("b")]);
        assert_eq!(options.wish.keep, [kept("n2=10.0.0.2:8201"), kept("n3")]);
        assert_eq!(options.wish.keep[0].address, "10.0.0.2:8201");
        assert!(options.yes && !options.dry_run && !options.json);
        assert!(parse(&["-format=json"]).unwrap().json);
    }

    #[test]
    fn mistakes_are_named() {
        let told = |args: &[&str]| parse(args).unwrap_err().to_string();
        assert_eq!(told(&["-nonsense=1"]), "flag provided but not defined: -nonsense");
        assert_eq!(told(&["-path"]), "flag needs an argument: -path");
        assert!(told(&["-format=yaml"]).contains("\"table\" or \"json\""));
        assert!(told(&["-min-index=x"]).contains("-min-index"));
        assert!(told(&["/data"]).contains("is not a flag"));
        assert!(parse(&[]).unwrap().paths().unwrap_err().to_string().contains("-path or -config"));
    }
}
