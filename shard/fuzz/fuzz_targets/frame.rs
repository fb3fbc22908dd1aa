//! Feeds `tidegate::fuzzing::frame`; see there for what must hold.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidegate::fuzzing::frame(data));
