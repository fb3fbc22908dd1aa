//! Which partitions a client's fetch and share sessions hold (KIP-227, KIP-932).
//!
//! Sessions are kept, not turned into sessionless fetches: a consumer of a thousand idle
//! partitions would otherwise send and receive all of them with every poll. The price is this
//! table, bounded by `fetch_session_partitions_max`:
//! - a denied partition is part of the client's session but never of the upstream's, and is
//!   answered with its error in every response, as a broker does with error partitions;
//! - a grant that ends mid-session withdraws the partition from the upstream's session with the
//!   next request, one that begins adds it;
//! - a session that began on another connection is unknown here, and answered so: the client
//!   falls back to a full fetch, and nobody reads through somebody else's session.
//!
//! What is released is checked per response besides; this table only keeps answers consistent.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{fetch_request, share_fetch_request};
use kafka_protocol::protocol::StrBytes;
use tidegate_core::words::Timestamp;
use uuid::Uuid;

use super::super::stage::Scope;
use super::super::topics::TopicIds;

/// Sessions that one connection may have at once. A client has one for each broker connection;
/// more are a client that opens without closing. The oldest is then forgotten, and answered with
/// FETCH_SESSION_ID_NOT_FOUND, upon which clients begin anew. Not configurable: what costs memory are
/// partitions, and `fetch_session_partitions_max` bounds them.
const SESSIONS_MAX: usize = 8;
/// Milliseconds for which decisions about a session's unchanged partitions are not asked for
/// again. Only what is *reported* can be this late; what is released is always checked. Not
/// configurable: a policy's change is seen at once, so this is about grants that end by the clock.
const RECHECK_MILLIS: i64 = 1000;

/// Sessions that responders in flight need as well.
pub(super) type Shared<K, P> = Rc<RefCell<Table<K, P>>>;
/// A share group and its member.
pub(super) type Member = (Arc<str>, Arc<str>);

/// One connection's fetch and share sessions. Shared with the responders of requests in flight.
#[derive(Debug, Default)]
pub struct FetchSessions {
    /// Fetch sessions by the id that the broker gave them.
    pub(super) fetch: Shared<i32, fetch_request::FetchPartition>,
    /// Share sessions by group and member.
    pub(super) share: Shared<Member, share_fetch_request::FetchPartition>,
}

impl FetchSessions {
    /// Shows each topic that the sessions hold, by name where that is known, with one of its partitions.
    pub fn each_topic(&self, mut see: impl FnMut(&str, i32)) {
        self.fetch.borrow().each_topic(&mut see);
        self.share.borrow().each_topic(&mut see);
    }
}

/// The topic ids that must be resolved before a request can be decided. Empty where all are known,
/// and where they were asked for already: what is unknown then stays unknown.
pub(super) fn unresolved(ids: impl Iterator<Item = Uuid>, scope: &Scope<'_>) -> Vec<Uuid> {
    if !scope.may_resolve {
        return Vec::new();
    }
    let mut unknown: Vec<Uuid> = ids.filter(|id| !id.is_nil() && scope.topics.name(id).is_none()).collect();
    unknown.sort_unstable();
    unknown.dedup();
    unknown
}

/// A topic as the client names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TopicKey {
    /// By name, before Fetch v13.
    Name(StrBytes),
    /// By id (KIP-516).
    Id(Uuid),
}

impl TopicKey {
    /// The same key without a hold on the frame that it was read from.
    fn detached(&self) -> Self {
        match self {
            Self::Name(name) => Self::Name(StrBytes::from_string(name.to_string())),
            Self::Id(id) => Self::Id(*id),
        }
    }

    /// The topic's name, where it is known.
    pub(super) fn name(&self, topics: &TopicIds) -> Option<Arc<str>> {
        match self {
            Self::Name(name) => Some(Arc::from(name.as_str())),
            Self::Id(id) => topics.name(id),
        }
    }

    /// The name and the id for a message's two fields; one of them is empty.
    pub(super) fn fields(&self) -> (StrBytes, Uuid) {
        match self {
            Self::Name(name) => (name.clone(), Uuid::nil()),
            Self::Id(id) => (StrBytes::new(), *id),
        }
    }
}

/// Where a partition of a client's session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Allowed, and part of the upstream's session.
    Upstream,
    /// Denied: only in the client's.
    Denied,
    /// Its topic id is unknown: only in the client's.
    Unknown,
}

impl Standing {
    /// The error that the client gets, `None` where the upstream answers.
    pub(super) fn error(self) -> Option<ResponseError> {
        match self {
            Self::Upstream => None,
            Self::Denied => Some(ResponseError::TopicAuthorizationFailed),
            Self::Unknown => Some(ResponseError::UnknownTopicId),
        }
    }
}

/// A session's topic.
#[derive(Debug)]
struct SessionTopic<P> {
    /// Its name, kept because the shard's table of ids may forget it.
    name: Option<Arc<str>>,
    partitions: BTreeMap<i32, (P, Standing)>,
}

/// One session: what the client takes it to hold.
#[derive(Debug)]
pub(super) struct Session<P> {
    topics: BTreeMap<TopicKey, SessionTopic<P>>,
    partitions: usize,
    /// The policy version and time of the last look at every partition.
    checked: Option<(u64, Timestamp)>,
}

impl<P> Default for Session<P> {
    fn default() -> Self {
        Self { topics: BTreeMap::new(), partitions: 0, checked: None }
    }
}

impl<P> Session<P> {
    /// Partitions held.
    pub(super) fn len(&self) -> usize {
        self.partitions
    }

    /// The name of one of the session's topics.
    pub(super) fn name(&self, key: &TopicKey) -> Option<Arc<str>> {
        self.topics.get(key)?.name.clone()
    }

    /// Adds or updates a partition and returns where it stood before.
    pub(super) fn put(
        &mut self,
        key: &TopicKey,
        name: Option<&Arc<str>>,
        partition: i32,
        parameters: P,
        standing: Standing,
    ) -> Option<Standing> {
        if !self.topics.contains_key(key) {
            self.topics.insert(key.detached(), SessionTopic { name: None, partitions: BTreeMap::new() });
        }
        let topic = self.topics.get_mut(key)?;
        if name.is_some() {
            topic.name = name.cloned();
        }
        let before = topic.partitions.insert(partition, (parameters, standing));
        self.partitions += usize::from(before.is_none());
        before.map(|(_, standing)| standing)
    }

    /// Removes a partition that the client forgot.
    pub(super) fn forget(&mut self, key: &TopicKey, partition: i32) {
        let Some(topic) = self.topics.get_mut(key) else { return };
        if topic.partitions.remove(&partition).is_some() {
            self.partitions -= 1;
        }
        if topic.partitions.is_empty() {
            self.topics.remove(key);
        }
    }

    /// Whether it is time to look at every partition again; if so, that is noted as done.
    pub(super) fn recheck_due(&mut self, policy_version: u64, now: Timestamp) -> bool {
        let due = self.checked.is_none_or(|(version, at)| {
            version != policy_version || now < at || now.millis_since(at) >= RECHECK_MILLIS
        });
        if due {
            self.checked = Some((policy_version, now));
        }
        due
    }

    /// Makes the next request look at every partition.
    pub(super) fn recheck(&mut self) {
        self.checked = None;
    }

    /// Decides anew about every partition. `changed` is told of each that stands elsewhere now:
    /// its key, number, parameters and new standing.
    pub(super) fn restand(
        &mut self,
        topics: &TopicIds,
        mut decide: impl FnMut(Option<&str>, i32) -> Standing,
        mut changed: impl FnMut(&TopicKey, i32, &P, Standing, Standing),
    ) {
        for (key, topic) in &mut self.topics {
            if topic.name.is_none() {
                topic.name = key.name(topics);
            }
            for (number, (parameters, standing)) in &mut topic.partitions {
                let before = std::mem::replace(standing, decide(topic.name.as_deref(), *number));
                if before != *standing {
                    changed(key, *number, parameters, before, *standing);
                }
            }
        }
    }

    /// The partitions that the upstream does not answer, with the topic's name and the error.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&TopicKey, Option<&Arc<str>>, i32, ResponseError)> {
        self.topics.iter().flat_map(|(key, topic)| {
            topic.partitions.iter().filter_map(move |(number, (_, standing))| {
                standing.error().map(|error| (key, topic.name.as_ref(), *number, error))
            })
        })
    }
}

/// A connection's sessions of one kind, oldest first.
#[derive(Debug)]
pub(super) struct Table<K, P> {
    sessions: Vec<(K, Session<P>)>,
}

impl<K, P> Default for Table<K, P> {
    fn default() -> Self {
        Self { sessions: Vec::new() }
    }
}

impl<K, P> Table<K, P> {
    fn each_topic(&self, see: &mut impl FnMut(&str, i32)) {
        for (key, topic) in self.sessions.iter().flat_map(|(_, session)| &session.topics) {
            let name = match (&topic.name, key) {
                (Some(name), _) => &**name,
                (None, TopicKey::Name(name)) => name.as_str(),
                (None, TopicKey::Id(_)) => continue,
            };
            topic.partitions.keys().next().into_iter().for_each(|partition| see(name, *partition));
        }
    }
}

impl<K: PartialEq, P> Table<K, P> {
    /// The session of this key.
    pub(super) fn get(&self, key: &K) -> Option<&Session<P>> {
        self.sessions.iter().find(|(k, _)| k == key).map(|(_, session)| session)
    }

    /// The session of this key.
    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut Session<P>> {
        self.sessions.iter_mut().find(|(k, _)| k == key).map(|(_, session)| session)
    }

    /// Forgets a session.
    pub(super) fn remove(&mut self, key: &K) {
        self.sessions.retain(|(k, _)| k != key);
    }

    /// Keeps a session, in place of an older one of the same key. The oldest others are
    /// forgotten where there are more than [`SESSIONS_MAX`], or more than `partitions_max`
    /// partitions in all.
    pub(super) fn insert(&mut self, key: K, session: Session<P>, partitions_max: usize) {
        self.remove(&key);
        self.sessions.push((key, session));
        let held = |sessions: &[(K, Session<P>)]| sessions.iter().map(|(_, s)| s.len()).sum::<usize>();
        while self.sessions.len() > SESSIONS_MAX || (self.sessions.len() > 1 && held(&self.sessions) > partitions_max) {
            self.sessions.remove(0);
        }
    }
}
