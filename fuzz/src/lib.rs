//! Fuzz targets: one for every parser of bytes that come from outside.
//!
//! A target takes any bytes and panics if the code under test does, or if something that must hold for every input does
//! not. [`TARGETS`] lists them. They are run in two ways: by the program of this crate, on the stable compiler, with
//! inputs made by chance ([`mutate`]); and by cargo-fuzz, guided by coverage (`fuzz_targets/`).

pub mod mutate;
mod targets;

pub use targets::TARGETS;

/// One parser under attack.
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// Runs one input; panics where something is wrong.
    pub run: fn(&[u8]),
    /// Inputs that get past the first checks.
    pub seeds: &'static [&'static [u8]],
    /// Further ones, made when the target is run.
    pub made: fn() -> Vec<Vec<u8>>,
    /// Pieces of the input's language.
    pub words: &'static [&'static str],
}

impl Target {
    /// The inputs that all others are made from.
    pub fn inputs(&self) -> Vec<Vec<u8>> {
        self.seeds.iter().map(|seed| seed.to_vec()).chain((self.made)()).collect()
    }
}

/// For targets that have all their inputs written down.
pub(crate) fn no_inputs() -> Vec<Vec<u8>> {
    Vec::new()
}

/// Runs one input against a target of [`TARGETS`]; for the wrappers of cargo-fuzz.
///
/// # Panics
/// If there is no such target, or if it finds something.
pub fn run(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target's name");
    (target.run)(input);
}
