//! Who is calling: OIDC tokens verified against keys that somebody else fetched.
//!
//! Pure: keys and time are arguments. The control thread fetches key sets over HTTPS and publishes an immutable
//! [`Issuers`] snapshot; a shard calls [`verify`] with it, without a lock and without waiting.
//!
//! Reading order:
//! 1. [`config`]: what an operator says about an issuer.
//! 2. [`keys`]: a parsed JWKS ([`KeySet`]), and the snapshot of issuers with their keys ([`Issuers`]).
//! 3. [`token`]: [`verify`] itself, in the order of its checks.
//! 4. [`error`]: why a token is refused.
//! 5. [`refresh`]: when keys should be fetched (anew).
//! 6. [`saml`]: the same for assertions of SAML identity providers.
//!
//! Invariants: the algorithm is one that configuration allows and that the key itself fits, never what the token's
//! header wishes; no HMAC is representable; no message contains the token.

pub mod config;
pub mod error;
pub mod keys;
pub mod refresh;
pub mod saml;
pub mod token;

pub use config::{IssuerConfig, SigningAlgorithm};
pub use error::{DiscoveryError, KeySetError, TokenError};
pub use keys::{Issuers, KeySet, parse_discovery};
pub use refresh::{Ask, KeyFreshness, RefreshGate, RefreshPolicy};
pub use token::{Verified, verify};

#[cfg(test)]
mod tests;
