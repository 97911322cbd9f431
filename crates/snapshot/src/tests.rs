use proptest::prelude::*;

use super::*;

fn meta() -> Meta {
    Meta {
        version: VERSION,
        id: "2-17".into(),
        index: 17,
        term: 2,
        size: 0,
        cluster_id: "c".into(),
        servers: vec![Server { id: "node1".into(), voter: true }],
    }
}

fn sealed(sums: &[u8]) -> Vec<u8> {
    [b"sealed:", sums].concat()
}

fn archive(state: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out, meta(), || Ok(state), |sums| Ok(sealed(sums))).unwrap();
    out
}

fn refused(archive: &[u8]) -> String {
    read(archive, io::sink()).unwrap_err().to_string()
}

/// An archive of any members.
fn of(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::none()));
    for (name, bytes) in members {
        append(&mut archive, name, bytes.len() as u64, *bytes).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

#[test]
fn what_is_written_is_read() {
    for state in [Vec::new(), vec![7; 300_000]] {
        let mut back = Vec::new();
        let contents = read(archive(&state).as_slice(), &mut back).unwrap();
        assert_eq!(back, state);
        assert_eq!(contents.meta, Meta { size: state.len() as u64, ..meta() });
        assert_eq!(contents.sealed, sealed(&contents.sums));
    }
}

/// Vault's clients can read the archive: they look for the last member.
#[test]
fn the_members_are_vaults() {
    let bytes = archive(b"state");
    let mut archive = tar::Archive::new(GzDecoder::new(bytes.as_slice()));
    let names = archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned());
    let names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    assert_eq!(names, ["meta.json", "state.bin", "SHA256SUMS", "SHA256SUMS.sealed"]);
}

#[test]
fn what_lacks_something_is_refused() {
    assert!(refused(b"").contains("failed to read snapshot"));
    assert!(refused(b"hunter2").contains("failed to read snapshot"));
    assert!(refused(&of(&[])).contains("missing file \"meta.json\""));
    assert!(refused(&of(&[("other", b"")])).contains("unexpected file \"other\""));
    assert!(refused(&of(&[("state.bin", b""), ("state.bin", b"")])).contains("occurs twice"));
    let wrong =
        of(&[("meta.json", b"{}"), ("state.bin", b"x"), ("SHA256SUMS", b""), ("SHA256SUMS.sealed", b"s")]);
    assert!(refused(&wrong).contains("hash check failed for \"meta.json\""));
    let newer = Meta { version: VERSION + 1, ..meta() };
    let mut out = Vec::new();
    write(&mut out, newer, || Ok(&b""[..]), |sums| Ok(sealed(sums))).unwrap();
    assert!(refused(&out).contains("newer than"));
}

#[test]
fn a_state_that_changes_while_it_is_saved_is_noticed() {
    let calls = std::cell::Cell::new(0u8);
    let state = || {
        calls.set(calls.get() + 1);
        Ok(io::Cursor::new(vec![calls.get(); 10]))
    };
    assert!(write(io::sink(), meta(), state, |sums| Ok(sealed(sums))).is_err());
}

proptest! {
    #[test]
    fn what_is_cut_short_or_altered_is_refused(at: prop::sample::Index, flip in 1u8..) {
        let whole = archive(&[9; 2000]);
        let at = at.index(whole.len());
        prop_assert!(read(&whole[..at], io::sink()).is_err());
        let mut altered = whole.clone();
        altered[at] ^= flip;
        // A few bytes of the header of gzip (time, system) mean nothing.
        let read = read(altered.as_slice(), io::sink());
        prop_assert!(read.is_err() || (3..10).contains(&at), "{at}");
    }

    #[test]
    fn no_bytes_panic(noise in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = read(noise.as_slice(), io::sink());
        let mut zipped = GzEncoder::new(Vec::new(), Compression::none());
        zipped.write_all(&noise).unwrap();
        let _ = read(zipped.finish().unwrap().as_slice(), io::sink());
    }
}
