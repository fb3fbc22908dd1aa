//! Topic ids and names of the upstream cluster, as far as this shard has seen them (KIP-516).
//!
//! A deleted and re-created topic has a new id; the old id then no longer resolves.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

/// A bounded map of topic ids to names.
#[derive(Debug)]
pub struct TopicIds {
    names: HashMap<Uuid, Arc<str>>,
    ids: HashMap<Arc<str>, Uuid>,
    topics_max: usize,
}

impl TopicIds {
    /// An empty map of at most `topics_max` topics.
    #[must_use]
    pub fn new(topics_max: usize) -> Self {
        Self { names: HashMap::new(), ids: HashMap::new(), topics_max }
    }

    /// The name of a topic id, where known.
    #[must_use]
    pub fn name(&self, id: &Uuid) -> Option<Arc<str>> {
        self.names.get(id).cloned()
    }

    /// Remembers that `name` has `id` now; an older id of the same name is forgotten.
    pub fn learn(&mut self, id: Uuid, name: &str) {
        if id.is_nil() || name.is_empty() || self.ids.get(name) == Some(&id) {
            return;
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
}
