//! Feeds `tidegate::fuzzing::proxy_header`; see there for what must hold.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidegate::fuzzing::proxy_header(data));
