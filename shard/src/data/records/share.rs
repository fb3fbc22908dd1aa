//! ShareFetch v1 (KIP-932): what members of a share group read and acknowledge.
//!
//! READ on the group decides about the request, READ on the topic about each partition, for
//! records and acknowledgements alike. Share sessions are kept like fetch sessions
//! ([`super::sessions`]), keyed by group and member: the upstream's never holds a denied
//! partition, the client's is told of it in every response.
//!
//! Records that are refused at release stay acquired at the broker until its lock expires, and
//! are then delivered to somebody else or archived after the group's last attempt: the gateway
//! does not acknowledge in a member's name.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::share_fetch_request::{FetchPartition, FetchTopic, ForgottenTopic, ShareFetchRequest};
use kafka_protocol::messages::share_fetch_response::{PartitionData, ShareFetchResponse, ShareFetchableTopicResponse};
use tidegate_core::batch::BatchError;
use tidegate_core::words::{Direction, Operation, Resource};
use tidegate_policy::mask::MaskPlan;
use uuid::Uuid;

use super::super::stage::{Draft, Progress, Request, Respond, Scope, StageError, Verdict};
use super::ahead::{Ahead, Part, Place};
use super::inspect::{Inspection, Use};
use super::notes::{self, Asked};
use super::sessions::{Member, Session, Shared, Standing, TopicKey, unresolved};
use super::{FetchSessions, codec};

const API: ApiKey = ApiKey::ShareFetch;
const EPOCH_INITIAL: i32 = 0;
const EPOCH_FINAL: i32 = -1;

/// A partition that the upstream does not answer.
struct Refused {
    topic: Uuid,
    partition: i32,
    error: ResponseError,
    /// The request acknowledged records of it.
    acknowledged: bool,
}

/// Handles one ShareFetch request.
pub(super) fn request(
    request: &Request,
    sessions: &mut FetchSessions,
    scope: &mut Scope<'_>,
    draft: &mut Draft,
) -> Result<Verdict, StageError> {
    let version = request.version();
    let mut message: ShareFetchRequest = codec::decode_request(request)?;
    let unknown = unresolved(message.topics.iter().map(|t| t.topic_id), scope);
    if !unknown.is_empty() {
        return Ok(Verdict::Resolve(unknown));
    }
    let group = message.group_id.as_ref().map(|g| g.0.as_str()).unwrap_or_default();
    if !scope.authorise(Operation::Read, Resource::Group(group), draft) {
        return refuse(version, ResponseError::GroupAuthorizationFailed);
    }
    let member: Member = (Arc::from(group), Arc::from(message.member_id.as_ref().map_or("", |m| m.as_str())));
    let partitions_max = scope.limits.fetch_session_partitions_max as usize;

    let mut table = sessions.share.borrow_mut();
    match message.share_session_epoch {
        EPOCH_INITIAL => table.insert(member.clone(), Session::default(), partitions_max),
        EPOCH_FINAL => {}
        _ if table.get(&member).is_none() => {
            notes::say(draft, format_args!("this member's share session did not begin on this connection"));
            return refuse(version, ResponseError::ShareSessionNotFound);
        }
        _ => {}
    }
    // The last request of a session that is not known here only acknowledges: a passing one will do.
    let mut passing = Session::default();
    let session = table.get_mut(&member).unwrap_or(&mut passing);
    let mut screened = screen(&mut message, session, scope, draft);
    if session.len() > partitions_max {
        table.remove(&member);
        notes::say(draft, format_args!("the share session outgrew fetch_session_partitions_max"));
        return refuse(version, ResponseError::ShareSessionLimitReached);
    }
    if message.share_session_epoch == EPOCH_FINAL {
        table.remove(&member);
    }
    drop(table);

    let rewritten = std::mem::take(&mut screened.rewritten);
    let respond = Box::new(ShareRespond {
        version,
        refused: screened.refused,
        member,
        sessions: sessions.share.clone(),
        asked: Asked::now(draft),
        under_way: None,
        ahead: Ahead::new(Use::ShareFetch),
    });
    if rewritten {
        return Ok(Verdict::Rewrite { version, body: codec::encode_request(&message, API, version)?, respond });
    }
    Ok(Verdict::ForwardThen(respond))
}

/// An answer to the whole request.
fn refuse(version: i16, error: ResponseError) -> Result<Verdict, StageError> {
    let response = ShareFetchResponse::default().with_error_code(error.code());
    Ok(Verdict::Answer(codec::encode_response(&response, API, version)?))
}

#[derive(Default)]
struct Screened {
    refused: Vec<Refused>,
    rewritten: bool,
}

fn stand(name: Option<&str>, partition: i32, scope: &Scope<'_>) -> Standing {
    match name {
        None => Standing::Unknown,
        Some(name) if scope.may(Operation::Read, Resource::partition(name, partition)) => Standing::Upstream,
        Some(_) => Standing::Denied,
    }
}

/// Brings the session up to the request, and the request to what the upstream may see.
fn screen(
    message: &mut ShareFetchRequest,
    session: &mut Session<FetchPartition>,
    scope: &Scope<'_>,
    draft: &mut Draft,
) -> Screened {
    let mut screened = Screened::default();
    let mut withdrawn: Vec<(Uuid, i32)> = Vec::new();
    let mut added: Vec<(Uuid, FetchPartition)> = Vec::new();
    let mut acknowledged: Vec<(Uuid, i32)> = Vec::new();
    for topic in &mut message.topics {
        let (id, key) = (topic.topic_id, TopicKey::Id(topic.topic_id));
        let name = session.name(&key).or_else(|| scope.topics.name(&id));
        let mut noted = false;
        topic.partitions.retain(|partition| {
            let index = partition.partition_index;
            let standing = stand(name.as_deref(), index, scope);
            let mut parameters = FetchPartition::default().with_partition_index(index);
            parameters.partition_max_bytes = partition.partition_max_bytes;
            let before = session.put(&key, name.as_ref(), index, parameters, standing);
            if standing == Standing::Upstream {
                if let Some(name) = name.as_deref().filter(|_| !std::mem::replace(&mut noted, true)) {
                    let decision = scope.view.authorise(Operation::Read, Resource::partition(name, index), scope.now);
                    draft.decided(Operation::Read, Resource::topic(name), &decision);
                }
                return true;
            }
            screened.rewritten = true;
            if before == Some(Standing::Upstream) {
                withdrawn.push((id, index));
            }
            if !partition.acknowledgement_batches.is_empty() {
                acknowledged.push((id, index));
            }
            false
        });
    }
    if screened.rewritten {
        message.topics.retain(|topic| !topic.partitions.is_empty());
    }
    for topic in &message.forgotten_topics_data {
        topic.partitions.iter().for_each(|p| session.forget(&TopicKey::Id(topic.topic_id), *p));
    }
    if session.recheck_due(scope.view.version(), scope.now) {
        session.restand(
            scope.topics,
            |name, partition| stand(name, partition, scope),
            |key, partition, parameters, before, now| match (before, now) {
                (Standing::Upstream, _) => withdrawn.push((key.fields().1, partition)),
                (_, Standing::Upstream) => added.push((key.fields().1, parameters.clone())),
                _ => {}
            },
        );
    }
    for (key, name, partition, error) in session.refused() {
        let topic = key.fields().1;
        match name {
            Some(name) => {
                let resource = Resource::partition(name, partition);
                let decision = scope.view.authorise(Operation::Read, resource, scope.now);
                if !decision.allowed {
                    draft.decided(Operation::Read, resource, &decision);
                }
            }
            None => notes::unknown_id(draft, Operation::Read, topic, partition),
        }
        let acknowledged = acknowledged.contains(&(topic, partition));
        screened.refused.push(Refused { topic, partition, error, acknowledged });
    }
    // The last request ends the session: there is nothing to add to it or to withdraw from it.
    if message.share_session_epoch != EPOCH_FINAL {
        screened.rewritten |= tell(message, withdrawn, added);
    }
    screened
}

/// Tells the upstream's session what the client's own words do not; `false` where there is nothing.
fn tell(message: &mut ShareFetchRequest, withdrawn: Vec<(Uuid, i32)>, added: Vec<(Uuid, FetchPartition)>) -> bool {
    let changed = !withdrawn.is_empty() || !added.is_empty();
    for (id, partition) in added {
        match message.topics.last_mut().filter(|t| t.topic_id == id) {
            Some(topic) => topic.partitions.push(partition),
            None => {
                message.topics.push(FetchTopic::default().with_topic_id(id).with_partitions(vec![partition]));
            }
        }
    }
    for (id, partition) in withdrawn {
        match message.forgotten_topics_data.last_mut().filter(|t| t.topic_id == id) {
            Some(topic) => topic.partitions.push(partition),
            None => message
                .forgotten_topics_data
                .push(ForgottenTopic::default().with_topic_id(id).with_partitions(vec![partition])),
        }
    }
    changed
}

/// Sees the upstream's response.
struct ShareRespond {
    version: i16,
    refused: Vec<Refused>,
    member: Member,
    sessions: Shared<Member, FetchPartition>,
    asked: Asked,
    /// The response between two turns: decoded, and not touched yet.
    under_way: Option<ShareFetchResponse>,
    ahead: Ahead,
}

impl Respond for ShareRespond {
    fn respond(
        mut self: Box<Self>,
        body: Bytes,
        scope: &mut Scope<'_>,
        draft: &mut Draft,
    ) -> Result<Progress, StageError> {
        let mut response: ShareFetchResponse = match self.under_way.take() {
            Some(response) => response,
            None => codec::decode_response(&body, API, self.version)?,
        };
        if self.ahead.wants_parts(scope) {
            let parts = self.parts(&response, scope);
            self.ahead.begin(parts, scope);
        }
        if !self.ahead.step(scope) {
            self.under_way = Some(response);
            return Ok(Progress::Again(self));
        }
        let mut changed = false;
        notes::upstream_error(draft, response.error_code);
        for (at, topic) in response.responses.iter_mut().enumerate() {
            changed |= self.topic(at, topic, scope, draft);
        }
        if response.error_code == 0 && !self.refused.is_empty() {
            merge(&mut response, &self.refused);
            changed = true;
        }
        if !response.node_endpoints.is_empty() {
            response
                .node_endpoints
                .retain_mut(|e| codec::show_endpoint(scope.addresses, e.node_id.0, &mut e.host, &mut e.port));
            changed = true;
        }
        Ok(Progress::Done(changed.then(|| codec::encode_response(&response, API, self.version)).transpose()?))
    }
}

impl ShareRespond {
    fn name(&self, topic: Uuid, scope: &Scope<'_>) -> Option<Arc<str>> {
        let of_session = self.sessions.borrow().get(&self.member).and_then(|s| s.name(&TopicKey::Id(topic)));
        of_session.or_else(|| scope.topics.name(&topic))
    }

    /// The records that a mask rule applies to and that may be read as things stand.
    fn parts(&self, response: &ShareFetchResponse, scope: &Scope<'_>) -> VecDeque<Part> {
        let mut parts = VecDeque::new();
        for (at, topic) in response.responses.iter().enumerate() {
            let Some(name) = self.name(topic.topic_id, scope) else { continue };
            let Some(plan) = scope.view.mask(&name, Direction::Fetch) else { continue };
            for (index, partition) in topic.partitions.iter().enumerate() {
                let resource = Resource::partition(&name, partition.partition_index);
                let Some(records) = partition.records.as_ref().filter(|r| !r.is_empty()) else { continue };
                if scope.may(Operation::Read, resource) {
                    parts.push_back(Part { place: (at, index), records: records.clone(), plan: plan.clone() });
                }
            }
        }
        parts
    }

    /// Releases what may be released of one topic; `true` where anything differs now.
    fn topic(
        &mut self,
        at: usize,
        topic: &mut ShareFetchableTopicResponse,
        scope: &mut Scope<'_>,
        draft: &mut Draft,
    ) -> bool {
        let name = self.name(topic.topic_id, scope);
        let plan = name.as_deref().and_then(|name| scope.view.mask(name, Direction::Fetch));
        let mut slot = name.as_deref().and_then(|name| self.asked.topic(draft, Operation::Read, name));
        let mut changed = false;
        for (index, partition) in topic.partitions.iter_mut().enumerate() {
            notes::upstream_error(draft, partition.error_code);
            notes::upstream_error(draft, partition.acknowledge_error_code);
            if partition.error_code == ResponseError::UnknownTopicId.code() {
                scope.topics.forget(&topic.topic_id);
            }
            let Some(records) = partition.records.as_ref().filter(|r| !r.is_empty()) else { continue };
            let outcome = match name.as_deref() {
                Some(name) => {
                    let records = (records, name, partition.partition_index);
                    release(&mut self.ahead, (at, index), records, plan.as_ref(), &mut slot, scope, draft)
                }
                None => Err(ResponseError::UnknownTopicId),
            };
            match outcome {
                Ok(None) => {}
                Ok(masked) => {
                    partition.records = masked;
                    changed = true;
                }
                Err(error) => {
                    withhold(partition, error);
                    changed = true;
                    if let Some(session) = self.sessions.borrow_mut().get_mut(&self.member) {
                        session.recheck();
                    }
                }
            }
        }
        changed
    }
}

/// The records to put in place of `records`, `None` where they pass as they are, or the error.
fn release(
    ahead: &mut Ahead,
    place: Place,
    (records, name, partition): (&Bytes, &str, i32),
    plan: Option<&Arc<MaskPlan>>,
    slot: &mut Option<usize>,
    scope: &mut Scope<'_>,
    draft: &mut Draft,
) -> Result<Option<Bytes>, ResponseError> {
    let resource = Resource::partition(name, partition);
    let decision = scope.view.authorise(Operation::Read, resource, scope.now);
    if !decision.allowed {
        draft.decided(Operation::Read, resource, &decision);
        return Err(ResponseError::TopicAuthorizationFailed);
    }
    let (masked, summary) = match ahead.inspect(place, records, (name, partition), plan, scope, draft) {
        Inspection::Unchanged(summary) => (None, summary),
        Inspection::Changed(records, summary) => (Some(records), summary),
        Inspection::Refused(error) => {
            notes::withheld(draft, slot, name, partition, &decision, &error);
            return Err(match error {
                // Consumers log it and go on; the records come again when their locks end.
                BatchError::Waiting { .. } => ResponseError::UnknownServerError,
                _ => ResponseError::CorruptMessage,
            });
        }
    };
    notes::delivered(draft, slot, name, partition, &decision, &summary);
    Ok(masked)
}

/// Takes records and acquisitions out of a partition; what became of its acknowledgements stays.
fn withhold(partition: &mut PartitionData, error: ResponseError) {
    partition.error_code = error.code();
    partition.records = Some(Bytes::new());
    partition.acquired_records.clear();
}

/// Adds what was refused to its topics in the response.
fn merge(response: &mut ShareFetchResponse, refused: &[Refused]) {
    for refused in refused {
        let mut partition =
            PartitionData::default().with_partition_index(refused.partition).with_error_code(refused.error.code());
        if refused.acknowledged {
            partition.acknowledge_error_code = refused.error.code();
        }
        match response.responses.iter_mut().rev().find(|topic| topic.topic_id == refused.topic) {
            Some(topic) => topic.partitions.push(partition),
            None => response.responses.push(
                ShareFetchableTopicResponse::default().with_topic_id(refused.topic).with_partitions(vec![partition]),
            ),
        }
    }
}
