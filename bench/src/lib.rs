//! What the criterion benches in `benches/` have in common: records as services write them.

pub mod payloads;
