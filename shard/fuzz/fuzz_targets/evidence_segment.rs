//! Feeds `tidegate::fuzzing::evidence_segment`; see there for what must hold.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidegate::fuzzing::evidence_segment(data));
