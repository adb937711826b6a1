//! Fuzzes `gometa_fuzz::store`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gometa_fuzz::store(data));
