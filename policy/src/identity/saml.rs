//! SAML 2.0, the part of it that a service provider needs: responses and assertions verified against
//! keys from an identity provider's metadata.
//!
//! Pure: documents, keys and time are arguments. The control thread fetches metadata, serves the
//! pages and remembers which requests are open.
//!
//! Reading order:
//! 1. [`config`]: what an operator says about an identity provider.
//! 2. [`metadata`]: the provider's own description of itself: its keys and where its login is.
//! 3. [`request`]: the request that a browser carries to it, and our description of ourselves.
//! 4. [`document`]: XML, as little of it as is needed.
//! 5. [`signature`]: which element was signed, and by whom.
//! 6. [`response`]: [`verify_response`] and [`verify_assertion`], in the order of their checks.
//! 7. [`replay`]: an assertion is good for one login.
//!
//! Invariants: one parser and one tree serve the signature and the claims alike, and claims are read
//! from the very element whose signature was verified. Keys come from metadata and never from the
//! document. What has a DTD, a comment, a processing instruction, a second assertion, a second
//! reference or a transform beyond the two that the profile knows is refused before any signature is
//! looked at. Sources: SAML 2.0 Core, Bindings and Profiles (OASIS, 2005) with errata; XML Signature
//! 1.1; "On Breaking SAML: Be Whoever You Want to Be" (USENIX Security 2012) for the wrapping family.

pub mod config;
pub mod document;
pub mod error;
pub mod metadata;
pub mod replay;
pub mod request;
pub mod response;
pub mod signature;

pub use config::SamlConfig;
pub use error::SamlError;
pub use metadata::Metadata;
pub use replay::ReplayCache;
pub use response::{Expected, VerifiedAssertion, verify_assertion, verify_response};

/// The namespace of assertions.
pub(crate) const ASSERTION: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
/// The namespace of requests and responses.
pub(crate) const PROTOCOL: &str = "urn:oasis:names:tc:SAML:2.0:protocol";
/// The namespace of metadata.
pub(crate) const METADATA: &str = "urn:oasis:names:tc:SAML:2.0:metadata";
/// The namespace of XML signatures.
pub(crate) const SIGNATURE: &str = "http://www.w3.org/2000/09/xmldsig#";
/// The binding by which a response comes: a form that the browser posts.
pub(crate) const POST: &str = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST";
/// The binding by which a request goes: a redirect of the browser.
pub(crate) const REDIRECT: &str = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect";
/// How whoever presents an assertion confirms to be its subject: by having it.
pub(crate) const BEARER: &str = "urn:oasis:names:tc:SAML:2.0:cm:bearer";

#[cfg(test)]
mod tests;
