//! Why a token, a key set or a discovery document is refused. No message contains the token.

use std::sync::Arc;

use tidegate_core::words::Timestamp;

/// Why a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Not a signed JWT in compact form, or not readable as one.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// Over `token_bytes_max`; nothing of it was read.
    #[error("the token's {bytes} bytes are over the limit of {max}")]
    TooLong {
        /// The token's length.
        bytes: usize,
        /// The limit.
        max: u32,
    },
    /// No issuer of this name is configured.
    #[error("the token's issuer {issuer:?} is not one of the configured issuers")]
    UnknownIssuer {
        /// The `iss` claim, cut to 200 characters.
        issuer: String,
    },
    /// The algorithm is not configured for the issuer: `none`, an HMAC, or one that is too weak for it.
    #[error("the token's algorithm {algorithm:?} is not allowed")]
    AlgorithmNotAllowed {
        /// The header's `alg`, cut to 32 characters.
        algorithm: String,
    },
    /// The issuer's key set, as it is known now, has no such key. A refresh may bring it.
    #[error("issuer {issuer:?} has no key {kid:?}")]
    UnknownKey {
        /// The configured issuer.
        issuer: Arc<str>,
        /// The header's `kid`; empty where it has none.
        kid: String,
    },
    /// The token names no key and the issuer has several that fit.
    #[error("the token names no key (kid) and the issuer has several")]
    AmbiguousKey,
    /// The key exists but is for another algorithm than the header's.
    #[error("the issuer's key {kid:?} is not for {algorithm}")]
    KeyMismatch {
        /// The header's `kid`.
        kid: String,
        /// The header's algorithm.
        algorithm: &'static str,
    },
    /// The signature is not the key's.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// The header demands an extension (`crit`), and we have none.
    #[error("the token demands extensions (crit) that are not supported")]
    CriticalHeader,
    /// `exp` and the leeway have passed.
    #[error("the token has expired")]
    Expired {
        /// Since when it is no longer accepted, leeway included.
        at: Timestamp,
    },
    /// `nbf`, less the leeway, has not come.
    #[error("the token is not valid yet")]
    NotYetValid {
        /// From when it will be accepted, leeway included.
        from: Timestamp,
    },
    /// None of the configured audiences is the token's.
    #[error("the token is for another audience")]
    WrongAudience,
    /// A claim that is needed is not there.
    #[error("the token has no claim `{claim}`")]
    MissingClaim {
        /// The claim, as configured.
        claim: String,
    },
    /// A claim is there but of the wrong type, empty, or has control characters.
    #[error("the token's claim `{claim}` is not usable")]
    InvalidClaim {
        /// The claim, as configured.
        claim: String,
    },
    /// The token, its session or its principal was revoked.
    #[error("the token is revoked: {reason}")]
    Revoked {
        /// Why, in the words of who revoked it.
        reason: String,
    },
    /// A claim does not have the value that configuration requires.
    #[error("the token's claim `{claim}` does not have the required value")]
    ClaimNotAsRequired {
        /// The claim, as configured.
        claim: String,
    },
}

impl TokenError {
    /// A short name for metrics and evidence; stable.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::TooLong { .. } => "too_long",
            Self::UnknownIssuer { .. } => "unknown_issuer",
            Self::AlgorithmNotAllowed { .. } => "algorithm_not_allowed",
            Self::UnknownKey { .. } => "unknown_key",
            Self::AmbiguousKey => "ambiguous_key",
            Self::KeyMismatch { .. } => "key_mismatch",
            Self::BadSignature => "bad_signature",
            Self::CriticalHeader => "critical_header",
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not_yet_valid",
            Self::WrongAudience => "wrong_audience",
            Self::MissingClaim { .. } => "missing_claim",
            Self::InvalidClaim { .. } => "invalid_claim",
            Self::Revoked { .. } => "revoked",
            Self::ClaimNotAsRequired { .. } => "claim_not_as_required",
        }
    }
}

/// Why a JWKS document is refused as a whole. Single keys that cannot be used are only left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// Not JSON, or without an array `keys`.
    #[error("the key set is not a JWKS document: {0}")]
    Malformed(String),
    /// More keys than any issuer has.
    #[error("the key set has {keys} keys; at most {max} are accepted")]
    TooMany {
        /// How many there are.
        keys: usize,
        /// The limit.
        max: usize,
    },
    /// Nothing in it verifies a signature.
    #[error("the key set has no usable signature key (ignored: {ignored})")]
    NoKeys {
        /// How many keys were left out.
        ignored: usize,
    },
}

/// Why a discovery document is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// Not JSON, or without `issuer` and `jwks_uri`.
    #[error("the discovery document is malformed: {0}")]
    Malformed(String),
    /// It is another issuer's (OpenID Connect Discovery 1.0 §4.3).
    #[error("the discovery document is of issuer {found:?}, not of {expected:?}")]
    OtherIssuer {
        /// The document's issuer.
        found: String,
        /// The configured one.
        expected: String,
    },
    /// The key set's URL is not one that may be fetched.
    #[error("the discovery document's jwks_uri {0:?} is not an https:// URL")]
    PlainHttp(String),
}
