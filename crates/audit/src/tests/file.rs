use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use futures::future::join_all;
use tempfile::TempDir;

use super::*;
use crate::device::{OpenedDevice, Origin, open_device};

fn open(given: &[(&str, &str)]) -> Result<OpenedDevice, AuditError> {
    let given: BTreeMap<String, String> =
        given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    open_device("file", &given, false, Origin::Declared)
}

fn open_at(path: &Path) -> Arc<dyn Device> {
    open(&[("file_path", path.to_str().unwrap())]).unwrap().device
}

fn refusal(given: &[(&str, &str)]) -> String {
    open(given).err().unwrap().to_string()
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[tokio::test]
async fn appends_to_what_is_there() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("audit.log");
    fs::write(&path, "old\n").unwrap();
    let device = open_at(&path);
    device.write(b"new\n").await.unwrap();
    assert_eq!(read(&path), "old\nnew\n");
    assert_eq!(device.name(), path.to_str().unwrap());
}

#[test]
fn the_path_has_an_older_name() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("audit.log");
    open(&[("path", path.to_str().unwrap())]).unwrap();
    assert!(path.exists());
    let newer = dir.path().join("newer.log");
    open(&[("path", "/no/such/place"), ("file_path", newer.to_str().unwrap())]).unwrap();
    assert!(newer.exists());
}

#[test]
fn a_new_log_has_the_mode_asked_for_whatever_the_umask() {
    let dir = TempDir::new().unwrap();
    for (mode, expected) in [("", 0o600), ("0666", 0o666), ("640", 0o640), ("0000", 0o600)] {
        let path = dir.path().join(format!("log{mode}"));
        open(&[("file_path", path.to_str().unwrap()), ("mode", mode)]).unwrap();
        assert_eq!(mode_of(&path), expected, "{mode}");
    }
}

#[test]
fn an_existing_log_takes_the_mode_unless_told_otherwise() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("audit.log");
    let file_path = ("file_path", path.to_str().unwrap());
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    open(&[file_path, ("mode", "0000")]).unwrap();
    assert_eq!(mode_of(&path), 0o644);
    open(&[file_path]).unwrap();
    assert_eq!(mode_of(&path), 0o600);
}

#[test]
fn a_log_is_never_executable() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("script");
    let file_path = ("file_path", path.to_str().unwrap());
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    assert!(matches!(open(&[file_path, ("mode", "0000")]).err(), Some(AuditError::Executable(_))));
    for mode in ["0755", "0700", "4600", "0608", "abc", "+600", "-1", " 600"] {
        let refused = open(&[file_path, ("mode", mode)]).err();
        assert!(matches!(refused, Some(AuditError::InvalidValue { option: "mode", .. })), "{mode}");
    }
}

#[tokio::test]
async fn missing_directories_are_made() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a/b/audit.log");
    open(&[("file_path", path.to_str().unwrap()), ("mode", "0640")])
        .unwrap()
        .device
        .write(b"x\n")
        .await
        .unwrap();
    assert_eq!(read(&path), "x\n");
    assert_eq!(mode_of(&dir.path().join("a")) & 0o705, 0o700, "searchable by the owner and not by others");
}

#[test]
fn refusals_say_what_is_wrong() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().to_str().unwrap();
    assert_eq!(refusal(&[]), "file_path is required");
    assert!(
        refusal(&[("file_path", "")]).starts_with("sanity check failed; unable to open \"\" for writing: ")
    );
    assert!(
        refusal(&[("file_path", path)])
            .starts_with(&format!("sanity check failed; unable to open {path:?} for writing: "))
    );
    assert!(refusal(&[("file_path", "discard"), ("facility", "AUTH")]).contains("\"facility\""));
    let unknown = open_device("carrier-pigeon", &BTreeMap::new(), false, Origin::Declared).err().unwrap();
    assert_eq!(unknown.to_string(), "unknown backend type: \"carrier-pigeon\"");
}

#[test]
fn skip_test_is_heeded() {
    for (value, skips) in [("true", true), ("false", false), ("1", false)] {
        assert_eq!(open(&[("file_path", "discard"), ("skip_test", value)]).unwrap().skip_test, skips);
    }
    assert!(!open(&[("file_path", "discard")]).unwrap().skip_test);
}

#[tokio::test]
async fn discard_takes_everything() {
    let device = open(&[("file_path", "discard")]).unwrap().device;
    device.write(b"x\n").await.unwrap();
    device.reload().await.unwrap();
}

#[tokio::test]
async fn stdout_can_be_opened_and_reloaded() {
    let device = open(&[("file_path", "stdout")]).unwrap().device;
    assert_eq!(device.name(), "stdout");
    device.reload().await.unwrap();
}

#[tokio::test]
async fn reload_follows_a_rotation() {
    let dir = TempDir::new().unwrap();
    let (path, rotated) = (dir.path().join("audit.log"), dir.path().join("audit.log.1"));
    let device = open_at(&path);
    device.write(b"1\n").await.unwrap();
    fs::rename(&path, &rotated).unwrap();
    device.write(b"2\n").await.unwrap();
    assert_eq!(read(&rotated), "1\n2\n");
    device.reload().await.unwrap();
    device.write(b"3\n").await.unwrap();
    assert_eq!(read(&rotated), "1\n2\n");
    assert_eq!(read(&path), "3\n");
    assert_eq!(mode_of(&path), 0o600);
}

#[tokio::test]
async fn a_reload_that_fails_leaves_the_old_log_in_use() {
    let dir = TempDir::new().unwrap();
    let (path, rotated) = (dir.path().join("audit.log"), dir.path().join("audit.log.1"));
    let device = open_at(&path);
    fs::rename(&path, &rotated).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(device.reload().await, Err(AuditError::Open { .. })));
    device.write(b"x\n").await.unwrap();
    assert_eq!(read(&rotated), "x\n");
}

#[tokio::test]
async fn a_full_disk_is_reported() {
    let device = open_at(Path::new("/dev/full"));
    for _ in 0..2 {
        let error = device.write(b"x\n").await.unwrap_err();
        assert!(
            matches!(&error, AuditError::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull)
        );
        assert!(error.to_string().starts_with("write /dev/full: "), "{error}");
    }
}

#[tokio::test]
async fn a_line_left_torn_by_a_crash_does_not_swallow_the_next() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("audit.log");
    fs::write(&path, "{\"time\":").unwrap();
    let device = open_at(&path);
    device.write(b"next\n").await.unwrap();
    device.write(b"more\n").await.unwrap();
    assert_eq!(read(&path), "{\"time\":\nnext\nmore\n");
}

/// Takes so many bytes at a time, and fails when `room` is used up.
struct Narrow {
    taken: Vec<u8>,
    width: usize,
    room: usize,
}

impl Write for Narrow {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.room == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let count = buf.len().min(self.width).min(self.room);
        self.room = self.room.saturating_sub(count);
        self.taken.extend_from_slice(&buf[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn short_writes_are_completed() {
    let mut file = LineFile::new(Narrow { taken: Vec::new(), width: 3, room: usize::MAX }, false);
    file.append(b"abcdefgh\n").unwrap();
    assert_eq!(file.writer.taken, b"abcdefgh\n");
    assert!(!file.torn);
}

#[test]
fn a_line_torn_by_a_full_disk_does_not_swallow_the_next() {
    let mut file = LineFile::new(Narrow { taken: Vec::new(), width: 3, room: 5 }, false);
    assert_eq!(file.append(b"abcdefgh\n").unwrap_err().written, 5);
    // Not even the line feed fits.
    assert_eq!(file.append(b"1\n").unwrap_err().written, 0);
    file.writer.room = 1;
    assert_eq!(file.append(b"2\n").unwrap_err().written, 0);
    file.writer.room = 100;
    file.append(b"3\n").unwrap();
    assert_eq!(file.writer.taken, b"abcde\n3\n");
}

#[test]
fn a_batch_cut_between_lines_is_not_torn() {
    let mut file = LineFile::new(Narrow { taken: Vec::new(), width: 100, room: 2 }, false);
    assert_eq!(file.append(b"1\n2\n").unwrap_err().written, 2);
    file.writer.room = 100;
    file.append(b"3\n").unwrap();
    assert_eq!(file.writer.taken, b"1\n3\n");
}

#[tokio::test]
async fn a_pipe_without_a_reader_is_refused_and_one_with_a_reader_served() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert!(matches!(open(&[("file_path", path.to_str().unwrap())]).err(), Some(AuditError::Open { .. })));

    let reader =
        OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(&path);
    let reader = reader.unwrap();
    let device = open_at(&path);
    // More than a pipe holds: the write waits for the reader, and this thread does not wait with it.
    let line = [vec![b'x'; 300_000], vec![b'\n']].concat();
    let writing = tokio::spawn({
        let line = line.clone();
        async move { device.write(&line).await }
    });
    let mut received = Vec::new();
    while received.len() < line.len() {
        tokio::task::yield_now().await;
        let mut chunk = [0; 4096];
        match io::Read::read(&mut &reader, &mut chunk) {
            Ok(count) => received.extend_from_slice(&chunk[..count]),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
    writing.await.unwrap().unwrap();
    assert!(received == line);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lines_of_many_writers_stay_whole_while_the_log_is_rotated() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("audit.log");
    let device = open_at(&path);
    let tasks = (0..16).map(|task| {
        let device = Arc::clone(&device);
        tokio::spawn(async move {
            for line in 0..100 {
                let text = format!("{task} {line} {}\n", "x".repeat(line * 7));
                device.write(text.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
            }
        })
    });
    let tasks: Vec<_> = tasks.collect();
    for rotation in 0..5 {
        fs::rename(&path, dir.path().join(format!("{rotation}.log"))).unwrap();
        device.reload().await.unwrap();
    }
    for task in join_all(tasks).await {
        task.unwrap();
    }
    let mut lines = 0;
    for file in fs::read_dir(dir.path()).unwrap() {
        for line in read(&file.unwrap().path()).lines() {
            let parts: Vec<&str> = line.split(' ').collect();
            assert_eq!(parts[2].len(), parts[1].parse::<usize>().unwrap() * 7);
            lines += 1;
        }
    }
    assert_eq!(lines, 16 * 100);
}
