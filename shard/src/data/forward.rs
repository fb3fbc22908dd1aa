//! Forward: from a client's frame to what the upstream gets, or to the gateway's own answer.
//!
//! Frame, header, authorise (and scan, for produced records) happen here in this order; each is a
//! pure function elsewhere, and this file is the control flow above them.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{ApiKey, MetadataRequest};
use kafka_protocol::protocol::Encodable;
use tidegate_core::api::{self, Handling};
use tidegate_core::header::{self, RequestHeader};
use tidegate_core::words::Timestamp;
use uuid::Uuid;

use super::session::{Counted, Exchange, Held, HeldFor, InFlight, Pending, Right, Session};
use super::shard::Shard;
use super::stage::{Decide, Draft, Request, Respond, StageError, Verdict, answer_frame};
use super::{authorise, hold, login, records};
use crate::shared::Refusal;

/// The version of the Metadata request by which the gateway resolves topic ids (KIP-516: v10 and
/// up; v12 since it allows a null name).
const RESOLVE_VERSION: i16 = 12;

/// Which time a request is decided on.
enum Attempt {
    /// It has just come.
    First,
    /// Topic ids were asked about for it.
    Resolved,
    /// Another turn of a decision under way.
    Next(Box<dyn Decide>),
}

impl Session {
    /// Takes requests out of the client's bytes while it may. Returns whether anything happened.
    pub fn take_requests(&mut self, shard: &Shard, now: Timestamp) -> bool {
        let mut progress = self.resume_held(shard, now);
        while self.takes_requests(shard) && !self.is_spent() {
            let limit = match self.principal {
                Some(_) => shard.limits.frame_bytes_max,
                None => shard.limits.frame_unauthenticated_bytes_max,
            };
            match self.from_client.next_frame(limit) {
                Ok(None) => break,
                Ok(Some(frame)) => self.take_request(shard, frame, now),
                Err(error) => self.refuse(shard, Refusal::Malformed, error.to_string(), now),
            }
            progress = true;
        }
        progress
    }

    fn take_request(&mut self, shard: &Shard, frame: Bytes, now: Timestamp) {
        let header = match RequestHeader::parse(&frame) {
            Ok(header) => header,
            Err(error) => {
                return self.refuse(shard, Refusal::Malformed, error.to_string(), now);
            }
        };
        let request = Request { header, frame };
        if *self.client_id != *request.client_id() {
            self.client_id = Arc::from(request.client_id());
        }
        if let Some(request) = self.greet(shard, request, now) {
            self.handle(shard, request, now, now, Attempt::First);
        }
    }

    /// Decides on one request.
    fn handle(&mut self, shard: &Shard, request: Request, started: Timestamp, now: Timestamp, attempt: Attempt) {
        let (key, version) = (request.api(), request.version());
        let Some(handling) = api::handling(key) else {
            let reason = format!("{key:?} is not served to clients");
            return self.refuse(shard, Refusal::Unsupported, reason, now);
        };
        if !api::is_enforced(key, version) {
            let reason = format!("{key:?} v{version} is not a version that Tidegate enforces");
            return self.refuse(shard, Refusal::Unsupported, reason, now);
        }
        let owes_nothing = self.pending.is_empty() && self.to_client.is_empty();
        if !self.still_authorised(shard, now) {
            if owes_nothing {
                self.deny_last(shard, &request, handling, started, now);
            }
            return;
        }
        self.decide(shard, request, handling, started, now, attempt);
    }

    /// Checks that the token and at least one grant still hold, and that what must be recorded can be; closes where
    /// not.
    pub(super) fn still_authorised(&mut self, shard: &Shard, now: Timestamp) -> bool {
        if self.refuse_unrecorded(shard, now) {
            return false;
        }
        if self.expires.is_some_and(|expires| expires <= now) {
            let reason = "the token has expired and the client did not authenticate anew".to_owned();
            self.refuse(shard, Refusal::Expired, reason, now);
            return false;
        }
        self.grants_hold(shard, now)
    }

    /// Checks that at least one grant still holds; closes where none does.
    pub(super) fn grants_hold(&mut self, shard: &Shard, now: Timestamp) -> bool {
        match self.refresh_view(shard, now) {
            Right::Holds => return true,
            Right::Lost => self.shut_out(shard, Refusal::Expired, "the principal has no grant left", now),
            Right::Revoked(reason) => self.shut_out(shard, Refusal::Revoked, &format!("revoked: {reason}"), now),
        }
        false
    }

    fn decide(
        &mut self,
        shard: &Shard,
        request: Request,
        handling: Handling,
        started: Timestamp,
        now: Timestamp,
        attempt: Attempt,
    ) {
        let Some(view) = self.view.take() else { return self.close() };
        // Most principals have no such rule: one comparison.
        let request = if view.has_holds() && hold::uses_topics(request.api()) && view.holds_first_uses() {
            let goes_on = self.first_use(shard, &view, request, started, now);
            let Some(request) = goes_on else { return self.view = Some(view) };
            request
        } else {
            request
        };
        let mut draft = Draft::default();
        let fetches = &mut self.fetches;
        let work = &mut self.work;
        let may_resolve = matches!(attempt, Attempt::First);
        let verdict =
            Self::in_scope(&view, shard, self.listener, now, may_resolve, work, |scope| match (attempt, handling) {
                (Attempt::Next(decide), _) => decide.decide(scope, &mut draft),
                (_, Handling::Records) => records::request(&request, fetches, scope, &mut draft),
                (_, Handling::Inspected) => authorise::authorise(&request, scope, &mut draft),
                (_, Handling::Opaque | Handling::Local) => Ok(Verdict::Forward),
            });
        self.first.note(&mut draft);
        let exchange = Exchange { draft, ..Exchange::of(&request, started, &view) };
        let has_holds = view.has_holds();
        self.view = Some(view);
        match verdict {
            Ok(verdict) if has_holds => {
                if let Some((request, verdict, exchange)) = self.hold_back(shard, request, verdict, exchange, now) {
                    self.carry_out(shard, request, verdict, exchange, now);
                }
            }
            Ok(verdict) => self.carry_out(shard, request, verdict, exchange, now),
            Err(error) => self.refuse_stage(shard, exchange, &error, now),
        }
    }

    fn carry_out(&mut self, shard: &Shard, request: Request, verdict: Verdict, mut exchange: Exchange, now: Timestamp) {
        let version = request.version();
        match verdict {
            Verdict::Forward => self.send_upstream(shard, request.frame.clone(), &request, version, None, exchange),
            Verdict::ForwardThen(respond) => {
                self.send_upstream(shard, request.frame.clone(), &request, version, Some(respond), exchange);
            }
            Verdict::Rewrite { version, body, respond } => {
                let frame = if version == request.version() {
                    header::with_body(&request.frame, request.header.body_start, &body)
                } else {
                    let id = request.header.correlation_id;
                    header::request_frame(id, request.api(), version, request.client_id(), &body)
                };
                self.send_upstream(shard, frame, &request, version, Some(respond), exchange);
            }
            Verdict::Answer(body) => self.answer(shard, &request, &body, exchange, now),
            Verdict::ForwardWithoutResponse { body } => {
                let frame = match body {
                    Some(body) => header::with_body(&request.frame, request.header.body_start, &body),
                    None => request.frame.clone(),
                };
                self.capture(&request, Some(&frame), &mut exchange);
                self.record(shard, &exchange, 0, now);
                if !self.refuse_unrecorded(shard, now) {
                    self.to_upstream.push(frame, 0);
                }
            }
            Verdict::Resolve(ids) => self.resolve(shard, request, ids, exchange, now),
            Verdict::Again(decide) => {
                let (started, until) = (exchange.started, Timestamp::MAX);
                self.held = Some(Held { request, started, reason: HeldFor::Turn, until, decide: Some(decide) });
            }
            Verdict::Close(reason) => {
                self.record(shard, &exchange, 0, now);
                self.refuse(shard, Refusal::Unsupported, reason, now);
            }
        }
    }

    /// Queues the gateway's own answer in the client's order.
    pub(super) fn answer(
        &mut self,
        shard: &Shard,
        request: &Request,
        body: &[u8],
        mut exchange: Exchange,
        now: Timestamp,
    ) {
        let frame = answer_frame(request, body);
        self.capture(request, None, &mut exchange);
        if let Some(capture) = &mut exchange.capture {
            capture.leaves(&frame);
        }
        let sequence = self.record(shard, &exchange, frame.len(), now);
        if self.refuse_unrecorded(shard, now) {
            return;
        }
        self.pending.push_back(Pending::Answered { frame, sequence });
    }

    fn send_upstream(
        &mut self,
        shard: &Shard,
        frame: Bytes,
        request: &Request,
        upstream_version: i16,
        respond: Option<Box<dyn Respond>>,
        mut exchange: Exchange,
    ) {
        self.capture(request, Some(&frame), &mut exchange);
        self.pending.push_back(Pending::Upstream(Box::new(InFlight {
            counted: Counted::new(&shard.metrics),
            correlation_id: request.header.correlation_id,
            api: request.api(),
            version: request.version(),
            upstream_version,
            respond,
            exchange,
        })));
        self.to_upstream.push(frame, 0);
    }

    /// Closes for a message that a stage could not handle.
    pub(super) fn refuse_stage(&mut self, shard: &Shard, mut exchange: Exchange, error: &StageError, now: Timestamp) {
        exchange.draft.malformed = true;
        exchange.draft.detail = error.to_string();
        self.record(shard, &exchange, 0, now);
        let why = match error {
            StageError::Request { .. } => Refusal::Malformed,
            StageError::Response { .. } => Refusal::Upstream,
        };
        self.refuse(shard, why, error.to_string(), now);
    }

    /// Asks the upstream for the names of topic ids; the request waits, and what comes behind it.
    /// What the upstream did not know a moment ago is not asked about again.
    fn resolve(&mut self, shard: &Shard, request: Request, mut ids: Vec<Uuid>, exchange: Exchange, now: Timestamp) {
        let topics = shard.topics.borrow();
        ids.retain(|id| !topics.is_unknown(id, now));
        drop(topics);
        if ids.is_empty() {
            return self.handle(shard, request, exchange.started, now, Attempt::Resolved);
        }
        let body = resolve_body(&ids);
        let correlation_id = self.own_id();
        let frame = header::request_frame(correlation_id, ApiKey::Metadata, RESOLVE_VERSION, login::CLIENT_ID, &body);
        self.to_upstream.push(frame, 0);
        self.pending.push_back(Pending::Resolving { correlation_id });
        let until = now.plus_millis(i64::from(shard.limits.upstream_connect_millis_max));
        self.held = Some(Held { request, started: exchange.started, reason: HeldFor::TopicIds, until, decide: None });
    }

    /// Decides on a request again for which all that was to be asked was asked.
    pub(super) fn look_again(&mut self, shard: &Shard, request: Request, started: Timestamp, now: Timestamp) {
        self.handle(shard, request, started, now, Attempt::Resolved);
    }

    /// A correlation id for the gateway's own request; any will do, since responses keep order.
    pub(super) fn own_id(&mut self) -> i32 {
        self.next_own_id = self.next_own_id.wrapping_add(1);
        self.next_own_id
    }

    /// Takes a held request up again where what it waited for is there.
    fn resume_held(&mut self, shard: &Shard, now: Timestamp) -> bool {
        let Some(held) = &self.held else { return false };
        match held.reason {
            HeldFor::TopicIds | HeldFor::Settings => {
                if self.pending.iter().any(|pending| matches!(pending, Pending::Resolving { .. })) {
                    return false;
                }
                let Some(held) = self.held.take() else { return false };
                self.handle(shard, held.request, held.started, now, Attempt::Resolved);
                true
            }
            HeldFor::Turn => {
                if self.is_spent() {
                    return false;
                }
                let Some(held) = self.held.take() else { return false };
                let attempt = held.decide.map_or(Attempt::Resolved, Attempt::Next);
                self.handle(shard, held.request, held.started, now, attempt);
                true
            }
            HeldFor::Approval => {
                // A new login at the upstream comes first: a broker expects nothing else meanwhile.
                let is_due = self.hold.as_ref().is_none_or(|waiting| waiting.is_due(shard, now));
                if !is_due || self.login.is_some() || self.login_is_wanted {
                    return false;
                }
                let Some(held) = self.held.take() else { return false };
                self.handle(shard, held.request, held.started, now, Attempt::Resolved);
                true
            }
            HeldFor::Keys => self.retry_token(shard, now),
        }
    }
}

fn resolve_body(ids: &[Uuid]) -> Vec<u8> {
    let topics = ids.iter().map(|id| MetadataRequestTopic::default().with_topic_id(*id).with_name(None)).collect();
    let request = MetadataRequest::default().with_topics(Some(topics)).with_allow_auto_topic_creation(false);
    let mut body = Vec::new();
    // Encoding into memory a message whose every field is set for this version cannot fail.
    if request.encode(&mut body, RESOLVE_VERSION).is_err() {
        body.clear();
    }
    body
}
