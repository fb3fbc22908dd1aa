//! The upstream's answer to a Fetch: each partition is authorised again, its records are masked
//! and counted, and what was refused is put in.
//!
//! A partition that is refused here carries an error and no records:
//! - TOPIC_AUTHORIZATION_FAILED where a grant ended: every client shows it to the application;
//! - UNKNOWN_TOPIC_ID where the topic's name is unknown, so that nobody can be asked;
//! - CORRUPT_MESSAGE where records that a mask rule applies to cannot be walked. The Java consumer
//!   throws a `KafkaException` that names partition and offset; librdkafka hands the application
//!   a consumer error and backs off. Both fetch the same offset again, so it stays loud and
//!   nothing is skipped. Any other code is either "unexpected" to the Java consumer or handled in
//!   silence (UNKNOWN_SERVER_ERROR, the leader and metadata errors). Sound batches before the one
//!   that cannot be walked are released first, so that the error names the right offset.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::FetchPartition;
use kafka_protocol::messages::fetch_response::{FetchResponse, FetchableTopicResponse, PartitionData};
use tidegate_core::batch::Summary;
use tidegate_core::words::{Direction, Operation, Resource};
use tidegate_policy::mask::MaskPlan;

use super::super::super::stage::{Draft, Progress, Respond, Scope, StageError};
use super::super::ahead::{Ahead, Part, Place};
use super::super::codec;
use super::super::inspect::{Inspection, Use};
use super::super::names::Names;
use super::super::notes::{self, Asked};
use super::super::sessions::{Session, Shared};
use super::{API, NO_SESSION, Refused, TOPIC_IDS_FROM, error_partition, key, response_topic};

/// How long a client is asked to wait before it comes again for records whose schema is being fetched.
/// It gets an answer without them, as if there were no more yet.
const WAIT_MILLIS: i32 = 100;

/// What the response means for the connection's sessions.
pub(super) enum Tracking {
    /// Nothing.
    None,
    /// If the broker gives it an id, this session begins.
    Begin(Box<Session<FetchPartition>>),
    /// It belongs to the session of this id.
    In(i32),
}

/// Sees the upstream's response.
pub(super) struct FetchRespond {
    pub(super) version: i16,
    /// What the upstream was not asked for.
    pub(super) refused: Vec<Refused>,
    /// The names of the request's topics that are named by id.
    pub(super) names: Names,
    pub(super) tracking: Tracking,
    pub(super) sessions: Shared<i32, FetchPartition>,
    pub(super) asked: Asked,
    pub(super) under_way: UnderWay,
}

/// The response between two turns.
pub(super) struct UnderWay {
    /// Decoded, and not touched yet.
    response: Option<FetchResponse>,
    ahead: Ahead,
}

impl Default for UnderWay {
    fn default() -> Self {
        Self { response: None, ahead: Ahead::new(Use::Fetch) }
    }
}

impl Respond for FetchRespond {
    fn respond(
        mut self: Box<Self>,
        body: Bytes,
        scope: &mut Scope<'_>,
        draft: &mut Draft,
    ) -> Result<Progress, StageError> {
        let mut response = match self.under_way.response.take() {
            Some(response) => response,
            None => codec::decode_response(&body, API, self.version)?,
        };
        if self.under_way.ahead.wants_parts(scope) {
            let parts = self.parts(&response, scope);
            self.under_way.ahead.begin(parts, scope);
        }
        if !self.under_way.ahead.step(scope) {
            self.under_way.response = Some(response);
            return Ok(Progress::Again(self));
        }
        let ahead = std::mem::replace(&mut self.under_way.ahead, Ahead::new(Use::Fetch));
        let mut release = Release { changed: false, denied: false, ahead };
        for (at, topic) in response.responses.iter_mut().enumerate() {
            let name = self.name(topic, scope);
            let name = if self.version >= TOPIC_IDS_FROM { name.as_deref() } else { Some(topic.topic.as_str()) };
            let slot = name.and_then(|name| self.asked.topic(draft, Operation::Read, name));
            release.topic((at, &mut topic.partitions), name, slot, scope, draft);
            let unknown = ResponseError::UnknownTopicId.code();
            if self.version >= TOPIC_IDS_FROM && topic.partitions.iter().any(|p| p.error_code == unknown) {
                scope.topics.forget(&topic.topic_id);
            }
        }
        let mut changed = release.changed;
        if release.ahead.waits() {
            response.throttle_time_ms = response.throttle_time_ms.max(WAIT_MILLIS);
            changed = true;
        }
        notes::upstream_error(draft, response.error_code);
        self.track(&response, release.denied, scope);
        if response.error_code == 0 && !self.refused.is_empty() {
            merge(&mut response, std::mem::take(&mut self.refused));
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

impl FetchRespond {
    /// The records that a mask rule applies to and that may be read as things stand.
    fn parts(&mut self, response: &FetchResponse, scope: &Scope<'_>) -> VecDeque<Part> {
        let mut parts = VecDeque::new();
        for (at, topic) in response.responses.iter().enumerate() {
            let name = self.name(topic, scope);
            let name = if self.version >= TOPIC_IDS_FROM { name.as_deref() } else { Some(topic.topic.as_str()) };
            let Some((name, plan)) = name.and_then(|name| Some((name, scope.view.mask(name, Direction::Fetch)?)))
            else {
                continue;
            };
            for (index, partition) in topic.partitions.iter().enumerate() {
                let resource = Resource::partition(name, partition.partition_index);
                let Some(records) = partition.records.as_ref().filter(|r| !r.is_empty()) else { continue };
                if scope.may(Operation::Read, resource) {
                    parts.push_back(Part { place: (at, index), records: records.clone(), plan: plan.clone() });
                }
            }
        }
        parts
    }

    /// The name of a topic of the response that is named by id.
    fn name(&mut self, topic: &FetchableTopicResponse, scope: &Scope<'_>) -> Option<Arc<str>> {
        if self.version < TOPIC_IDS_FROM {
            return None;
        }
        if let Some(name) = self.names.find(&topic.topic_id) {
            return Some(name);
        }
        let Tracking::In(id) = &self.tracking else { return scope.topics.name(&topic.topic_id) };
        let sessions = self.sessions.borrow();
        let of_session = sessions.get(id).and_then(|s| s.name(&key(self.version, &topic.topic, topic.topic_id)));
        of_session.or_else(|| scope.topics.name(&topic.topic_id))
    }

    /// Begins, keeps or forgets the session.
    fn track(&mut self, response: &FetchResponse, denied: bool, scope: &Scope<'_>) {
        let mut sessions = self.sessions.borrow_mut();
        match std::mem::replace(&mut self.tracking, Tracking::None) {
            Tracking::None => {}
            Tracking::Begin(mut session) => {
                if denied {
                    session.recheck();
                }
                if response.error_code == 0 && response.session_id != NO_SESSION {
                    let partitions_max = scope.limits.fetch_session_partitions_max as usize;
                    sessions.insert(response.session_id, *session, partitions_max);
                }
            }
            Tracking::In(id) if response.error_code == ResponseError::FetchSessionIdNotFound.code() => {
                sessions.remove(&id);
            }
            Tracking::In(id) => {
                if denied && let Some(session) = sessions.get_mut(&id) {
                    session.recheck();
                }
            }
        }
    }
}

/// Adds what was refused to its topics in the response.
pub(super) fn merge(response: &mut FetchResponse, refused: Vec<Refused>) {
    for refused in refused {
        let (name, id) = refused.key.fields();
        let partition = error_partition(refused.partition, refused.error);
        // Refused partitions come topic by topic, so the one that was touched last is looked at first.
        match response.responses.iter_mut().rev().find(|topic| topic.topic.0 == name && topic.topic_id == id) {
            Some(topic) => topic.partitions.push(partition),
            None => {
                let mut topic = response_topic(&refused.key);
                topic.partitions.push(partition);
                response.responses.push(topic);
            }
        }
    }
}

/// Decides what of a response is released.
struct Release {
    /// Something differs from what the upstream sent.
    changed: bool,
    /// A partition was denied only now.
    denied: bool,
    ahead: Ahead,
}

impl Release {
    fn topic(
        &mut self,
        (at, partitions): (usize, &mut [PartitionData]),
        name: Option<&str>,
        mut slot: Option<usize>,
        scope: &mut Scope<'_>,
        draft: &mut Draft,
    ) {
        let plan = name.and_then(|name| scope.view.mask(name, Direction::Fetch));
        for (index, partition) in partitions.iter_mut().enumerate() {
            notes::upstream_error(draft, partition.error_code);
            let has_records = partition.records.as_ref().is_some_and(|r| !r.is_empty());
            if partition.error_code != 0 && !has_records {
                continue;
            }
            let outcome = match name {
                Some(name) => self.partition((at, index), partition, name, plan.as_ref(), &mut slot, scope, draft),
                None => Err(ResponseError::UnknownTopicId),
            };
            if let Err(error) = outcome {
                *partition = error_partition(partition.partition_index, error);
                self.changed = true;
            }
        }
    }

    /// Releases one partition, masked where a rule says so, or says with which error it is not.
    #[expect(clippy::too_many_arguments, reason = "what one partition's release takes, in one place")]
    fn partition(
        &mut self,
        place: Place,
        partition: &mut PartitionData,
        name: &str,
        plan: Option<&Arc<MaskPlan>>,
        slot: &mut Option<usize>,
        scope: &mut Scope<'_>,
        draft: &mut Draft,
    ) -> Result<(), ResponseError> {
        let index = partition.partition_index;
        let resource = Resource::partition(name, index);
        let decision = scope.view.authorise(Operation::Read, resource, scope.now);
        if !decision.allowed {
            draft.decided(Operation::Read, resource, &decision);
            self.denied = true;
            return Err(ResponseError::TopicAuthorizationFailed);
        }
        let Some(records) = partition.records.as_ref().filter(|r| !r.is_empty()) else { return Ok(()) };
        let summary: Summary = match self.ahead.inspect(place, records, (name, index), plan, scope, draft) {
            Inspection::Unchanged(summary) => summary,
            Inspection::Changed(records, summary) => {
                partition.records = Some(records);
                self.changed = true;
                summary
            }
            Inspection::Refused(error) => {
                notes::withheld(draft, slot, name, index, &decision, &error);
                return Err(ResponseError::CorruptMessage);
            }
        };
        notes::delivered(draft, slot, name, index, &decision, &summary);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::sessions::TopicKey;
    use super::*;

    #[test]
    fn refused_partitions_join_their_topic() {
        let key = |name: &'static str| TopicKey::Name(name.into());
        let refused = |name, partition| Refused { key: key(name), partition, error: ResponseError::UnknownTopicId };
        let mut response = FetchResponse::default();
        response.responses.push(response_topic(&key("a")));
        merge(&mut response, vec![refused("a", 1), refused("b", 0), refused("a", 2)]);
        let found: Vec<(&str, Vec<i32>)> = response
            .responses
            .iter()
            .map(|t| (t.topic.as_str(), t.partitions.iter().map(|p| p.partition_index).collect()))
            .collect();
        assert_eq!(found, [("a", vec![1, 2]), ("b", vec![0])]);
    }
}
