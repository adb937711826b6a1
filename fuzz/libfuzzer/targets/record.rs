//! Fuzzes `gometa_fuzz::record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gometa_fuzz::record(data));
