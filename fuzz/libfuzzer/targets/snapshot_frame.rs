//! Fuzzes `gometa_fuzz::snapshot_frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gometa_fuzz::snapshot_frame(data));
