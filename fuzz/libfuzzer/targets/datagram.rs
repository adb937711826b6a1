//! Fuzzes `gometa_fuzz::datagram`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gometa_fuzz::datagram(data));
