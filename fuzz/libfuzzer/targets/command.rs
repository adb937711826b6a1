//! Fuzzes `gometa_fuzz::command`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gometa_fuzz::command(data));
