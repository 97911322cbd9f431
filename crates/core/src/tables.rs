//! The registry of the server's own tables: which there are, and that no two have the same number.
//!
//! Each table is declared beside its owner. Numbers never change: `tests/formats/tables.txt` keeps them.
//!
//! Tables are by namespace wherever an entry belongs to one, so that a namespace is a range of keys. Indexes of work to be
//! done (by time, by token) are those of the server as a whole, since one walk must see them all; their values, or the
//! end of their keys, name the namespace.

use strongroom_barrier::{TableId, assert_distinct};

/// The tables of each owner.
pub(crate) const TABLES: &[&[TableId]] = &[
    strongroom_mounts::table_ids(),
    strongroom_policies::table_ids(),
    strongroom_identity::table_ids(),
    strongroom_mfa::table_ids(),
    strongroom_oidc::table_ids(),
    strongroom_passwords::table_ids(),
    strongroom_auditing::table_ids(),
    strongroom_node::table_ids(),
    strongroom_backup::table_ids(),
    strongroom_seal_state::table_ids(),
    strongroom_ceremonies::table_ids(),
    strongroom_expiry::table_ids(),
    strongroom_tokens::table_ids(),
    strongroom_revocation::table_ids(),
];

const _: () = assert_distinct(TABLES);
