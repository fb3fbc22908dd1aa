//! Fetch v4–18: what clients read.
//!
//! The request is screened: partitions that the client may not read never reach the upstream, and
//! the response carries a broker's error for them ([`Refused`]). Then every partition of the
//! response is authorised again before it is released ([`respond`]): incremental fetches leave
//! unchanged partitions out of requests, and a grant may have ended while the broker waited.
//!
//! A full or sessionless request is screened here; one within a fetch session in [`incremental`].

use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchRequest, FetchTopic};
use kafka_protocol::messages::fetch_response::{FetchResponse, FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{ApiKey, TopicName};
use tidegate_core::words::{Operation, Resource};
use tidegate_policy::view::Decision;
use uuid::Uuid;

use super::super::stage::{Draft, Request, Scope, StageError, Verdict};
use super::names::Names;
use super::notes::{self, Asked};
use super::sessions::{Session, Standing, TopicKey, unresolved};
use super::{FetchSessions, codec};

mod incremental;
mod respond;

use respond::{FetchRespond, Tracking, UnderWay};

const API: ApiKey = ApiKey::Fetch;
/// From here on topics are named by id (KIP-516).
const TOPIC_IDS_FROM: i16 = 13;
/// From here on there are fetch sessions (KIP-227).
const SESSIONS_FROM: i16 = 7;
/// The epoch of a full fetch that wants a session.
const EPOCH_INITIAL: i32 = 0;
/// The epoch of a full fetch without a session, which closes the one it names.
const EPOCH_FINAL: i32 = -1;
/// No session.
const NO_SESSION: i32 = 0;

/// A partition that the upstream does not answer.
#[derive(Debug, Clone)]
struct Refused {
    key: TopicKey,
    partition: i32,
    error: ResponseError,
}

/// Handles one Fetch request.
pub(super) fn request(
    request: &Request,
    sessions: &mut FetchSessions,
    scope: &mut Scope<'_>,
    draft: &mut Draft,
) -> Result<Verdict, StageError> {
    let version = request.version();
    let message: FetchRequest = codec::decode_request(request)?;
    if version >= TOPIC_IDS_FROM {
        let unknown = unresolved(message.topics.iter().map(|t| t.topic_id), scope);
        if !unknown.is_empty() {
            return Ok(Verdict::Resolve(unknown));
        }
    }
    let in_session = version >= SESSIONS_FROM && !matches!(message.session_epoch, EPOCH_INITIAL | EPOCH_FINAL);
    if in_session {
        incremental::request(version, message, sessions, scope, draft)
    } else {
        full(version, message, sessions, scope, draft)
    }
}

/// How the client named a topic.
fn key(version: i16, name: &TopicName, id: Uuid) -> TopicKey {
    if version >= TOPIC_IDS_FROM { TopicKey::Id(id) } else { TopicKey::Name(name.0.clone()) }
}

/// Asks policy about partitions of one request.
struct Screen {
    /// The request says that it comes from a follower, and the client may not be one. Followers
    /// read beyond the high watermark, so this is refused as a broker refuses it, whatever the
    /// topics. One that may be a follower still needs READ: only brokers need none.
    follower_denied: bool,
}

impl Screen {
    fn new(message: &FetchRequest, scope: &Scope<'_>, draft: &mut Draft) -> Self {
        let replica = message.replica_id.0.max(message.replica_state.replica_id.0);
        let follower_denied = replica >= 0 && !scope.authorise(Operation::ClusterAction, Resource::Cluster, draft);
        Self { follower_denied }
    }

    /// Where a partition stands, and the decision that says so.
    fn stand(&self, name: Option<&str>, partition: i32, scope: &Scope<'_>) -> (Standing, Option<Decision>) {
        let Some(name) = name else { return (Standing::Unknown, None) };
        let decision = scope.view.authorise(Operation::Read, Resource::partition(name, partition), scope.now);
        let standing = if decision.allowed && !self.follower_denied { Standing::Upstream } else { Standing::Denied };
        (standing, Some(decision))
    }
}

/// Notes what the request asked for: an allowed topic once, what is denied by partition.
struct AskedFor<'a> {
    name: Option<&'a str>,
    id: Uuid,
    allowed_noted: bool,
}

impl AskedFor<'_> {
    fn note(&mut self, partition: i32, standing: Standing, decision: Option<&Decision>, draft: &mut Draft) {
        match (self.name, decision) {
            (Some(name), Some(decision)) if standing == Standing::Upstream => {
                if !std::mem::replace(&mut self.allowed_noted, true) {
                    draft.decided(Operation::Read, Resource::topic(name), decision);
                }
            }
            // A follower that is none: the denial stands with the cluster's entry.
            (Some(_), Some(decision)) if decision.allowed => {}
            (Some(name), Some(decision)) => {
                draft.decided(Operation::Read, Resource::partition(name, partition), decision);
            }
            _ => notes::unknown_id(draft, Operation::Read, self.id, partition),
        }
    }
}

/// A fetch of all that the client wants, with a new session (epoch 0) or without (epoch -1).
fn full(
    version: i16,
    mut message: FetchRequest,
    sessions: &mut FetchSessions,
    scope: &mut Scope<'_>,
    draft: &mut Draft,
) -> Result<Verdict, StageError> {
    let wants_session = version >= SESSIONS_FROM && message.session_epoch == EPOCH_INITIAL;
    let held: usize = message.topics.iter().map(|t| t.partitions.len()).sum();
    let mut session = (wants_session && held <= scope.limits.fetch_session_partitions_max as usize)
        .then(|| Box::new(Session::default()));
    if message.session_id != NO_SESSION {
        sessions.fetch.borrow_mut().remove(&message.session_id);
    }

    let screen = Screen::new(&message, scope, draft);
    let mut refused = Vec::new();
    let mut names = Names::default();
    for topic in &mut message.topics {
        let key = key(version, &topic.topic, topic.topic_id);
        let name = resolved(version, topic, scope);
        let known = if version >= TOPIC_IDS_FROM { name.as_deref() } else { Some(topic.topic.as_str()) };
        let mut asked_for = AskedFor { name: known, id: topic.topic_id, allowed_noted: false };
        topic.partitions.retain(|partition| {
            let (standing, decision) = screen.stand(known, partition.partition, scope);
            asked_for.note(partition.partition, standing, decision.as_ref(), draft);
            if let Some(session) = &mut session {
                let mut parameters = partition.clone();
                // They would hold the request's frame for as long as the session.
                parameters.unknown_tagged_fields.clear();
                session.put(&key, name.as_ref(), partition.partition, parameters, standing);
            }
            let Some(error) = standing.error() else { return true };
            refused.push(Refused { key: key.clone(), partition: partition.partition, error });
            false
        });
        if let Some(name) = name {
            names.push(topic.topic_id, name);
        }
    }

    let rewritten = !refused.is_empty();
    if rewritten {
        message.topics.retain(|topic| !topic.partitions.is_empty());
        // Nothing is left to ask, and no session to close: answered here, without a session, as a
        // broker may. A topic that is denied in full so costs the upstream nothing.
        if message.topics.is_empty() && message.session_id == NO_SESSION {
            let mut response = FetchResponse::default();
            respond::merge(&mut response, refused);
            return Ok(Verdict::Answer(codec::encode_response(&response, API, version)?));
        }
    }
    // More partitions than are kept of a session: the client gets none, and goes on with full fetches.
    let without_session = wants_session && session.is_none();
    if without_session {
        message.session_epoch = EPOCH_FINAL;
    }
    if let Some(session) = &mut session {
        session.recheck_due(scope.view.version(), scope.now);
    }
    let respond = Box::new(FetchRespond {
        version,
        refused,
        names,
        tracking: session.map_or(Tracking::None, Tracking::Begin),
        sessions: sessions.fetch.clone(),
        asked: Asked::now(draft),
        under_way: UnderWay::default(),
    });
    if rewritten || without_session {
        return Ok(Verdict::Rewrite { version, body: codec::encode_request(&message, API, version)?, respond });
    }
    Ok(Verdict::ForwardThen(respond))
}

/// The name of a topic that is named by id, where it is known. Topics named by name need none.
fn resolved(version: i16, topic: &FetchTopic, scope: &Scope<'_>) -> Option<Arc<str>> {
    if version >= TOPIC_IDS_FROM { scope.topics.name(&topic.topic_id) } else { None }
}

/// A partition's answer that carries nothing but an error.
fn error_partition(partition: i32, error: ResponseError) -> PartitionData {
    PartitionData::default().with_partition_index(partition).with_error_code(error.code()).with_high_watermark(-1)
}

/// An empty topic of a response, named as the client named it.
fn response_topic(key: &TopicKey) -> FetchableTopicResponse {
    let (name, id) = key.fields();
    FetchableTopicResponse::default().with_topic(TopicName(name)).with_topic_id(id)
}
