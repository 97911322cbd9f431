//! Nodes over one store, by seeds: see `strongroom_testkit::simulation`.
//!
//! `STRONGROOM_SEEDS` is how many seeds are run (`100`), or which (`4711..4712`); `cargo xtask ci` runs ten thousand.

use strongroom_testkit::simulation::{Storage, run, seeds};

#[test]
fn what_exists_outside_is_known_whatever_happens() {
    let seeds = seeds(std::env::var("STRONGROOM_SEEDS").ok().as_deref(), 300);
    let enough = seeds.end - seeds.start >= 100;
    let summary = run(Storage::Shared, seeds);
    if enough {
        // A simulation in which nothing happens proves nothing.
        assert!(summary.issued > 0 && summary.made > summary.issued && summary.changed > 0, "{summary:?}");
        assert!(summary.logins > 0 && summary.crashes > 0 && summary.left > 0, "{summary:?}");
        assert!(summary.renewed > 0 && summary.rotated > 0, "{summary:?}");
        assert!(summary.derived > 0 && summary.told > 0 && summary.looks > 0, "{summary:?}");
    }
}
