//! Feeds `tidegate::fuzzing::batch_walker`; see there for what must hold.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidegate::fuzzing::batch_walker(data));
