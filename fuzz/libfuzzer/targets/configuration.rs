//! Fuzzes `gometa_fuzz::configuration`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gometa_fuzz::configuration(data));
