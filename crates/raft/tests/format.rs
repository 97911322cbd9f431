//! A data directory of an older release opens, and nothing in it is lost. Each format that was released has a directory of its time
//! in `formats`: the files as text, without the zeros in them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    reason = "a test that fails does so loudly"
)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use strongroom_raft::{Options, RaftStore};
use strongroom_storage::{Commit, KeyRange, Store, Write};

/// Bytes of a line.
const LINE: usize = 32;

fn fixture(format: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/formats/{format}.txt"))
}

fn options(path: &Path) -> Options {
    let mut options = Options::new(path);
    options.segment_size = 64 << 10;
    options.max_commit_size = 16 << 10;
    options.max_batch_size = 16 << 10;
    options
}

/// A file as text: its name and length, and what in it is not zero; how often, where it comes again and again.
fn describe(out: &mut String, name: &str, content: &[u8]) {
    writeln!(out, "file {name} {}", content.len()).unwrap();
    let mut at = 0;
    while at < content.len() {
        let piece = &content[at..content.len().min(at + LINE)];
        let times = content[at..].chunks(LINE).take_while(|next| *next == piece).count();
        if piece.iter().any(|byte| *byte != 0) {
            let hex = piece.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
            writeln!(out, "{at:x} {times} {hex}").unwrap();
        }
        at += times * piece.len();
    }
}

/// Makes the files of a text.
fn make(text: &str, root: &Path) {
    let mut file: Option<(PathBuf, Vec<u8>)> = None;
    let write = |file: Option<(PathBuf, Vec<u8>)>| {
        if let Some((path, content)) = file {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    };
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if words[0] == "file" {
            write(file.replace((root.join(words[1]), vec![0; words[2].parse().unwrap()])));
            continue;
        }
        let at = usize::from_str_radix(words[0], 16).unwrap();
        let content = &mut file.as_mut().unwrap().1;
        let hex = words[2].repeat(words[1].parse().unwrap());
        for (nth, byte) in (0..hex.len()).step_by(2).enumerate() {
            content[at + nth] = u8::from_str_radix(&hex[byte..byte + 2], 16).unwrap();
        }
    }
    write(file);
}

fn put(key: &str, value: Option<&str>) -> Commit {
    let write = Write { key: Bytes::from(key.to_owned()), value: value.map(|v| Bytes::from(v.to_owned())) };
    Commit { writes: vec![write], ..Commit::default() }
}

/// Leaves a directory of the present format: some of it in the table, some in the log only. Run by hand when a format
/// is new; what is checked in is never made again.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "makes the fixture of a new format"]
async fn make_fixture() {
    let dir = tempfile::tempdir().unwrap();
    let store = RaftStore::open(options(dir.path())).await.unwrap();
    for n in 0..8 {
        store.commit(put(&format!("table/{n}"), Some("in the table"))).await.unwrap();
    }
    store.commit(put("table/3", None)).await.unwrap();
    store.close().await;
    let store = RaftStore::open(options(dir.path())).await.unwrap();
    store.commit(put("table/4", Some("changed in the log"))).await.unwrap();
    store.commit(put("table/5", None)).await.unwrap();
    store.commit(put("log/1", Some("in the log"))).await.unwrap();
    // As a killed process leaves it: a copy of what is there now.
    let mut text = String::new();
    for name in ["FORMAT", "state.redb", "log/vote", "log/committed", "log/0000000000000001.log"] {
        describe(&mut text, name, &fs::read(dir.path().join(name)).unwrap());
    }
    fs::create_dir_all(fixture(1).parent().unwrap()).unwrap();
    fs::write(fixture(1), text).unwrap();
    store.close().await;
}

async fn all(store: &RaftStore) -> Vec<(String, String)> {
    let snapshot = store.snapshot().await.unwrap();
    let found = snapshot.scan(&KeyRange::prefix(b""), usize::MAX).await.unwrap();
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    found.iter().map(|(key, entry)| (text(key), text(&entry.value))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_format_1_opens() {
    let dir = tempfile::tempdir().unwrap();
    make(&fs::read_to_string(fixture(1)).unwrap(), dir.path());
    let store = RaftStore::open(options(dir.path())).await.unwrap();
    let mut expected: Vec<(String, String)> = vec![("log/1".into(), "in the log".into())];
    for n in [0, 1, 2, 4, 6, 7] {
        let value = if n == 4 { "changed in the log" } else { "in the table" };
        expected.push((format!("table/{n}"), value.into()));
    }
    assert_eq!(all(&store).await, expected);
    store.commit(put("new", Some("one"))).await.unwrap();
    expected.insert(1, ("new".into(), "one".into()));
    store.close().await;
    let store = RaftStore::open(options(dir.path())).await.unwrap();
    assert_eq!(all(&store).await, expected);
    store.close().await;
}
