//! Files, links, named pipes, and failures half-way. No test touches a device: run as root, a mistake would replace it.

use std::io::Read;
use std::os::unix::fs::symlink;
use std::thread;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_new_file_has_the_permissions_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    OutputFile::write_at(&path, 0o600, b"text").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"text");
    assert_eq!(mode(&path), 0o600);
    assert_eq!(names(folder.path()), ["out"]);
}

#[test]
fn a_file_keeps_its_permissions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    fs::write(&path, "a longer text").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    OutputFile::write_at(&path, 0o600, b"short").unwrap();
    assert_eq!((fs::read_to_string(&path).unwrap().as_str(), mode(&path)), ("short", 0o640));
}

#[test]
fn what_is_not_committed_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    fs::write(&path, "before").unwrap();
    let mut output = OutputFile::create(&path, 0o600).unwrap();
    output.write_all(b"half").unwrap();
    drop(output);
    assert_eq!(fs::read_to_string(&path).unwrap(), "before");
    drop(OutputFile::create(&folder.path().join("new"), 0o600).unwrap());
    assert_eq!(names(folder.path()), ["out"]);
}

#[test]
fn links_are_followed() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    symlink("inner/file", folder.path().join("link")).unwrap();
    symlink("link", folder.path().join("link2")).unwrap();
    // To nothing yet, and then to a file.
    for text in ["one", "two"] {
        OutputFile::write_at(&folder.path().join("link2"), 0o600, text.as_bytes()).unwrap();
        assert!(fs::symlink_metadata(folder.path().join("link2")).unwrap().is_symlink());
        assert!(fs::symlink_metadata(folder.path().join("link")).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(inner.join("file")).unwrap(), text);
    }
    symlink("b", folder.path().join("a")).unwrap();
    symlink("a", folder.path().join("b")).unwrap();
    assert!(OutputFile::create(&folder.path().join("a"), 0o600).is_err());
}

#[test]
fn a_named_pipe_is_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    symlink("pipe", folder.path().join("link")).unwrap();
    for name in ["pipe", "link"] {
        let reading = thread::spawn({
            let pipe = pipe.clone();
            move || {
                let mut text = String::new();
                File::open(pipe).unwrap().read_to_string(&mut text).unwrap();
                text
            }
        });
        OutputFile::write_at(&folder.path().join(name), 0o644, b"through").unwrap();
        assert_eq!(reading.join().unwrap(), "through");
        assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
    }
    assert_eq!(names(folder.path()), ["link", "pipe"]);
    assert!(!is_regular(&pipe) && !is_regular(&folder.path().join("link")));
}

#[test]
fn directories_and_sockets_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(OutputFile::create(folder.path(), 0o600).unwrap_err().kind(), io::ErrorKind::IsADirectory);
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert!(OutputFile::create(&socket, 0o600).is_err());
    assert!(OutputFile::create(&folder.path().join("no/such/folder"), 0o600).is_err());
}
