//! Fuzzes `gometa_fuzz::peer_frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gometa_fuzz::peer_frame(data));
