//! Tidegate's words and wire formats. No I/O, no clock, no threads.
//!
//! Reading order:
//! 1. [`words`]: principal, session, operation, resource, data class: the terms everything else uses.
//! 2. [`limits`]: every bound in one place, with its unit in its name.
//! 3. [`frame`] and [`header`]: Kafka's length-prefixed frames and request headers.
//! 4. [`api`]: the table of APIs and versions that Tidegate enforces.
//! 5. [`decode`]: message bodies in and out, safe against absurd lengths.
//! 6. [`batch`]: the walker and rewriter over raw record batches, and the borrowed [`batch::Record`].
//! 7. [`event`]: what an evidence entry says.

pub mod api;
pub mod batch;
pub mod decode;
pub mod event;
pub mod frame;
pub mod header;
pub mod limits;
pub mod words;
