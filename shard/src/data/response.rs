//! Response: from an upstream's frame to what the client gets, in the client's order.
//!
//! Each response is matched with the request at the head of the queue; stages that asked to see
//! it do so (scan, mask, filter, address rewrite); then its entry is appended and the frame waits
//! in the outbox for its evidence. What takes long to look at is looked at in turns, so that the
//! shard's other connections have theirs.

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, MetadataResponse};
use tidegate_core::decode::decode_response;
use tidegate_core::event::Outcome;
use tidegate_core::header;
use tidegate_core::words::Timestamp;

use super::session::{HeldFor, InFlight, Pending, Phase, Releasing, Session};
use super::shard::Shard;
use super::stage::{Progress, StageError};
use crate::shared::Refusal;

impl Session {
    /// Takes frames out of the upstream's bytes. Returns whether anything happened.
    pub fn take_responses(&mut self, shard: &Shard, now: Timestamp) -> bool {
        let mut progress = self.release_on(shard, now) | self.release_answers();
        while self.wants_upstream_bytes(shard) && !self.is_spent() {
            match self.from_upstream.next_frame(shard.limits.frame_bytes_max) {
                Ok(None) => break,
                Ok(Some(frame)) => self.take_response(shard, frame, now),
                Err(error) => {
                    let reason = format!("the upstream sent a bad frame: {error}");
                    self.refuse(shard, Refusal::Upstream, reason, now);
                    break;
                }
            }
            progress = true;
        }
        progress
    }

    fn take_response(&mut self, shard: &Shard, frame: Bytes, now: Timestamp) {
        if self.login.is_some() {
            return self.login_frame(shard, frame, now);
        }
        let correlation_id = header::response_correlation_id(&frame);
        match self.pending.pop_front() {
            Some(Pending::Upstream(in_flight)) if correlation_id == Some(in_flight.correlation_id) => {
                self.pass_on(shard, in_flight, frame, now);
            }
            Some(Pending::Resolving { correlation_id: own }) if correlation_id == Some(own) => {
                match self.held.as_ref().map(|held| held.reason) {
                    Some(HeldFor::Settings) => self.learn_settings(&frame),
                    _ => self.learn_topics(shard, &frame, now),
                }
            }
            _ => {
                let reason = "the upstream answered out of order".to_owned();
                self.refuse(shard, Refusal::Upstream, reason, now);
            }
        }
        self.settle(shard, now);
    }

    /// Goes on with the response that is being looked at, where there is one.
    fn release_on(&mut self, shard: &Shard, now: Timestamp) -> bool {
        if self.is_spent() || !self.is_releasing() {
            return false;
        }
        let Some(Pending::Releasing(releasing)) = self.pending.pop_front() else { return false };
        let Releasing { in_flight, frame } = releasing;
        self.pass_on(shard, in_flight, frame, now);
        self.settle(shard, now);
        true
    }

    /// Does what waited for a response to be done with.
    fn settle(&mut self, shard: &Shard, now: Timestamp) {
        self.release_answers();
        if self.login_is_wanted && self.pending.is_empty() {
            self.log_in_anew_where_due(shard, now);
        }
    }

    fn pass_on(&mut self, shard: &Shard, mut in_flight: Box<InFlight>, frame: Bytes, now: Timestamp) {
        let InFlight { correlation_id, api, version, upstream_version, .. } = *in_flight;
        // What ended since the request was sent must not be served any more. It was carried out all
        // the same, and the evidence says so.
        if !self.still_authorised(shard, now) {
            in_flight.exchange.draft.detail = "the right ended before the response".to_owned();
            self.record(shard, &in_flight.exchange, 0, now);
            return;
        }
        if let Some(capture) = &mut in_flight.exchange.capture {
            capture.came(&frame);
        }
        let frame = match in_flight.respond.take() {
            None => frame,
            Some(respond) => {
                let Some(view) = self.view.take() else { return self.close() };
                let shown = match header::response_body_start(&frame, api, upstream_version) {
                    None => Err(too_short(api, upstream_version)),
                    Some(start) => Self::in_scope(&view, shard, self.listener, now, false, &mut self.work, |scope| {
                        respond.respond(frame.slice(start..), scope, &mut in_flight.exchange.draft)
                    }),
                };
                self.view = Some(view);
                match shown {
                    Ok(Progress::Done(None)) => frame,
                    Ok(Progress::Done(Some(body))) => header::response_frame(correlation_id, api, version, &body),
                    Ok(Progress::Again(respond)) => {
                        // It keeps its place at the head: nothing behind it is released first.
                        in_flight.respond = Some(respond);
                        return self.pending.push_front(Pending::Releasing(Releasing { in_flight, frame }));
                    }
                    Err(error) => return self.refuse_stage(shard, in_flight.exchange, &error, now),
                }
            }
        };
        shard.publish_addresses(self.listener);
        if let Some(capture) = &mut in_flight.exchange.capture {
            capture.leaves(&frame);
        }
        let sequence = self.record(shard, &in_flight.exchange, frame.len(), now);
        if !self.refuse_unrecorded(shard, now) {
            self.to_client.push(frame, sequence);
        }
    }

    /// Moves the gateway's own answers that are at the head of the queue to the client.
    pub(super) fn release_answers(&mut self) -> bool {
        let mut progress = false;
        while let Some(Pending::Answered { .. }) = self.pending.front() {
            if let Some(Pending::Answered { frame, sequence }) = self.pending.pop_front() {
                self.to_client.push(frame, sequence);
                progress = true;
            }
        }
        progress
    }

    /// Reads the answer to the gateway's own question about topic ids. What is not in it stays
    /// unknown, and the held request is then answered so.
    fn learn_topics(&mut self, shard: &Shard, frame: &Bytes, now: Timestamp) {
        let Some(start) = header::response_body_start(frame, ApiKey::Metadata, 12) else { return };
        let Ok(response) = decode_response::<MetadataResponse>(&frame.slice(start..), 12) else { return };
        let mut topics = shard.topics.borrow_mut();
        for topic in &response.topics {
            match &topic.name {
                Some(name) if topic.error_code == 0 => topics.learn(topic.topic_id, name.0.as_str()),
                _ => topics.unknown(topic.topic_id, now),
            }
        }
    }

    /// The upstream is gone: what is queued for the client still leaves, then the connection ends,
    /// as with a broker that died.
    pub fn upstream_gone(&mut self, shard: &Shard, reason: &str, now: Timestamp) {
        if self.phase == Phase::Closing {
            return;
        }
        let detail = format!("the upstream failed before it answered: {reason}");
        self.record_unanswered(shard, Outcome::UpstreamFailed, &detail, now);
        tracing::info!(session = %self.id, broker = self.broker(), reason, "upstream connection ended");
        shard.metrics.upstream_failures.increment();
        self.close();
    }
}

fn too_short(api: ApiKey, version: i16) -> StageError {
    StageError::Response { api, version, reason: "the frame ends within its header".to_owned() }
}
