//! Feeds `tidegate::fuzzing::batch_rewriter`; see there for what must hold.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidegate::fuzzing::batch_rewriter(data));
