//! A fetch within a session (KIP-227): the request names only what changed since the last one.
//!
//! The client's session and the upstream's differ by what is denied. What was allowed and no
//! longer is, is withdrawn from the upstream's session as a forgotten topic; what was denied and
//! no longer is, is added with the parameters that the client once gave. Id and epoch stay the
//! client's: both sides count the same requests.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::fetch_response::FetchResponse;

use super::super::super::stage::{Draft, Scope, StageError, Verdict};
use super::super::names::Names;
use super::super::notes::{self, Asked};
use super::super::sessions::{Session, Standing, TopicKey};
use super::super::{FetchSessions, codec};
use super::respond::{FetchRespond, Tracking, UnderWay};
use super::{API, AskedFor, Refused, Screen, TOPIC_IDS_FROM, key};

/// Handles one incremental Fetch request.
pub(super) fn request(
    version: i16,
    mut message: FetchRequest,
    sessions: &mut FetchSessions,
    scope: &mut Scope<'_>,
    draft: &mut Draft,
) -> Result<Verdict, StageError> {
    let mut table = sessions.fetch.borrow_mut();
    let Some(session) = table.get_mut(&message.session_id) else {
        let reason = format_args!("fetch session {} did not begin on this connection", message.session_id);
        return no_session(version, reason, draft);
    };
    let screen = Screen::new(&message, scope, draft);
    let mut changes = Changes::default();
    screen_topics(version, &mut message, session, &screen, &mut changes, scope, draft);
    if session.len() > scope.limits.fetch_session_partitions_max as usize {
        let reason = format_args!("fetch session {} outgrew fetch_session_partitions_max", message.session_id);
        let verdict = no_session(version, reason, draft);
        table.remove(&message.session_id);
        return verdict;
    }
    for topic in &message.forgotten_topics_data {
        let key = key(version, &topic.topic, topic.topic_id);
        topic.partitions.iter().for_each(|partition| session.forget(&key, *partition));
    }
    if session.recheck_due(scope.view.version(), scope.now) {
        session.restand(
            scope.topics,
            |name, partition| screen.stand(name, partition, scope).0,
            |key, partition, parameters, before, now| changes.moved(key, partition, parameters, before, now),
        );
    }
    let refused = refused(session, &screen, scope, draft);

    let id = message.session_id;
    let rewritten = changes.apply(&mut message);
    drop(table);
    let respond = Box::new(FetchRespond {
        version,
        refused,
        names: Names::default(),
        tracking: Tracking::In(id),
        sessions: sessions.fetch.clone(),
        asked: Asked::now(draft),
        under_way: UnderWay::default(),
    });
    if rewritten {
        return Ok(Verdict::Rewrite { version, body: codec::encode_request(&message, API, version)?, respond });
    }
    Ok(Verdict::ForwardThen(respond))
}

/// The answer that makes a client start over with a full fetch.
fn no_session(version: i16, reason: std::fmt::Arguments<'_>, draft: &mut Draft) -> Result<Verdict, StageError> {
    notes::say(draft, reason);
    let response = FetchResponse::default().with_error_code(ResponseError::FetchSessionIdNotFound.code());
    Ok(Verdict::Answer(codec::encode_response(&response, API, version)?))
}

/// Takes the request's own partitions into the session, and those that are denied out of the request.
fn screen_topics(
    version: i16,
    message: &mut FetchRequest,
    session: &mut Session<FetchPartition>,
    screen: &Screen,
    changes: &mut Changes,
    scope: &Scope<'_>,
    draft: &mut Draft,
) {
    for topic in &mut message.topics {
        let key = key(version, &topic.topic, topic.topic_id);
        let name = if version >= TOPIC_IDS_FROM {
            session.name(&key).or_else(|| scope.topics.name(&topic.topic_id))
        } else {
            None
        };
        let known = if version >= TOPIC_IDS_FROM { name.as_deref() } else { Some(topic.topic.as_str()) };
        let mut asked_for = AskedFor { name: known, id: topic.topic_id, allowed_noted: false };
        topic.partitions.retain(|partition| {
            let (standing, decision) = screen.stand(known, partition.partition, scope);
            let mut parameters = partition.clone();
            parameters.unknown_tagged_fields.clear();
            let before = session.put(&key, name.as_ref(), partition.partition, parameters, standing);
            if standing == Standing::Upstream {
                asked_for.note(partition.partition, standing, decision.as_ref(), draft);
                return true;
            }
            // Denied ones are noted with the rest of the session's.
            changes.taken_out = true;
            if before == Some(Standing::Upstream) {
                changes.withdrawn.push((key.clone(), partition.partition));
            }
            false
        });
    }
}

/// What the upstream's session must be told besides the client's own words.
#[derive(Default)]
struct Changes {
    taken_out: bool,
    withdrawn: Vec<(TopicKey, i32)>,
    added: Vec<(TopicKey, FetchPartition)>,
}

impl Changes {
    fn moved(&mut self, key: &TopicKey, partition: i32, parameters: &FetchPartition, before: Standing, now: Standing) {
        match (before, now) {
            (Standing::Upstream, _) => self.withdrawn.push((key.clone(), partition)),
            (_, Standing::Upstream) => self.added.push((key.clone(), parameters.clone())),
            _ => {}
        }
    }

    /// Puts the changes into the request; `false` where there are none.
    fn apply(self, message: &mut FetchRequest) -> bool {
        let changed = self.taken_out || !self.withdrawn.is_empty() || !self.added.is_empty();
        if self.taken_out {
            message.topics.retain(|topic| !topic.partitions.is_empty());
        }
        for (key, partition) in self.added {
            let (name, id) = key.fields();
            match message.topics.last_mut().filter(|t| t.topic.0 == name && t.topic_id == id) {
                Some(topic) => topic.partitions.push(partition),
                None => message.topics.push(
                    FetchTopic::default()
                        .with_topic(TopicName(name))
                        .with_topic_id(id)
                        .with_partitions(vec![partition]),
                ),
            }
        }
        for (key, partition) in self.withdrawn {
            let (name, id) = key.fields();
            match message.forgotten_topics_data.last_mut().filter(|t| t.topic.0 == name && t.topic_id == id) {
                Some(topic) => topic.partitions.push(partition),
                None => message.forgotten_topics_data.push(
                    ForgottenTopic::default()
                        .with_topic(TopicName(name))
                        .with_topic_id(id)
                        .with_partitions(vec![partition]),
                ),
            }
        }
        changed
    }
}

/// Every partition of the session that the upstream does not answer: a broker repeats an error in
/// each response until the client forgets the partition.
fn refused(session: &Session<FetchPartition>, screen: &Screen, scope: &Scope<'_>, draft: &mut Draft) -> Vec<Refused> {
    let mut refused = Vec::new();
    for (key, name, partition, error) in session.refused() {
        let id = key.fields().1;
        let name = match key {
            TopicKey::Name(name) => Some(name.as_str()),
            TopicKey::Id(_) => name.map(|name| &**name),
        };
        let (standing, decision) = screen.stand(name, partition, scope);
        // Between two rechecks policy may allow what the session still has as denied.
        if standing != Standing::Upstream {
            AskedFor { name, id, allowed_noted: false }.note(partition, standing, decision.as_ref(), draft);
        }
        refused.push(Refused { key: key.clone(), partition, error });
    }
    refused
}
