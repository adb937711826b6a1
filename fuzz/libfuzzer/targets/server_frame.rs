//! Fuzzes `gometa_fuzz::server_frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gometa_fuzz::server_frame(data));
