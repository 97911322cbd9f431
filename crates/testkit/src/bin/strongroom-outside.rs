//! The server with the engine `outside` in its catalogue: what tests run as processes that are killed and paused. It is
//! shipped to nobody.

use std::process::ExitCode;

use strongroom_mounts::Catalog;
use strongroom_outbound::{Outbound, Settings};
use strongroom_testkit::outside;

#[global_allocator]
static ALLOCATOR: strongroom_zeroizing_alloc::Wiping = strongroom_zeroizing_alloc::Wiping;

fn main() -> ExitCode {
    strongroom_server::run(engines)
}

fn engines() -> Catalog {
    strongroom_catalog::catalog().with(outside::engine_over(&Outbound::new(Settings::default())))
}
