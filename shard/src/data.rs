//! The hot path, on glommio: one file a stage, in the order of a request's life.

pub mod addresses;
pub mod certificate;
pub mod proxy_header;
pub mod release;
pub mod runtime;
pub mod records;
pub mod stage;
pub mod tls;
pub mod topics;
