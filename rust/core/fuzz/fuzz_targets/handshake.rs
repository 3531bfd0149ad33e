#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| httpkit_core_fuzz::handshake::run(data));
