//! The hot path, on glommio: one file a stage, in the order of a request's life.

pub mod addresses;
pub mod stage;
pub mod topics;
