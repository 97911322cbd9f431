use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use futures::future::join_all;

use super::*;

/// Collects what is appended; tells each append's size.
struct Memory {
    written: Arc<Mutex<Vec<u8>>>,
    appends: Arc<AtomicUsize>,
    may_block: bool,
    /// Bytes that still fit.
    room: usize,
    /// Each append waits for leave, if there is somebody to give it.
    leave: Option<mpsc::Receiver<()>>,
}

impl Memory {
    fn new(may_block: bool) -> Self {
        Self { written: Arc::default(), appends: Arc::default(), may_block, room: usize::MAX, leave: None }
    }
}

impl Sink for Memory {
    fn append(&mut self, lines: &[u8]) -> Result<(), PartialWrite> {
        if let Some(leave) = &self.leave {
            leave.recv().unwrap();
        }
        self.appends.fetch_add(1, Ordering::Relaxed);
        let fits = lines.len().min(self.room);
        self.room = self.room.saturating_sub(fits);
        self.written.lock().unwrap().extend_from_slice(&lines[..fits]);
        if fits == lines.len() {
            Ok(())
        } else {
            Err(PartialWrite { written: fits, source: io::ErrorKind::StorageFull.into() })
        }
    }

    fn may_block(&self) -> bool {
        self.may_block
    }
}

async fn write_from_many_tasks(may_block: bool) {
    const TASKS: usize = 32;
    const LINES: usize = 200;
    let memory = Memory::new(may_block);
    let (written, appends) = (Arc::clone(&memory.written), Arc::clone(&memory.appends));
    let writer = Arc::new(GroupWriter::new(memory));
    let tasks = (0..TASKS).map(|task| {
        let (writer, written) = (Arc::clone(&writer), Arc::clone(&written));
        tokio::spawn(async move {
            for line in 0..LINES {
                let text = format!("{task} {line}\n");
                writer.append(text.as_bytes()).await.unwrap();
                assert!(contains_line(&written.lock().unwrap(), &text), "acknowledged before it was written");
                tokio::task::yield_now().await;
            }
        })
    });
    for task in join_all(tasks).await {
        task.unwrap();
    }
    let text = String::from_utf8(std::mem::take(&mut written.lock().unwrap())).unwrap();
    let mut next = [0; TASKS];
    for line in text.lines() {
        let (task, number) = line.split_once(' ').expect("lines are whole");
        let task: usize = task.parse().unwrap();
        assert_eq!(number.parse::<usize>().unwrap(), next[task], "a task's lines keep their order");
        next[task] = number.parse::<usize>().unwrap().saturating_add(1);
    }
    assert_eq!(next, [LINES; TASKS]);
    assert!(appends.load(Ordering::Relaxed) <= TASKS * LINES);
}

fn contains_line(written: &[u8], line: &str) -> bool {
    written.windows(line.len()).rev().any(|window| window == line.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lines_of_many_writers_stay_whole() {
    write_from_many_tasks(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lines_of_many_writers_stay_whole_on_a_sink_that_may_block() {
    write_from_many_tasks(true).await;
}

/// Waits until the first line is with the sink, alone, and `lines` more have been left to wait.
async fn queued(writer: &GroupWriter<Memory>, lines: usize) {
    let reached = || {
        let queue = lock(&writer.shared.queue);
        queue.writing && queue.batch.waiting.len() == lines
    };
    while !reached() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_slow_sink_holds_up_its_writers_and_nobody_else() {
    let (leave, wait) = mpsc::channel();
    let memory = Memory { leave: Some(wait), ..Memory::new(true) };
    let appends = Arc::clone(&memory.appends);
    let writer = Arc::new(GroupWriter::new(memory));
    let mut tasks = Vec::new();
    for line in 0..10 {
        let task = Arc::clone(&writer);
        tasks.push(tokio::spawn(async move { task.append(format!("{line}\n").as_bytes()).await }));
        // This runtime has one thread. That it comes round to this task again shows that it was not held.
        queued(&writer, line).await;
    }
    assert_eq!(appends.load(Ordering::Relaxed), 0);
    // Abandoning a request does not disturb the lines of the others.
    tasks[5].abort();
    leave.send(()).unwrap();
    leave.send(()).unwrap();
    for (index, outcome) in join_all(tasks).await.into_iter().enumerate() {
        assert_eq!(outcome.is_ok_and(|appended| appended.is_ok()), index != 5);
    }
    assert_eq!(appends.load(Ordering::Relaxed), 2, "nine lines shared one write");
}

#[tokio::test]
async fn of_a_batch_that_fits_in_part_only_the_rest_fails() {
    let (leave, wait) = mpsc::channel();
    // Room for "0\n" and then for "1\n2\n3" of the batch.
    let memory = Memory { leave: Some(wait), room: 7, ..Memory::new(true) };
    let writer = Arc::new(GroupWriter::new(memory));
    let mut tasks = Vec::new();
    for line in 0..6 {
        let task = Arc::clone(&writer);
        tasks.push(tokio::spawn(async move { task.append(format!("{line}\n").as_bytes()).await }));
        queued(&writer, line).await;
    }
    leave.send(()).unwrap();
    leave.send(()).unwrap();
    let outcomes: Vec<bool> = join_all(tasks).await.into_iter().map(|task| task.unwrap().is_ok()).collect();
    assert_eq!(outcomes, [true, true, true, false, false, false]);
}

#[tokio::test]
async fn writing_goes_on_after_a_failure() {
    let writer = GroupWriter::new(Memory { room: 2, ..Memory::new(false) });
    assert!(writer.append(b"a\n").await.is_ok());
    assert_eq!(writer.append(b"b\n").await.unwrap_err().kind(), io::ErrorKind::StorageFull);
    writer.change(|memory| memory.room = 100).await.unwrap();
    assert!(writer.append(b"c\n").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_stalls_refuses_lines_until_it_goes_on() {
    let (leave, wait) = mpsc::channel();
    let writer = Arc::new(GroupWriter::new(Memory { leave: Some(wait), ..Memory::new(true) }));
    let task = Arc::clone(&writer);
    let first = tokio::spawn(async move { task.append(b"a\n").await });
    queued(&writer, 0).await;
    tokio::time::advance(STALL_TIMEOUT).await;
    assert_eq!(first.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    // At once, and without leaving more lines to it.
    assert_eq!(writer.append(b"b\n").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert!(lock(&writer.shared.queue).batch.waiting.is_empty());
    leave.send(()).unwrap();
    leave.send(()).unwrap();
    while writer.shared.stalled.load(Ordering::Relaxed) {
        tokio::task::yield_now().await;
    }
    assert!(writer.append(b"c\n").await.is_ok());
}
