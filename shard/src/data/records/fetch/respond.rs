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

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::FetchPartition;
use kafka_protocol::messages::fetch_response::{FetchResponse, FetchableTopicResponse, PartitionData};
use tidegate_core::batch::Summary;
use tidegate_core::words::{Direction, Operation, Resource};
use tidegate_policy::mask::MaskPlan;

use super::super::super::stage::{Draft, Respond, Scope, StageError};
use super::super::inspect::{Inspection, Use, inspect};
use super::super::names::Names;
use super::super::notes::{self, Asked};
use super::super::sessions::{Session, Shared};
use super::super::{codec, shape};
use super::{API, NO_SESSION, Refused, TOPIC_IDS_FROM, error_partition, key, response_topic};

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
}

impl Respond for FetchRespond {
    fn respond(
        mut self: Box<Self>,
        body: Bytes,
        scope: &mut Scope<'_>,
        draft: &mut Draft,
    ) -> Result<Option<Bytes>, StageError> {
        let mut response: FetchResponse = codec::decode_response(&body, API, self.version, &shape::FETCH_RESPONSE)?;
        let mut release = Release { changed: false, denied: false };
        for topic in &mut response.responses {
            let name = self.name(topic, scope);
            let name = if self.version >= TOPIC_IDS_FROM { name.as_deref() } else { Some(topic.topic.as_str()) };
            let slot = name.and_then(|name| self.asked.topic(draft, Operation::Read, name));
            release.topic(&mut topic.partitions, name, slot, scope, draft);
            let unknown = ResponseError::UnknownTopicId.code();
            if self.version >= TOPIC_IDS_FROM && topic.partitions.iter().any(|p| p.error_code == unknown) {
                scope.topics.forget(&topic.topic_id);
            }
        }
        let mut changed = release.changed;
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
        changed.then(|| codec::encode_response(&response, API, self.version)).transpose()
    }
}

impl FetchRespond {
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
}

impl Release {
    fn topic(
        &mut self,
        partitions: &mut [PartitionData],
        name: Option<&str>,
        mut slot: Option<usize>,
        scope: &Scope<'_>,
        draft: &mut Draft,
    ) {
        let plan = name.and_then(|name| scope.view.mask(name, Direction::Fetch));
        for partition in partitions {
            notes::upstream_error(draft, partition.error_code);
            let has_records = partition.records.as_ref().is_some_and(|r| !r.is_empty());
            if partition.error_code != 0 && !has_records {
                continue;
            }
            let outcome = match name {
                Some(name) => self.partition(partition, name, plan.as_deref(), &mut slot, scope, draft),
                None => Err(ResponseError::UnknownTopicId),
            };
            if let Err(error) = outcome {
                *partition = error_partition(partition.partition_index, error);
                self.changed = true;
            }
        }
    }

    /// Releases one partition, masked where a rule says so, or says with which error it is not.
    fn partition(
        &mut self,
        partition: &mut PartitionData,
        name: &str,
        plan: Option<&MaskPlan>,
        slot: &mut Option<usize>,
        scope: &Scope<'_>,
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
        let summary: Summary = match inspect(records, name, index, plan, Use::Fetch, scope, draft) {
            Inspection::Unchanged(summary) => summary,
            Inspection::Changed(records, summary) => {
                partition.records = Some(records);
                self.changed = true;
                summary
            }
            Inspection::Refused(_) => return Err(ResponseError::CorruptMessage),
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
