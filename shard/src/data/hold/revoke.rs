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

use tidegate_core::api::Handling;
use tidegate_core::event::Outcome;
use tidegate_core::words::Timestamp;
use tidegate_policy::view::View;

use super::super::session::{Exchange, Phase, Session};
use super::super::shard::Shard;
use super::super::stage::{Draft, Request, Verdict, answer_frame};
use super::super::{authorise, records};
use crate::shared::Refusal;

impl Session {
    /// Closes the connection of a client whose right has ended, and releases nothing more to it.
    pub(in crate::data) fn shut_out(&mut self, shard: &Shard, why: Refusal, reason: &str, now: Timestamp) {
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

    /// Answers the request at which the right was found to have ended as one without any right, in
    /// its API's own words; where the API has none, the closed connection must do.
    pub(in crate::data) fn deny_last(
        &mut self,
        shard: &Shard,
        request: &Request,
        handling: Handling,
        started: Timestamp,
        now: Timestamp,
    ) {
        let view = View::nothing(shard.policy_version());
        let mut draft = Draft::default();
        let fetches = &mut self.fetches;
        let verdict = Self::in_scope(&view, shard, self.listener, now, false, &mut self.work, |scope| match handling {
            Handling::Records => records::request(request, fetches, scope, &mut draft),
            Handling::Inspected => authorise::authorise(request, scope, &mut draft),
            Handling::Opaque | Handling::Local => Ok(Verdict::Forward),
        });
        if let Ok(Verdict::Answer(body)) = verdict {
            let frame = answer_frame(request, &body);
            let exchange = Exchange { draft, ..Exchange::of(request, started, &view) };
            let sequence = self.record(shard, &exchange, frame.len(), now);
            self.to_client.push(frame, sequence);
        }
    }
}
