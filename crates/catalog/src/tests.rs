//! Tests of what every engine of the list keeps to, whichever it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use strongroom_engine_api::Class;

use super::*;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

#[test]
fn every_engine_has_its_page_in_the_book() {
    let contents = fs::read_to_string(docs().join("README.md")).unwrap();
    for engine in catalog().engines() {
        let page = &engine.facts().docs_page;
        assert!(!page.is_empty() && docs().join(&**page).is_file(), "{}: {page:?}", engine.kind());
        assert!(contents.contains(&format!("({page})")), "docs/README.md does not lead to {page}");
    }
}

#[test]
fn a_mount_of_any_options_has_an_engine() {
    let catalog = catalog();
    for engine in catalog.engines() {
        let found = |options| catalog.engine(engine.class(), engine.kind(), &options).unwrap();
        let own = found(engine.facts().variant_options());
        assert_eq!(own.generic(), engine.generic(), "a variant is reached by its options");
        let other = BTreeMap::from([("anything".to_owned(), "else".to_owned())]);
        assert_eq!(found(other).kind(), engine.kind());
    }
}

#[test]
fn names_lead_to_one_engine() {
    let catalog = catalog();
    let mut names = BTreeSet::new();
    for engine in catalog.engines() {
        assert!(names.insert((engine.class() == Class::Auth, engine.generic().to_owned())));
        for alias in &engine.facts().aliases {
            assert!(
                catalog.engine(engine.class(), &alias.name, &BTreeMap::new()).is_none(),
                "{}",
                alias.name
            );
            let (kind, (option, value)) = catalog.alias(engine.class(), &alias.name).unwrap();
            let options = BTreeMap::from([(option.to_owned(), value.to_owned())]);
            let found = catalog.engine(engine.class(), kind, &options).unwrap();
            assert_eq!(found.generic(), engine.generic(), "{}", alias.name);
        }
    }
    let found = catalog.engine(Class::Secrets, "kv", &BTreeMap::new()).unwrap();
    assert_eq!(found.generic(), "kv_v1", "a mount without a version is of the first");
}

#[test]
fn what_is_elsewhere_is_not_here() {
    let catalog = catalog();
    for kind in LOCKING_ELSEWHERE {
        assert!(catalog.engine(Class::Auth, kind, &BTreeMap::new()).is_none(), "{kind} is here");
    }
    assert!(catalog.locking_kinds().contains(&"userpass".to_owned()));
}
