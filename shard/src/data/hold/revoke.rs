//! Revocation on an open connection: a session, a token, a principal or its last grant that ended
//! while requests flow.
//!
//! The control thread publishes a policy with another version before the command that revokes
//! returns. A session compares that version before it decides on a request, before it looks at a
//! response, and each time it is woken; where it differs it asks the snapshot whether it is revoked
//! (hash lookups). So nothing is admitted after the command has returned.
//!
//! What is under way then is not released: responses that the upstream still owes, and those that
//! wait in the outbox and of which no byte has left. (A frame that has begun to leave is finished,
//! or the client would take the next bytes for its rest.) The evidence says how many.

use tidegate_core::event::Outcome;
use tidegate_core::words::Timestamp;

use super::super::session::{Phase, Session};
use super::super::shard::Shard;
use crate::shared::Refusal;

impl Session {
    /// Why the session is revoked, where it is.
    pub(in super::super) fn revocation(&self, shard: &Shard) -> Option<String> {
        let principal = self.principal.as_deref()?;
        let policy = shard.policy();
        let revoked = policy.revoked(principal, &self.id, self.token_id.as_deref());
        revoked.map(str::to_owned)
    }

    /// Closes the connection of a client whose right has ended, and releases nothing more to it.
    pub(in super::super) fn shut_out(&mut self, shard: &Shard, why: Refusal, reason: &str, now: Timestamp) {
        if self.phase == Phase::Closing {
            return;
        }
        let withheld = self.to_client.withhold() + self.pending.len();
        self.record_unanswered(shard, Outcome::Denied, reason, now);
        let reason = match withheld {
            0 => reason.to_owned(),
            1 => format!("{reason}; 1 response was not released"),
            more => format!("{reason}; {more} responses were not released"),
        };
        self.refuse(shard, why, reason, now);
    }
}
