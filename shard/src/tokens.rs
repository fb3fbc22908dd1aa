//! What the gateway's own tokens are made of: signing keys and claims. No I/O and no clock.
//!
//! Two places sign: the token endpoint on the control thread (`control::issuer`), for clients, and a shard, for the
//! upstream (`upstream::mint`). Both hold the same kind of [`SigningKey`], which never shows its private half.

pub mod claims;
pub mod key;
pub mod secret;

pub use claims::Claims;
pub use key::{KeyError, SigningKey, TokenAlgorithm};
