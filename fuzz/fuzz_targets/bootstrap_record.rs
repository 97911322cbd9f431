//! `shamir`, guided by coverage.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| strongroom_fuzz::run("bootstrap_record", input));
