//! `docs/configuration.md` lists every key with its status.
//!
//! Each section of the page that is about a block has tables whose header says the status of their keys: `means` for
//! those that are served, `no effect, because` and `not supported` with the very words of the program. Keys of a block that
//! has no effect as a whole are in the text of the section.

use std::collections::BTreeMap;

use crate::keys::{
    AUDIT, Block, LISTENER, LISTENER_TCP, LISTENER_UNIX, OUTERMOST, SEAL_SHAMIR, STORAGE_ETCD, STORAGE_INMEM,
    STORAGE_POSTGRESQL, STORAGE_RAFT, Status, USER_LOCKOUT,
};

const PAGE: &str = include_str!("../../../../docs/configuration.md");

/// The section in which a block's keys are listed.
const SECTIONS: [(&str, &Block); 11] = [
    ("`audit \"file\"`", &AUDIT),
    ("Top-level parameters", &OUTERMOST),
    ("`user_lockout`", &USER_LOCKOUT),
    ("`storage \"raft\"`", &STORAGE_RAFT),
    ("`storage \"etcd\"`", &STORAGE_ETCD),
    ("`storage \"postgresql\"`", &STORAGE_POSTGRESQL),
    ("`storage \"inmem\"`", &STORAGE_INMEM),
    ("`seal \"shamir\"`", &SEAL_SHAMIR),
    ("`listener \"tcp\"`", &LISTENER_TCP),
    ("`listener \"unix\"`", &LISTENER_UNIX),
    ("All listeners", &LISTENER),
];

/// A key's table, by the last word of its header that is not empty, and the last cell of its row.
type Listed = BTreeMap<String, (String, String)>;

fn listed(section: &str) -> Listed {
    let heading = format!("## {section}");
    let lines = PAGE.lines().skip_while(|line| *line != heading).skip(1);
    let mut listed = Listed::new();
    let mut header = None;
    for line in lines.take_while(|line| !line.starts_with("## ")) {
        let Some(row) = line.strip_prefix('|').and_then(|row| row.trim_end().strip_suffix('|')) else {
            header = None;
            continue;
        };
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [first, .., last] = cells.as_slice() else { continue };
        let (first, last) = (*first, (*last).to_owned());
        let Some(status) = &header else {
            header = Some(last);
            continue;
        };
        // The words between backquotes, without the label of a block.
        for key in first.split('`').skip(1).step_by(2).filter_map(|key| key.split(' ').next()) {
            let before = listed.insert(key.to_owned(), (String::clone(status), last.clone()));
            assert_eq!(before, None, "{section} lists {key} twice");
        }
    }
    listed
}

#[test]
fn it_lists_every_key_with_its_status() {
    for (section, block) in SECTIONS {
        let mut listed = listed(section);
        // What all listeners have stands in a section of its own.
        let shared = |key: &str| block.name != LISTENER.name && LISTENER.status(key).is_some();
        for (status, key) in
            block.all().filter(|(_, key)| !block.name.starts_with("listener") || !shared(key))
        {
            let (header, text) =
                listed.remove(key).unwrap_or_else(|| panic!("{section} lacks {key} ({status:?})"));
            match status {
                Status::Served => assert_eq!(header, "means", "{key}"),
                Status::NoEffect(reason) => {
                    assert_eq!((&*header, &*text), ("no effect, because", reason), "{key}");
                }
                Status::Refused(advice) => {
                    assert_eq!((&*header, &*text), ("not supported: instead", advice), "{key}");
                }
                Status::Part => panic!("{key}"),
            }
        }
        assert_eq!(listed, Listed::new(), "{section} lists what is not a key");
    }
}

#[test]
fn it_names_the_keys_of_blocks_without_effect() {
    for block in crate::keys::BLOCKS {
        for (_, key) in block.all().filter(|(status, _)| *status == Status::Part) {
            let named = PAGE.contains(&format!("`{key}`"));
            let family = ["circonus_", "stackdriver_"].iter().find(|family| key.starts_with(**family));
            assert!(named || family.is_some_and(|family| PAGE.contains(&format!("`{family}…`"))), "{key}");
        }
    }
}
