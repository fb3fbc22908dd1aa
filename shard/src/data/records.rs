//! The APIs that carry records: Produce, Fetch and ShareFetch. Authorise, inspect, mask, account.
//!
//! Reading order:
//! 1. [`produce`]: what clients write, checked and masked before the upstream sees it.
//! 2. [`fetch`]: what clients read; each partition of each response is checked before release.
//! 3. [`share`]: the same for share groups (KIP-932).
//! 4. [`sessions`]: which partitions a client's fetch and share sessions hold (KIP-227).
//! 5. [`inspect`]: one partition's records under a mask plan, in either direction; [`ahead`]: those
//!    of a whole message, over as many turns as it takes; [`verdict`]: what is known from before.
//! 6. [`notes`]: what goes into the evidence. [`codec`]: bodies in and out.
//!    [`names`]: topics named by id.
//!
//! Invariants:
//! - No record is released to a client without an authorisation made at the time of release.
//! - A partition that the client may not touch never reaches the upstream, and is answered with
//!   the error that a broker with ACLs would give.
//! - What nothing had to change leaves as the very bytes that came.

use kafka_protocol::messages::ApiKey;

use super::stage::{Draft, Request, Scope, StageError, Verdict};

mod ahead;
mod codec;
mod fetch;
mod inspect;
mod names;
mod notes;
mod produce;
mod sessions;
mod share;
#[cfg(test)]
mod tests;
mod verdict;

pub use sessions::FetchSessions;

/// Handles one Produce, Fetch or ShareFetch request. `sessions` is the connection's own; start it
/// with `Default` for every connection.
///
/// Where this returns [`Verdict::Resolve`], nothing was noted in `draft` or `sessions` yet: call
/// again with the same request and [`Scope::may_resolve`] false.
///
/// # Errors
/// [`StageError::Request`] where the body cannot be decoded: the connection is to be closed.
pub fn request(
    request: &Request,
    sessions: &mut FetchSessions,
    scope: &mut Scope<'_>,
    draft: &mut Draft,
) -> Result<Verdict, StageError> {
    match request.api() {
        ApiKey::Produce => produce::request(request, scope, draft),
        ApiKey::Fetch => fetch::request(request, sessions, scope, draft),
        ApiKey::ShareFetch => share::request(request, sessions, scope, draft),
        api => Err(codec::bad_request(api, request.version(), "it carries no records")),
    }
}
