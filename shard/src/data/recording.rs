//! Recording: by rule, what a session asks and is answered goes to the shard's recorder beside its evidence.
//!
//! Where no rule names the principal, a session has no [`Recording`], and each stage pays one comparison. Where one
//! does, the frames that pass anyway are shared, not copied, into a [`Capture`] that travels with the exchange; when
//! the exchange's entry is appended, both go to the [`recorder`], whose own thread encodes, compresses and writes.
//!
//! Invariants: in the mode `masked`, contents are kept only where nothing that was found passed unmasked; credentials
//! are kept in no mode; what cannot be recorded is cut with an entry, or ends the session before its response leaves.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use tidegate_audit::recording::format::{BODY_BYTES_MAX, LeftOut};
use tidegate_core::event::{Event, FindingCount};
use tidegate_core::words::Timestamp;
use tidegate_policy::recording::{RecordingMode, RecordingRule, WhenFull};
use tidegate_policy::view::View;

use super::session::{Exchange, Session};
use super::shard::Shard;
use super::stage::{Draft, Request};
use crate::shared::Refusal;

pub mod recorder;
mod writer;

pub use recorder::Recorder;

/// The recording of one session under one rule.
pub struct Recording {
    /// The rule.
    pub rule: Arc<RecordingRule>,
    /// Which of the recorder's.
    pub(super) serial: u64,
    /// Which part of the session's recording.
    pub(super) part: u32,
    /// What its entries say of the session.
    pub(super) event: Event,
    state: Cell<State>,
    /// Why the session must end.
    reason: RefCell<String>,
    /// Bytes of exchanges taken.
    bytes: Cell<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Nothing more is recorded.
    Cut,
    /// Nothing more is released.
    Closing,
}

/// What is kept of an exchange under way.
#[derive(Debug, Clone)]
pub struct Capture {
    request: Body,
    response: Body,
    originals: bool,
}

/// The bytes of a request or response, or why they are not kept.
#[derive(Debug, Clone)]
enum Body {
    Kept(Bytes),
    LeftOut(LeftOut),
}

impl Body {
    fn of(frame: &Bytes) -> Self {
        if frame.len() > BODY_BYTES_MAX { Self::LeftOut(LeftOut::TooLarge) } else { Self::Kept(frame.clone()) }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Kept(bytes) => bytes.len() as u64,
            Self::LeftOut(_) => 0,
        }
    }

    fn parts(self) -> (Option<Bytes>, i32) {
        match self {
            Self::Kept(bytes) => (Some(bytes), LeftOut::No as i32),
            Self::LeftOut(why) => (None, why as i32),
        }
    }
}

impl Capture {
    /// The upstream's response as it came.
    pub fn came(&mut self, frame: &Bytes) {
        if self.originals && matches!(self.response, Body::LeftOut(LeftOut::Absent)) {
            self.response = Body::of(frame);
        }
    }

    /// The response as it leaves.
    pub fn leaves(&mut self, frame: &Bytes) {
        if matches!(self.response, Body::LeftOut(LeftOut::Absent)) {
            self.response = Body::of(frame);
        }
    }
}

impl Recording {
    pub(super) fn new(rule: Arc<RecordingRule>, serial: u64, part: u32, event: Event) -> Self {
        let (state, reason, bytes) = (Cell::new(State::Open), RefCell::default(), Cell::new(0));
        Self { rule, serial, part, event, state, reason, bytes }
    }

    /// Says that nothing more can be recorded. Returns whether that is news.
    pub(super) fn fail(&self, reason: &str) -> bool {
        if self.state.get() != State::Open {
            return false;
        }
        match self.rule.when_full {
            WhenFull::Cut => self.state.set(State::Cut),
            WhenFull::Close => {
                self.state.set(State::Closing);
                *self.reason.borrow_mut() = reason.to_owned();
            }
        }
        true
    }

    fn is_open(&self) -> bool {
        self.state.get() == State::Open
    }

    /// Whether an exchange is one that the rule records.
    fn wants(&self, draft: &Draft) -> bool {
        let of = |name: &str| self.rule.names_topic(name);
        !self.rule.is_of_topics() || draft.resources.iter().any(|touched| touched.kind == "topic" && of(&touched.name))
    }
}

impl Session {
    /// Begins, ends or changes the recording as the principal's view says now.
    pub(super) fn follow_recording(&mut self, shard: &Shard, now: Timestamp) {
        let rule = self.view.as_ref().and_then(View::recording);
        match (&self.recording, rule) {
            (None, None) => return,
            (Some(recording), Some(rule)) if Arc::ptr_eq(&recording.rule, rule) || recording.rule == *rule => return,
            _ => {}
        }
        let rule = rule.cloned();
        self.end_recording(shard, "the rule changed", now);
        if let Some(rule) = rule {
            self.recording_parts += 1;
            self.recording = Some(shard.recorder.begin(self, rule, self.recording_parts, now));
        }
    }

    /// Ends the recording, where there is one.
    pub(super) fn end_recording(&mut self, shard: &Shard, reason: &str, now: Timestamp) {
        if let Some(recording) = self.recording.take() {
            shard.recorder.end(&recording, false, reason, now);
        }
    }

    /// Whether nothing is to be taken before recordings were written.
    pub(super) fn waits_for_recorder(&self, shard: &Shard) -> bool {
        let Some(recording) = &self.recording else { return false };
        recording.rule.when_full == WhenFull::Close && recording.is_open() && shard.recorder.is_full()
    }

    /// Ends the session where its rule wants that of what cannot be recorded. Called before anything is released.
    pub(super) fn refuse_unrecorded(&mut self, shard: &Shard, now: Timestamp) -> bool {
        let Some(recording) = &self.recording else { return false };
        if recording.state.get() != State::Closing {
            return false;
        }
        let reason = format!("the session must be recorded and cannot be: {}", recording.reason.borrow());
        self.refuse(shard, Refusal::Unrecorded, reason, now);
        true
    }

    /// Keeps a request; `sent` is the frame that the upstream gets, where it gets one.
    pub(super) fn capture(&self, request: &Request, sent: Option<&Bytes>, exchange: &mut Exchange) {
        let Some(recording) = self.recording.as_ref().filter(|recording| recording.is_open()) else { return };
        let (mode, draft) = (recording.rule.mode, &exchange.draft);
        let whole = |why| Capture { request: Body::LeftOut(why), response: Body::LeftOut(why), originals: false };
        let capture = if mode == RecordingMode::Headers {
            whole(LeftOut::Mode)
        } else if carries_credentials(exchange.api, draft) {
            whole(LeftOut::Secret)
        } else {
            let originals = mode == RecordingMode::Originals;
            let kept = match (exchange.api, sent) {
                _ if originals => Body::of(&request.frame),
                // Before masking there is nothing that could be kept.
                (ApiKey::Produce, None) => Body::LeftOut(LeftOut::Unmasked),
                (ApiKey::Produce, Some(sent)) if self.is_masked_on_its_way_in(draft) => Body::of(sent),
                (ApiKey::Produce, Some(_)) => Body::LeftOut(LeftOut::Unmasked),
                _ => Body::of(&request.frame),
            };
            Capture { request: kept, response: Body::LeftOut(LeftOut::Absent), originals }
        };
        exchange.capture = Some(Box::new(capture));
    }

    /// Whether no rule masks for readers of these topics what was not masked for this writer.
    fn is_masked_on_its_way_in(&self, draft: &Draft) -> bool {
        let Some(view) = &self.view else { return false };
        let topics = draft.resources.iter().filter(|touched| touched.kind == "topic");
        topics.filter(|touched| touched.allowed).all(|touched| !view.is_masked_for_readers(&touched.name))
    }
}

/// A recorded exchange on its way to the writer.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) exchange: tidegate_audit::recording::format::Exchange,
    /// What it counts as.
    pub(super) bytes: u64,
}

/// What the entry of an exchange says, for its recording.
pub(super) struct Said<'a> {
    pub(super) api: &'static str,
    pub(super) outcome: i32,
    pub(super) response_bytes: usize,
    pub(super) latency_micros: u64,
    pub(super) client_id: &'a str,
}

impl Recording {
    /// What is recorded of an exchange; `None` where nothing is.
    fn recorded(&self, exchange: &Exchange, said: Said<'_>) -> Option<Recorded> {
        if !self.is_open() || !self.wants(&exchange.draft) {
            return None;
        }
        let left_out = || Body::LeftOut(LeftOut::Absent);
        let (mut request, mut response) = match &exchange.capture {
            Some(capture) => (capture.request.clone(), capture.response.clone()),
            None => (left_out(), left_out()),
        };
        if self.rule.mode == RecordingMode::Masked && passed_unmasked(&exchange.draft) {
            match exchange.api {
                ApiKey::Produce => request = Body::LeftOut(LeftOut::Unmasked),
                _ => response = Body::LeftOut(LeftOut::Unmasked),
            }
        }
        let bytes = request.bytes() + response.bytes();
        let (request, request_left_out) = request.parts();
        let (response, response_left_out) = response.parts();
        let Said { api, outcome, response_bytes, latency_micros, client_id } = said;
        let draft = &exchange.draft;
        let exchange = tidegate_audit::recording::format::Exchange {
            started_micros: exchange.started.0,
            latency_micros,
            api_key: i32::from(exchange.api as i16),
            api_version: i32::from(exchange.version),
            api: api.to_owned(),
            client_id: client_id.to_owned(),
            request_bytes: exchange.request_bytes,
            response_bytes: response_bytes as u64,
            request,
            response,
            request_left_out,
            response_left_out,
            outcome,
            resources: draft.resources.iter().map(Into::into).collect(),
            findings: draft.findings.clone(),
            detail: draft.detail.clone(),
            upstream_errors: draft.upstream_errors.clone(),
            entry: 0,
        };
        Some(Recorded { exchange, bytes: bytes + OVERHEAD_BYTES })
    }

    /// Takes an exchange whose entry has been appended to the evidence.
    pub(super) fn take(&self, shard: &Shard, exchange: &Exchange, said: Said<'_>, now: Timestamp) {
        let Some(mut recorded) = self.recorded(exchange, said) else { return };
        recorded.exchange.entry = shard.evidence.appended_sequence() + 1;
        let bound = self.rule.session_bytes_max.min(u64::from(shard.limits.recording_session_bytes_max));
        let bytes = self.bytes.get() + recorded.bytes;
        let why = if bytes > bound {
            format!("the bound of {bound} bytes a session is reached")
        } else if self.rule.when_full == WhenFull::Cut && shard.recorder.is_full() {
            "recordings are not written as fast as they come".to_owned()
        } else {
            self.bytes.set(bytes);
            return shard.recorder.push(self, recorded);
        };
        if self.fail(&why) {
            shard.recorder.end(self, true, &why, now);
        }
    }
}

/// What an exchange without contents counts as.
const OVERHEAD_BYTES: u64 = 256;

/// Whether personal data that was found, or was looked for in vain, passed as it was.
fn passed_unmasked(draft: &Draft) -> bool {
    let is_masked = |found: &FindingCount| !matches!(found.operator.as_str(), "none" | "observe");
    let covered = |seen: &FindingCount| {
        draft.findings.iter().any(|found| {
            is_masked(found) && found.class == seen.class && found.topic == seen.topic && found.count >= seen.count
        })
    };
    let passed = |found: &FindingCount| match found.operator.as_str() {
        "none" => true,
        "observe" => !covered(found),
        _ => false,
    };
    draft.findings.iter().any(passed) || (draft.inspected.unparseable > 0 && !draft.unparseable)
}

/// Whether bodies of this API carry credentials. Of configurations only topics' never do.
fn carries_credentials(api: ApiKey, draft: &Draft) -> bool {
    match api {
        ApiKey::SaslHandshake
        | ApiKey::SaslAuthenticate
        | ApiKey::AlterUserScramCredentials
        | ApiKey::CreateDelegationToken
        | ApiKey::RenewDelegationToken
        | ApiKey::ExpireDelegationToken
        | ApiKey::DescribeDelegationToken => true,
        ApiKey::AlterConfigs | ApiKey::IncrementalAlterConfigs | ApiKey::DescribeConfigs => {
            draft.resources.is_empty() || draft.resources.iter().any(|touched| touched.kind != "topic")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
