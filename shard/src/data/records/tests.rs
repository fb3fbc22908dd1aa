//! Tests of the records stage: a policy, requests as clients send them, responses as brokers do.

use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Decodable, Encodable};
use tidegate_core::batch::build::BatchBuilder;
use tidegate_core::batch::{self, Codec, Inspect, Record, RecordEdit};
use tidegate_core::header::{self, RequestHeader};
use tidegate_core::limits::Limits;
use tidegate_core::words::{Principal, Timestamp};
use tidegate_policy::snapshot::Snapshot;
use tidegate_policy::subject::SubjectKey;
use tidegate_policy::view::View;
use uuid::Uuid;

use super::super::addresses::{Addresses, Scheme};
use super::super::stage::{Draft, OnUnparseable, Progress, Request, Respond, Scope, StageError, Verdict};
use super::super::topics::TopicIds;
use super::FetchSessions;

mod fetch;
mod garbage;
mod produce;
mod schemas;
mod session_model;
mod sessions;
mod share;
mod subjects;
mod turns;
mod verdicts;

/// 2026-01-01T12:00:00Z.
const NOON: Timestamp = Timestamp::from_secs(1_767_268_800);
/// A sentence with personal data in it.
const PERSONAL: &str = r#"{"order":1,"email":"jane.doe@example.com"}"#;
/// A sentence without.
const PLAIN: &str = r#"{"order":2,"item":"teapot"}"#;

/// `alice` reads and writes `orders` and `shop.*`, and partitions 0 and 1 of `split`; her grant on
/// `brief` ends at noon and five seconds. Personal data in `orders` is masked both ways.
const POLICY: &str = r#"
version: 1
grants:
  - name: alice-orders
    purpose: testing
    principals: [alice]
    resources: [{topic: orders}, {topic: {prefix: shop.}}, {transactional_id: alice-tx}, {group: alice-group}]
    operations: [read, write]
  - name: alice-split
    purpose: testing parts
    principals: [alice]
    resources: [{topic: split, partitions: [0, 1]}]
    operations: [read, write]
  - name: alice-brief
    purpose: testing ends
    principals: [alice]
    resources: [{topic: brief}]
    operations: [read]
    not_after: 2026-01-01T12:00:05Z
masks:
  - name: personal
    topics: [orders]
    everyone: true
    directions: [produce, fetch]
    classes: [email]
    operator: redact
"#;

/// [`POLICY`], compiled once: random tests make many worlds.
static COMPILED: OnceLock<Snapshot> = OnceLock::new();

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

/// A connection's surroundings.
struct World {
    view: View,
    limits: Limits,
    topics: TopicIds,
    addresses: Addresses,
    on_unparseable: OnUnparseable,
    subjects: Option<SubjectKey>,
    schemas: schemas::Registry,
    now: Timestamp,
    may_resolve: bool,
    /// The work of one turn: little, so that every test meets several.
    work: usize,
    /// Turns taken, by requests and responses.
    turns: usize,
    /// What happens between two turns.
    between: fn(&mut World),
    sessions: FetchSessions,
}

impl World {
    /// With the policy above, and topics of ids 1 `orders`, 2 `shop.a`, 3 `secret`, 4 `split`, 5 `brief`.
    fn new() -> Self {
        let mut topics = TopicIds::new(100);
        for (n, name) in [(1, "orders"), (2, "shop.a"), (3, "secret"), (4, "split"), (5, "brief")] {
            topics.learn(id(n), name);
        }
        let scheme = Scheme::PortPerBroker { host: Arc::from("gate.example.com"), base_port: 9000, node_ids: 0..=9 };
        Self {
            view: COMPILED.get_or_init(|| Snapshot::read(POLICY, "policy.yaml", 1).unwrap()).view(&alice()),
            // The same batches come again and again, and are to be scanned each time.
            limits: Limits { verdict_cache_bytes_per_shard_max: 0, ..Limits::default() },
            topics,
            addresses: Addresses::new(Arc::new(scheme)),
            on_unparseable: OnUnparseable::Reject,
            subjects: SubjectKey::new(1, &[7; 32]),
            schemas: schemas::Registry::default(),
            now: NOON,
            may_resolve: true,
            work: 100,
            turns: 0,
            between: |_| {},
            sessions: FetchSessions::default(),
        }
    }

    fn turn<T>(&mut self, may_resolve: bool, turn: impl FnOnce(&mut FetchSessions, &mut Scope<'_>) -> T) -> T {
        self.turns += 1;
        let mut scope = Scope {
            view: &self.view,
            now: self.now,
            limits: &self.limits,
            topics: &mut self.topics,
            addresses: &mut self.addresses,
            on_unparseable: self.on_unparseable,
            subjects: self.subjects.as_ref(),
            schemas: &self.schemas,
            may_resolve,
            work: self.work,
        };
        turn(&mut self.sessions, &mut scope)
    }

    fn try_ask(&mut self, request: &Request, draft: &mut Draft) -> Result<Verdict, StageError> {
        let may_resolve = self.may_resolve;
        let mut verdict = self.turn(may_resolve, |sessions, scope| super::request(request, sessions, scope, draft))?;
        while let Verdict::Again(decide) = verdict {
            assert_eq!(*draft, Draft::default(), "noted before the end");
            (self.between)(self);
            verdict = self.turn(false, |_, scope| decide.decide(scope, draft))?;
        }
        Ok(verdict)
    }

    fn ask<T: Encodable>(&mut self, api: ApiKey, version: i16, message: &T) -> (Asked, Draft) {
        let mut draft = Draft::default();
        let request = request(api, version, message);
        let verdict = self.try_ask(&request, &mut draft).unwrap();
        (Asked { request, version, verdict }, draft)
    }

    fn try_respond(
        &mut self,
        respond: Box<dyn Respond>,
        body: Bytes,
        draft: &mut Draft,
    ) -> Result<Option<Bytes>, StageError> {
        let before = draft.clone();
        let mut progress = self.turn(true, |_, scope| respond.respond(body.clone(), scope, draft))?;
        loop {
            match progress {
                Progress::Done(body) => return Ok(body),
                Progress::Again(respond) => {
                    assert_eq!(*draft, before, "noted before the end");
                    (self.between)(self);
                    progress = self.turn(true, |_, scope| respond.respond(body.clone(), scope, draft))?;
                }
            }
        }
    }

    /// Shows an upstream's response; `None` where the very bytes pass.
    fn respond<T: Encodable + Decodable>(&mut self, asked: Asked, response: &T, draft: &mut Draft) -> Option<T> {
        let version = asked.version;
        let body = encoded(response, version);
        self.try_respond(asked.responder(), body, draft).unwrap().map(|body| decoded(&body, version))
    }
}

/// A request and what became of it.
struct Asked {
    request: Request,
    version: i16,
    verdict: Verdict,
}

impl Asked {
    /// The body for the upstream and whether it is the client's own.
    fn forwarded<T: Decodable>(&self) -> (T, bool) {
        match &self.verdict {
            Verdict::ForwardThen(_) => (decoded(&self.request.body(), self.version), true),
            Verdict::Rewrite { version, body, .. } => {
                assert_eq!(*version, self.version);
                (decoded(body, self.version), false)
            }
            other => panic!("not forwarded but {}", describe(other)),
        }
    }

    /// The gateway's own answer.
    fn answer<T: Decodable>(&self) -> T {
        match &self.verdict {
            Verdict::Answer(body) => decoded(body, self.version),
            other => panic!("not answered but {}", describe(other)),
        }
    }

    fn responder(self) -> Box<dyn Respond> {
        match self.verdict {
            Verdict::ForwardThen(respond) | Verdict::Rewrite { respond, .. } => respond,
            other => panic!("no responder but {}", describe(&other)),
        }
    }
}

fn describe(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Forward => "forwarded".to_owned(),
        Verdict::ForwardThen(_) => "forwarded as it is".to_owned(),
        Verdict::Rewrite { .. } => "rewritten".to_owned(),
        Verdict::Answer(_) => "answered".to_owned(),
        Verdict::Resolve(ids) => format!("resolve {ids:?}"),
        Verdict::ForwardWithoutResponse { body } => format!("without response, rewritten: {}", body.is_some()),
        Verdict::Again(_) => "again".to_owned(),
        Verdict::Close(reason) => format!("closed: {reason}"),
    }
}

fn alice() -> Principal {
    Principal { name: Arc::from("alice"), ..Principal::anonymous() }
}

fn view(policy: &str, version: u64) -> View {
    let snapshot = Snapshot::read(policy, "policy.yaml", version);
    snapshot.unwrap_or_else(|problems| panic!("{}", problems[0])).view(&alice())
}

fn request<T: Encodable>(api: ApiKey, version: i16, message: &T) -> Request {
    let frame = header::request_frame(7, api, version, "test", &encoded(message, version));
    Request { header: RequestHeader::parse(&frame).unwrap(), frame }
}

fn encoded<T: Encodable>(message: &T, version: i16) -> Bytes {
    let mut body = BytesMut::new();
    message.encode(&mut body, version).unwrap();
    body.freeze()
}

fn decoded<T: Decodable>(body: &Bytes, version: i16) -> T {
    let mut body = body.clone();
    let message = T::decode(&mut body, version).unwrap();
    assert!(body.is_empty(), "{} bytes behind the message", body.len());
    message
}

/// A batch of these values.
fn batch_at(base_offset: i64, codec: Codec, values: &[&str]) -> Bytes {
    let values = values.iter().map(|v| v.as_bytes());
    BatchBuilder::new(base_offset).codec(codec).values(values).build().unwrap()
}

fn batch(values: &[&str]) -> Bytes {
    batch_at(0, Codec::None, values)
}

/// A batch whose checksum is wrong.
fn corrupt() -> Bytes {
    let mut bytes = batch(&[PERSONAL]).to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    bytes.into()
}

/// A message set of format v1.
fn old_format() -> Bytes {
    let mut bytes = batch(&[PERSONAL]).to_vec();
    bytes[16] = 1;
    bytes.into()
}

/// The values in these batches.
fn values(records: &Bytes) -> Vec<String> {
    struct Values(RefCell<Vec<String>>);
    impl Inspect for Values {
        fn inspect(&mut self, record: &Record<'_>) -> Option<RecordEdit> {
            self.0.borrow_mut().push(String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned());
            None
        }
    }
    let mut found = Values(RefCell::default());
    batch::inspect(records, &Limits::default(), &mut found).unwrap();
    found.0.into_inner()
}

/// What the draft says of each resource: `+` allowed or `-` denied, name, partition, records.
fn resources(draft: &Draft) -> Vec<String> {
    let line = |r: &tidegate_core::event::Touched| {
        let partition = r.partition.map_or(String::new(), |p| format!("-{p}"));
        format!("{}{} {}{partition} {}", if r.allowed { '+' } else { '-' }, r.operation, r.name, r.records)
    };
    draft.resources.iter().map(line).collect()
}

/// What the draft found: class, operator, count, topic.
fn findings(draft: &Draft) -> Vec<String> {
    draft.findings.iter().map(|f| format!("{} {} {} {}", f.class, f.operator, f.count, f.topic)).collect()
}
