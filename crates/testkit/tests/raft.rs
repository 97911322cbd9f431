//! Three nodes over raft, by seeds: see `strongroom_testkit::simulation`, which also says what a seed does not determine.
//!
//! `STRONGROOM_SEEDS` is how many seeds are run (`100`), or which (`4711..4712`).

use strongroom_testkit::simulation::{Storage, run, seeds};

#[test]
fn what_exists_outside_is_known_whatever_happens_to_nodes_disks_and_links() {
    let seeds = seeds(std::env::var("STRONGROOM_SEEDS").ok().as_deref(), 300);
    let enough = seeds.end - seeds.start >= 100;
    let summary = run(Storage::Raft, seeds);
    if enough {
        // A simulation in which nothing happens proves nothing.
        assert!(summary.issued > 0 && summary.made > summary.issued && summary.changed > 0, "{summary:?}");
        assert!(summary.logins > 0 && summary.crashes > 0 && summary.left > 0, "{summary:?}");
        assert!(summary.renewed > 0 && summary.rotated > 0, "{summary:?}");
        assert!(summary.derived > 0 && summary.told > 0 && summary.looks > 0, "{summary:?}");
        assert!(summary.snapshots > 0, "{summary:?}");
    }
}
