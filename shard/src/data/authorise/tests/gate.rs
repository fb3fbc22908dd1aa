//! The bench: a policy of a few grants, a request through it, and the verdict taken apart.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Encodable, StrBytes};
use tidegate_core::decode::{self, Body, decode_request};
use tidegate_core::header::RequestHeader;
use tidegate_core::limits::Limits;
use tidegate_core::words::{Principal, Timestamp};
use tidegate_policy::snapshot::Snapshot;
use tidegate_policy::view::View;
use uuid::Uuid;

use super::super::super::addresses::{Addresses, Scheme};
use super::super::super::stage::{Draft, OnUnparseable, Progress, Request, Respond, Scope, StageError, Verdict};
use super::super::super::topics::TopicIds;
use super::super::authorise;

/// A topic's id in these tests.
pub(super) fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// A string as the codecs have it.
pub(super) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A request's or response's body.
pub(super) fn body<T: Encodable>(message: &T, version: i16) -> Bytes {
    decode::encode(message, version).unwrap_or_else(|e| panic!("v{version}: {e}"))
}

/// The gateway as one principal sees it.
pub(super) struct Gate {
    view: View,
    limits: Limits,
    pub(super) topics: TopicIds,
    pub(super) addresses: Addresses,
    pub(super) may_resolve: bool,
}

impl Gate {
    /// A policy in which each grant, a resource and its operations, is written as `topic: t | read`.
    pub(super) fn new(grants: &[&str]) -> Self {
        let mut policy = "version: 1\ngrants:\n".to_owned();
        for (number, grant) in grants.iter().enumerate() {
            let (resource, operations) = grant.split_once(" | ").unwrap();
            policy += &format!("  - name: g{number}\n    purpose: tests\n    principals: [alice]\n");
            policy += &format!("    resources: [{{{resource}}}]\n    operations: [{operations}]\n");
        }
        // No grant at all is no list.
        let policy = if grants.is_empty() { "version: 1\ngrants: []\n".to_owned() } else { policy };
        let snapshot = Snapshot::read(&policy, "policy.yaml", 1).unwrap_or_else(|p| panic!("{p:?}\n{policy}"));
        let alice: Arc<str> = Arc::from("alice");
        let issuer = Arc::from("https://issuer");
        let principal = Principal { issuer, subject: alice.clone(), name: alice, groups: Vec::new() };
        let scheme = Scheme::PortPerBroker { host: "gw".into(), base_port: 9100, node_ids: 0..=9 };
        Self {
            view: snapshot.view(&principal),
            limits: Limits::default(),
            topics: TopicIds::new(100),
            addresses: Addresses::new(Arc::new(scheme)),
            may_resolve: true,
        }
    }

    fn scope(&mut self) -> Scope<'_> {
        Scope {
            view: &self.view,
            now: Timestamp(1),
            limits: &self.limits,
            topics: &mut self.topics,
            addresses: &mut self.addresses,
            on_unparseable: OnUnparseable::Reject,
            subjects: None,
            schemas: &tidegate_policy::mask::schema::NoSchemas,
            may_resolve: self.may_resolve,
            work: usize::MAX,
        }
    }

    /// Shows the gateway a request's bytes.
    pub(super) fn ask_bytes(&mut self, api: ApiKey, version: i16, body: Bytes) -> Result<Decided, StageError> {
        let header = RequestHeader { api, version, correlation_id: 7, client_id: None, body_start: 0 };
        let request = Request { header, frame: body };
        let mut draft = Draft::default();
        let verdict = authorise(&request, &mut self.scope(), &mut draft)?;
        Ok(Decided { version, verdict, draft })
    }

    /// Shows the gateway a request.
    pub(super) fn ask<Q: Encodable>(&mut self, api: ApiKey, version: i16, request: &Q) -> Decided {
        self.ask_bytes(api, version, body(request, version)).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Shows `respond` the upstream's response, and yields what the client gets.
    pub(super) fn respond<U: Encodable, R: Body>(&mut self, waiting: Waiting, upstream: &U) -> (R, Draft) {
        let Waiting { asked_in, version, respond, mut draft } = waiting;
        let sent = body(upstream, asked_in);
        let passed =
            done(respond.respond(sent.clone(), &mut self.scope(), &mut draft)).unwrap_or_else(|e| panic!("{e}"));
        (decode_request(&passed.unwrap_or(sent), version, usize::MAX).unwrap(), draft)
    }

    /// As [`Gate::respond`], with bytes.
    pub(super) fn respond_bytes(&mut self, waiting: Waiting, sent: Bytes) -> Result<Option<Bytes>, StageError> {
        let Waiting { respond, mut draft, .. } = waiting;
        done(respond.respond(sent, &mut self.scope(), &mut draft))
    }
}

/// Nothing here scans records, so one turn does.
fn done(progress: Result<Progress, StageError>) -> Result<Option<Bytes>, StageError> {
    match progress? {
        Progress::Done(body) => Ok(body),
        Progress::Again(_) => panic!("another turn is wanted"),
    }
}

/// What was decided about a request.
pub(super) struct Decided {
    version: i16,
    pub(super) verdict: Verdict,
    pub(super) draft: Draft,
}

/// A request that went to the upstream.
pub(super) struct Waiting {
    asked_in: i16,
    version: i16,
    respond: Box<dyn Respond>,
    pub(super) draft: Draft,
}

impl Decided {
    /// The gateway's own answer.
    pub(super) fn answer<R: Body>(self) -> R {
        match self.verdict {
            Verdict::Answer(body) => decode_request(&body, self.version, usize::MAX).unwrap(),
            other => panic!("not an answer but {}", name(&other)),
        }
    }

    /// The very bytes go.
    pub(super) fn forwarded(self) -> Waiting {
        match self.verdict {
            Verdict::ForwardThen(respond) => {
                Waiting { asked_in: self.version, version: self.version, respond, draft: self.draft }
            }
            other => panic!("not forwarded but {}", name(&other)),
        }
    }

    /// Another request goes.
    pub(super) fn rewritten<Q: Body>(self) -> (Q, Waiting) {
        match self.verdict {
            Verdict::Rewrite { version, body, respond } => {
                let request = decode_request(&body, version, usize::MAX).unwrap();
                (request, Waiting { asked_in: version, version: self.version, respond, draft: self.draft })
            }
            other => panic!("not rewritten but {}", name(&other)),
        }
    }

    /// `kind name operation +|-` of every decision in the evidence.
    pub(super) fn decisions(&self) -> Vec<String> {
        decisions(&self.draft)
    }
}

/// `kind name operation +|-` of every decision in the evidence; `name/partition` where one is meant.
pub(super) fn decisions(draft: &Draft) -> Vec<String> {
    let write = |r: &tidegate_core::event::Touched| {
        let partition = r.partition.map_or(String::new(), |p| format!("/{p}"));
        format!("{} {}{partition} {} {}", r.kind, r.name, r.operation, if r.allowed { '+' } else { '-' })
    };
    draft.resources.iter().map(write).collect()
}

pub(super) fn name(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Forward => "Forward",
        Verdict::ForwardThen(_) => "ForwardThen",
        Verdict::Rewrite { .. } => "Rewrite",
        Verdict::Answer(_) => "Answer",
        Verdict::Resolve(_) => "Resolve",
        Verdict::ForwardWithoutResponse { .. } => "ForwardWithoutResponse",
        Verdict::Again(_) => "Again",
        Verdict::Close(_) => "Close",
    }
}
