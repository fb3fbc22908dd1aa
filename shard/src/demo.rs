//! `tidegate demo` and what it brings along: a small real OIDC issuer, so that a login works
//! without anything else installed. The integration tests use the same issuer.

pub mod client;
pub mod issuer;
pub mod run;
