//! The program, with the engines of the catalogue.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: strongroom_zeroizing_alloc::Wiping = strongroom_zeroizing_alloc::Wiping;

fn main() -> ExitCode {
    strongroom_stdx::hide_expected_panics();
    strongroom_server::run(strongroom_catalog::catalog)
}
