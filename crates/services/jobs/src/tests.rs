use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use strongroom_stdx::{Clock, Entropy, Moment};
use tokio::sync::Semaphore;

use super::*;

const START: Moment = Moment::from_secs(1_700_000_000);

struct Rig {
    clock: Clock,
    jobs: Arc<Jobs>,
    log: Arc<Mutex<Vec<String>>>,
    running: tokio::task::JoinHandle<()>,
}

impl Rig {
    fn new() -> Self {
        let clock = Clock::stepped(START);
        let jobs = Arc::new(Jobs::new(clock.clone(), Entropy::system()));
        let running = Self::start(&jobs);
        Self { clock, jobs, log: Arc::default(), running }
    }

    fn start(jobs: &Arc<Jobs>) -> tokio::task::JoinHandle<()> {
        let jobs = jobs.clone();
        tokio::spawn(async move { jobs.run().await })
    }

    /// Lets everything happen that can happen now.
    async fn settle(&self) {
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }

    async fn advance(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
        self.settle().await;
    }

    /// A job that notes each of its runs and answers what `outcome` does.
    fn job(
        &self,
        name: &str,
        schedule: Schedule,
        outcome: impl Fn() -> Outcome + Send + Sync + Clone + 'static,
    ) -> Job {
        let (log, noted) = (self.log.clone(), name.to_owned());
        let work: Work = Arc::new(move || -> BoxFuture<'static, Outcome> {
            log.lock().unwrap().push(noted.clone());
            let outcome = outcome.clone();
            Box::pin(async move { outcome() })
        });
        Job { name: JobName::new("", name), schedule, work }
    }

    fn runs(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    fn status(&self, name: &str) -> JobStatus {
        self.jobs.status().into_iter().find(|status| &*status.name.name == name).unwrap()
    }
}

const fn every(secs: u64) -> Schedule {
    Schedule::Every(Duration::from_secs(secs))
}

#[tokio::test]
async fn jobs_run_when_they_are_new_and_then_by_their_schedule() {
    let rig = Rig::new();
    let done = || Ok(Step::Done);
    rig.jobs.set(vec![rig.job("a", every(10), done), rig.job("b", Schedule::OnWake, done)]);
    rig.settle().await;
    assert_eq!(rig.runs(), ["a", "b"]);
    rig.advance(9).await;
    assert!(rig.runs().is_empty());
    rig.advance(1).await;
    assert_eq!(rig.runs(), ["a"]);
    rig.jobs.wake(&JobName::new("", "b"));
    rig.settle().await;
    assert_eq!(rig.runs(), ["b"]);
    let status = rig.status("a");
    assert_eq!((status.runs, status.running, status.failures), (2, false, 0));
    assert_eq!(status.next_run, Some(START.after(Duration::from_secs(20))));
    assert_eq!(rig.status("b").next_run, None);
    rig.jobs.set(vec![rig.job("b", Schedule::OnWake, done)]);
    rig.advance(60).await;
    assert!(rig.runs().is_empty(), "one is gone, the other was not woken");
}

#[tokio::test]
async fn a_job_is_due_when_its_first_entry_is() {
    let rig = Rig::new();
    let due = Arc::new(Mutex::new(None));
    let asked = due.clone();
    let next: NextDue = Arc::new(move || {
        let due = *asked.lock().unwrap();
        Box::pin(async move { Ok(due) })
    });
    rig.jobs.set(vec![rig.job("expire", Schedule::Due(next), || Ok(Step::Done))]);
    rig.settle().await;
    assert_eq!(rig.runs(), ["expire"]);
    assert_eq!(rig.status("expire").next_run, None, "there is nothing to do");
    *due.lock().unwrap() = Some(START.after(Duration::from_secs(60)));
    rig.jobs.wake_at(&JobName::new("", "expire"), START.after(Duration::from_secs(30)));
    rig.advance(29).await;
    assert!(rig.runs().is_empty());
    rig.advance(1).await;
    assert_eq!(rig.runs(), ["expire"]);
    rig.jobs.wake_at(&JobName::new("", "expire"), START.after(Duration::from_secs(90)));
    rig.advance(29).await;
    assert!(rig.runs().is_empty(), "it runs no earlier");
    *due.lock().unwrap() = Some(START.after(Duration::from_secs(10)));
    rig.advance(1).await;
    assert_eq!(rig.runs(), ["expire"], "nor later, for an entry that is due later");
    rig.advance(1).await;
    assert_eq!(rig.runs(), ["expire"], "what is left over is looked at again after a pause");
}

#[tokio::test]
async fn a_failing_job_waits_ever_longer_and_starves_nobody() {
    let rig = Rig::new();
    let fails = Arc::new(AtomicBool::new(true));
    let failing = fails.clone();
    let broken =
        move || if failing.load(Ordering::SeqCst) { Err("no route".to_owned()) } else { Ok(Step::Done) };
    rig.jobs.set(vec![rig.job("broken", every(1), broken), rig.job("fine", every(1), || Ok(Step::Done))]);
    rig.settle().await;
    for _ in 0..60 {
        rig.advance(1).await;
    }
    let runs = rig.runs();
    let count = |name: &str| runs.iter().filter(|run| *run == name).count();
    assert_eq!(count("fine"), 61);
    assert!((4..=8).contains(&count("broken")), "{}", count("broken"));
    let status = rig.status("broken");
    assert_eq!(status.last_error.as_deref(), Some("no route"));
    rig.jobs.wake(&status.name);
    rig.settle().await;
    assert!(rig.runs().is_empty(), "being woken does not shorten the wait");
    for _ in 0..12 {
        rig.advance(60).await;
    }
    let waited = rig.status("broken");
    let wait = waited.next_run.unwrap().since(waited.last_run.unwrap());
    assert!(wait <= MAX_BACKOFF.saturating_mul(5) / 4, "{wait:?}");
    fails.store(false, Ordering::SeqCst);
    rig.advance(400).await;
    assert_eq!(rig.status("broken").failures, 0);
    assert_eq!(rig.status("broken").last_error, None);
}

#[tokio::test]
async fn a_panic_is_a_failure() {
    let rig = Rig::new();
    rig.jobs.set(vec![rig.job("broken", every(1), || panic!("a mistake"))]);
    rig.settle().await;
    assert_eq!(rig.status("broken").last_error.as_deref(), Some("panicked"));
    rig.advance(2).await;
    assert!(rig.status("broken").runs > 1, "and is tried again");
}

#[tokio::test]
async fn what_has_more_to_do_lets_others_in() {
    let rig = Rig::new();
    let left = Arc::new(AtomicUsize::new(3));
    let steps = move || {
        let more = left.fetch_sub(1, Ordering::SeqCst) > 1;
        Ok(if more { Step::More } else { Step::Done })
    };
    rig.jobs.set(vec![rig.job("long", every(60), steps), rig.job("short", every(60), || Ok(Step::Done))]);
    rig.settle().await;
    assert_eq!(rig.runs(), ["long", "short", "long", "long"]);
}

/// A job that waits for a permit, and counts how many wait at once.
fn waiting(name: &str, gate: &Arc<Semaphore>, at_once: &Arc<AtomicUsize>, most: &Arc<AtomicUsize>) -> Job {
    let (gate, at_once, most) = (gate.clone(), at_once.clone(), most.clone());
    let work: Work = Arc::new(move || {
        let (gate, at_once, most) = (gate.clone(), at_once.clone(), most.clone());
        Box::pin(async move {
            let others = at_once.fetch_add(1, Ordering::SeqCst);
            most.fetch_max(others.saturating_add(1), Ordering::SeqCst);
            let _permit = gate.acquire().await;
            at_once.fetch_sub(1, Ordering::SeqCst);
            Ok(Step::Done)
        })
    });
    Job { name: JobName::new("", name), schedule: Schedule::OnWake, work }
}

#[tokio::test]
async fn runs_are_bounded_and_end_with_the_term() {
    let rig = Rig::new();
    let gate = Arc::new(Semaphore::new(0));
    let (at_once, most) = (Arc::default(), Arc::default());
    let names: Vec<String> = (0..40).map(|n| format!("job-{n:02}")).collect();
    rig.jobs.set(names.iter().map(|name| waiting(name, &gate, &at_once, &most)).collect());
    rig.settle().await;
    assert_eq!(most.load(Ordering::SeqCst), MAX_RUNNING);
    rig.running.abort();
    rig.settle().await;
    assert!(rig.jobs.status().iter().all(|status| !status.running), "no run outlives the term");
    gate.add_permits(1000);
    let next_term = Rig::start(&rig.jobs);
    rig.settle().await;
    let status = rig.jobs.status();
    assert!(status.iter().all(|status| status.last_success.is_some()), "and all are taken up again");
    next_term.abort();
}

#[tokio::test]
async fn a_change_of_some_jobs_leaves_the_others_alone() {
    let rig = Rig::new();
    let job = |name: &str| rig.job(name, every(10), || Ok(Step::Done));
    rig.jobs.set(vec![job("stays"), job("goes"), job("again")]);
    rig.settle().await;
    assert_eq!(rig.runs().len(), 3, "each is new");
    let gone = ["goes", "again", "never"].map(|name| JobName::new("", name));
    rig.jobs.change(&gone, vec![job("again"), job("comes")]);
    rig.settle().await;
    assert_eq!(rig.runs(), ["comes"], "one that is set again is not new");
    assert_eq!(rig.status("again").runs, 1);
    rig.advance(10).await;
    let mut runs = rig.runs();
    runs.sort();
    assert_eq!(runs, ["again", "comes", "stays"]);
}

#[tokio::test]
async fn a_new_term_takes_everything_up_again() {
    let rig = Rig::new();
    rig.jobs.set(vec![rig.job("on-wake", Schedule::OnWake, || Ok(Step::Done))]);
    rig.settle().await;
    assert_eq!(rig.runs(), ["on-wake"]);
    rig.running.abort();
    rig.settle().await;
    let next_term = Rig::start(&rig.jobs);
    rig.settle().await;
    assert_eq!(rig.runs(), ["on-wake"], "commits may have been missed in between");
    next_term.abort();
}

#[tokio::test]
async fn what_could_not_be_done_now_is_tried_again_in_a_moment() {
    let rig = Rig::new();
    rig.jobs.set(vec![rig.job("waits", Schedule::OnWake, || Ok(Step::Later))]);
    rig.settle().await;
    assert_eq!(rig.runs(), ["waits"]);
    rig.advance(1).await;
    assert_eq!(rig.runs(), ["waits"]);
    assert_eq!(rig.status("waits").failures, 0);
}
