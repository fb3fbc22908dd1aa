//! Why a SAML document is refused. No message quotes more of a document than a short name from it.

use tidegate_core::words::Timestamp;

use crate::document::text::Moment;

/// Why a response, an assertion or metadata is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SamlError {
    /// It is larger than any honest one.
    #[error("the document has {bytes} bytes; at most {max} are accepted")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// It is no XML of the plain kind that SAML needs: no DTD, comments or processing instructions.
    #[error("the document is not acceptable XML: {0}")]
    Xml(String),
    /// Its structure is not the profile's.
    #[error("the document is not a SAML {what}: {reason}")]
    Structure {
        /// What it should be.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Its signature is missing, of a kind that is not accepted, or wrong.
    #[error("the signature is not accepted: {0}")]
    Signature(String),
    /// The identity provider says that the login failed.
    #[error("the identity provider answered {status}")]
    Status {
        /// The last part of the status code's URN.
        status: String,
    },
    /// It was issued by somebody else.
    #[error("issued by `{found}`, not by `{expected}`")]
    WrongIssuer {
        /// Who issued it.
        found: String,
        /// Whose it should be.
        expected: String,
    },
    /// It is meant for somebody else.
    #[error("meant for another {what}")]
    NotForUs {
        /// What does not match: `audience`, `recipient` or `destination`.
        what: &'static str,
    },
    /// It answers a request that this gateway did not make, or made for another login.
    #[error("it does not answer the request that is open")]
    NotAsked,
    /// It is not valid yet.
    #[error("not valid before {}", Moment(*from))]
    NotYetValid {
        /// From when it is.
        from: Timestamp,
    },
    /// It is no longer valid.
    #[error("no longer valid since {}", Moment(*at))]
    Expired {
        /// Since when it is not.
        at: Timestamp,
    },
    /// It was used before.
    #[error("this assertion has been used before")]
    Replayed,
    /// More assertions are remembered than the bound allows; none is forgotten before its time.
    #[error("too many assertions are remembered; try again later")]
    TooMany,
    /// What policy needs is missing or unfit.
    #[error("{what} is missing or no name that can be used")]
    MissingClaim {
        /// What is missing.
        what: String,
    },
}
