//! Fuzzes `gometa_fuzz::protocol`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gometa_fuzz::protocol(data));
