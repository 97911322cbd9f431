//! Tables of the server's own that the system endpoints keep. Their numbers continue those of the core's registry.

use strongroom_barrier::{CoreLocal, CoreSpace, Table, tables};

use crate::history::Installed;
use crate::remount::Move;

tables! {
    /// Versions of the program that have run, by version.
    pub(crate) VERSIONS: Table<CoreLocal, str, Installed> = 40;
    /// Moves of mounts by their id.
    pub(crate) MOVES: Table<CoreSpace, str, Move> = 41;
}
