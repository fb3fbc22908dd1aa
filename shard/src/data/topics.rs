//! Topic ids and names of the upstream cluster, as far as this shard has seen them (KIP-516).
//!
//! A deleted and re-created topic has a new id; the old id then no longer resolves.
//! Invariant: an id has one name and a name one id, and each leads to the other. Authorisation
//! asks about the name that an id leads to, so a stale one would be a way around a denial.

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_core::words::Timestamp;
use uuid::Uuid;

/// How long an id that the upstream does not know is not asked about again, in milliseconds. A
/// client that goes on asking for a deleted topic costs the upstream one question in that time; one
/// that asks for a topic just created learns of it from Metadata, which ends the time early.
const UNKNOWN_MILLIS: i64 = 1000;
/// Unknown ids remembered. They are the client's to choose, so there are few.
const UNKNOWN_MAX: usize = 1000;

/// A bounded map of topic ids to names.
#[derive(Debug)]
pub struct TopicIds {
    names: HashMap<Uuid, Arc<str>>,
    ids: HashMap<Arc<str>, Uuid>,
    topics_max: usize,
    /// Ids that the upstream said it does not know, and when it did.
    unknown: HashMap<Uuid, Timestamp>,
}

impl TopicIds {
    /// An empty map of at most `topics_max` topics.
    #[must_use]
    pub fn new(topics_max: usize) -> Self {
        Self { names: HashMap::new(), ids: HashMap::new(), topics_max, unknown: HashMap::new() }
    }

    /// The name of a topic id, where known.
    #[must_use]
    pub fn name(&self, id: &Uuid) -> Option<Arc<str>> {
        self.names.get(id).cloned()
    }

    /// The id of a topic, where known.
    #[must_use]
    pub fn id(&self, name: &str) -> Option<Uuid> {
        self.ids.get(name).copied()
    }

    /// Remembers that `name` has `id` now; an older id of the same name is forgotten.
    pub fn learn(&mut self, id: Uuid, name: &str) {
        if id.is_nil() || name.is_empty() || self.topics_max == 0 {
            return;
        }
        if !self.unknown.is_empty() {
            self.unknown.remove(&id);
        }
        if let Some(known) = self.names.get(&id) {
            if **known == *name {
                return;
            }
            self.forget(&id);
        }
        if self.names.len() >= self.topics_max {
            // Full: start anew. Every entry can be resolved again, and this is rarer than a
            // cluster has topics.
            self.names.clear();
            self.ids.clear();
        }
        let name: Arc<str> = Arc::from(name);
        if let Some(old) = self.ids.insert(name.clone(), id) {
            self.names.remove(&old);
        }
        self.names.insert(id, name);
    }

    /// Forgets an id that the upstream no longer knows.
    pub fn forget(&mut self, id: &Uuid) {
        if let Some(name) = self.names.remove(id) {
            self.ids.remove(&name);
        }
    }

    /// Remembers for a while that the upstream, asked about it, does not know `id`.
    pub fn unknown(&mut self, id: Uuid, now: Timestamp) {
        self.forget(&id);
        if self.unknown.len() >= UNKNOWN_MAX {
            self.unknown.retain(|_, since| is_recent(*since, now));
            if self.unknown.len() >= UNKNOWN_MAX {
                self.unknown.clear();
            }
        }
        self.unknown.insert(id, now);
    }

    /// Whether the upstream said just now that it does not know `id`.
    #[must_use]
    pub fn is_unknown(&self, id: &Uuid, now: Timestamp) -> bool {
        self.unknown.get(id).is_some_and(|since| is_recent(*since, now))
    }
}

fn is_recent(since: Timestamp, now: Timestamp) -> bool {
    since <= now && now.millis_since(since) < UNKNOWN_MILLIS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    #[track_caller]
    fn check(topics: &TopicIds, expected: &[(u128, Option<&str>)]) {
        for (n, name) in expected {
            assert_eq!(topics.name(&id(*n)).as_deref(), *name, "id {n}");
        }
        assert_eq!(topics.names.len(), topics.ids.len());
        for (id, name) in &topics.names {
            assert_eq!(topics.ids.get(name), Some(id), "{name} leads back to its id");
        }
    }

    #[test]
    fn a_recreated_topic_has_only_its_new_id() {
        let mut topics = TopicIds::new(10);
        topics.learn(id(1), "orders");
        topics.learn(id(1), "orders");
        topics.learn(id(2), "orders");
        check(&topics, &[(1, None), (2, Some("orders"))]);
        topics.forget(&id(1));
        check(&topics, &[(2, Some("orders"))]);
        topics.forget(&id(2));
        check(&topics, &[(2, None)]);
    }

    #[test]
    fn an_id_has_the_last_name_it_was_given() {
        let mut topics = TopicIds::new(10);
        topics.learn(id(1), "a");
        topics.learn(id(1), "b");
        check(&topics, &[(1, Some("b"))]);
        topics.learn(id(1), "a");
        check(&topics, &[(1, Some("a"))]);
        topics.learn(id(2), "b");
        check(&topics, &[(1, Some("a")), (2, Some("b"))]);
    }

    #[test]
    fn nothing_is_learned_of_nil_ids_and_empty_names() {
        let mut topics = TopicIds::new(10);
        topics.learn(Uuid::nil(), "orders");
        topics.learn(id(1), "");
        check(&topics, &[(0, None), (1, None)]);
    }

    #[test]
    fn an_unknown_id_is_so_for_a_second_or_until_it_is_learned() {
        let start = Timestamp::from_secs(1_800_000_000);
        let mut topics = TopicIds::new(10);
        topics.learn(id(1), "deleted");
        for n in [1, 2] {
            topics.unknown(id(n), start);
            assert!(topics.is_unknown(&id(n), start.plus_millis(999)));
            assert!(!topics.is_unknown(&id(n), start.plus_millis(1000)));
            assert!(!topics.is_unknown(&id(n), start.plus_millis(-1)), "a clock that was set back");
        }
        assert_eq!(topics.name(&id(1)), None);
        assert!(!topics.is_unknown(&id(3), start));
        topics.learn(id(2), "created");
        assert!(!topics.is_unknown(&id(2), start));
        check(&topics, &[(1, None), (2, Some("created"))]);
    }

    #[test]
    fn unknown_ids_are_bounded_and_the_recent_kept() {
        let start = Timestamp::from_secs(1_800_000_000);
        let mut topics = TopicIds::new(10);
        for n in 0..10_000 {
            let now = start.plus_millis(n);
            topics.unknown(id(n as u128 + 1), now);
            assert!(topics.unknown.len() <= UNKNOWN_MAX);
            assert!(topics.is_unknown(&id(n as u128 + 1), now));
        }
        let mut topics = TopicIds::new(10);
        for n in 0..UNKNOWN_MAX as i64 * 2 {
            topics.unknown(id(n as u128 + 1), start.plus_millis(n * 2));
        }
        assert!(topics.is_unknown(&id(UNKNOWN_MAX as u128 * 2 - 400), start.plus_millis(UNKNOWN_MAX as i64 * 4)));
    }

    #[test]
    fn the_map_is_bounded() {
        let mut topics = TopicIds::new(3);
        for n in 1..=100 {
            topics.learn(id(n), &format!("topic-{n}"));
            assert!(topics.names.len() <= 3);
            assert_eq!(topics.name(&id(n)).as_deref(), Some(format!("topic-{n}").as_str()));
        }
    }
}
