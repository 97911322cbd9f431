//! Attacks every target for a while with inputs made by chance, on the stable compiler. README.md says how to use it.

mod worker;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use strongroom_fuzz::{TARGETS, Target};
use strongroom_stdx::{Clock, Entropy};

const HELP: &str = "\
Usage: strongroom-fuzz [--seconds N] [--target NAME]... [--seed N] [--input HEX|@FILE] [--list]

    --seconds N       Attack each target for so long (default: 2)
    --target NAME     Attack this target only; may be repeated
    --seed N          Make the inputs of an earlier run again (default: drawn, and printed)
    --input HEX|@FILE Run this one input against the target named
    --list            Print the names of the targets
";

/// How long an input may take before the target counts as hanging.
const TARGET_TIMEOUT: Duration = Duration::from_secs(30);

struct Options {
    seconds: u64,
    targets: Vec<&'static Target>,
    seed: Option<u64>,
    input: Option<Vec<u8>>,
    /// Set by this program when it starts itself: where to record inputs.
    record: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Tells whether nothing was found.
fn run() -> anyhow::Result<bool> {
    let Some(options) = parse(std::env::args().skip(1))? else { return Ok(true) };
    let span = Duration::from_secs(options.seconds);
    if let Some(input) = options.input {
        ensure!(options.targets.len() == 1, "--input goes with one --target");
        worker::once(options.targets[0], input)?;
        println!("nothing found");
        return Ok(true);
    }
    let seed = match options.seed {
        Some(seed) => seed,
        None => u64::from_le_bytes(Entropy::system().bytes()?),
    };
    if let Some(record) = options.record {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
        let count = worker::attack(options.targets[0], seed, span, &corpus, &record)?;
        println!("ok      {:<12} {count} inputs", options.targets[0].name);
        return Ok(true);
    }
    println!("seed {seed}");
    let records = tempfile::tempdir()?;
    let mut failed = 0;
    for target in &options.targets {
        failed += usize::from(!attack(target, seed, span, &records.path().join(target.name))?);
    }
    println!("{} passed, {failed} failed", options.targets.len() - failed);
    Ok(failed == 0)
}

fn parse(words: impl Iterator<Item = String>) -> anyhow::Result<Option<Options>> {
    let mut words = words;
    let mut options = Options { seconds: 2, targets: Vec::new(), seed: None, input: None, record: None };
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} takes a value"));
        match word.as_str() {
            "--seconds" => options.seconds = value()?.parse().context("--seconds")?,
            "--target" => {
                let name = value()?;
                let target = TARGETS.iter().find(|target| target.name == name);
                options.targets.push(target.with_context(|| format!("there is no target {name:?}"))?);
            }
            "--seed" => options.seed = Some(value()?.parse().context("--seed")?),
            "--input" => options.input = Some(input(&value()?)?),
            "--record" => options.record = Some(value()?.into()),
            "--list" => {
                for target in TARGETS {
                    println!("{}", target.name);
                }
                return Ok(None);
            }
            "--help" | "-h" => {
                print!("{HELP}");
                return Ok(None);
            }
            _ => bail!("unknown option {word}\n\n{HELP}"),
        }
    }
    if options.targets.is_empty() {
        options.targets = TARGETS.iter().collect();
    }
    Ok(Some(options))
}

fn input(given: &str) -> anyhow::Result<Vec<u8>> {
    if let Some(file) = given.strip_prefix('@') {
        return std::fs::read(file).with_context(|| file.to_owned());
    }
    let digits: Vec<u32> =
        given.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>().context("--input: not hex")?;
    ensure!(digits.len().is_multiple_of(2), "--input: half a byte");
    Ok(digits
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | u8::try_from(*digit).unwrap_or(0)))
        .collect())
}

/// Attacks a target in a process of its own, which a panic, an overflowing stack or a signal may end; tells whether nothing was
/// found, and prints what was.
fn attack(target: &Target, seed: u64, span: Duration, record: &Path) -> anyhow::Result<bool> {
    let mut child = Command::new(std::env::current_exe()?)
        .args([
            "--target",
            target.name,
            "--seed",
            &seed.to_string(),
            "--seconds",
            &span.as_secs().to_string(),
        ])
        .arg("--record")
        .arg(record)
        .stdin(Stdio::null())
        .spawn()
        .context("starting a process for a target")?;
    let ended = wait(&mut child, span + TARGET_TIMEOUT)?;
    if ended.is_some_and(|status| status.success()) {
        return Ok(true);
    }
    let how = ended.map_or_else(|| "it hangs".to_owned(), |status| status.to_string());
    let found = recorded(record).unwrap_or_default();
    println!("FAILED  {:<12} {how}, seed {seed}, input of {} bytes:", target.name, found.len());
    println!("        {}", hex(&found));
    Ok(false)
}

/// How a process ended; `None` if it had to be ended.
fn wait(child: &mut Child, patience: Duration) -> anyhow::Result<Option<ExitStatus>> {
    let clock = Clock::system();
    let end = clock.now().after(patience);
    while clock.now() < end {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

/// The input that ran last.
fn recorded(record: &Path) -> Option<Vec<u8>> {
    let content = std::fs::read(record).ok()?;
    let (len, rest) = content.split_first_chunk::<8>()?;
    rest.get(..usize::try_from(u64::from_le_bytes(*len)).ok()?).map(<[u8]>::to_vec)
}

fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or('?');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
