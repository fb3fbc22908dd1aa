//! What the criterion benches in `benches/` have in common: records as services write them, the
//! exchanges that carry them, and a counting allocator.

pub mod counting;
pub mod exchanges;
pub mod payloads;
