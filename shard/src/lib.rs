//! The running gateway: `data` is the hot path, `control` everything that is not per record.

pub mod data;
