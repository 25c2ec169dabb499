//! Bodies of HTTP requests: any bytes are parsed or refused, and a refusal can be written.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sprat_serve::parse_bodies(bytes));
