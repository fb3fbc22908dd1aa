//! A principal's first produce to a topic, and first fetch from it: an approval that counts for good.
//!
//! Records have a stage of their own that authorises them, request by request and response by
//! response. So the bar is in the view ([`View::authorise`] says no to a first use that nobody
//! approved), and this stage only asks and waits before that one begins: it finds the topics whose
//! first use this request would be, and lets the request on when all are approved or the time is
//! over. What is not approved then is refused by the records' stage, as any topic without a right:
//! Fetch has no room for words, and stock consumers take POLICY_VIOLATION there for a fault of the
//! broker, so it says TOPIC_AUTHORIZATION_FAILED; Produce says POLICY_VIOLATION with the words.
//!
//! A session waits once for a topic. As long as the answer is out, later requests are refused in that
//! part at once: a consumer of other topics too would else be served once in `hold`.

use bytes::Bytes;
use kafka_protocol::messages::{AddPartitionsToTxnRequest, ApiKey, FetchRequest, ProduceRequest, ShareFetchRequest};
use tidegate_core::words::{Operation, Resource, Timestamp};
use tidegate_policy::authority::{ApprovalId, ApprovalState};
use tidegate_policy::view::View;
use uuid::Uuid;

use super::super::records::FetchSessions;
use super::super::session::{Exchange, Session};
use super::super::shard::Shard;
use super::super::stage::{Draft, Request, StageError};
use super::super::topics::TopicIds;
use super::question::{Consulted, Question};
use super::subject::{self, read};
use super::{Kind, say};

/// From here on Produce and Fetch name topics by id (KIP-516).
const TOPIC_IDS_FROM: i16 = 13;
/// Topics of a session that are remembered as waited for. Over it the session waits anew.
const WAITED_MAX: usize = 1024;

/// What a session knows about first uses, beside those that passed, which its view knows.
#[derive(Debug, Default)]
pub struct FirstUses {
    waited: Vec<(Kind, Box<str>)>,
    note: Option<(Vec<ApprovalId>, String)>,
}

impl FirstUses {
    /// Writes into the evidence what the request waited for.
    pub(in crate::data) fn note(&mut self, draft: &mut Draft) {
        let Some((ids, words)) = self.note.take() else { return };
        if let Some(first) = ids.first() {
            draft.approval = first.to_string();
        }
        say(draft, &words);
    }
}

/// A topic that a request would use, and one of its partitions.
struct Wanted {
    kind: Kind,
    topic: String,
    partition: Option<i32>,
}

impl Session {
    /// Waits for the approvals of first uses, where the request is one. Gives it back where it may
    /// go on to its stage.
    pub(in crate::data) fn first_use(
        &mut self,
        shard: &Shard,
        view: &View,
        request: Request,
        started: Timestamp,
        now: Timestamp,
    ) -> Option<Request> {
        let body = request.body();
        let wanted = wanted(request.api(), request.version(), &body, &shard.topics.borrow(), &self.fetches);
        let (wanted, patience) = match wanted {
            Ok(wanted) => wanted,
            Err(reason) => {
                let error = StageError::Request { api: request.api(), version: request.version(), reason };
                self.refuse_stage(shard, Exchange::of(&request, started, view), &error, now);
                return None;
            }
        };
        let (waits, questions) = self.ask_about(shard, view, &wanted, now);
        if questions.is_empty() {
            self.hold = None;
            return Some(request);
        }
        match self.consult(shard, &questions, patience, now) {
            Consulted::Passes(ids) => {
                self.hold = None;
                shard.metrics.held_passed.increment();
                for (kind, topic) in waits {
                    view.first_uses().pass(kind, &topic);
                    self.first.waited.retain(|(of, name)| (*of, &**name) != (kind, &*topic));
                }
                let names = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                self.first.note = Some((ids, format!("first use approved: {names}")));
                Some(request)
            }
            Consulted::Waits(ids) => {
                let mut exchange = Exchange::of(&request, started, view);
                for (kind, topic) in &waits {
                    let decision = view.authorise(operation(*kind), Resource::topic(topic), now);
                    exchange.draft.decided(operation(*kind), Resource::topic(topic), &decision);
                }
                self.wait(shard, request, exchange, &ids);
                None
            }
            Consulted::Refused(ids, words) => {
                self.hold = None;
                shard.metrics.held_refused.increment();
                for (kind, topic) in waits {
                    view.first_uses().refuse(kind, &topic, &words);
                    if self.first.waited.len() >= WAITED_MAX {
                        self.first.waited.clear();
                    }
                    if !self.first.waited.iter().any(|(of, name)| (*of, &**name) == (kind, &*topic)) {
                        self.first.waited.push((kind, topic));
                    }
                }
                self.first.note = Some((ids, words));
                Some(request)
            }
        }
    }

    /// The topics whose first use a request would be, with what is to be asked about each. Those
    /// that this session waited for already come again only once they are decided.
    fn ask_about(
        &mut self,
        shard: &Shard,
        view: &View,
        wanted: &[Wanted],
        now: Timestamp,
    ) -> (Vec<(Kind, Box<str>)>, Vec<Question>) {
        let Some(principal) = self.principal.clone() else { return Default::default() };
        let (mut waits, mut questions) = (Vec::new(), Vec::new());
        let (policy, secret) = (shard.policy(), shard.shared.request_secret.load());
        for Wanted { kind, topic, partition } in wanted {
            let Some(rule) = view.first_use_rule(*kind, topic) else { continue };
            let resource = Resource::Topic { name: topic, partition: *partition };
            if !view.is_granted(operation(*kind), resource, now)
                || waits.iter().any(|(of, name): &(Kind, Box<str>)| (*of, &**name) == (*kind, topic.as_str()))
            {
                continue;
            }
            let question = Question::of_first_use(&secret, rule, &principal, *kind, topic);
            let state = shard.shared.approvals.load();
            let state = question.state(&state, policy.fingerprint());
            let waited = self.first.waited.iter().any(|(of, name)| (*of, &**name) == (*kind, topic.as_str()));
            if waited && matches!(state, Some(ApprovalState::Pending { .. } | ApprovalState::Denied { .. })) {
                if let Some(ApprovalState::Pending { id } | ApprovalState::Denied { id, .. }) = state {
                    self.first.note = Some((vec![id.clone()], format!("first use of {topic} is not approved")));
                }
                continue;
            }
            waits.push((*kind, topic.as_str().into()));
            questions.push(question);
        }
        (waits, questions)
    }
}

fn operation(kind: Kind) -> Operation {
    if kind == Kind::FirstProduce { Operation::Write } else { Operation::Read }
}

/// Whether an API carries records from or to topics, or prepares that.
pub(in crate::data) fn uses_topics(api: ApiKey) -> bool {
    matches!(api, ApiKey::Produce | ApiKey::Fetch | ApiKey::ShareFetch | ApiKey::AddPartitionsToTxn)
}

/// The topics that a request uses, those of its connection's fetch sessions included: incremental
/// fetches do not name them again. Topics by unknown ids are left out: their names are asked for
/// by the stage behind, and the request then comes here again. With it how long the client waits, in milliseconds,
/// where it says.
fn wanted(
    api: ApiKey,
    version: i16,
    body: &Bytes,
    topics: &TopicIds,
    sessions: &FetchSessions,
) -> Result<(Vec<Wanted>, Option<u64>), String> {
    let (mut wanted, mut patience) = (Vec::new(), None);
    let mut want = |kind, name: &str, id: Uuid, by_id: bool, partition| {
        let known = if by_id { topics.name(&id) } else { None };
        let topic = if by_id { known.as_deref() } else { Some(name) };
        if let Some(topic) = topic {
            wanted.push(Wanted { kind, topic: topic.to_owned(), partition });
        }
    };
    let by_id = version >= TOPIC_IDS_FROM;
    match api {
        ApiKey::Produce => {
            let request: ProduceRequest = read_large(body, version)?;
            patience = subject::patience(request.timeout_ms);
            for topic in &request.topic_data {
                let partition = topic.partition_data.first().map(|partition| partition.index);
                want(Kind::FirstProduce, &topic.name, topic.topic_id, by_id, partition);
            }
        }
        ApiKey::Fetch => {
            let request: FetchRequest = read_large(body, version)?;
            for topic in &request.topics {
                let partition = topic.partitions.first().map(|partition| partition.partition);
                want(Kind::FirstConsume, &topic.topic, topic.topic_id, by_id, partition);
            }
        }
        ApiKey::ShareFetch => {
            let request: ShareFetchRequest = read_large(body, version)?;
            for topic in &request.topics {
                let partition = topic.partitions.first().map(|partition| partition.partition_index);
                want(Kind::FirstConsume, "", topic.topic_id, true, partition);
            }
        }
        ApiKey::AddPartitionsToTxn => {
            let request: AddPartitionsToTxnRequest = read(body, version)?;
            let of_transactions = request.transactions.iter().flat_map(|transaction| &transaction.topics);
            for topic in request.v3_and_below_topics.iter().chain(of_transactions) {
                want(Kind::FirstProduce, &topic.name, Uuid::nil(), false, topic.partitions.first().copied());
            }
        }
        _ => {}
    }
    if matches!(api, ApiKey::Fetch | ApiKey::ShareFetch) {
        sessions.each_topic(|topic, partition| {
            let partition = Some(partition);
            wanted.push(Wanted { kind: Kind::FirstConsume, topic: topic.to_owned(), partition });
        });
    }
    Ok((wanted, patience))
}

/// Bodies with records may be as long as their frame.
fn read_large<T: tidegate_core::decode::Body>(body: &Bytes, version: i16) -> Result<T, String> {
    tidegate_core::decode::decode_request(body, version, body.len()).map_err(|error| error.to_string())
}
