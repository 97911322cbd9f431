//! One target under attack, in a process of its own.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use strongroom_fuzz::Target;
use strongroom_fuzz::mutate::Mutator;
use strongroom_stdx::Clock;

/// The stack of a thread of the server's runtime: recursion that fits elsewhere must fit here.
const STACK: usize = 2 << 20;

/// Bytes of memory beyond which something grows that should not.
const MEMORY: u64 = 4 << 30;

/// A panic on a thread that nobody waits for.
static PANICKED: AtomicBool = AtomicBool::new(false);

/// Runs inputs for a while, each written to `record` before it runs, so that who started this process can tell what ended it.
/// Returns how many there were.
pub(crate) fn attack(
    target: &'static Target,
    seed: u64,
    span: Duration,
    corpus: &Path,
    record: &Path,
) -> anyhow::Result<u64> {
    let further = corpus_of(&corpus.join(target.name))?;
    let record = File::create(record).context("the record of inputs")?;
    let mut mutator = Mutator::new(target, further.clone(), seed);
    guarded(move || {
        let clock = Clock::system();
        let end = clock.now().after(span);
        let mut known = target.inputs().into_iter().chain(further);
        let mut count = 0_u64;
        // Time is looked at now and then only: it costs more than a short input.
        while !count.is_multiple_of(16) || clock.now() < end {
            let input = known.next().unwrap_or_else(|| mutator.input());
            let mut line = u64::try_from(input.len())?.to_le_bytes().to_vec();
            line.extend_from_slice(&input);
            record.write_all_at(&line, 0).context("the record of inputs")?;
            (target.run)(&input);
            ensure!(!PANICKED.load(Ordering::Relaxed), "a thread panicked");
            count += 1;
        }
        Ok(count)
    })
}

/// Runs one input.
pub(crate) fn once(target: &'static Target, input: Vec<u8>) -> anyhow::Result<u64> {
    guarded(move || {
        (target.run)(&input);
        ensure!(!PANICKED.load(Ordering::Relaxed), "a thread panicked");
        Ok(1)
    })
}

fn guarded(work: impl FnOnce() -> anyhow::Result<u64> + Send + 'static) -> anyhow::Result<u64> {
    let limit = getrlimit(Resource::As);
    setrlimit(Resource::As, Rlimit { current: Some(MEMORY), ..limit }).context("the limit of memory")?;
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICKED.store(true, Ordering::Relaxed);
        default(info);
    }));
    let worker =
        std::thread::Builder::new().name("fuzz".into()).stack_size(STACK).spawn(work).context("a thread")?;
    worker.join().map_err(|_| anyhow::anyhow!("the target panicked"))?
}

/// The inputs that a coverage-guided run has found.
fn corpus_of(folder: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut files: Vec<_> = std::fs::read_dir(folder)?
        .collect::<Result<Vec<_>, _>>()?
        .iter()
        .map(std::fs::DirEntry::path)
        .collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).with_context(|| file.display().to_string())).collect()
}
