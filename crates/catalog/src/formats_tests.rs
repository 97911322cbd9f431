//! The registry of storage formats: every table of the server and of every engine, compared with a file.
//!
//! A number or a type that changes its meaning makes data unreadable, so a change of the file is a change of the format
//! and needs a reason in its commit.

use strongroom_barrier::{TableId, assert_distinct};
use strongroom_engine_api::Backend;

use super::catalog;

const FROZEN: &str = include_str!("../../server/tests/formats/tables.txt");

/// All tables of the server's own, whoever they are of.
const OWN: [&[TableId]; strongroom_core::tables().len() + 1] = {
    let mut own = [strongroom_sys::tables(); strongroom_core::tables().len() + 1];
    let (_, others) = own.split_at_mut(1);
    others.copy_from_slice(strongroom_core::tables());
    own
};

const _: () = assert_distinct(&OWN);

fn lines(owner: &str, tables: &[TableId]) -> Vec<String> {
    let mut tables = tables.to_vec();
    tables.sort_by_key(|table| table.number);
    let form = |table: &TableId| table.form.split_whitespace().collect::<String>();
    let line = |table: &TableId| {
        format!("{owner} space {} table {:3} {} {}", table.space, table.number, table.name, form(table))
    };
    tables.iter().map(line).collect()
}

#[test]
fn tables_are_as_they_were_released() {
    let mut found = lines("server", &OWN.concat());
    let catalog = catalog();
    let mut engines: Vec<&std::sync::Arc<dyn Backend>> = catalog.engines().collect();
    engines.sort_by_key(|engine| engine.kind());
    engines.dedup_by(|one, other| one.kind() == other.kind());
    for engine in engines {
        found.extend(lines(engine.kind(), engine.own_tables()));
    }
    let found = found.join("\n") + "\n";
    assert_eq!(found, FROZEN, "the file is crates/server/tests/formats/tables.txt; found:\n{found}");
}

#[test]
fn variants_of_an_engine_share_their_tables() {
    let catalog = catalog();
    for engine in catalog.engines() {
        for other in catalog.engines().filter(|other| other.kind() == engine.kind()) {
            assert_eq!(engine.own_tables(), other.own_tables(), "{}", engine.kind());
        }
    }
}
